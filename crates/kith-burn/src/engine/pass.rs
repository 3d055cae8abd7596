//! Minibatches of many agents through the network and back.

use burn::tensor::{Int, Tensor, activation};
use kith_engine::plan::{Op, Plan, Relu, Stage, Step, Value};

use crate::engine::constants::Constants;
use crate::engine::conv::{self, KeptConv};
use crate::engine::held::{Held, Prepared};
use crate::engine::linear;
use crate::engine::norm::{self, KeptNorm};
use crate::engine::pool;
use crate::engine::rows::{Piece, Rows, matrices};

/// Where outputs and gradients are taken.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// Trained rows.
    pub(crate) row: Rows,
    /// Base rows, where some layer is in coordinates.
    pub(crate) base: Option<Rows>,
}

impl Weights {
    /// The base of a weight in coordinates.
    pub(crate) fn base(&self, start: usize, shape: [usize; 2]) -> Tensor<3> {
        match &self.base {
            Some(base) => matrices(base, start, shape),
            None => panic!("a point in coordinates needs its base row"),
        }
    }

    /// The coordinates of a weight, `[agents, C_out, k]`.
    pub(crate) fn coordinates(&self, stage: &Stage<'_>) -> Tensor<3> {
        matrices(&self.row, stage.weight, [stage.outputs, stage.weight_len / stage.outputs])
    }
}

/// What all agents and minibatches share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common<'p, 'g> {
    pub(crate) plan: &'p Plan<'g>,
    pub(crate) prepared: &'p Prepared,
    pub(crate) constants: &'p Constants,
}

/// Which gradient is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constraint {
    /// With the charts' constraint.
    Charts,
    /// Without.
    Raw,
}

/// What a step keeps for the way back.
#[derive(Clone, Debug)]
enum Kept {
    Nothing,
    Conv(KeptConv),
    Maxima(Tensor<4, Int>),
    Batch(KeptNorm<3>),
    Evo(KeptNorm<5>),
    Scales(Tensor<3>),
}

/// A forward pass, which a way back may follow.
#[derive(Debug)]
pub(crate) struct Pass<'p, 'g> {
    common: Common<'p, 'g>,
    weights: Weights,
    batch: usize,
    /// What lies between steps: the input first, the scores last.
    values: Vec<Option<Tensor<3>>>,
    /// One a step.
    kept: Vec<Kept>,
    masks: Vec<Option<Tensor<3>>>,
}

impl<'p, 'g> Pass<'p, 'g> {
    /// Computes the scores. `inputs: [agents or 1, batch, width]`; `masks` is empty where nothing is dropped.
    pub(crate) fn forward(
        common: Common<'p, 'g>,
        weights: Weights,
        inputs: Tensor<3>,
        masks: Vec<Option<Tensor<3>>>,
    ) -> Self {
        let [given, batch, width] = inputs.dims();
        let agents = weights.row.dims()[0];
        let inputs = if given == agents { inputs } else { inputs.expand([agents, batch, width]) };
        let plan = common.plan;
        let mut values = vec![None; plan.values.len()];
        values[0] = Some(inputs);
        let mut pass = Self { common, weights, batch, values, kept: Vec::with_capacity(plan.steps.len()), masks };
        for (index, step) in plan.steps.iter().enumerate() {
            let kept = if step.op.computes() { pass.compute(index, step) } else { Kept::Nothing };
            pass.kept.push(kept);
        }
        pass
    }

    fn value(&self, index: usize) -> Tensor<3> {
        match &self.values[index] {
            Some(value) => value.clone(),
            None => unreachable!("steps are in order, so value {index} was computed"),
        }
    }

    /// The scores, `[agents, batch, classes]`.
    pub(crate) fn scores(&self) -> Tensor<3> {
        self.value(self.values.len() - 1)
    }

