//! Gradients across edges: own data at neighbours' models, and neighbours' data at the own model (NGM, NGC).

use kith_core::{AgentId, Batches, Tape, TapeError};
use kith_engine::{Engine, MixingPlan, Point};

use super::{Mixing, Wire};
use crate::Cohort;
use crate::chain::{self, Oracle, Rates, Registers};
use crate::train::Bench;

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
    learning_rate: f64,
}

impl<B> Across<B> {
    pub(crate) fn new(block: impl Fn() -> B, alpha: f64, degree: usize) -> Self {
        let kept = if alpha > 0.0 { degree } else { 1 };
        Self {
            alpha,
            received: Vec::new(),
            visiting: block(),
            own: block(),
            at_neighbours: block(),
            mean: block(),
            crosses: (0..kept).map(|_| block()).collect(),
            learning_rate: 0.0,
        }
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        [&mut self.visiting, &mut self.own, &mut self.at_neighbours, &mut self.mean]
            .into_iter()
            .chain(&mut self.crosses)
    }

    /// Carries everything over a tape; `block` carries a block.
    pub(crate) fn carry(
        &mut self,
        tape: &mut Tape<'_>,
        agents: usize,
        mut block: impl FnMut(&mut Tape<'_>, &mut B) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        let Self { alpha: _, received, visiting, own, at_neighbours, mean, crosses, learning_rate } = self;
        tape.list("agents with models of neighbours", received, agents, |tape, from| {
            tape.list("neighbours whose models came", from, agents, |tape, peer| peer.carry(tape))
        })?;
        tape.float(learning_rate)?;
        let blocks = [visiting, own, at_neighbours, mean].into_iter().chain(crosses);
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

/// In place of an agent that gets no gradient: the places of those after it stay.
const NOBODY: AgentId = AgentId(u32::MAX);

impl<B> Across<B> {
    /// Where the gradient is that `from` sends to `to`; nothing if it had no model of `to` to take one at.
    pub(super) fn gradient_for(&self, from: AgentId, to: AgentId) -> Option<&B> {
        let place = self.received.get(from.index())?.iter().position(|agent| *agent == to)?;
        self.crosses.get(place)
    }

    /// Where to write the gradient that `from`, of another process, sent to `to`; nothing if it sent none.
    pub(super) fn gradient_from(&mut self, from: AgentId, to: AgentId, none: bool) -> Option<&mut B> {
        let receivers = self.received.get_mut(from.index())?;
        let place = receivers.iter().position(|agent| *agent == to)?;
        if none {
            receivers[place] = NOBODY;
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
        let Some(across) = &mut self.extra.across else { return vec![0.0; agents.len()] };
        across.learning_rate = rates.learning_rate;
        let oracle = Oracle { radius: rates.radius as f32, raw: true, batches, step };
        let geometry = &self.geometries[0];
        let mut bench = Bench(Vec::new());
        let (row, own) = (bench.add(&mut self.whole), bench.add(&mut across.own));
        let sum = bench.add(&mut across.at_neighbours);
        let losses = self.engine.visit(geometry, agents, &mut bench.0, 3, |visit| {
            kith_engine::Visit::clear(visit, sum);
            oracle.gradient(visit, Point { row, base: None }, own);
        });
        let most =
            agents.iter().filter_map(|agent| across.received.get(agent.index())).map(Vec::len).max().unwrap_or(0);
        for place in 0..most {
            let users: Vec<AgentId> =
                agents.iter().copied().filter(|agent| across.received[agent.index()].len() > place).collect();
            let plan = each(users.iter().map(|&agent| (agent, across.received[agent.index()][place], 1.0)));
            self.engine.mix(&mut across.visiting, &self.public, &plan);
            let kept = if across.alpha > 0.0 { place } else { 0 };
            let mut bench = Bench(Vec::new());
            let (row, cross) = (bench.add(&mut across.visiting), bench.add(&mut across.crosses[kept]));
            let sum = bench.add(&mut across.at_neighbours);
            self.engine.visit(geometry, &users, &mut bench.0, 3, |visit| {
                oracle.gradient(visit, Point { row, base: None }, cross);
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
        // A gradient comes back only from a neighbour that had this agent's model.
        let senders: Vec<Vec<(usize, AgentId)>> = back
            .iter()
            .enumerate()
            .map(|(agent, from)| {
                let place = |peer: &AgentId| {
                    let place = received[peer.index()].iter().position(|one| one.index() == agent);
                    place.map(|place| (place, *peer))
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
        let mut bench = Bench(Vec::new());
        let (row, mean) = (bench.add(&mut self.whole), bench.add(&mut across.mean));
        let momentum = self.momentum.as_mut().map(|block| bench.add(block));
        let registers = Registers { point: Point { row, base: None }, momentum, tracker: None };
        let chain = &self.parts.chain;
        self.engine.visit(&self.geometries[0], agents, &mut bench.0, 3, |visit| {
            chain::follow(visit, chain, mean, registers, learning_rate);
        });
    }
}
