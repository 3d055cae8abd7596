//! Convolutions: weights `[agents, C_out, d]` times patches `[agents, d, batch · places]`.

use burn::tensor::{Int, Tensor};
use kith_engine::plan::{Stage, Window};

use crate::engine::constants::{Constants, Tables};
use crate::engine::held::Held;
use crate::engine::pass::Weights;
use crate::engine::rows::{Piece, matrices, times_shared};

/// What a convolution keeps for the way back.
#[derive(Clone, Debug)]
pub(crate) struct KeptConv {
    /// `[agents, d, batch · places]`.
    pub(crate) patches: Tensor<3>,
    /// The weight as it multiplied: in coordinates, `W = B + C Sᵀ`.
    weight: Tensor<3>,
}

/// A zero behind the last numbers, where indices of what lies in no image point.
fn with_zero(x: Tensor<2>) -> Tensor<2> {
    let zero = Tensor::zeros([x.dims()[0], 1], &x.device());
    Tensor::cat(vec![x, zero], 1)
}

fn gathered(x: Tensor<2>, indices: Tensor<1, Int>) -> Tensor<2> {
    with_zero(x).select(1, indices)
}

/// `[agents, channels, batch · pixels] → [agents, channels · kernel, batch · places]`.
fn patches(x: Tensor<3>, tables: &Tables, depth: usize) -> Tensor<3> {
    let [agents, channels, pixels] = x.dims();
    let columns = tables.patches.dims()[0] * channels / depth;
    gathered(x.reshape([agents * channels, pixels]), tables.patches.clone()).reshape([agents, depth, columns])
}

/// Adds patches up by pixel. Every pixel gathers what it is in: no kernel writes to one place twice, so that the sum has one
/// order on every device.
fn pixels(patches: Tensor<3>, tables: &Tables, channels: usize) -> Tensor<3> {
    let [agents, depth, columns] = patches.dims();
    let rows = agents * channels;
    let each = gathered(patches.reshape([rows, depth / channels * columns]), tables.pixels.clone());
    let count = tables.pixels.dims()[0] / tables.reach;
    each.reshape([rows, tables.reach, count]).sum_dim(1).reshape([agents, channels, count])
}

/// The weight as it multiplies patches.
fn weight(stage: &Stage<'_>, held: &Held, weights: &Weights) -> Tensor<3> {
    let shape = [stage.outputs, stage.inputs];
    match held {
        Held::Constant { base } => weights.base(*base, shape),
        Held::Coordinates { span, base, .. } => {
            let lifted = times_shared(weights.coordinates(stage), span.clone().transpose());
            weights.base(*base, shape).add(lifted)
        }
        Held::Whole | Held::Fixed | Held::Projected { .. } | Held::Confined { .. } => {
            matrices(&weights.row, stage.weight, shape)
        }
    }
}

/// `y ← W P + b`.
pub(crate) fn forward(
    (stage, window, batch): (&Stage<'_>, Window, usize),
    held: &Held,
    weights: &Weights,
    constants: &Constants,
    x: Tensor<3>,
) -> (Tensor<3>, KeptConv) {
    let patches = patches(x, &constants.tables(window, batch), stage.inputs);
    let weight = weight(stage, held, weights);
    let y = weight.clone().matmul(patches.clone());
    let y = match stage.bias {
        Some(bias) => y.add(matrices(&weights.row, bias, [stage.outputs, 1])),
        None => y,
    };
    (y, KeptConv { patches, weight })
}

/// `Wᵀ δ`, added up by pixel.
pub(crate) fn input_gradient(
    (stage, window, batch): (&Stage<'_>, Window, usize),
    kept: &KeptConv,
    constants: &Constants,
    delta: Tensor<3>,
) -> Tensor<3> {
    let columns = kept.weight.clone().transpose().matmul(delta);
    let channels = stage.inputs / (window.kernel[0] * window.kernel[1]);
    pixels(columns, &constants.tables(window, batch), channels)
}

/// The gradients of weight and bias. The constraint is taken on the weight's gradient, which usually has fewer rows than there
/// are patches.
pub(crate) fn weight_gradient(
    stage: &Stage<'_>,
    held: &Held,
    kept: KeptConv,
    delta: Tensor<3>,
    pieces: &mut Vec<Piece>,
) {
    let agents = delta.dims()[0];
    if let Some(bias) = stage.bias {
        pieces.push((bias, delta.clone().sum_dim(2).reshape([agents, stage.outputs])));
    }
    if matches!(held, Held::Fixed | Held::Constant { .. }) {
        return;
    }
    if let Some(gradient) = held.constrain(delta.matmul(kept.patches.transpose())) {
        pieces.push((stage.weight, gradient.reshape([agents, stage.weight_len])));
    }
}
