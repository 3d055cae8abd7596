//! RelaySGD: sums of models travel along a tree, and each agent takes the mean of all that reached it.

use kith_core::{AgentId, Tape, TapeError};
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

    /// Carries everything over a tape; `block` carries a block.
    pub(crate) fn carry(
        &mut self,
        tape: &mut Tape<'_>,
        mut block: impl FnMut(&mut Tape<'_>, &mut B) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        // The next sums are written before they are read.
        let Self { inbox, next: _, counts } = self;
        for count in counts.iter_mut().flatten() {
            let mut models = *count as usize;
            tape.count("models in a relayed sum", &mut models, u32::MAX as usize)?;
            *count = models as u32;
        }
        inbox.iter_mut().try_for_each(|rows| block(tape, rows))
    }

    /// A task begins: nothing has reached anybody.
    pub(crate) fn begin(&mut self) {
        self.counts.iter_mut().for_each(|counts| counts.fill(0));
    }
}

impl<E: Engine> Cohort<E> {
    /// The sum that `from` sends to `to` now, and how many models it is of: what [`Cohort::relay`] computes for a receiver in
    /// the same process.
    pub(super) fn relayed(&self, from: AgentId, to: AgentId) -> (Vec<f32>, u32) {
        let len = self.geometries[0].layout.len();
        let (mut sum, mut part) = (vec![0.0; len], vec![0.0; len]);
        self.engine.download(self.coordinates.as_ref().unwrap_or(&self.whole), from, &mut sum);
        let Some(relay) = &self.extra.relay else { return (sum, 1) };
        let mut count = 1_u32;
        for (place, _) in self.weights[from.index()].iter().enumerate().filter(|(_, (peer, _))| *peer != to) {
            self.engine.download(&relay.inbox[place], from, &mut part);
            sum.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
            count = relay.counts[from.index()][place].saturating_add(count);
        }
        (sum, count)
    }

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
        let agents = || self.hosted.iter().copied();
        let mut counts = relay.counts.clone();
        for (place, out) in relay.next.iter_mut().enumerate() {
            let (mut plan, mut old) = (MixingPlan::default(), MixingPlan::default());
            let (mut pairs, mut sums) = (Vec::new(), Vec::new());
            for agent in agents() {
                let peer = peer_at(agent, place).filter(|peer| hears(agent, *peer));
                if let Some((sum, count)) = peer.and_then(|peer| self.wire.take_sum(peer, agent)) {
                    sums.push((agent, sum));
                    counts[agent.index()][place] = count;
                    continue;
                }
                match peer.filter(|peer| self.hosted.binary_search(peer).is_ok()) {
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
                        let count = &mut counts[agent.index()][place];
                        *count = count.saturating_add(relay.counts[peer.index()][from]);
                    }
                }
                self.engine.mix_into(out, inbox, &plan);
            }
            sums.iter().for_each(|(agent, sum)| self.engine.upload(out, *agent, sum));
        }
        relay.counts = counts;
        std::mem::swap(&mut relay.inbox, &mut relay.next);
        let share = rate / self.agents as f64;
        let takes = |agent: AgentId| rows.binary_search_by_key(&agent, |row| row.agent).is_ok();
        let mut plan = MixingPlan::default();
        for agent in agents() {
            let heard: u64 = relay.counts[agent.index()].iter().map(|count| u64::from(*count)).sum();
            let own = if takes(agent) { 1.0 - share * heard as f64 } else { 1.0 };
            plan.push(agent, [(agent, own as f32)]);
        }
        self.engine.mix(&mut self.public, trained, &plan);
        for (place, inbox) in relay.inbox.iter().enumerate() {
            let mut plan = MixingPlan::default();
            for agent in agents() {
                if takes(agent) && relay.counts[agent.index()][place] > 0 {
                    plan.push(agent, [(agent, share as f32)]);
                }
            }
            self.engine.mix_into(&mut self.public, inbox, &plan);
        }
        std::mem::swap(&mut self.public, trained);
    }
}
