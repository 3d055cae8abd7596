//! Linear layers, `[batch, inputs] → [batch, outputs]`.

use super::pass::{Constraint, Target, Temporary};
use crate::kernel::{Shape, Update, keep_only, scale_columns, times, times_transposed, transposed_times};
use crate::plan::{Hold, Stage};

/// The base of a weight in coordinates, `[outputs, inputs]`.
pub(super) fn base_weight<'a>(base: Option<&'a [f32]>, at: usize, stage: &Stage<'_>) -> &'a [f32] {
    match base {
        Some(base) => &base[at..at + stage.inputs * stage.outputs],
        None => panic!("a point in coordinates needs its base row"),
    }
}

/// `y ← x Wᵀ + b`; inputs in coordinates `Z = X S: [batch, k]` are kept in `narrow`.
pub(super) fn forward(
    stage: &Stage<'_>,
    batch: usize,
    (row, base): (&[f32], Option<&[f32]>),
    x: &[f32],
    y: &mut [f32],
    narrow: &mut [f32],
) {
    let weight = &row[stage.weight_range()];
    let shape = Shape::new(batch, stage.outputs, stage.inputs);
    if let Hold::Coordinates { span, base: at, .. } = stage.hold {
        let k = span.cols();
        let z = &mut narrow[..batch * k];
        times_transposed(shape, Update::SET, y, x, base_weight(base, at, stage));
        times(Shape::new(batch, k, stage.inputs), Update::SET, z, x, span.as_slice());
        times_transposed(Shape::new(batch, stage.outputs, k), Update::ADD, y, z, weight);
    } else {
        times_transposed(shape, Update::SET, y, x, weight);
    }
    if let Some(bias) = stage.bias_range().map(|range| &row[range]) {
        for y in y.chunks_exact_mut(stage.outputs) {
            for (y, bias) in y.iter_mut().zip(bias) {
                *y += bias;
            }
        }
    }
}

/// `before ← δ W`.
pub(super) fn input_gradient(
    stage: &Stage<'_>,
    batch: usize,
    (row, base): (&[f32], Option<&[f32]>),
    delta: &[f32],
    before: &mut [f32],
    temporary: &mut Temporary,
) {
    let weight = &row[stage.weight_range()];
    let shape = Shape::new(batch, stage.inputs, stage.outputs);
    if let Hold::Coordinates { span, base: at, .. } = stage.hold {
        let k = span.cols();
        let narrow = &mut temporary.product.as_mut()[..batch * k];
        times(shape, Update::SET, before, delta, base_weight(base, at, stage));
        times(Shape::new(batch, k, stage.outputs), Update::SET, narrow, delta, weight);
        times_transposed(Shape::new(batch, stage.inputs, k), Update::ADD, before, narrow, span.as_slice());
    } else {
        times(shape, Update::SET, before, delta, weight);
    }
}

/// `into ← beta · into + alpha · gradient` in the weight's and the bias's places.
pub(super) fn weight_gradient(
    stage: &Stage<'_>,
    batch: usize,
    (x, delta): (&[f32], &[f32]),
    narrow: &mut [f32],
    into: &mut [f32],
    (target, constraint): (Target, Constraint),
    temporary: &mut Temporary,
) {
    let update = Update { keep: target.beta, alpha: target.alpha };
    let weight = &mut into[stage.weight_range()];
    let shape = Shape::new(stage.outputs, stage.inputs, batch);
    match stage.hold {
        Hold::Coordinates { span, gain, .. } => {
            let k = span.cols();
            let z = &mut narrow[..batch * k];
            if let Some(gain) = gain {
                scale_columns(z, gain);
            }
            transposed_times(Shape::new(stage.outputs, k, batch), update, weight, delta, z);
        }
        Hold::Fixed if constraint == Constraint::Charts => keep_only(weight, target.beta),
        Hold::Projected { basis, importance } if constraint == Constraint::Charts => {
            // G − (G M) λ Mᵀ with G = δᵀ X is δᵀ (X − (X M) λ Mᵀ), and X has fewer rows than G.
            let r = basis.cols();
            let core = &mut temporary.product.as_mut()[..batch * r];
            let residual = &mut temporary.residual.as_mut()[..batch * stage.inputs];
            times(Shape::new(batch, r, stage.inputs), Update::SET, core, x, basis.as_slice());
            if let Some(importance) = importance {
                scale_columns(core, importance);
            }
            residual.copy_from_slice(x);
            let lift = Shape::new(batch, stage.inputs, r);
            times_transposed(lift, Update::SUBTRACT, residual, core, basis.as_slice());
            transposed_times(shape, update, weight, delta, residual);
        }
        Hold::Confined { span } if constraint == Constraint::Charts => {
            let k = span.cols();
            let free = &mut temporary.product.as_mut()[..batch * k];
            let confined = &mut temporary.residual.as_mut()[..batch * stage.inputs];
            times(Shape::new(batch, k, stage.inputs), Update::SET, free, x, span.as_slice());
            times_transposed(Shape::new(batch, stage.inputs, k), Update::SET, confined, free, span.as_slice());
            transposed_times(shape, update, weight, delta, confined);
        }
        Hold::Whole | Hold::Fixed | Hold::Projected { .. } | Hold::Confined { .. } => {
            transposed_times(shape, update, weight, delta, x);
        }
    }
    if let Some(range) = stage.bias_range() {
        let bias = &mut into[range];
        keep_only(bias, target.beta);
        for delta in delta.chunks_exact(stage.outputs) {
            for (bias, delta) in bias.iter_mut().zip(delta) {
                *bias += target.alpha * delta;
            }
        }
    }
}
