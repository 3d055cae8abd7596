//! Linear layers, `[agents, batch, inputs] → [agents, batch, outputs]`.

use burn::tensor::Tensor;
use kith_engine::plan::Stage;

use crate::engine::held::Held;
use crate::engine::pass::Weights;
use crate::engine::rows::{Piece, matrices, times_shared};

/// `y ← x Wᵀ + b`; in coordinates `y ← x Bᵀ + (x S) Cᵀ + b`.
pub(crate) fn forward(stage: &Stage<'_>, held: &Held, weights: &Weights, x: Tensor<3>) -> Tensor<3> {
    let shape = [stage.outputs, stage.inputs];
    let y = match held {
        Held::Constant { base } => x.matmul(weights.base(*base, shape).transpose()),
        Held::Coordinates { span, base, .. } => {
            let narrow = times_shared(x.clone(), span.clone()).matmul(weights.coordinates(stage).transpose());
            x.matmul(weights.base(*base, shape).transpose()).add(narrow)
        }
        Held::Whole | Held::Fixed | Held::Projected { .. } | Held::Confined { .. } => {
            x.matmul(matrices(&weights.row, stage.weight, shape).transpose())
        }
    };
    match stage.bias {
        Some(bias) => y.add(matrices(&weights.row, bias, [1, stage.outputs])),
        None => y,
    }
}

/// δ W.
pub(crate) fn input_gradient(stage: &Stage<'_>, held: &Held, weights: &Weights, delta: Tensor<3>) -> Tensor<3> {
    let shape = [stage.outputs, stage.inputs];
    match held {
        Held::Constant { base } => delta.matmul(weights.base(*base, shape)),
        Held::Coordinates { span, base, .. } => {
            let narrow = times_shared(delta.clone().matmul(weights.coordinates(stage)), span.clone().transpose());
            delta.matmul(weights.base(*base, shape)).add(narrow)
        }
        Held::Whole | Held::Fixed | Held::Projected { .. } | Held::Confined { .. } => {
            delta.matmul(matrices(&weights.row, stage.weight, shape))
        }
    }
}

/// The gradients of weight and bias. The constraint is taken on the inputs: `δᵀ (X − (X M) λ Mᵀ)`.
pub(crate) fn weight_gradient(stage: &Stage<'_>, held: &Held, x: Tensor<3>, delta: Tensor<3>, pieces: &mut Vec<Piece>) {
    let agents = delta.dims()[0];
    if let Some(bias) = stage.bias {
        pieces.push((bias, delta.clone().sum_dim(1).reshape([agents, stage.outputs])));
    }
    if let Some(x) = held.constrain(x) {
        let gradient = delta.transpose().matmul(x);
        pieces.push((stage.weight, gradient.reshape([agents, stage.weight_len])));
    }
}