    fn compute(&mut self, index: usize, step: &Step<'_>) -> Kept {
        let Common { plan, prepared, constants } = self.common;
        let input = &plan.values[step.input];
        let held = &prepared.held[index];
        let x = self.value(step.input);
        let row = &self.weights.row;
        let (y, kept) = match step.op {
            Op::Linear(ref stage) => (linear::forward(stage, held, &self.weights, x), Kept::Nothing),
            Op::Conv(ref stage, window) => {
                let (y, kept) = conv::forward((stage, window, self.batch), held, &self.weights, constants, x);
                (y, Kept::Conv(kept))
            }
            Op::MaxPool(window) => {
                let (y, maxima) = pool::max_pool(window, x);
                (y, Kept::Maxima(maxima))
            }
            Op::AvgPool(window) => (pool::by_image(x, constants.mean_of_windows(window)), Kept::Nothing),
            Op::BatchNorm(places) => {
                let (y, kept) = norm::batch_norm(places, row, x);
                (y, Kept::Batch(kept))
            }
            Op::EvoNorm(places, groups) => {
                let (y, kept) = norm::evo_norm((places, groups), input, row, x);
                (y, Kept::Evo(kept))
            }
            Op::Response(response) => {
                let (y, scales) = norm::response(response, band(prepared, index), x);
                (y, Kept::Scales(scales))
            }
            Op::Turn => (pool::turn(input, self.batch, x), Kept::Nothing),
            Op::Copy | Op::Fork | Op::Meet => (x, Kept::Nothing),
            Op::Add { main } => (x.add(self.value(main)), Kept::Nothing),
        };
        let y = if step.relu == Relu::Follows { activation::relu(y) } else { y };
        let y = match self.masks.get(index) {
            Some(Some(mask)) => y.mul(mask.clone()),
            _ => y,
        };
        self.values[step.output] = Some(y);
        kept
    }

    /// Carries δ, the gradient by the scores, back: the pieces of the parameters' gradient that are not zero.
    pub(crate) fn backward(mut self, mut delta: Tensor<3>, constraint: Constraint) -> Vec<Piece> {
        let plan = self.common.plan;
        let mut pieces = Vec::new();
        let mut waiting: Vec<Tensor<3>> = Vec::new();
        for (index, step) in plan.steps.iter().enumerate().rev() {
            let follows = plan.values[step.output].follows_parameters;
            match step.op {
                Op::Fork => {
                    let other = waiting.pop();
                    // Where no parameter lies before the fork, nobody asks for this gradient.
                    if let (Some(other), true) = (other, follows) {
                        delta = delta.add(other);
                    }
                }
                Op::Meet => {
                    if let Some(other) = waiting.last_mut() {
                        std::mem::swap(other, &mut delta);
                    }
                }
                Op::Add { .. } => {
                    if follows {
                        delta = self.undo_finish(index, step, delta);
                    }
                    waiting.push(delta.clone());
                }
                _ if follows => {
                    delta = self.undo_finish(index, step, delta);
                    delta = self.step_back(index, step, delta, constraint, &mut pieces);
                }
                _ => {}
            }
        }
        pieces
    }

    /// δ before dropout and ReLU.
    fn undo_finish(&self, index: usize, step: &Step<'_>, delta: Tensor<3>) -> Tensor<3> {
        let delta = match self.masks.get(index) {
            Some(Some(mask)) => delta.mul(mask.clone()),
            _ => delta,
        };
        if step.relu == Relu::Follows {
            let shut = self.value(step.output).lower_equal_scalar(0.0);
            delta.mask_fill(shut, 0.0)
        } else {
            delta
        }
    }

