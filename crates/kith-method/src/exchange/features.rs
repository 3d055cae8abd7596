//! Features across edges: own features are drawn to those of neighbours' models on the same samples, and to each class's mean over
//! the neighbours' samples (cross-feature contrastive loss).

use std::collections::BTreeMap;

use kith_core::{AgentId, Batches, Layout, Samples, Tape, TapeError};
use kith_engine::{Draw, Engine, Features, MixingPlan, Point, Visit};

use super::Mixing;
use crate::chain::{Ascent, Rates};
use crate::train::{Bench, Turn};
use crate::{Cohort, Exchange};

/// Features by class: their sums, and how many there are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClassSums {
    /// `[classes, features]`.
    sums: Vec<f32>,
    counts: Vec<u32>,
}

/// Numbers of classes and of features, that is, rows and columns of the last weight.
pub(super) fn class_shape(layout: &Layout) -> (usize, usize) {
    layout.tensors.iter().rev().find(|tensor| tensor.cols > 1).map_or((0, 0), |last| (last.rows, last.cols))
}

impl ClassSums {
    /// Bytes of sums over so many classes and features.
    pub(super) const fn wire_len((classes, width): (usize, usize)) -> usize {
        4 * classes * width + 4 * classes
    }

    fn nothing((classes, width): (usize, usize)) -> Self {
        Self { sums: vec![0.0; classes * width], counts: vec![0; classes] }
    }

    fn of(features: &Features, shape: (usize, usize)) -> Self {
        let mut found = Self::nothing(shape);
        let width = shape.1.max(1);
        for (row, label) in features.values.as_slice().chunks_exact(width).zip(&features.labels) {
            let class = *label as usize;
            found.sums[class * width..][..width].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            found.counts[class] += 1;
        }
        found
    }

    fn add(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, more)| *sum += more);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count = count.saturating_add(*more));
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let sums = self.sums.iter().flat_map(|value| value.to_le_bytes());
        sums.chain(self.counts.iter().flat_map(|count| count.to_le_bytes())).collect()
    }

    /// Reads what [`ClassSums::to_bytes`] wrote; bytes that are too few read as nothing.
    pub(super) fn from_bytes(bytes: &[u8], shape: (usize, usize)) -> Self {
        let mut read = Self::nothing(shape);
        let (words, _) = bytes.as_chunks::<4>();
        let (sums, counts) = words.split_at(words.len().min(read.sums.len()));
        read.sums.iter_mut().zip(sums).for_each(|(sum, word)| *sum = f32::from_le_bytes(*word));
        read.counts.iter_mut().zip(counts).for_each(|(count, word)| *count = u32::from_le_bytes(*word));
        read
    }
}

/// What an agent knows between its two looks at a minibatch.
struct Half {
    draw: Draw,
    labels: Vec<u32>,
    /// Its own features by class.
    own: ClassSums,
}

/// What a round of features across edges keeps.
pub(crate) struct Contrast<B> {
    /// λ_m, the strength towards features of neighbours' models.
    model: f64,
    /// λ_d, the strength towards class means.
    data: f64,
    /// Neighbours whose models came in this round's first leg, ascending, by agent.
    received: Vec<Vec<AgentId>>,
    visiting: B,
    gradient: B,
    /// Sums on their way, by sender and receiver.
    sums: BTreeMap<(AgentId, AgentId), ClassSums>,
    halves: BTreeMap<AgentId, Half>,
    minibatches: Minibatches,
    step: u64,
    turn: Turn,
    rates: Rates,
}

impl<B> Contrast<B> {
    pub(crate) fn new(block: impl Fn() -> B, exchange: &Exchange) -> Self {
        Self {
            model: exchange.model_variant_strength.unwrap_or(0.0),
            data: exchange.data_variant_strength.unwrap_or(0.0),
            received: Vec::new(),
            visiting: block(),
            gradient: block(),
            sums: BTreeMap::new(),
            halves: BTreeMap::new(),
            minibatches: Minibatches::default(),
            step: 0,
            turn: Turn::First,
            rates: Rates::from(0.0),
        }
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        [&mut self.visiting, &mut self.gradient].into_iter()
    }

