//! Global update tracking: what mixing would do enters the step as part of the gradient (GUT, QG-GUTm).

use kith_core::{AgentId, Batches, Tape, TapeError};
use kith_engine::{Engine, Point, Visit};

use super::Mixing;
use crate::chain::{self, Ascent, GRADIENT, Oracle, Pull, Rates, Registers, SPARE};
use crate::train::Bench;
use crate::{Cohort, Link};

/// What global update tracking keeps.
pub(crate) struct GlobalUpdate<B> {
    /// μ.
    tracking: f64,
    /// Whether `copy` holds the rows of the task's start.
    begun: bool,
    /// The averaging rate of the round.
    rate: f64,
    /// x̂: every agent's row of the round before.
    copy: B,
    /// `(W X)_i − x_i`.
    gossip: B,
    /// `W Y + b (W X̂ − X̂)` with `Y = X − X̂`: the update that agents made together.
    update: B,
    /// δ of the step before.
    previous: B,
}

impl<B> GlobalUpdate<B> {
    pub(crate) fn new(block: impl Fn() -> B, tracking: f64) -> Self {
        Self { tracking, begun: false, rate: 1.0, copy: block(), gossip: block(), update: block(), previous: block() }
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        [&mut self.copy, &mut self.gossip, &mut self.update, &mut self.previous].into_iter()
    }

    /// Carries everything over a tape; `block` carries a block.
    pub(crate) fn carry(
        &mut self,
        tape: &mut Tape<'_>,
        mut block: impl FnMut(&mut Tape<'_>, &mut B) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        let Self { tracking: _, begun, rate, copy, gossip, update, previous } = self;
        tape.switch("global update begun", begun)?;
        tape.float(rate)?;
        [copy, gossip, update, previous].into_iter().try_for_each(|rows| block(tape, rows))
    }

    /// A task begins: copies are those of its first round.
    pub(crate) fn begin(&mut self) {
        self.begun = false;
    }
}

impl<E: Engine> Cohort<E> {
    /// Takes in neighbours' rows; nothing moves yet.
    pub(crate) fn gossip_update(&mut self, rate: f64, rows: &[Mixing<'_>]) {
        self.plan_mixing(1.0, rows);
        // `1 + β`, and `β²` more with Nesterov momentum: how far a past gossip still reaches through the momentum.
        let past = self.parts.chain.iter().map(|link| match link {
            Link::Momentum { beta, nesterov } => beta + if *nesterov { beta * beta } else { 0.0 },
            _ => 0.0,
        });
        let past = past.sum::<f64>() as f32;
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        let Some(state) = &mut self.extra.update else { return };
        let first = !std::mem::replace(&mut state.begun, true);
        state.rate = rate;
        let mut bench = Bench(Vec::new());
        let row = bench.add(&mut self.whole);
        let (copy, gossip, update) =
            (bench.add(&mut state.copy), bench.add(&mut state.gossip), bench.add(&mut state.update));
        self.engine.visit(&self.geometries[0], &agents, &mut bench.0, 1, |visit| {
            if first {
                visit.copy(copy, row);
            }
            visit.copy(update, row);
            visit.axpy(update, -1.0, copy);
            visit.axpy(update, past, gossip);
            visit.copy(copy, row);
            visit.clear(gossip);
        });
        self.engine.mix_into(&mut state.gossip, &self.whole, &self.plan);
        let mut bench = Bench(Vec::new());
        let (gossip, update) = (bench.add(&mut state.gossip), bench.add(&mut state.update));
        self.engine.visit(&self.geometries[0], &agents, &mut bench.0, 1, |visit| {
            // W Y = (W X − X) − (W X̂ − X̂) + Y. Copies begin as the rows, so the first past gossip is this one.
            visit.axpy(update, if first { 1.0 + past } else { 1.0 }, gossip);
        });
    }

    /// Gradient at the mixed point, tracked, then the chain and the step.
    pub(crate) fn step_with_update(
        &mut self,
        agents: &[AgentId],
        step: u64,
        batches: &dyn Batches,
        rates: Rates,
    ) -> Vec<f64> {
        let before = self.previous_rate.unwrap_or(rates.learning_rate);
        let inverse = if before > 0.0 { (1.0 / before) as f32 } else { 0.0 };
        let Some(state) = &mut self.extra.update else { return vec![0.0; agents.len()] };
        let (tracking, rate) = (state.tracking as f32, state.rate as f32);
        let mut bench = Bench(Vec::new());
        let row = bench.add(&mut self.whole);
        let (gossip, update) = (bench.add(&mut state.gossip), bench.add(&mut state.update));
        let previous = bench.add(&mut state.previous);
        let momentum = self.momentum.as_mut().map(|block| bench.add(block));
        let registers = Registers { point: Point { row, base: None }, momentum, tracker: None, pull: Pull::default() };
        let links = &self.parts.chain;
        let ascent = Ascent::new(&self.parts, &self.geometries[0].layout);
        let oracle = Oracle { radius: rates.radius as f32, ascent: &ascent, raw: true, batches, step };
        self.engine.visit(&self.geometries[0], agents, &mut bench.0, 3, |visit| {
            visit.copy(SPARE, row);
            visit.axpy(SPARE, rate, gossip);
            oracle.gradient(visit, Point { row: SPARE, base: None }, GRADIENT);
            visit.axpy(GRADIENT, -inverse, gossip);
            visit.copy(SPARE, GRADIENT);
            visit.axpy(GRADIENT, -tracking * inverse, update);
            visit.axpy(GRADIENT, -tracking, previous);
            visit.copy(previous, SPARE);
            chain::follow(visit, links, GRADIENT, registers, rates.learning_rate as f32);
        })
    }
}
