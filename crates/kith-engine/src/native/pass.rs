//! One minibatch through the network and back.

use std::ops::Range;

use kith_core::{AgentId, Batches, Matrix, Samples};
use rand_chacha::ChaCha8Rng;

use super::buffer::Buffer;
use super::conv::Conv;
use super::registers::Registers;
use super::scores::{cross_entropy, largest};
use super::{linear, norm, pool};
use crate::kernel::{axpy, keep_only, mask, multiply, rectify};
use crate::plan::{Hold, Op, Plan, Relu, Step, Value, draw_mask};
use crate::port::{Draw, Features, Point, Slot};

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

/// Memory that one step's arithmetic needs and leaves to the next.
#[derive(Debug, Default)]
pub(crate) struct Temporary {
    /// Inputs without their part in the core space, `[batch, inputs]`.
    pub(crate) residual: Buffer,
    /// `X M` or `δ C`, `[batch, r]`; for convolutions `G M: [C_out, r]` or `Mᵀ P`.
    pub(crate) product: Buffer,
    /// Patches `[d, places]` of a few images.
    pub(crate) columns: Buffer,
    /// The gradient of a convolution's weight before its constraint.
    pub(crate) gradient: Buffer,
    /// Gradients of a normalisation layer's numbers, and their places.
    found: Vec<(usize, f64)>,
}

/// A thread's memory for one minibatch; grows to the largest seen and stays.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    batch: usize,
    indices: Vec<u32>,
    labels: Vec<u32>,
    /// Where dropout draws its masks from; nothing is dropped without.
    stream: Option<ChaCha8Rng>,
    /// What lies between steps: the input first, the scores last.
    values: Vec<Buffer>,
    /// What a step keeps for the way back: inputs in coordinates `Z = X S: [batch, k]`, a weight made of coordinates, statistics.
    kept: Vec<Buffer>,
    /// What dropout multiplied by, a step.
    masks: Vec<Buffer>,
    /// Which pixel was the largest, a step.
    maxima: Vec<Vec<u32>>,
    temporary: Temporary,
    /// Gradient of what a step puts out, and of what it takes.
    delta: Buffer,
    delta_before: Buffer,
    /// Gradients that wait for the other path of a residual layer.
    waiting: Vec<Buffer>,
}

impl Pass {
    /// Reads an agent's minibatch.
    pub(crate) fn load_batch(&mut self, plan: &Plan<'_>, batches: &dyn Batches, agent: AgentId, step: u64) {
        let mut indices = std::mem::take(&mut self.indices);
        batches.indices(agent, step, &mut indices);
        self.label(plan, batches.samples(), &indices);
        batches.read(agent, step, &indices, self.inputs_mut(plan));
        self.indices = indices;
        self.stream = plan.dropout_stream(agent, step);
    }

    /// Reads the samples at `indices`, as they are.
    pub(crate) fn load(&mut self, plan: &Plan<'_>, samples: &dyn Samples, indices: &[u32]) {
        self.label(plan, samples, indices);
        let width = plan.values[0].len();
        for (&index, sample) in indices.iter().zip(self.inputs_mut(plan).chunks_exact_mut(width)) {
            samples.read(index, sample);
        }
    }

    /// Makes room for a minibatch and takes its classes.
    fn label(&mut self, plan: &Plan<'_>, samples: &dyn Samples, indices: &[u32]) {
        let width = plan.values[0].len();
        assert_eq!(samples.input_len(), width, "numbers in one sample; the network takes {width}");
        self.prepare(plan, indices.len());
        self.stream = None;
        self.labels.clear();
        self.labels.extend(indices.iter().map(|&index| samples.label(index)));
    }

    /// The minibatch's inputs, to write.
    fn inputs_mut(&mut self, plan: &Plan<'_>) -> &mut [f32] {
        &mut self.values[0].as_mut()[..self.batch * plan.values[0].len()]
    }

    /// Reads the samples of a range.
    pub(crate) fn load_range(&mut self, plan: &Plan<'_>, samples: &dyn Samples, range: Range<usize>) {
        let mut indices = std::mem::take(&mut self.indices);
        indices.clear();
        indices.extend(range.map(|index| index as u32));
        self.load(plan, samples, &indices);
        self.indices = indices;
    }

