//! A plan's constants on the device: what the steps of one visit share.

use burn::tensor::Tensor;
use kith_engine::plan::{Hold, Op, Plan, Stage};

use crate::engine::constants::Constants;
use crate::engine::rows::{Rows, matrices, tensor, times_shared};

/// How a stage's weight is held, on the device. What has no columns is left out.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// Weights as they are, no constraint.
    Whole,
    /// The constrained gradient is zero.
    Fixed,
    /// Weights as they are; the part in the basis is taken off.
    Projected { basis: Tensor<2>, scales: Option<Tensor<3>> },
    /// Weights as they are; only the part in the span stays.
    Confined { span: Tensor<2> },
    /// Coordinates; the base lies at `base`.
    Coordinates { span: Tensor<2>, scales: Option<Tensor<3>>, base: usize },
    /// Coordinates in a space of no dimension: the weight is its base.
    Constant { base: usize },
}

/// The constants of all steps.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// One a step.
    pub(crate) held: Vec<Held>,
    /// The sums of local response normalisation over neighbouring channels, one a step.
    pub(crate) neighbours: Vec<Option<Tensor<3>>>,
}

impl Prepared {
    pub(crate) fn new(plan: &Plan<'_>, constants: &Constants) -> Self {
        let held = plan.steps.iter().map(|step| step.op.stage().map_or(Held::Whole, |stage| hold(stage, constants)));
        let neighbours = plan.steps.iter().map(|step| {
            let Op::Response(response) = step.op else { return None };
            let channels = plan.values[step.input].channels();
            let mut band = vec![0.0; channels * channels];
            for channel in 0..channels {
                response.neighbours(channels, channel).for_each(|other| band[channel * channels + other] = 1.0);
            }
            Some(tensor(band, [1, channels, channels], constants.device()))
        });
        Self { held: held.collect(), neighbours: neighbours.collect() }
    }
}

fn hold(stage: &Stage<'_>, constants: &Constants) -> Held {
    let scales =
        |scales: Option<&[f32]>| scales.map(|scales| tensor(scales.to_vec(), [1, 1, scales.len()], constants.device()));
    match stage.hold {
        Hold::Whole => Held::Whole,
        Hold::Fixed => Held::Fixed,
        Hold::Projected { basis, importance } => {
            Held::Projected { basis: constants.matrix(basis), scales: scales(importance) }
        }
        Hold::Confined { span } => Held::Confined { span: constants.matrix(span) },
        Hold::Coordinates { span, base, .. } if span.cols() == 0 => Held::Constant { base },
        Hold::Coordinates { span, gain, base } => {
            Held::Coordinates { span: constants.matrix(span), scales: scales(gain), base }
        }
    }
}

/// Multiplies columns by their scales.
pub(crate) fn scale_columns(x: Tensor<3>, scales: Option<&Tensor<3>>) -> Tensor<3> {
    match scales {
        Some(scales) => x.mul(scales.clone()),
        None => x,
    }
}

impl Held {
    /// What the constraint makes of rows `[agents, n, d]` in the layer's input space; in coordinates, `[agents, n, k]`. None
    /// where nothing is left.
    pub(crate) fn constrain(&self, x: Tensor<3>) -> Option<Tensor<3>> {
        match self {
            Self::Whole => Some(x),
            Self::Fixed | Self::Constant { .. } => None,
            Self::Projected { basis, scales } => {
                let core = scale_columns(times_shared(x.clone(), basis.clone()), scales.as_ref());
                Some(x.sub(times_shared(core, basis.clone().transpose())))
            }
            Self::Confined { span } => Some(times_shared(times_shared(x, span.clone()), span.clone().transpose())),
            Self::Coordinates { span, scales, .. } => {
                Some(scale_columns(times_shared(x, span.clone()), scales.as_ref()))
            }
        }
    }
}

impl Held {
    /// Gradient rows of whole layout, their part in `stage` constrained.
    pub(crate) fn project(&self, rows: Rows, stage: &Stage<'_>) -> Rows {
        if matches!(self, Self::Whole | Self::Coordinates { .. } | Self::Constant { .. }) {
            return rows;
        }
        let agents = rows.dims()[0];
        let gradient = matrices(&rows, stage.weight, [stage.outputs, stage.inputs]);
        let kept = match self.constrain(gradient) {
            Some(kept) => kept.reshape([agents, stage.weight_len]),
            None => Tensor::zeros([agents, stage.weight_len], &rows.device()),
        };
        rows.slice_assign([0..agents, stage.weight_range()], kept)
    }
}
