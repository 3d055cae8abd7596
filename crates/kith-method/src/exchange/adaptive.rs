//! AdaGossip: an averaging rate for each parameter, smaller where mixing moves it much.

use kith_core::{AgentId, Tape, TapeError};
use kith_engine::Engine;

use crate::Cohort;

/// Keeps the averaging rate finite where nothing was ever mixed.
const TINY: f32 = 1e-8;

/// What AdaGossip keeps.
pub(crate) struct Adaptive<B> {
    beta: f64,
    /// `Σ_j w_ij (p_j − p_i)`: what mixing would do.
    residual: B,
    /// v: the mean of squared residuals, the last ones counting most.
    moment: B,
    /// How many residuals each agent's v is of.
    rounds: Vec<u32>,
}

impl<B> Adaptive<B> {
    pub(crate) fn new(block: impl Fn() -> B, agents: usize, beta: f64) -> Self {
        Self { beta, residual: block(), moment: block(), rounds: vec![0; agents] }
    }

    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        [&mut self.residual, &mut self.moment].into_iter()
    }

    /// Carries everything over a tape; `block` carries a block.
    pub(crate) fn carry(
        &mut self,
        tape: &mut Tape<'_>,
        mut block: impl FnMut(&mut Tape<'_>, &mut B) -> Result<(), TapeError>,
    ) -> Result<(), TapeError> {
        // Residuals are written before they are read.
        let Self { beta: _, residual: _, moment, rounds } = self;
        for count in rounds {
            let mut seen = *count as usize;
            tape.count("rounds of adaptive mixing", &mut seen, u32::MAX as usize)?;
            *count = seen as u32;
        }
        block(tape, moment)
    }

    /// A task begins.
    pub(crate) fn begin(&mut self) {
        self.rounds.fill(0);
    }
}

impl<E: Engine> Cohort<E> {
    /// `v ← β v + (1 − β) r²`, `x ← x + min(1, γ/(√(v/(1 − βᵗ)) + 1e-8)) r`, entry by entry.
    pub(super) fn mix_adaptively(&mut self, rate: f64, agents: &[AgentId]) {
        let has_public = self.parts.exchange.has_public();
        let len = self.geometries[0].layout.len();
        let Some(state) = &mut self.extra.adaptive else { return };
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        self.engine.mix(&mut state.residual, if has_public { &self.public } else { trained }, &self.plan);
        agents.iter().for_each(|agent| state.rounds[agent.index()] += 1);
        let (beta, rate, rounds) = (state.beta, rate as f32, &state.rounds);
        self.engine.rows(len, agents, &mut [trained, &mut state.residual, &mut state.moment], |agent, rows| {
            let [row, residual, moment] = rows else { unreachable!("rows of three blocks are asked for") };
            let seen = 1.0 - beta.powf(f64::from(rounds[agent.index()]));
            let (keep, take, scale) = (beta as f32, (1.0 - beta) as f32, (1.0 / seen) as f32);
            for ((x, r), v) in row.iter_mut().zip(&**residual).zip(moment.iter_mut()) {
                *v = keep * *v + take * r * r;
                *x += (rate / ((*v * scale).sqrt() + TINY)).min(1.0) * r;
            }
        });
    }
}
