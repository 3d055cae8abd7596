//! Gradients across edges: own data at neighbours' models, and neighbours' data at the own model (NGM, NGC).

use std::collections::BTreeMap;

use kith_core::{AgentId, Batches, Layout, Purpose, Seeds, Tape, TapeError};
use kith_engine::{Engine, Geometry, MixingPlan, Point};

use super::{Mixing, Wire};
use crate::chain::{self, Ascent, Oracle, Pull, Rates, Registers};
use crate::train::{Bench, Turn};
use crate::{Buffer, Cohort, Compressor, Exchange};

/// What a round of neighbour gradients keeps.
pub(crate) struct Across<B> {
    alpha: f64,
    /// Neighbours whose models came in this round's first leg, ascending, by agent.
    received: Vec<Vec<AgentId>>,
    /// The model of each agent's neighbour under work.
    visiting: B,
    /// `g_ii`.
    own: B,
    /// `Σ_j g_ji`: own data at neighbours' models.
    at_neighbours: B,
    /// The mean that the chain works on.
    mean: B,
    /// `g_ji` for the k-th neighbour j; one for all where they are not sent.
    crosses: Vec<B>,
    /// What compression lost so far of the gradients for the k-th neighbour.
    errors: Vec<B>,
    /// What compressed gradients are on the wire, by sender and place; kept where other processes are sent any.
    encoded: BTreeMap<(AgentId, usize), Vec<u8>>,
    learning_rate: f64,
}

impl<B> Across<B> {
    pub(crate) fn new(block: impl Fn() -> B, exchange: &Exchange, degree: usize) -> Self {
        let alpha = exchange.data_variant_weight.unwrap_or(0.0);
        let kept = if alpha > 0.0 { degree } else { 1 };
        let errors = if exchange.feeds_gradients_back() { degree } else { 0 };
        Self {
            alpha,
            received: Vec::new(),
            visiting: block(),
            own: block(),
            at_neighbours: block(),
            mean: block(),
            crosses: (0..kept).map(|_| block()).collect(),
            errors: (0..errors).map(|_| block()).collect(),
            encoded: BTreeMap::new(),
            learning_rate: 0.0,
        }
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        [&mut self.visiting, &mut self.own, &mut self.at_neighbours, &mut self.mean]
            .into_iter()
            .chain(&mut self.crosses)
            .chain(&mut self.errors)
    }

    /// Carries everything over a tape; `block` carries a block.
    pub(crate) fn carry(
        &mut self,
        tape: &mut Tape<'_>,
        agents: usize,
        mut block: impl FnMut(&mut Tape<'_>, &mut B) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        // What went over the wire is of no use after its leg.
        let Self { alpha: _, received, visiting, own, at_neighbours, mean, crosses, errors, encoded: _, learning_rate } =
            self;
        tape.list("agents with models of neighbours", received, agents, |tape, from| {
            tape.list("neighbours whose models came", from, agents, |tape, peer| peer.carry(tape))
        })?;
        tape.float(learning_rate)?;
        let blocks = [visiting, own, at_neighbours, mean].into_iter().chain(crosses).chain(errors);
        blocks.into_iter().try_for_each(|rows| block(tape, rows))
    }

    /// Remembers whose models an agent has.
    pub(crate) fn receive(&mut self, agents: usize, rows: &[Mixing<'_>], wire: &Wire) {
        self.received.clear();
        self.received.resize(agents, Vec::new());
        // What agents of other processes had is known when their gradients come.
        for (agent, receivers) in wire.senders() {
            self.received[agent.index()] = receivers.to_vec();
        }
        for row in rows {
            self.received[row.agent.index()] = row.fresh.to_vec();
        }
    }
}

/// Lossy compression of gradients, with or without error feedback.
struct Squeeze<'a> {
    compressor: Compressor,
    layout: &'a Layout,
    seeds: Seeds,
    /// Task and step.
    place: u64,
}

impl<'a> Squeeze<'a> {
    fn new(exchange: &Exchange, geometry: &'a Geometry, seeds: Seeds, step: u64) -> Option<Self> {
        let (layout, place) = (&geometry.layout, u64::from(geometry.task.0) << 48 | step << 16);
        exchange.gradient_compressor.map(|compressor| Self { compressor, layout, seeds, place })
    }