    /// Carries everything over a tape: between rounds, only whose models came matters, and blocks are written before they are read.
    pub(crate) fn carry(&mut self, tape: &mut Tape<'_>, agents: usize) -> Result<(), TapeError> {
        let Self { received, .. } = self;
        tape.list("agents with models of neighbours", received, agents, |tape, from| {
            tape.list("neighbours whose models came", from, agents, |tape, peer| peer.carry(tape))
        })
    }

    /// Remembers whose models an agent has.
    pub(super) fn receive(&mut self, agents: usize, rows: &[Mixing<'_>]) {
        self.received.clear();
        self.received.resize(agents, Vec::new());
        for row in rows {
            self.received[row.agent.index()] = row.fresh.to_vec();
        }
    }

    /// The sums that `from` sends to `to`.
    pub(super) fn sums_for(&self, from: AgentId, to: AgentId) -> Option<&ClassSums> {
        self.sums.get(&(from, to))
    }

    /// Keeps sums that came from another process.
    pub(super) fn keep(&mut self, from: AgentId, to: AgentId, sums: ClassSums) {
        self.sums.insert((from, to), sums);
    }
}

/// The minibatches of a round, as they were read: the step that follows the neighbours' sums looks at them again.
#[derive(Default)]
struct Minibatches {
    width: usize,
    inputs: Vec<f32>,
    labels: Vec<u32>,
    places: BTreeMap<AgentId, std::ops::Range<u32>>,
}

impl Minibatches {
    fn fill(&mut self, batches: &dyn Batches, agents: &[AgentId], step: u64) {
        let samples = batches.samples();
        self.width = samples.input_len();
        self.inputs.clear();
        self.labels.clear();
        self.places.clear();
        let mut indices = Vec::new();
        for &agent in agents {
            batches.indices(agent, step, &mut indices);
            let first = self.labels.len();
            self.labels.extend(indices.iter().map(|index| samples.label(*index)));
            self.inputs.resize(self.labels.len() * self.width, 0.0);
            batches.read(agent, step, &indices, &mut self.inputs[first * self.width..]);
            self.places.insert(agent, first as u32..self.labels.len() as u32);
        }
    }
}

impl Samples for Minibatches {
    fn input_len(&self) -> usize {
        self.width
    }
    fn len(&self) -> usize {
        self.labels.len()
    }
    fn read(&self, index: u32, out: &mut [f32]) {
        out.copy_from_slice(&self.inputs[index as usize * self.width..][..self.width]);
    }
    fn label(&self, index: u32) -> u32 {
        self.labels[index as usize]
    }
}

impl Batches for Minibatches {
    fn samples(&self) -> &dyn Samples {
        self
    }
    fn indices(&self, agent: AgentId, _step: u64, out: &mut Vec<u32>) {
        out.clear();
        out.extend(self.places.get(&agent).cloned().into_iter().flatten());
    }
}

fn draw_to(draw: &mut Draw, strength: f32, values: &[f32]) {
    draw.strength += strength;
    draw.target.iter_mut().zip(values).for_each(|(target, value)| *target += strength * value);
}

impl<E: Engine> Cohort<E> {
    /// Features of every agent's minibatch of a step, which may be the round's first, at its neighbours' models. Where no sums are
    /// sent, the step follows at once, and several may: models of neighbours are those that came before the first.
    pub(crate) fn features_across(
        &mut self,
        agents: &[AgentId],
        (step, turn): (u64, Turn),
        batches: &dyn Batches,
        rates: Rates,
    ) -> Vec<f64> {
        let Some(mut contrast) = self.extra.contrast.take() else { return vec![0.0; agents.len()] };
        (contrast.step, contrast.turn, contrast.rates) = (step, turn, rates);
        contrast.sums.clear();
        contrast.halves.clear();
        let task = self.geometries[0].task;
        let shape = class_shape(&self.geometries[0].layout);
        let own = self.engine.features(&self.whole, agents, batches, step, task).unwrap_or_default();
        let losses: Vec<f64> = own.iter().map(|features| features.loss).collect();
        for (&agent, features) in agents.iter().zip(own) {
            let draw = Draw { strength: 0.0, target: vec![0.0; features.values.as_slice().len()] };
            let own = ClassSums::of(&features, shape);
            contrast.halves.insert(agent, Half { draw, labels: features.labels, own });
        }
        for place in 0..self.weights.iter().map(Vec::len).max().unwrap_or(0) {
            let here = |agent: &AgentId| {
                let (peer, _) = self.weights[agent.index()].get(place)?;
                contrast.received.get(agent.index())?.contains(peer).then_some((*agent, *peer))
            };
            let pairs: Vec<_> = agents.iter().filter_map(here).collect();
            let users: Vec<AgentId> = pairs.iter().map(|(agent, _)| *agent).collect();
            let mut plan = MixingPlan::default();
            pairs.iter().for_each(|(agent, peer)| plan.push(*agent, [(*peer, 1.0)]));
            self.engine.mix(&mut contrast.visiting, &self.public, &plan);
            let there = self.engine.features(&contrast.visiting, &users, batches, step, task);
            for ((agent, peer), features) in pairs.into_iter().zip(there.into_iter().flatten()) {
                if let Some(half) = contrast.halves.get_mut(&agent) {
                    draw_to(&mut half.draw, contrast.model as f32, features.values.as_slice());
                }
                if contrast.data > 0.0 {
                    contrast.sums.insert((agent, peer), ClassSums::of(&features, shape));
                }
            }
        }
        contrast.minibatches.fill(batches, agents, step);
        if contrast.data == 0.0 {
            self.step_drawn(agents, &mut contrast);
        }
        self.extra.contrast = Some(contrast);
        // Objectives without layers have no features, and nothing to say here.
        if losses.len() == agents.len() { losses } else { vec![0.0; agents.len()] }
    }

