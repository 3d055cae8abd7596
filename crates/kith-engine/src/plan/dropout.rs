//! Dropout: which stream masks come from, and how they are drawn.

use kith_core::{AgentId, Purpose};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Plan;

impl Plan<'_> {
    /// Where the masks of an agent's minibatch come from, in the order of the steps that drop; none where nothing is dropped.
    #[must_use]
    pub fn dropout_stream(&self, agent: AgentId, step: u64) -> Option<ChaCha8Rng> {
        // Steps are counted within the task; there are fewer than 2⁴⁰ of them.
        let label = (u64::from(self.task.0) << 40) + step;
        let drops = self.steps.iter().any(|step| step.dropped.is_some());
        self.seeds.filter(|_| drops).map(|seeds| seeds.agent(Purpose::Dropout, agent, label))
    }
}

/// Zeros with the chance `dropped / 65 536`, and what makes up for them elsewhere; two numbers a 32-bit word.
pub fn draw_mask(mask: &mut [f32], dropped: u16, stream: &mut ChaCha8Rng) {
    let scale = 65_536.0 / (65_536.0 - f32::from(dropped));
    let factor = |word: u32| if word < u32::from(dropped) { 0.0 } else { scale };
    for pair in mask.chunks_mut(2) {
        let word = stream.next_u32();
        for (value, word) in pair.iter_mut().zip([word & 0xFFFF, word >> 16]) {
            *value = factor(word);
        }
    }
}