    /// `g ← C(g + e)`, `e ← g + e − C(g + e)`, as receivers decode it. `lane` tells the gradients of one agent and step apart.
    /// What goes over the wire, for each agent.
    fn apply<E: Engine>(
        &self,
        engine: &E,
        lane: u64,
        agents: &[AgentId],
        gradient: &mut E::Block,
        error: Option<&mut E::Block>,
    ) -> Vec<Vec<u8>> {
        let mut blocks: Vec<&mut E::Block> = [gradient].into_iter().chain(error).collect();
        engine.rows(self.layout.len(), agents, &mut blocks, |agent, rows| {
            let mut stream = self.seeds.agent(Purpose::CompressGradient, agent, self.place | lane);
            let mut squeeze = |sent: &[f32], out: &mut [f32]| {
                let bytes = self.compressor.encode(sent, self.layout, &mut stream);
                self.compressor.decode(&bytes, self.layout, out);
                bytes
            };
            match rows {
                [gradient, error] => {
                    error.iter_mut().zip(&**gradient).for_each(|(error, value)| *error += value);
                    let bytes = squeeze(error, gradient);
                    error.iter_mut().zip(&**gradient).for_each(|(error, sent)| *error -= sent);
                    bytes
                }
                [gradient] => {
                    let value = gradient.to_vec();
                    squeeze(&value, gradient)
                }
                _ => unreachable!("rows of one or two blocks are asked for"),
            }
        })
    }
}

impl<B> Across<B> {
    /// Where the gradient is that `from` sends to `to`, its neighbour at this place; nothing if it had no model of `to` to take
    /// one at.
    pub(super) fn gradient_for(&self, from: AgentId, to: AgentId, place: usize) -> Option<&B> {
        self.received.get(from.index())?.contains(&to).then(|| self.crosses.get(place))?
    }

    /// The gradient that `from` sends to its neighbour at this place, as its compressor wrote it.
    pub(super) fn encoded(&self, from: AgentId, place: usize) -> Option<&[u8]> {
        self.encoded.get(&(from, place)).map(Vec::as_slice)
    }

    /// Where to write the gradient that `from`, of another process, sent to `to`; nothing if it sent none.
    pub(super) fn gradient_from(&mut self, from: AgentId, to: AgentId, place: usize, none: bool) -> Option<&mut B> {
        if none {
            self.received.get_mut(from.index())?.retain(|agent| *agent != to);
            return None;
        }
        self.crosses.get_mut(place)
    }
}

/// A row with one term for every agent given.
fn each(terms: impl Iterator<Item = (AgentId, AgentId, f64)>) -> MixingPlan {
    let mut plan = MixingPlan::default();
    terms.for_each(|(agent, from, weight)| plan.push(agent, [(from, weight as f32)]));
    plan
}

impl<E: Engine> Cohort<E> {
    /// Every agent's gradients on its own minibatch: at its own mixed row, and at the rows that its neighbours sent.
    /// Where no gradient is sent back, the step follows at once.
    pub(crate) fn gradients_across(
        &mut self,
        agents: &[AgentId],
        step: u64,
        batches: &dyn Batches,
        rates: Rates,
    ) -> Vec<f64> {
        let geometry = &self.geometries[0];
        let ascent = Ascent::new(&self.parts, &geometry.layout);
        let oracle = Oracle { radius: rates.radius as f32, ascent: &ascent, raw: true, batches, step };
        let squeeze = Squeeze::new(&self.parts.exchange, geometry, self.seeds, step);
        let Some(across) = &mut self.extra.across else { return vec![0.0; agents.len()] };
        across.learning_rate = rates.learning_rate;
        let mut bench = Bench(Vec::new());
        let (row, own) = (bench.add(&mut self.whole), bench.add(&mut across.own));
        let sum = bench.add(&mut across.at_neighbours);
        let losses = self.engine.visit(geometry, agents, &mut bench.0, 3, |visit| {
            kith_engine::Visit::clear(visit, sum);
            oracle.gradient(visit, Point { row, base: None }, own);
        });
        for place in 0..self.weights.iter().map(Vec::len).max().unwrap_or(0) {
            let here = |agent: &AgentId| {
                let (peer, _) = self.weights[agent.index()].get(place)?;
                across.received.get(agent.index())?.contains(peer).then_some((*agent, *peer, 1.0))
            };
            let pairs: Vec<_> = agents.iter().filter_map(here).collect();
            let users: Vec<AgentId> = pairs.iter().map(|(agent, ..)| *agent).collect();
            self.engine.mix(&mut across.visiting, &self.public, &each(pairs.into_iter()));
            let cross = &mut across.crosses[if across.alpha > 0.0 { place } else { 0 }];
            let mut bench = Bench(Vec::new());
            let (row, slot) = (bench.add(&mut across.visiting), bench.add(cross));
            self.engine.visit(geometry, &users, &mut bench.0, 3, |visit| {
                oracle.gradient(visit, Point { row, base: None }, slot);
            });
            if let Some(squeeze) = &squeeze {
                let sent = squeeze.apply(&self.engine, place as u64, &users, cross, across.errors.get_mut(place));
                if self.wire.is_open() {
                    across.encoded.extend(users.iter().map(|user| (*user, place)).zip(sent));
                }
            }
            let mut bench = Bench(Vec::new());
            let (sum, cross) = (bench.add(&mut across.at_neighbours), bench.add(cross));
            self.engine.visit(geometry, &users, &mut bench.0, 0, |visit| {
                kith_engine::Visit::axpy(visit, sum, 1.0, cross);
            });
        }
        if across.alpha == 0.0 {
            self.step_across(agents, &vec![Vec::new(); self.agents]);
        }
        losses
    }

