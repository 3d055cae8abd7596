//! The rows of a chunk of agents under work.

use std::cell::OnceCell;
use std::ops::Range;

use burn::tensor::Tensor;
use kith_core::{AgentId, Batches};
use kith_engine::plan::Plan;
use kith_engine::{Point, Slot, Visit};

use crate::engine::BurnEngine;
use crate::engine::held::Prepared;
use crate::engine::load::{Minibatch, masks};
use crate::engine::pass::{Constraint, Pass, Weights, loss_gradient};
use crate::engine::rows::{Rows, accumulated, assembled, norms, read, scaled};

/// The rows of a chunk of agents: every method is a few kernel launches for all of them, and nothing is read back but losses, at
/// the end.
#[derive(Debug)]
pub struct BurnVisit<'v> {
    engine: &'v BurnEngine,
    plan: &'v Plan<'v>,
    prepared: &'v Prepared,
    agents: &'v [AgentId],
    /// None where rows hold no number.
    blocks: Vec<Option<Rows>>,
    scratch: Vec<Option<Rows>>,
    /// Numbers in a row of the geometry's layout.
    len: usize,
    /// The minibatch losses of every step, `[agents, 1]`, still on the device.
    pending: Vec<Rows>,
    losses: OnceCell<Vec<f64>>,
}

/// Agents, counted within the visit, whose minibatches go together, and the samples of each.
type Group = (Range<usize>, Vec<Vec<u32>>);

impl<'v> BurnVisit<'v> {
    pub(crate) fn new(
        engine: &'v BurnEngine,
        (plan, prepared): (&'v Plan<'v>, &'v Prepared),
        agents: &'v [AgentId],
        blocks: Vec<Option<Rows>>,
        scratch: usize,
        len: usize,
    ) -> Self {
        let zeros = |_| (len > 0).then(|| Tensor::zeros([agents.len(), len], engine.device()));
        let scratch = (0..scratch).map(zeros).collect();
        let losses = OnceCell::new();
        Self { engine, plan, prepared, agents, blocks, scratch, len, pending: Vec::new(), losses }
    }

    /// Sums of losses, and the rows.
    pub(crate) fn finish(self) -> (Vec<f64>, Vec<Option<Rows>>) {
        let losses = self.losses().to_vec();
        (losses, self.blocks)
    }

    fn register(&mut self, slot: Slot) -> &mut Option<Rows> {
        match slot {
            Slot::Block(n) => &mut self.blocks[n],
            Slot::Scratch(n) => &mut self.scratch[n],
        }
    }

    fn get(&self, slot: Slot) -> Option<Rows> {
        match slot {
            Slot::Block(n) => self.blocks[n].clone(),
            Slot::Scratch(n) => self.scratch[n].clone(),
        }
    }

    fn change(&mut self, slot: Slot, change: impl FnOnce(Rows) -> Rows) {
        let register = self.register(slot);
        *register = register.take().map(change);
    }

    /// Minibatches of `step`, cut where their size changes or memory asks for it.
    fn groups(&self, batches: &dyn Batches, step: u64) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (place, &agent) in self.agents.iter().enumerate() {
            let mut indices = Vec::new();
            batches.indices(agent, step, &mut indices);
            let share = self.engine.share(self.plan, indices.len());
            match groups.last_mut() {
                Some((range, lists)) if lists.len() < share && lists[0].len() == indices.len() => {
                    range.end += 1;
                    lists.push(indices);
                }
                _ => groups.push((place..place + 1, vec![indices])),
            }
        }
        groups
    }

