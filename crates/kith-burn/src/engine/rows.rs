//! Rows of all agents of a chunk, and small arithmetic on tensors.

use burn::tensor::{Device, Tensor, TensorData};

/// `[agents, row length]`.
pub(crate) type Rows = Tensor<2>;

/// A tensor of these numbers.
pub(crate) fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// The numbers of a tensor, read back.
///
/// # Panics
/// If the device failed.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    match tensor.try_into_vec_as::<f32>() {
        Ok(numbers) => numbers,
        Err(error) => panic!("the device failed: {error}"),
    }
}

/// `x a`, with nothing to do where a = 1.
pub(crate) fn scaled<const D: usize>(x: Tensor<D>, a: f32) -> Tensor<D> {
    if a == 1.0 { x } else { x.mul_scalar(a) }
}

/// `keep · old + x`; `keep = 0` forgets what was there, whatever it was.
pub(crate) fn accumulated(old: Rows, keep: f32, x: Rows) -> Rows {
    if keep == 0.0 { x } else { scaled(old, keep).add(x) }
}

/// Columns `start..start + len` of all rows as matrices `[agents, rows, cols]`.
pub(crate) fn matrices(rows: &Rows, start: usize, [height, width]: [usize; 2]) -> Tensor<3> {
    let agents = rows.dims()[0];
    rows.clone().narrow(1, start, height * width).reshape([agents, height, width])
}

/// `x m` with one matrix m for all agents.
pub(crate) fn times_shared(x: Tensor<3>, m: Tensor<2>) -> Tensor<3> {
    let [agents, rows, _] = x.dims();
    let [depth, cols] = m.dims();
    x.reshape([agents * rows, depth]).matmul(m).reshape([agents, rows, cols])
}

/// A piece of a row: where it starts, and its numbers for all agents.
pub(crate) type Piece = (usize, Rows);

/// Rows of `len` numbers with these pieces and zeros elsewhere.
pub(crate) fn assembled(mut pieces: Vec<Piece>, agents: usize, len: usize, device: &Device) -> Rows {
    pieces.sort_by_key(|(start, _)| *start);
    let mut parts = Vec::with_capacity(2 * pieces.len() + 1);
    let mut filled = 0;
    for (start, piece) in pieces {
        if start > filled {
            parts.push(Tensor::zeros([agents, start - filled], device));
        }
        filled = start + piece.dims()[1];
        parts.push(piece);
    }
    if filled < len {
        parts.push(Tensor::zeros([agents, len - filled], device));
    }
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 1) }
}

/// The Euclidean norm of each row, `[agents, 1]`.
pub(crate) fn norms(rows: Rows) -> Rows {
    rows.clone().mul(rows).sum_dim(1).sqrt()
}