    fn prepare(&mut self, plan: &Plan<'_>, batch: usize) {
        self.batch = batch;
        let steps = plan.steps.len();
        if self.values.len() < plan.values.len() {
            self.values.resize_with(plan.values.len(), Buffer::default);
        }
        if self.kept.len() < steps {
            self.kept.resize_with(steps, Buffer::default);
            self.masks.resize_with(steps, Buffer::default);
            self.maxima.resize_with(steps, Vec::new);
        }
        if self.waiting.len() < plan.depth {
            self.waiting.resize_with(plan.depth, Buffer::default);
        }
        let mut widest = 0;
        for (buffer, value) in self.values.iter_mut().zip(&plan.values) {
            buffer.ensure(batch * value.len());
            widest = widest.max(value.len());
        }
        for (index, step) in plan.steps.iter().enumerate() {
            let (input, output) = (&plan.values[step.input], &plan.values[step.output]);
            let temporary = &mut self.temporary;
            let kept = match &step.op {
                Op::Linear(stage) => {
                    temporary.product.ensure(batch * stage.narrow());
                    if matches!(stage.hold, Hold::Projected { .. } | Hold::Confined { .. }) {
                        temporary.residual.ensure(batch * stage.inputs);
                    }
                    batch * stage.narrow()
                }
                Op::Conv(stage, window) => {
                    let conv = Conv { stage, window: *window, batch };
                    temporary.columns.ensure(conv.patch_numbers());
                    temporary.product.ensure(conv.narrow_numbers());
                    let whole = matches!(stage.hold, Hold::Whole | Hold::Fixed);
                    temporary.gradient.ensure(if whole { 0 } else { stage.outputs * stage.inputs });
                    if matches!(stage.hold, Hold::Coordinates { .. }) { stage.outputs * stage.inputs } else { 0 }
                }
                Op::BatchNorm(_) => 2 * input.channels(),
                Op::EvoNorm(_, groups) => 2 * groups * batch,
                Op::Response(_) => batch * input.len(),
                Op::MaxPool(_) => {
                    let size = batch * output.len();
                    let maxima = &mut self.maxima[index];
                    maxima.resize(size.max(maxima.len()), 0);
                    0
                }
                Op::AvgPool(_) | Op::Turn | Op::Copy | Op::Fork | Op::Meet | Op::Add { .. } => 0,
            };
            self.kept[index].ensure(kept);
            self.masks[index].ensure(if step.dropped.is_some() { batch * output.len() } else { 0 });
        }
        for buffer in self.waiting.iter_mut().chain([&mut self.delta, &mut self.delta_before]) {
            buffer.ensure(batch * widest);
        }
    }

    /// Computes the scores of the minibatch that was loaded.
    pub(crate) fn forward(&mut self, plan: &Plan<'_>, row: &[f32], base: Option<&[f32]>) {
        for (index, step) in plan.steps.iter().enumerate() {
            if step.op.computes() {
                self.compute(plan, index, step, (row, base));
            }
        }
    }

    fn compute(&mut self, plan: &Plan<'_>, index: usize, step: &Step<'_>, at: (&[f32], Option<&[f32]>)) {
        let batch = self.batch;
        let (input, output) = (&plan.values[step.input], &plan.values[step.output]);
        let (before, after) = self.values.split_at_mut(step.output);
        let x = &before[step.input].as_ref()[..batch * input.len()];
        let y = &mut after[0].as_mut()[..batch * output.len()];
        let kept = self.kept[index].as_mut();
        match step.op {
            Op::Linear(ref stage) => linear::forward(stage, batch, at, x, y, kept),
            Op::Conv(ref stage, window) => {
                Conv { stage, window, batch }.forward(at, x, y, kept, &mut self.temporary);
            }
            Op::MaxPool(window) => pool::max_pool(window, x, y, &mut self.maxima[index]),
            Op::AvgPool(window) => pool::average(window, x, y),
            Op::BatchNorm(places) => norm::batch_norm(places, input.channels(), at.0, x, y, kept),
            Op::EvoNorm(places, groups) => norm::evo_norm((places, groups), input, at.0, x, y, kept),
            Op::Response(response) => norm::response(response, input.channels(), x, y, kept),
            Op::Turn => pool::turn(input, batch, x, y),
            Op::Copy => y.copy_from_slice(x),
            Op::Add { main } => {
                y.copy_from_slice(x);
                axpy(y, 1.0, &before[main].as_ref()[..y.len()]);
            }
            Op::Fork | Op::Meet => {}
        }
        if step.relu == Relu::Follows {
            rectify(y);
        }
        if let (Some(dropped), Some(stream)) = (step.dropped, &mut self.stream) {
            let mask = &mut self.masks[index].as_mut()[..y.len()];
            draw_mask(mask, dropped, stream);
            multiply(y, mask);
        }
    }

