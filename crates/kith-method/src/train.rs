//! Local steps, and what they leave for the time after mixing.

use kith_core::{AgentId, Batches, TaskId};
use kith_engine::{Engine, Geometry, Point, Slot, Visit};

use crate::chain::{self, Ascent, GRADIENT, Rates, Registers};
use crate::cohort::Ahead;
use crate::consolidate::pull;
use crate::{Buffer, Cohort, ExchangeKind, Link, Oracle};

/// Blocks of a visit, by slot.
pub(crate) struct Bench<'a, B>(pub(crate) Vec<&'a mut B>);

impl<'a, B> Bench<'a, B> {
    pub(crate) fn add(&mut self, block: &'a mut B) -> Slot {
        self.0.push(block);
        Slot::Block(self.0.len() - 1)
    }
}

/// Where a step stands in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    Later,
}

/// Kept samples of earlier tasks, as a driver hands them in.
#[derive(Clone, Copy)]
pub struct Rehearsal<'a> {
    /// Their minibatches.
    pub batches: &'a dyn Batches,
    /// For each step of the round: the task whose head the minibatch of that step goes through.
    pub heads: &'a [TaskId],
}

/// Which part of a round's steps a visit does.
#[derive(Clone)]
struct Part {
    steps: std::ops::Range<u64>,
    begins: bool,
    ends: bool,
    /// Whether the gradient on kept samples stands ready.
    rehearses: bool,
}

impl<E: Engine> Cohort<E> {
    /// Local steps as [`Cohort::train`], each beside a minibatch of kept samples.
    pub fn train_rehearsing<R: Into<Rates>>(
        &mut self,
        agents: &[AgentId],
        steps: std::ops::Range<u64>,
        batches: &dyn Batches,
        rehearsal: Option<Rehearsal<'_>>,
        rates: impl Fn(u64) -> R + Sync,
    ) -> Vec<f64> {
        self.run_steps(agents, steps, batches, rehearsal, rates)
    }

    /// Local steps `steps` (counted within the task) of these agents, ascending. Returns each agent's sum of losses; a
    /// sharpness-aware step counts the mean of its two.
    pub fn train<R: Into<Rates>>(
        &mut self,
        agents: &[AgentId],
        steps: std::ops::Range<u64>,
        batches: &dyn Batches,
        rates: impl Fn(u64) -> R + Sync,
    ) -> Vec<f64> {
        self.run_steps(agents, steps, batches, None, rates)
    }

    fn run_steps<R: Into<Rates>>(
        &mut self,
        agents: &[AgentId],
        steps: std::ops::Range<u64>,
        batches: &dyn Batches,
        rehearsal: Option<Rehearsal<'_>>,
        rates: impl Fn(u64) -> R + Sync,
    ) -> Vec<f64> {
        let rates = |step| {
            let rates: Rates = rates(step).into();
            let radius = if matches!(self.parts.oracle, Oracle::Plain) { 0.0 } else { rates.radius };
            Rates { radius, ..rates }
        };
        let every: Vec<Rates> = steps.clone().map(rates).collect();
        let Some(&first) = every.first() else { return vec![0.0; agents.len()] };
        let mut losses = match self.parts.exchange.kind {
            ExchangeKind::NeighbourGradients => self.gradients_across(agents, steps.start, batches, first),
            ExchangeKind::NeighbourFeatures => {
                let mut losses = vec![0.0; agents.len()];
                for (step, rates) in steps.clone().zip(&every) {
                    let turn = if step == steps.start { Turn::First } else { Turn::Later };
                    let now = self.features_across(agents, (step, turn), batches, *rates);
                    losses.iter_mut().zip(now).for_each(|(sum, loss)| *sum += loss);
                }
                losses
            }
            ExchangeKind::GlobalUpdate => self.step_with_update(agents, steps.start, batches, first),
            _ => match rehearsal.filter(|_| self.retained.reference.is_some()) {
                None => self.steps(agents, Part { steps, begins: true, ends: true, rehearses: false }, batches, &every),
                Some(rehearsal) => self.steps_rehearsing(agents, steps, batches, rehearsal, &every),
            },
        };
        if first.radius > 0.0 {
            losses.iter_mut().for_each(|loss| *loss /= 2.0);
        }
        self.stepped = Some(every.iter().map(|rates| rates.learning_rate).sum());
        self.previous_rate = every.last().map(|rates| rates.learning_rate);
        losses
    }

    /// η over the learning rate of the step before; one where either is nothing.
    pub(crate) fn rate_ratio(&self, learning_rate: f64) -> f32 {
        match self.previous_rate {
            Some(previous) if previous > 0.0 && learning_rate > 0.0 => (learning_rate / previous) as f32,
            _ => 1.0,
        }
    }

    pub(crate) fn buffer(&self) -> Option<(Buffer, f64)> {
        self.parts.chain.iter().find_map(|link| match link {
            Link::QuasiGlobal { buffer, beta, .. } => Some((*buffer, *beta)),
            _ => None,
        })
    }

