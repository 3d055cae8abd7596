//! One minibatch through the network and back.

use std::ops::Range;

use kith_core::{AgentId, Batches, Samples};

use super::buffer::Buffer;
use super::plan::{Hold, Plan, Relu, Stage};
use super::registers::Registers;
use crate::kernel::{Shape, Update, keep_only, scale_columns, times, times_transposed, transposed_times};
use crate::port::{Point, Slot};

/// Which gradient is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constraint {
    /// With the charts' constraint.
    Charts,
    /// Without.
    Raw,
}

/// What `into` becomes: `beta · into + alpha · gradient`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) beta: f32,
    pub(crate) alpha: f32,
}

/// A thread's memory for one minibatch; grows to the largest seen and stays.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    batch: usize,
    indices: Vec<u32>,
    labels: Vec<u32>,
    /// Inputs of every stage `[batch, inputs]`, then the scores `[batch, classes]`.
    values: Vec<Buffer>,
    /// Inputs in coordinates, `Z = X S: [batch, k]`, a stage.
    narrow: Vec<Buffer>,
    /// Inputs without their part in the core space, `[batch, inputs]`.
    residual: Buffer,
    /// `X M` or `δ C`, `[batch, r]`.
    product: Buffer,
    /// Gradient of what a stage puts out, and of the one before it.
    delta: Buffer,
    delta_before: Buffer,
}

impl Pass {
    /// Reads an agent's minibatch.
    pub(crate) fn load_batch(&mut self, plan: &Plan<'_>, batches: &dyn Batches, agent: AgentId, step: u64) {
        let mut indices = std::mem::take(&mut self.indices);
        batches.indices(agent, step, &mut indices);
        self.load(plan, batches.samples(), &indices);
        self.indices = indices;
    }

    /// Reads the samples at `indices`.
    pub(crate) fn load(&mut self, plan: &Plan<'_>, samples: &dyn Samples, indices: &[u32]) {
        let width = plan.inputs();
        assert_eq!(samples.input_len(), width, "numbers in one sample; the network takes {width}");
        self.prepare(plan, indices.len());
        self.labels.clear();
        let input = &mut self.values[0].as_mut()[..indices.len() * width];
        for (&index, sample) in indices.iter().zip(input.chunks_exact_mut(width)) {
            samples.read(index, sample);
            self.labels.push(samples.label(index));
        }
        if plan.input_relu == Relu::Follows {
            rectify(input);
        }
    }

    /// Reads the samples of a range.
    pub(crate) fn load_range(&mut self, plan: &Plan<'_>, samples: &dyn Samples, range: Range<usize>) {
        let mut indices = std::mem::take(&mut self.indices);
        indices.clear();
        #[allow(clippy::cast_possible_truncation)]
        indices.extend(range.map(|index| index as u32));
        self.load(plan, samples, &indices);
        self.indices = indices;
    }

    fn prepare(&mut self, plan: &Plan<'_>, batch: usize) {
        self.batch = batch;
        let stages = plan.stages.len();
        if self.values.len() < stages + 1 {
            self.values.resize_with(stages + 1, Buffer::default);
            self.narrow.resize_with(stages, Buffer::default);
        }
        let (mut widest, mut narrowest) = (0, 0);
        for (stage, hold) in plan.stages.iter().enumerate() {
            self.values[stage].ensure(batch * hold.inputs);
            self.values[stage + 1].ensure(batch * hold.outputs);
            self.narrow[stage].ensure(batch * hold.narrow());
            widest = widest.max(hold.inputs).max(hold.outputs);
            narrowest = narrowest.max(hold.narrow());
            if matches!(hold.hold, Hold::Projected { .. } | Hold::Confined { .. }) {
                self.residual.ensure(batch * hold.inputs);
            }
        }
        self.product.ensure(batch * narrowest);
        self.delta.ensure(batch * widest);
        self.delta_before.ensure(batch * widest);
    }

