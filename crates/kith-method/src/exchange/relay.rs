//! RelaySGD: sums of models travel along a tree, and each agent takes the mean of all that reached it.

use kith_core::AgentId;
use kith_engine::{Engine, MixingPlan};

use super::Mixing;
use crate::Cohort;

/// What relaying keeps.
pub(crate) struct Relay<B> {
    /// The last sum that the k-th neighbour sent.
    inbox: Vec<B>,
    /// Where the next ones are put together.
    next: Vec<B>,
    /// How many models the sums in `inbox` are of, by agent and place.
    counts: Vec<Vec<u32>>,
}

impl<B> Relay<B> {
    pub(crate) fn new(block: impl Fn() -> B, agents: usize, degree: usize) -> Self {
        let blocks = || (0..degree).map(|_| block()).collect();
        Self { inbox: blocks(), next: blocks(), counts: vec![vec![0; degree]; agents] }
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        self.inbox.iter_mut().chain(&mut self.next)
    }

    /// A task begins: nothing has reached anybody.
    pub(crate) fn begin(&mut self) {
        self.counts.iter_mut().for_each(|counts| counts.fill(0));
    }
}

impl<E: Engine> Cohort<E> {
    /// `m_{j→i} = x_j + Σ_{k≠i} m_{k→j}` with the sums of the round before, then
    /// `x_i ← x_i + γ ((x_i (N − Σ_j c_{j→i}) + Σ_j m_{j→i}) / N − x_i)`, c being how many models a sum is of.
    pub(super) fn relay(&mut self, rate: f64, rows: &[Mixing<'_>]) {
        let Some(relay) = &mut self.extra.relay else { return };
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        let weights = &self.weights;
        let peer_at = |agent: AgentId, place: usize| weights[agent.index()].get(place).map(|(peer, _)| *peer);
        let hears = |agent: AgentId, peer: AgentId| {
            rows.binary_search_by_key(&agent, |row| row.agent).is_ok_and(|at| rows[at].fresh.contains(&peer))
        };
        let agents = || (0..weights.len()).map(AgentId::from);
        let mut counts = relay.counts.clone();
        for (place, out) in relay.next.iter_mut().enumerate() {
            let (mut plan, mut old) = (MixingPlan::default(), MixingPlan::default());
            let mut pairs = Vec::new();
            for agent in agents() {
                match peer_at(agent, place).filter(|peer| hears(agent, *peer)) {
                    Some(peer) => {
                        plan.push(agent, [(peer, 1.0)]);
                        pairs.push((agent, peer));
                        counts[agent.index()][place] = 1;
                    }
                    None => old.push(agent, [(agent, 1.0)]),
                }
            }
            self.engine.mix(out, trained, &plan);
            self.engine.mix(out, &relay.inbox[place], &old);
            for (from, inbox) in relay.inbox.iter().enumerate() {
                let mut plan = MixingPlan::default();
                for &(agent, peer) in &pairs {
                    if peer_at(peer, from).is_some_and(|other| other != agent) {
                        plan.push(agent, [(peer, 1.0)]);
                        counts[agent.index()][place] += relay.counts[peer.index()][from];
                    }
                }
                self.engine.mix_into(out, inbox, &plan);
            }
        }
        relay.counts = counts;
        std::mem::swap(&mut relay.inbox, &mut relay.next);
        let share = rate / self.agents as f64;
        let taking: Vec<bool> =
            agents().map(|agent| rows.binary_search_by_key(&agent, |row| row.agent).is_ok()).collect();
        let mut plan = MixingPlan::default();
        for agent in agents() {
            let heard: u32 = relay.counts[agent.index()].iter().sum();
            let own = if taking[agent.index()] { 1.0 - share * f64::from(heard) } else { 1.0 };
            plan.push(agent, [(agent, own as f32)]);
        }
        self.engine.mix(&mut self.public, trained, &plan);
        for (place, inbox) in relay.inbox.iter().enumerate() {
            let mut plan = MixingPlan::default();
            for agent in agents() {
                if taking[agent.index()] && relay.counts[agent.index()][place] > 0 {
                    plan.push(agent, [(agent, share as f32)]);
                }
            }
            self.engine.mix_into(&mut self.public, inbox, &plan);
        }
        std::mem::swap(&mut self.public, trained);
    }
}