    /// The step of the round's second leg, with the sums by class that neighbours sent back.
    pub(crate) fn exchange_features(&mut self, rows: &[Mixing<'_>]) {
        let Some(mut contrast) = self.extra.contrast.take() else { return };
        let strength = contrast.data as f32;
        for row in rows {
            let Some(half) = contrast.halves.get_mut(&row.agent) else { continue };
            let mut all = half.own.clone();
            row.fresh.iter().filter_map(|peer| contrast.sums.get(&(*peer, row.agent))).for_each(|sums| all.add(sums));
            let width = half.draw.target.len() / half.labels.len().max(1);
            let mut means = Vec::with_capacity(half.labels.len() * width);
            for &label in &half.labels {
                let class = label as usize;
                let share = 1.0 / all.counts[class].max(1) as f32;
                means.extend(all.sums[class * width..][..width].iter().map(|sum| sum * share));
            }
            draw_to(&mut half.draw, strength, &means);
        }
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        self.step_drawn(&agents, &mut contrast);
        self.extra.contrast = Some(contrast);
    }

    /// `g ← ∇(F + draws)`, sharpness-aware where the oracle is, with the same targets; then the chain and `x ← x − η g`.
    fn step_drawn(&mut self, agents: &[AgentId], contrast: &mut Contrast<E::Block>) {
        let halves = std::mem::take(&mut contrast.halves);
        let draws: BTreeMap<AgentId, Draw> = halves.into_iter().map(|(agent, half)| (agent, half.draw)).collect();
        let Contrast { gradient, minibatches, step, turn, rates, .. } = contrast;
        let (minibatches, step, turn) = (&*minibatches, *step, *turn);
        let ascent = Ascent::new(&self.parts, &self.geometries[0].layout);
        let mut bench = Bench(Vec::new());
        let (row, into) = (bench.add(&mut self.whole), bench.add(gradient));
        self.engine.visit(&self.geometries[0], agents, &mut bench.0, 2, |visit| {
            ascent.climb(visit, rates.radius as f32, Point { row, base: None }, into, |visit, at| {
                visit.drawn_gradient(at, into, &draws, minibatches, step);
            });
        });
        self.follow_rows(agents, gradient, rates.learning_rate as f32, turn);
    }
}