    /// The step of the round's second leg, with the gradients that neighbours sent back.
    pub(crate) fn exchange_gradients(&mut self, rows: &[Mixing<'_>]) {
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        let mut back = vec![Vec::new(); self.agents];
        rows.iter().for_each(|row| back[row.agent.index()] = row.fresh.to_vec());
        self.step_across(&agents, &back);
    }

    /// `u = (1 − α)π(Σ_j g_ji + g_ii) + α π(Σ_j g_ij + g_ii)`, then the chain and `x ← x − η u`. π counts what is here.
    fn step_across(&mut self, agents: &[AgentId], back: &[Vec<AgentId>]) {
        let Some(across) = &mut self.extra.across else { return };
        let alpha = across.alpha;
        let received = &across.received;
        // A gradient comes back only from a neighbour that had this agent's model, at the place that the agent has there.
        let senders: Vec<Vec<(usize, AgentId)>> = back
            .iter()
            .enumerate()
            .map(|(agent, from)| {
                let agent = AgentId::from(agent);
                let place = |peer: &AgentId| {
                    let place = self.weights[peer.index()].binary_search_by_key(&agent, |(one, _)| *one).ok()?;
                    received[peer.index()].contains(&agent).then_some((place, *peer))
                };
                from.iter().filter_map(place).collect()
            })
            .collect();
        let model = |agent: &AgentId| (1.0 - alpha) / (1 + received[agent.index()].len()) as f64;
        let data = |agent: &AgentId| alpha / (1 + senders[agent.index()].len()) as f64;
        let plan = each(agents.iter().map(|agent| (*agent, *agent, model(agent) + data(agent))));
        self.engine.mix(&mut across.mean, &across.own, &plan);
        if alpha < 1.0 {
            let plan = each(agents.iter().map(|agent| (*agent, *agent, model(agent))));
            self.engine.mix_into(&mut across.mean, &across.at_neighbours, &plan);
        }
        if alpha > 0.0 {
            for (place, cross) in across.crosses.iter().enumerate() {
                let mut plan = MixingPlan::default();
                for agent in agents {
                    let here = senders[agent.index()].iter().filter(|(at, _)| *at == place);
                    plan.push(*agent, here.map(|(_, peer)| (*peer, data(agent) as f32)));
                }
                self.engine.mix_into(&mut across.mean, cross, &plan);
            }
        }
        let learning_rate = across.learning_rate as f32;
        let Some(mut across) = self.extra.across.take() else { return };
        self.follow_rows(agents, &mut across.mean, learning_rate, Turn::First);
        self.extra.across = Some(across);
    }

    /// The chain on gradients that did not come from one visit, and `x ← x − η g`.
    pub(super) fn follow_rows(&mut self, agents: &[AgentId], gradient: &mut E::Block, learning_rate: f32, turn: Turn) {
        let buffer = self.buffer().map(|(buffer, _)| buffer);
        let mut bench = Bench(Vec::new());
        let (row, mean) = (bench.add(&mut self.whole), bench.add(gradient));
        let momentum = self.momentum.as_mut().map(|block| bench.add(block));
        let anchor = self.extra.anchor.as_mut().map(|block| bench.add(block));
        let registers = Registers { point: Point { row, base: None }, momentum, tracker: None, pull: Pull::default() };
        let chain = &self.parts.chain;
        self.engine.visit(&self.geometries[0], agents, &mut bench.0, 3, |visit| {
            if let (Some(anchor), Some(Buffer::Smoothed), Turn::First) = (anchor, buffer, turn) {
                kith_engine::Visit::copy(visit, anchor, row);
            }
            chain::follow(visit, chain, mean, registers, learning_rate);
            if let (Some(anchor), Some(Buffer::Corrected)) = (anchor, buffer) {
                kith_engine::Visit::copy(visit, anchor, row);
            }
        });
    }
}