    /// Sets δ to the gradient of the mean cross-entropy by the scores; returns the loss.
    pub(crate) fn loss_gradient(&mut self, plan: &Plan<'_>) -> f64 {
        let classes = plan.classes();
        let size = self.batch * classes;
        let scores = &self.values[plan.values.len() - 1].as_ref()[..size];
        let delta = &mut self.delta.as_mut()[..size];
        let share = 1.0 / self.batch as f32;
        let mut loss = 0.0;
        for ((scores, delta), &label) in
            scores.chunks_exact(classes).zip(delta.chunks_exact_mut(classes)).zip(&self.labels)
        {
            loss += cross_entropy(scores, label, delta);
            delta.iter_mut().for_each(|value| *value *= share);
        }
        if self.batch == 0 { 0.0 } else { loss / self.batch as f64 }
    }

    /// Carries δ back and updates `into` step by step. A step's input gradient is taken before its weight is touched,
    /// so that `into` may be the row itself.
    pub(crate) fn backward(
        &mut self,
        plan: &Plan<'_>,
        registers: &mut Registers<'_>,
        at: Point,
        into: Slot,
        (target, constraint): (Target, Constraint),
        draw: Option<&Draw>,
    ) {
        let mut level = 0;
        let last = plan.steps.len().saturating_sub(1);
        for index in (0..plan.steps.len()).rev() {
            let step = &plan.steps[index];
            let size = self.batch * plan.values[step.output].len();
            match step.op {
                Op::Fork => {
                    level -= 1;
                    axpy(&mut self.delta.as_mut()[..size], 1.0, &self.waiting[level].as_ref()[..size]);
                }
                Op::Meet => std::mem::swap(&mut self.delta, &mut self.waiting[level - 1]),
                _ if plan.values[step.output].follows_parameters => {
                    self.undo_finish(index, step, size);
                    if let Op::Add { .. } = step.op {
                        self.waiting[level].as_mut()[..size].copy_from_slice(&self.delta.as_ref()[..size]);
                    } else {
                        self.step_back(plan, index, registers, at, into, (target, constraint));
                    }
                    if let Some(draw) = draw.filter(|_| index == last) {
                        self.pull_features(plan, draw);
                    }
                }
                _ => {}
            }
            level += usize::from(matches!(step.op, Op::Add { .. }));
        }
        let into = registers.get_mut(into);
        for range in &plan.frozen {
            keep_only(&mut into[range.clone()], target.beta);
        }
    }

    /// What the last layer took in the last forward pass, and the loss that came of it.
    pub(crate) fn features(&mut self, plan: &Plan<'_>) -> Features {
        let (width, values) = self.last_inputs(plan);
        let values = Matrix::new(self.batch, width, values.to_vec());
        Features { values, labels: self.labels.clone(), loss: self.loss_gradient(plan) }
    }

    /// The width of what the last layer takes, and its rows.
    fn last_inputs(&self, plan: &Plan<'_>) -> (usize, &[f32]) {
        let value = plan.steps.last().map_or(0, |step| step.input);
        let width = plan.values[value].len();
        (width, &self.values[value].as_ref()[..self.batch * width])
    }

    /// Adds to δ, which stands before the last layer, what draws the features.
    fn pull_features(&mut self, plan: &Plan<'_>, draw: &Draw) {
        let value = plan.steps.last().map_or(0, |step| step.input);
        let size = self.batch * plan.values[value].len();
        if !plan.values[value].follows_parameters || draw.target.len() != size {
            return;
        }
        let share = 2.0 / size as f32;
        let features = &self.values[value].as_ref()[..size];
        for ((delta, z), target) in self.delta.as_mut()[..size].iter_mut().zip(features).zip(&draw.target) {
            *delta += share * (draw.strength * z - target);
        }
    }

    /// δ before dropout and ReLU.
    fn undo_finish(&mut self, index: usize, step: &Step<'_>, size: usize) {
        let delta = &mut self.delta.as_mut()[..size];
        if step.dropped.is_some() && self.stream.is_some() {
            multiply(delta, &self.masks[index].as_ref()[..size]);
        }
        if step.relu == Relu::Follows {
            mask(delta, &self.values[step.output].as_ref()[..size]);
        }
    }