    /// Computes the scores of the minibatch that was loaded.
    pub(crate) fn forward(&mut self, plan: &Plan<'_>, row: &[f32], base: Option<&[f32]>) {
        let batch = self.batch;
        for (index, stage) in plan.stages.iter().enumerate() {
            let (before, after) = self.values.split_at_mut(index + 1);
            let x = &before[index].as_ref()[..batch * stage.inputs];
            let y = &mut after[0].as_mut()[..batch * stage.outputs];
            let weight = &row[stage.weight_range()];
            let shape = Shape::new(batch, stage.outputs, stage.inputs);
            if let Hold::Coordinates { span, base: at, .. } = stage.hold {
                let k = span.cols();
                let z = &mut self.narrow[index].as_mut()[..batch * k];
                times_transposed(shape, Update::SET, y, x, base_weight(base, at, stage));
                times(Shape::new(batch, k, stage.inputs), Update::SET, z, x, span.as_slice());
                times_transposed(Shape::new(batch, stage.outputs, k), Update::ADD, y, z, weight);
            } else {
                times_transposed(shape, Update::SET, y, x, weight);
            }
            finish(y, stage.bias_range().map(|range| &row[range]), stage);
        }
    }

    /// Sets δ to the gradient of the mean cross-entropy by the scores; returns the loss.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn loss_gradient(&mut self, plan: &Plan<'_>) -> f64 {
        let classes = plan.classes();
        let size = self.batch * classes;
        let scores = &self.values[plan.stages.len()].as_ref()[..size];
        let delta = &mut self.delta.as_mut()[..size];
        let share = 1.0 / self.batch as f32;
        let mut loss = 0.0;
        for ((scores, delta), &label) in
            scores.chunks_exact(classes).zip(delta.chunks_exact_mut(classes)).zip(&self.labels)
        {
            loss += cross_entropy(scores, label, delta);
            delta.iter_mut().for_each(|value| *value *= share);
        }
        if plan.stages[plan.stages.len() - 1].relu == Relu::Follows {
            mask(delta, scores);
        }
        if self.batch == 0 { 0.0 } else { loss / self.batch as f64 }
    }

    /// Carries δ back and updates `into` stage by stage. A stage's input gradient is taken before its weight is touched,
    /// so that `into` may be the row itself.
    pub(crate) fn backward(
        &mut self,
        plan: &Plan<'_>,
        registers: &mut Registers<'_>,
        at: Point,
        into: Slot,
        target: Target,
        constraint: Constraint,
    ) {
        for index in (0..plan.stages.len()).rev() {
            let stage = &plan.stages[index];
            if index > 0 {
                let row = registers.get(at.row);
                let base = at.base.map(|base| registers.get(base));
                self.input_gradient(stage, row, base);
                if plan.stages[index - 1].relu == Relu::Follows {
                    let size = self.batch * stage.inputs;
                    mask(&mut self.delta_before.as_mut()[..size], &self.values[index].as_ref()[..size]);
                }
            }
            self.weight_gradient(index, stage, registers.get_mut(into), target, constraint);
            std::mem::swap(&mut self.delta, &mut self.delta_before);
        }
        let into = registers.get_mut(into);
        for range in &plan.frozen {
            keep_only(&mut into[range.clone()], target.beta);
        }
    }

    fn input_gradient(&mut self, stage: &Stage<'_>, row: &[f32], base: Option<&[f32]>) {
        let batch = self.batch;
        let delta = &self.delta.as_ref()[..batch * stage.outputs];
        let before = &mut self.delta_before.as_mut()[..batch * stage.inputs];
        let weight = &row[stage.weight_range()];
        let shape = Shape::new(batch, stage.inputs, stage.outputs);
        if let Hold::Coordinates { span, base: at, .. } = stage.hold {
            let k = span.cols();
            let narrow = &mut self.product.as_mut()[..batch * k];
            times(shape, Update::SET, before, delta, base_weight(base, at, stage));
            times(Shape::new(batch, k, stage.outputs), Update::SET, narrow, delta, weight);
            times_transposed(Shape::new(batch, stage.inputs, k), Update::ADD, before, narrow, span.as_slice());
        } else {
            times(shape, Update::SET, before, delta, weight);
        }
    }

    fn weight_gradient(
        &mut self,
        index: usize,
        stage: &Stage<'_>,
        into: &mut [f32],
        target: Target,
        constraint: Constraint,
    ) {
        let batch = self.batch;
        let delta = &self.delta.as_ref()[..batch * stage.outputs];
        let update = Update { keep: target.beta, alpha: target.alpha };
        let weight = &mut into[stage.weight_range()];
        let x = &self.values[index].as_ref()[..batch * stage.inputs];
        let shape = Shape::new(stage.outputs, stage.inputs, batch);
        match stage.hold {
            Hold::Coordinates { span, gain, .. } => {
                let k = span.cols();
                let z = &mut self.narrow[index].as_mut()[..batch * k];
                if let Some(gain) = gain {
                    scale_columns(z, gain);
                }
                transposed_times(Shape::new(stage.outputs, k, batch), update, weight, delta, z);
            }
            Hold::Fixed if constraint == Constraint::Charts => keep_only(weight, target.beta),
            Hold::Projected { basis, importance } if constraint == Constraint::Charts => {
                // G − (G M) λ Mᵀ with G = δᵀ X is δᵀ (X − (X M) λ Mᵀ), and X has fewer rows than G.
                let r = basis.cols();
                let core = &mut self.product.as_mut()[..batch * r];
                let residual = &mut self.residual.as_mut()[..batch * stage.inputs];
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
                let free = &mut self.product.as_mut()[..batch * k];
                let confined = &mut self.residual.as_mut()[..batch * stage.inputs];
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

    /// Samples classified correctly and the sum of their losses, after a forward pass.
    pub(crate) fn score(&mut self, plan: &Plan<'_>) -> (usize, f64) {
        let classes = plan.classes();
        let scores = &self.values[plan.stages.len()].as_ref()[..self.batch * classes];
        let scratch = &mut self.delta.as_mut()[..classes];
        let (mut correct, mut loss) = (0, 0.0);
        for (scores, &label) in scores.chunks_exact(classes).zip(&self.labels) {
            loss += cross_entropy(scores, label, scratch);
            correct += usize::from(largest(scores) == label as usize);
        }
        (correct, loss)
    }

    /// The inputs of stage `stage` in the last forward pass, `[batch, inputs]`.
    pub(crate) fn inputs(&self, plan: &Plan<'_>, stage: usize) -> &[f32] {
        &self.values[stage].as_ref()[..self.batch * plan.stages[stage].inputs]
    }
}

fn base_weight<'a>(base: Option<&'a [f32]>, at: usize, stage: &Stage<'_>) -> &'a [f32] {
    match base {
        Some(base) => &base[at..at + stage.inputs * stage.outputs],
        None => panic!("a point in coordinates needs its base row"),
    }
}

/// Adds the bias and applies the ReLU.
fn finish(y: &mut [f32], bias: Option<&[f32]>, stage: &Stage<'_>) {
    if let Some(bias) = bias {
        for y in y.chunks_exact_mut(stage.outputs) {
            for (y, bias) in y.iter_mut().zip(bias) {
                *y += bias;
            }
        }
    }
    if stage.relu == Relu::Follows {
        rectify(y);
    }
}

/// ReLU. What is not a number stays so: a run that diverged must show it.
fn rectify(y: &mut [f32]) {
    for y in y {
        *y = if *y < 0.0 { 0.0 } else { *y };
    }
}

/// Passes a gradient back through a ReLU: zero where the output is not positive.
fn mask(delta: &mut [f32], output: &[f32]) {
    for (delta, output) in delta.iter_mut().zip(output) {
        *delta = if *output > 0.0 { *delta } else { 0.0 };
    }
}

/// Cross-entropy in nats of one sample; `delta` becomes softmax − one-hot.
fn cross_entropy(scores: &[f32], label: u32, delta: &mut [f32]) -> f64 {
    let label = label as usize;
    assert!(label < scores.len(), "class {label} of a head with {} classes", scores.len());
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (delta, score) in delta.iter_mut().zip(scores) {
        *delta = (score - largest).exp();
        sum += *delta;
    }
    let share = 1.0 / sum;
    delta.iter_mut().for_each(|value| *value *= share);
    delta[label] -= 1.0;
    f64::from(sum).ln() - f64::from(scores[label] - largest)
}

/// The first of the largest scores.
fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}
