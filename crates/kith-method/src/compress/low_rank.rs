//! Thin factors of matrices: one step of subspace iteration, from a random start on the shorter side.
//!
//! For a matrix A `[m, n]`, m ≤ n: random `L: [m, r]`, `Q = orthonormal columns of AᵀL`, sent are `A Q` and Q, and receivers
//! read `A Q Qᵀ` (for m > n the same with Aᵀ). It is the part of A along Q, so never longer than A. As the random start
//! favours no direction, on average at least r/m of `‖A‖²` is kept.

use kith_core::{Layout, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::float;

/// A column this many times shorter than before it was made orthogonal is rounding, not direction.
const NOTHING: f64 = 1e-6;
/// Numbers that dot products add side by side.
const LANES: usize = 16;

/// Columns of the factors of this tensor; nothing where they would not be smaller.
fn columns(tensor: &Tensor, rank: u32) -> Option<usize> {
    let rank = rank as usize;
    (rank.saturating_mul(tensor.rows + tensor.cols) < tensor.len()).then_some(rank)
}

/// Numbers that are sent.
pub(super) fn numbers(layout: &Layout, rank: u32) -> usize {
    let of = |tensor: &Tensor| columns(tensor, rank).map_or(tensor.len(), |rank| rank * (tensor.rows + tensor.cols));
    layout.tensors.iter().map(of).sum()
}

/// The least share that a matrix keeps on average.
pub(super) fn contraction(layout: &Layout, rank: u32) -> f64 {
    let of =
        |tensor: &Tensor| columns(tensor, rank).map_or(1.0, |rank| rank as f64 / tensor.rows.min(tensor.cols) as f64);
    layout.tensors.iter().map(of).fold(1.0, f64::min)
}

/// Appends the factors of every matrix: those of its rows, then those of its columns, vector by vector.
pub(super) fn encode(row: &[f32], layout: &Layout, rank: u32, stream: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let mut write = |numbers: &[f32]| numbers.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    for tensor in &layout.tensors {
        let matrix = &row[tensor.range()];
        let Some(rank) = columns(tensor, rank) else {
            write(matrix);
            continue;
        };
        let (rows, cols) = (tensor.rows, tensor.cols);
        if rows <= cols {
            let start = random(rows * rank, stream);
            let mut right = transposed_times(matrix, cols, &start, rank);
            orthonormalise(&mut right, cols);
            write(&times(matrix, cols, &right));
            write(&right);
        } else {
            let start = random(cols * rank, stream);
            let mut left = times(matrix, cols, &start);
            orthonormalise(&mut left, rows);
            write(&left);
            write(&transposed_times(matrix, cols, &left, rank));
        }
    }
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8], layout: &Layout, rank: u32, row: &mut [f32]) {
    let mut numbers = bytes.chunks_exact(4).map(float);
    for tensor in &layout.tensors {
        let matrix = &mut row[tensor.range()];
        let Some(rank) = columns(tensor, rank) else {
            matrix.iter_mut().zip(&mut numbers).for_each(|(value, number)| *value = number);
            continue;
        };
        let left: Vec<f32> = numbers.by_ref().take(rank * tensor.rows).collect();
        let right: Vec<f32> = numbers.by_ref().take(rank * tensor.cols).collect();
        for (left, right) in left.chunks_exact(tensor.rows).zip(right.chunks_exact(tensor.cols)) {
            for (out, factor) in matrix.chunks_exact_mut(tensor.cols).zip(left) {
                axpy(out, *factor, right);
            }
        }
    }
}

/// Numbers in (−1, 1), whose signs and places are alike, so that no direction is favoured.
fn random(count: usize, stream: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| (stream.next_u32() as i32 >> 8 | 1) as f32 / (1 << 23) as f32).collect()
}

fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (heads, tail) = a.as_chunks::<LANES>();
    let (others, rest) = b.as_chunks::<LANES>();
    for (a, b) in heads.iter().zip(others) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + tail.iter().zip(rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `A X`, A `[m, n]` row by row, X and the result vector by vector.
fn times(matrix: &[f32], cols: usize, vectors: &[f32]) -> Vec<f32> {
    vectors.chunks_exact(cols).flat_map(|x| matrix.chunks_exact(cols).map(move |row| dot(row, x))).collect()
}

/// `Aᵀ X`.
fn transposed_times(matrix: &[f32], cols: usize, vectors: &[f32], rank: usize) -> Vec<f32> {
    let rows = matrix.len() / cols.max(1);
    let mut out = vec![0.0; cols * rank];
    for (out, x) in out.chunks_exact_mut(cols).zip(vectors.chunks_exact(rows)) {
        matrix.chunks_exact(cols).zip(x).for_each(|(row, factor)| axpy(out, *factor, row));
    }
    out
}

/// Modified Gram–Schmidt, twice for orthogonality to rounding; vectors that hold no new direction become zero.
fn orthonormalise(vectors: &mut [f32], len: usize) {
    let length = |vector: &[f32]| vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    for at in 0..vectors.len() / len.max(1) {
        let (done, rest) = vectors.split_at_mut(at * len);
        let vector = &mut rest[..len];
        let before = length(vector);
        for _ in 0..2 {
            for known in done.chunks_exact(len) {
                let along: f64 = known.iter().zip(&*vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                axpy(vector, -along as f32, known);
            }
        }
        let after = length(vector);
        let factor = if after > NOTHING * before && after.is_finite() { 1.0 / after } else { 0.0 };
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
}
