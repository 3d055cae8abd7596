//! Push-sum: agents divide what they have over those that they send to, and a weight beside it says how much that is.

use kith_core::{AgentId, Tape, TapeError};
use kith_engine::{Engine, MixingPlan};

use super::Mixing;
use crate::Cohort;

/// What push-sum keeps.
pub(crate) struct PushSum<B> {
    /// x, of which the model is x / w.
    numerators: B,
    /// w of every agent, those of other processes as they sent it last.
    weights: Vec<f64>,
}

impl<B> PushSum<B> {
    pub(crate) fn new(block: impl Fn() -> B, agents: usize) -> Self {
        Self { numerators: block(), weights: vec![1.0; agents] }
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        std::iter::once(&mut self.numerators)
    }

    /// Carries everything over a tape; `block` carries a block.
    pub(crate) fn carry(
        &mut self,
        tape: &mut Tape<'_>,
        mut block: impl FnMut(&mut Tape<'_>, &mut B) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        let Self { numerators, weights } = self;
        weights.iter_mut().try_for_each(|weight| tape.float(weight))?;
        block(tape, numerators)
    }

    /// A task begins: every model is its own numerator again.
    pub(crate) fn begin(&mut self) {
        self.weights.fill(1.0);
    }

    pub(super) fn weight(&self, agent: AgentId) -> f64 {
        self.weights[agent.index()]
    }

    pub(crate) fn set_weight(&mut self, agent: AgentId, weight: f64) {
        self.weights[agent.index()] = weight;
    }

    /// The numerators of `agents` as their models are now: `x + (z − x/w)`, z being the model and what steps did to it.
    fn gather<E: Engine<Block = B>>(&self, engine: &E, out: &mut B, models: &B, agents: &[AgentId]) {
        let mut own = MixingPlan::default();
        agents.iter().for_each(|&agent| own.push(agent, [(agent, 1.0)]));
        engine.mix(out, models, &own);
        let mut more = MixingPlan::default();
        // At weight one, as in a task's first round, numerators are the models.
        for &agent in agents.iter().filter(|agent| self.weight(**agent).to_bits() != 1.0_f64.to_bits()) {
            more.push(agent, [(agent, (1.0 - 1.0 / self.weight(agent)) as f32)]);
        }
        engine.mix_into(out, &self.numerators, &more);
    }
}

impl<E: Engine> Cohort<E> {
    /// Makes ready what these agents divide: `x^½ = x − ηg`, the step g being taken at the model x / w.
    pub(super) fn publish_numerators(&mut self, agents: &[AgentId]) {
        let Some(push) = &self.extra.push else { return };
        let trained = self.coordinates.as_ref().unwrap_or(&self.whole);
        push.gather(&self.engine, &mut self.public, trained, agents);
    }

    /// `x ← P x^½`, `w ← P w`, model `z = x / w`, with `P = (1 − γ) I + γ W`; what an agent keeps is what it does not send away.
    pub(super) fn push(&mut self, rate: f64, rows: &[Mixing<'_>]) {
        let Some(push) = &mut self.extra.push else { return };
        let mut sent = vec![0.0; self.agents];
        for (peer, weight) in self.weights.iter().flatten() {
            sent[peer.index()] += weight;
        }
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        self.plan.clear();
        let mut models = MixingPlan::default();
        let mut masses = Vec::with_capacity(rows.len());
        for row in rows {
            let weights = &self.weights[row.agent.index()];
            let mut terms: Vec<(AgentId, f64)> = weights
                .iter()
                .filter(|(peer, _)| row.fresh.contains(peer))
                .map(|(peer, weight)| (*peer, rate * weight))
                .collect();
            let place = terms.partition_point(|(peer, _)| *peer < row.agent);
            terms.insert(place, (row.agent, 1.0 - rate * sent[row.agent.index()]));
            let mass: f64 = terms.iter().map(|(peer, weight)| weight * push.weights[peer.index()]).sum();
            masses.push((row.agent, mass));
            models.push(row.agent, [(row.agent, (1.0 / mass) as f32)]);
            self.plan.push(row.agent, terms.into_iter().map(|(peer, weight)| (peer, weight as f32)));
        }
        self.engine.mix(&mut push.numerators, &self.public, &self.plan);
        masses.into_iter().for_each(|(agent, mass)| push.weights[agent.index()] = mass);
        self.engine.mix(trained, &push.numerators, &models);
        self.stepped = None;
    }

    /// The mean over these agents of what mixing must not change: their rows, or their numerators where these are divided.
    #[must_use]
    pub fn conserved(&self, agents: &[AgentId]) -> Vec<f32> {
        let trained = self.coordinates.as_ref().unwrap_or(&self.whole);
        let Some(push) = &self.extra.push else { return self.engine.consensus(trained, agents).0 };
        let mut numerators = self.engine.block(self.agents, self.payload_len());
        push.gather(&self.engine, &mut numerators, trained, agents);
        self.engine.consensus(&numerators, agents).0
    }
}