    fn step_back(
        &mut self,
        plan: &Plan<'_>,
        index: usize,
        registers: &mut Registers<'_>,
        at: Point,
        into: Slot,
        wanted: (Target, Constraint),
    ) {
        let batch = self.batch;
        let step = &plan.steps[index];
        let (input, output) = (&plan.values[step.input], &plan.values[step.output]);
        let x = &self.values[step.input].as_ref()[..batch * input.len()];
        let delta = &self.delta.as_ref()[..batch * output.len()];
        let kept = self.kept[index].as_mut();
        let mut before = input.follows_parameters.then(|| &mut self.delta_before.as_mut()[..batch * input.len()]);
        let row = registers.get(at.row);
        let base = at.base.map(|base| registers.get(base));
        let temporary = &mut self.temporary;
        match step.op {
            Op::Linear(ref stage) => {
                if let Some(before) = &mut before {
                    linear::input_gradient(stage, batch, (row, base), delta, before, temporary);
                }
                linear::weight_gradient(stage, batch, (x, delta), kept, registers.get_mut(into), wanted, temporary);
            }
            Op::Conv(ref stage, window) => {
                let conv = Conv { stage, window, batch };
                if let Some(before) = &mut before {
                    conv.input_gradient(row, delta, before, kept, temporary);
                }
                conv.weight_gradient(x, delta, registers.get_mut(into), wanted, temporary);
            }
            Op::BatchNorm(places) => {
                let mut found = std::mem::take(&mut temporary.found);
                found.clear();
                let keep = |place, gradient| found.push((place, gradient));
                let sizes = (places, input.channels());
                norm::batch_norm_back(sizes, row, (x, kept), delta, before.as_deref_mut(), keep);
                norm::write(registers.get_mut(into), wanted.0, &found);
                temporary.found = found;
            }
            Op::EvoNorm(places, groups) => {
                let mut found = std::mem::take(&mut temporary.found);
                found.clear();
                let keep = |place, gradient| found.push((place, gradient));
                norm::evo_norm_back((places, groups), input, row, (x, kept), delta, before.as_deref_mut(), keep);
                norm::write(registers.get_mut(into), wanted.0, &found);
                temporary.found = found;
            }
            op => {
                if let Some(before) = &mut before {
                    match op {
                        Op::MaxPool(window) => pool::max_pool_back(window, &self.maxima[index], delta, before),
                        Op::AvgPool(window) => pool::average_back(window, delta, before),
                        Op::Response(response) => {
                            norm::response_back(response, input.channels(), (x, kept), delta, before);
                        }
                        Op::Turn => pool::turn(&Value { form: output.form, ..*input }, batch, delta, before),
                        _ => before.copy_from_slice(delta),
                    }
                }
            }
        }
        if before.is_some() {
            std::mem::swap(&mut self.delta, &mut self.delta_before);
        }
    }

    /// Samples classified correctly and the sum of their losses, after a forward pass.
    pub(crate) fn score(&mut self, plan: &Plan<'_>) -> (usize, f64) {
        let classes = plan.classes();
        let scores = &self.values[plan.values.len() - 1].as_ref()[..self.batch * classes];
        let scratch = &mut self.delta.as_mut()[..classes];
        let (mut correct, mut loss) = (0, 0.0);
        for (scores, &label) in scores.chunks_exact(classes).zip(&self.labels) {
            loss += cross_entropy(scores, label, scratch);
            correct += usize::from(largest(scores) == label as usize);
        }
        (correct, loss)
    }

    /// What multiplied the weight of step `index` in the last forward pass, appended to `out` row by row: the inputs `[batch, d]`
    /// of a linear layer, or the patches `[batch · places, d]` of a convolution, image by image.
    pub(crate) fn inputs(&mut self, plan: &Plan<'_>, index: usize, out: &mut Vec<f32>) {
        let step = &plan.steps[index];
        let x = &self.values[step.input].as_ref()[..self.batch * plan.values[step.input].len()];
        match step.op {
            Op::Conv(ref stage, window) => {
                let columns = &mut self.temporary.columns.as_mut()[..stage.inputs * window.area()];
                pool::patch_rows(window, self.batch, x, columns, out);
            }
            _ => out.extend_from_slice(x),
        }
    }
}