    /// Adds the step's pieces; δ by what the step took, if a parameter lies before it.
    fn step_back(
        &mut self,
        index: usize,
        step: &Step<'_>,
        delta: Tensor<3>,
        constraint: Constraint,
        pieces: &mut Vec<Piece>,
    ) -> Tensor<3> {
        let Common { plan, prepared, constants } = self.common;
        let (input, output) = (&plan.values[step.input], &plan.values[step.output]);
        let held = &prepared.held[index];
        let raw = Held::Whole;
        let wanted = match (constraint, held) {
            (Constraint::Raw, Held::Fixed | Held::Projected { .. } | Held::Confined { .. }) => &raw,
            _ => held,
        };
        let row = &self.weights.row;
        let x = self.value(step.input);
        match (step.op, std::mem::replace(&mut self.kept[index], Kept::Nothing)) {
            (Op::Linear(ref stage), _) => {
                linear::weight_gradient(stage, wanted, x, delta.clone(), pieces);
                if !input.follows_parameters {
                    return delta;
                }
                linear::input_gradient(stage, held, &self.weights, delta)
            }
            (Op::Conv(ref stage, window), Kept::Conv(kept)) => {
                let before = input
                    .follows_parameters
                    .then(|| conv::input_gradient((stage, window, self.batch), &kept, constants, delta.clone()));
                conv::weight_gradient(stage, wanted, kept, delta.clone(), pieces);
                before.unwrap_or(delta)
            }
            (Op::MaxPool(window), Kept::Maxima(maxima)) => pool::max_pool_back(window, x, maxima, delta),
            (Op::AvgPool(window), _) => pool::by_image(delta, constants.mean_of_windows(window).transpose()),
            (Op::BatchNorm(places), Kept::Batch(kept)) => norm::batch_norm_back(places, row, kept, delta, pieces),
            (Op::EvoNorm(places, groups), Kept::Evo(kept)) => {
                norm::evo_norm_back((places, groups), input, row, (x, kept), delta, pieces)
            }
            (Op::Response(response), Kept::Scales(scales)) => {
                norm::response_back(response, band(prepared, index), (x, scales), delta)
            }
            (Op::Turn, _) => pool::turn(&Value { form: output.form, ..*input }, self.batch, delta),
            _ => delta,
        }
    }

    /// What multiplied the weight of step `index`: inputs `[agents, batch, d]`, or patches `[agents, batch · places, d]`.
    pub(crate) fn inputs(&self, index: usize) -> Tensor<3> {
        match &self.kept[index] {
            Kept::Conv(kept) => kept.patches.clone().transpose(),
            _ => self.value(self.common.plan.steps[index].input),
        }
    }
}

fn band(prepared: &Prepared, index: usize) -> Tensor<3> {
    match &prepared.neighbours[index] {
        Some(band) => band.clone(),
        None => unreachable!("step {index} has its band of neighbours"),
    }
}

/// Logarithms of probabilities.
fn log_softmax(scores: Tensor<3>) -> Tensor<3> {
    let shifted = scores.clone().sub(scores.max_dim(2));
    let sum = shifted.clone().exp().sum_dim(2).log();
    shifted.sub(sum)
}

/// Sum of the cross-entropy of all samples, `[agents, 1]`, and logarithms of probabilities.
fn cross_entropy(scores: Tensor<3>, targets: Tensor<3>) -> (Rows, Tensor<3>) {
    let log = log_softmax(scores);
    let agents = log.dims()[0];
    let loss = log.clone().mul(targets).sum_dim(2).sum_dim(1).neg().reshape([agents, 1]);
    (loss, log)
}

/// The mean cross-entropy of each agent's minibatch, `[agents, 1]`, and its gradient by the scores.
pub(crate) fn loss_gradient(scores: Tensor<3>, targets: Tensor<3>) -> (Rows, Tensor<3>) {
    let share = 1.0 / scores.dims()[1] as f32;
    let (loss, log) = cross_entropy(scores, targets.clone());
    (loss.mul_scalar(share), log.exp().sub(targets).mul_scalar(share))
}

/// Samples classified correctly and the sum of losses, `[agents, 2]`. Of equal highest scores the first class counts.
pub(crate) fn score(scores: Tensor<3>, targets: Tensor<3>) -> Rows {
    let [agents, batch, classes] = scores.dims();
    let device = scores.device();
    // Classes count down, so that the first of equals has the largest number.
    let order = (0..classes).map(|class| (classes - class) as f32).collect();
    let order = crate::engine::rows::tensor(order, [1, 1, classes], &device);
    let largest = scores.clone().max_dim(2).expand([agents, batch, classes]);
    let found = scores.clone().equal(largest).float().mul(order.clone()).max_dim(2);
    let wanted = targets.clone().mul(order).sum_dim(2).expand([agents, batch, 1]);
    let correct = found.equal(wanted).float().sum_dim(1).reshape([agents, 1]);
    let (loss, _) = cross_entropy(scores, targets);
    Tensor::cat(vec![correct, loss], 1)
}