    /// One step after the other, each behind the gradient on kept samples. That gradient has a visit of its own, since it
    /// may go through the head of another task.
    fn steps_rehearsing(
        &mut self,
        agents: &[AgentId],
        steps: std::ops::Range<u64>,
        batches: &dyn Batches,
        rehearsal: Rehearsal<'_>,
        every: &[Rates],
    ) -> Vec<f64> {
        let mut losses = vec![0.0; agents.len()];
        for ((step, rates), &task) in steps.clone().zip(every).zip(rehearsal.heads) {
            if let Some(reference) = &mut self.retained.reference {
                let geometry = Geometry { task, ..self.geometries[0].clone() };
                let mut bench = Bench(Vec::with_capacity(2));
                let (row, reference) = (bench.add(&mut self.whole), bench.add(reference));
                self.engine.visit(&geometry, agents, &mut bench.0, 0, |visit| {
                    let at = Point { row, base: None };
                    visit.accumulate_raw_gradient(at, reference, 0.0, 1.0, rehearsal.batches, step);
                });
            }
            let part = Part {
                steps: step..step + 1,
                begins: step == steps.start,
                ends: step + 1 == steps.end,
                rehearses: true,
            };
            let now = self.steps(agents, part, batches, std::slice::from_ref(rates));
            losses.iter_mut().zip(now).for_each(|(sum, loss)| *sum += loss);
        }
        losses
    }

    fn steps(&mut self, agents: &[AgentId], part: Part, batches: &dyn Batches, every: &[Rates]) -> Vec<f64> {
        let Part { steps, begins, ends, rehearses } = part;
        let in_coordinates = self.coordinates.is_some();
        let ratio = self.rate_ratio(every[0].learning_rate);
        let buffer = self.buffer().map(|(buffer, _)| buffer);
        let parts = &self.parts;
        let factor = Self::pull_factor(parts, self.geometries[0].task == TaskId(0));
        let ascent = Ascent::new(parts, &self.geometries[0].layout);
        let mut bench = Bench(Vec::with_capacity(4));
        let whole = bench.add(&mut self.whole);
        let base = in_coordinates.then_some(whole);
        let row = self.coordinates.as_mut().map_or(whole, |coordinates| bench.add(coordinates));
        let momentum = self.momentum.as_mut().map(|block| bench.add(block));
        let anchor = self.extra.anchor.as_mut().map(|block| bench.add(block));
        let tracker = self.extra.tracker.as_mut().map(|(y, previous)| (bench.add(y), bench.add(previous)));
        let correction = self.extra.correction.as_mut().map(|block| bench.add(block));
        let mut pull = pull(&mut self.retained, &mut bench, factor);
        pull.reference = pull.reference.filter(|_| rehearses);
        let registers = Registers { point: Point { row, base }, momentum, tracker, pull };
        let first = steps.start;
        let work = |visit: &mut E::Visit<'_>| {
            if let (Some(anchor), Some(Buffer::Smoothed), true) = (anchor, buffer, begins) {
                visit.copy(anchor, row);
            }
            for step in steps.clone() {
                chain::step(visit, registers, &parts.chain, every[(step - first) as usize], &ascent, batches, step);
            }
            if let (Some(anchor), Some(Buffer::Corrected), true) = (anchor, buffer, ends) {
                visit.copy(anchor, row);
            }
            if let Some(correction) = correction.filter(|_| ends) {
                visit.copy(GRADIENT, row);
                visit.axpy(row, ratio, correction);
                visit.copy(correction, GRADIENT);
                visit.scale(correction, -1.0);
            }
        };
        let scratch = chain::scratch(&parts.chain, !matches!(parts.oracle, Oracle::Plain));
        if let [geometry] = self.geometries.as_slice() {
            if let (Ahead::Announced, Slot::Block(trained), true) = (self.ahead, row, ends) {
                self.ahead = Ahead::Mixed;
                let mixing = (trained, &self.plan);
                return self.engine.visit_and_mix(geometry, agents, &mut bench.0, scratch, work, mixing);
            }
            return self.engine.visit(geometry, agents, &mut bench.0, scratch, work);
        }
        let own = |agent: &AgentId| {
            let geometry = &self.geometries[agent.index()];
            self.engine.visit(geometry, std::slice::from_ref(agent), &mut bench.0, scratch, work)
        };
        agents.iter().flat_map(own).collect()
    }

    /// What follows from how mixing moved the rows of `agents`: buffers of quasi-global momentum, corrections of D².
    pub(crate) fn after_mixing(&mut self, agents: &[AgentId]) {
        let Some(rate) = self.stepped.take() else { return };
        let buffer = self.buffer();
        let mut bench = Bench(Vec::with_capacity(3));
        let row = bench.add(self.coordinates.as_mut().unwrap_or(&mut self.whole));
        let momentum = self.momentum.as_mut().map(|block| bench.add(block));
        let anchor = self.extra.anchor.as_mut().map(|block| bench.add(block));
        let correction = self.extra.correction.as_mut().map(|block| bench.add(block));
        if anchor.is_none() && correction.is_none() {
            return;
        }
        let inverse = if rate > 0.0 { 1.0 / rate } else { 0.0 };
        self.engine.visit(&self.geometries[0], agents, &mut bench.0, 1, |visit| {
            if let (Some(m), Some(anchor), Some((buffer, beta))) = (momentum, anchor, buffer) {
                visit.copy(GRADIENT, anchor);
                visit.axpy(GRADIENT, -1.0, row);
                let share = match buffer {
                    Buffer::Smoothed => {
                        visit.scale(m, beta as f32);
                        1.0 - beta
                    }
                    Buffer::Corrected => 1.0,
                };
                visit.axpy(m, (share * inverse) as f32, GRADIENT);
            }
            if let Some(correction) = correction {
                visit.axpy(correction, 1.0, row);
            }
        });
    }
}