    /// The gradient at a point, and the minibatches' mean losses `[agents, 1]`.
    fn gradient(&self, at: Point, constraint: Constraint, batches: &dyn Batches, step: u64) -> (Rows, Rows) {
        let device = self.engine.device();
        let (mut gradients, mut losses) = (Vec::new(), Vec::new());
        let row = self.get(at.row);
        let base = at.base.and_then(|base| self.get(base));
        for (range, lists) in self.groups(batches, step) {
            let agents = range.len();
            if lists[0].is_empty() {
                gradients.push(Tensor::zeros([agents, self.len.max(1)], device));
                losses.push(Tensor::zeros([agents, 1], device));
                continue;
            }
            let part = |rows: &Rows| {
                if agents == self.agents.len() { rows.clone() } else { rows.clone().narrow(0, range.start, agents) }
            };
            // Rows without numbers are never looked into, but say how many agents there are.
            let row = row.as_ref().map_or_else(|| Tensor::zeros([agents, 1], device), part);
            let weights = Weights { row, base: base.as_ref().map(part) };
            let minibatch = Minibatch::load(self.plan, batches.samples(), &lists, device);
            let masks = masks(self.plan, &self.agents[range.clone()], minibatch.size, step, device);
            let common = self.engine.common(self.plan, self.prepared);
            let pass = Pass::forward(common, weights, minibatch.inputs, masks);
            let (loss, delta) = loss_gradient(pass.scores(), minibatch.targets);
            let pieces = pass.backward(delta, constraint);
            losses.push(loss);
            if self.len > 0 {
                gradients.push(assembled(pieces, agents, self.len, device));
            }
        }
        (joined(gradients), joined(losses))
    }

    fn accumulate(
        &mut self,
        (at, into): (Point, Slot),
        (beta, alpha): (f32, f32),
        constraint: Constraint,
        (batches, step): (&dyn Batches, u64),
    ) {
        let (gradient, loss) = self.gradient(at, constraint, batches, step);
        self.change(into, |into| accumulated(into, beta, scaled(gradient, alpha)));
        self.pending.push(loss);
        self.losses = OnceCell::new();
    }
}

/// Rows of one share of agents after the other.
fn joined(mut parts: Vec<Rows>) -> Rows {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) }
}

impl Visit for BurnVisit<'_> {
    fn agents(&self) -> &[AgentId] {
        self.agents
    }

    fn accumulate_gradient(&mut self, at: Point, into: Slot, beta: f32, alpha: f32, batches: &dyn Batches, step: u64) {
        self.accumulate((at, into), (beta, alpha), Constraint::Charts, (batches, step));
    }

    fn accumulate_raw_gradient(
        &mut self,
        at: Point,
        into: Slot,
        beta: f32,
        alpha: f32,
        batches: &dyn Batches,
        step: u64,
    ) {
        self.accumulate((at, into), (beta, alpha), Constraint::Raw, (batches, step));
    }

    fn project(&mut self, gradient: Slot) {
        let (plan, prepared) = (self.plan, self.prepared);
        self.change(gradient, |rows| {
            plan.weights().fold(rows, |rows, (index, stage)| prepared.held[index].project(rows, stage))
        });
    }

    fn axpy(&mut self, y: Slot, a: f32, x: Slot) {
        if x == y {
            return self.scale(y, 1.0 + a);
        }
        if let Some(x) = self.get(x) {
            self.change(y, |y| y.add(scaled(x, a)));
        }
    }

    fn scale(&mut self, y: Slot, a: f32) {
        self.change(y, |y| scaled(y, a));
    }

    fn copy(&mut self, y: Slot, x: Slot) {
        if x != y {
            *self.register(y) = self.get(x);
        }
    }

    fn clear(&mut self, y: Slot) {
        self.change(y, |y| y.zeros_like());
    }

    fn axpy_normalised(&mut self, y: Slot, a: f32, x: Slot, tiny: f32) {
        if let Some(x) = self.get(x) {
            let factor = norms(x.clone()).add_scalar(tiny).recip().mul_scalar(a);
            self.change(y, |y| y.add(x.mul(factor)));
        }
    }

    fn clip(&mut self, x: Slot, max: f32) {
        self.change(x, |x| {
            let factor = norms(x.clone()).recip().mul_scalar(max).clamp_max(1.0);
            x.mul(factor)
        });
    }

    fn losses(&self) -> &[f64] {
        self.losses.get_or_init(|| {
            let mut sums = vec![0.0; self.agents.len()];
            if self.pending.is_empty() {
                return sums;
            }
            let steps = self.pending.len();
            let all = read(Tensor::cat(self.pending.clone(), 1));
            for (sum, losses) in sums.iter_mut().zip(all.chunks_exact(steps)) {
                *sum = losses.iter().map(|loss| f64::from(*loss)).sum();
            }
            sums
        })
    }
}
