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

/// Words drawn at a time: the stream is the same whatever their number, and blocks cost less than single words.
const WORDS: usize = 256;

/// Zeros with the chance `dropped / 65 536`, and what makes up for them elsewhere; two numbers a 32-bit word, the low half first.
pub fn draw_mask(mask: &mut [f32], dropped: u16, stream: &mut ChaCha8Rng) {
    let scale = 65_536.0 / (65_536.0 - f32::from(dropped));
    let mut bytes = [0_u8; 4 * WORDS];
    for part in mask.chunks_mut(2 * WORDS) {
        let drawn = &mut bytes[..4 * part.len().div_ceil(2)];
        stream.fill_bytes(drawn);
        for (value, half) in part.iter_mut().zip(drawn.as_chunks::<2>().0) {
            *value = if u16::from_le_bytes(*half) < dropped { 0.0 } else { scale };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::Seeds;

    #[test]
    fn a_mask_is_drawn_word_by_word_and_drops_its_share() {
        let stream = || Seeds::new(5).agent(Purpose::Dropout, AgentId(2), 7);
        for len in [1, 2, 511, 512, 513, 100_001] {
            let mut mask = vec![f32::NAN; len];
            draw_mask(&mut mask, 13_107, &mut stream());
            let mut words = stream();
            for pair in mask.chunks(2) {
                let word = words.next_u32();
                for (value, half) in pair.iter().zip([word & 0xFFFF, word >> 16]) {
                    let expected = if half < 13_107 { 0.0 } else { 65_536.0 / 52_429.0 };
                    assert_eq!(*value, expected, "of {len} numbers");
                }
            }
            let share = mask.iter().filter(|value| **value == 0.0).count() as f64 / len as f64;
            assert!(len < 100_000 || (share - 0.2).abs() < 0.005, "{share} of the numbers");
        }
    }
}
