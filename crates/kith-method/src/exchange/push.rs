//! Push-sum: agents divide what they have over those that they send to, and a weight beside it says how much that is.

use kith_core::{AgentId, Round, Tape, TapeError};
use kith_engine::{Engine, MixingPlan};

use super::Mixing;
use crate::Cohort;

/// Below this weight a step is taken in only in proportion: a model moves by η/w, and w falls for as long as nothing arrives.
const LIGHT: f64 = 1.0 / 8.0;
/// Below this weight an agent keeps all that it has. Both ends of an edge see the weight.
const LEAST: f64 = 1.0 / 1024.0;

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

    /// The numerators of `agents` as their models are now: `x + s (z − x/w)`, z being the model and what steps did to it, and s one
    /// but for agents that are [`LIGHT`].
    fn gather<E: Engine<Block = B>>(&self, engine: &E, out: &mut B, models: &B, agents: &[AgentId]) {
        let mut own = MixingPlan::default();
        let taken_in = |agent: AgentId| (self.weight(agent) / LIGHT).min(1.0) as f32;
        agents.iter().for_each(|&agent| own.push(agent, [(agent, taken_in(agent))]));
        engine.mix(out, models, &own);
        let mut more = MixingPlan::default();
        // At weight one, as in a task's first round, numerators are the models.
        for &agent in agents.iter().filter(|agent| self.weight(**agent).to_bits() != 1.0_f64.to_bits()) {
            // From the factor of the model as it was rounded: otherwise the numerator would drift by the same bit in every round.
            more.push(agent, [(agent, 1.0 - taken_in(agent) * (1.0 / self.weight(agent)) as f32)]);
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
    ///
    /// Over an edge that goes both ways a pair of shares is taken in at both ends or at neither, over one that goes one way a share
    /// leaves when it is sent, and is taken in when it comes: so Σ x and Σ w stay, whatever frames are lost and sent again.
    pub(super) fn push(&mut self, round: Round, rate: f64, rows: &[Mixing<'_>]) {
        self.keep_unsettled(round, rows);
        let divided = self.divided(rows);
        let Some(push) = &mut self.extra.push else { return };
        self.plan.clear();
        let mut masses = Vec::with_capacity(rows.len());
        for row in rows {
            let weights = &self.weights[row.agent.index()];
            let mut terms: Vec<(AgentId, f64)> = weights
                .iter()
                .filter(|(peer, _)| row.fresh.contains(peer) && push.weights[peer.index()] >= LEAST)
                .map(|(peer, weight)| (*peer, rate * weight))
                .collect();
            let place = terms.partition_point(|(peer, _)| *peer < row.agent);
            terms.insert(place, (row.agent, 1.0 - rate * divided[row.agent.index()]));
            let mass: f64 = terms.iter().map(|(peer, weight)| weight * push.weights[peer.index()]).sum();
            masses.push(mass);
            self.plan.push(row.agent, terms.into_iter().map(|(peer, weight)| (peer, weight as f32)));
        }
        self.engine.mix(&mut push.numerators, &self.public, &self.plan);
        for (row, mass) in rows.iter().zip(masses) {
            push.weights[row.agent.index()] = mass;
        }
        self.take_in_late(rows);
        let Some(push) = &self.extra.push else { return };
        let mut models = MixingPlan::default();
        for row in rows {
            models.push(row.agent, [(row.agent, (1.0 / push.weight(row.agent)) as f32)]);
        }
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        self.engine.mix(trained, &push.numerators, &models);
        self.stepped = None;
    }

    /// How much of each agent's numerator and weight goes to others now: to whom it gives, and with whom it exchanges.
    fn divided(&self, rows: &[Mixing<'_>]) -> Vec<f64> {
        let Some(push) = &self.extra.push else { return Vec::new() };
        let gives = |from: AgentId, to: AgentId| {
            if push.weight(from) < LEAST {
                return false;
            }
            let at = rows.binary_search_by_key(&from, |row| row.agent);
            at.is_ok_and(|at| rows[at].given.contains(&to) || rows[at].fresh.contains(&to))
        };
        let mut divided = vec![0.0; self.agents];
        for (to, weights) in self.weights.iter().enumerate() {
            for (from, weight) in weights.iter().filter(|(from, _)| gives(*from, AgentId::from(to))) {
                divided[from.index()] += weight;
            }
        }
        divided
    }

    /// Takes in shares of earlier rounds; over edges that go both ways, less what this agent gave in the same exchange.
    fn take_in_late(&mut self, rows: &[Mixing<'_>]) {
        let Some(push) = &mut self.extra.push else { return };
        let all = &self.weights;
        let weight_of = |to: AgentId, from: AgentId| {
            let weights = &all[to.index()];
            weights.binary_search_by_key(&from, |(peer, _)| *peer).ok().map(|at| weights[at].1)
        };
        let mut own = vec![0.0; self.geometries[0].layout.len()];
        for row in rows.iter().filter(|row| !row.late.is_empty()) {
            let agent = row.agent;
            self.engine.download(&push.numerators, agent, &mut own);
            for late in &row.late {
                let kept = |from, to, weight: f64| Some((self.kept.get(from, to, late.round)?, late.rate * weight));
                let comes = weight_of(agent, late.peer).and_then(|weight| kept(late.peer, agent, weight));
                let Some((theirs, share)) = comes else { continue };
                let goes = match weight_of(late.peer, agent) {
                    None => None,
                    Some(weight) => match kept(agent, late.peer, weight) {
                        None => continue,
                        mine => mine,
                    },
                };
                if theirs.weight >= LEAST {
                    own.iter_mut().zip(&theirs.row).for_each(|(value, theirs)| *value += share as f32 * theirs);
                    push.weights[agent.index()] += share * theirs.weight;
                }
                if let Some((mine, share)) = goes.filter(|(mine, _)| mine.weight >= LEAST) {
                    own.iter_mut().zip(&mine.row).for_each(|(value, mine)| *value -= share as f32 * mine);
                    push.weights[agent.index()] -= share * mine.weight;
                }
            }
            self.engine.upload(&mut push.numerators, agent, &own);
        }
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
