//! Labelled random streams: the only source of randomness in kith.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::AgentId;

/// What a random stream is for. The number is part of the stream's key: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights.
    Initialise = 1,
    /// The order of minibatches.
    BatchOrder = 2,
    /// Data augmentation.
    Augment = 3,
    /// Dropout masks.
    Dropout = 4,
    /// Random compressors.
    Compress = 5,
    /// Loss on links.
    Link = 6,
    /// Randomly drawn faults.
    Fault = 7,
    /// Which samples an agent holds.
    Partition = 8,
    /// How tasks are made from a dataset (permutations, class order).
    Tasks = 9,
    /// Random graphs.
    Graph = 10,
    /// Samples drawn for representation matrices.
    Representation = 11,
    /// Synthetic datasets.
    Synthetic = 12,
    /// Which samples of earlier tasks an agent keeps.
    Recall = 13,
    /// Minibatches of kept samples.
    RecallBatch = 14,
    /// Who meets whom in a round.
    Meetings = 15,
    /// Who takes part in a round.
    Participation = 16,
    /// Random compressors of gradients that travel beside models.
    CompressGradient = 17,
}

/// The random streams of one run.
///
/// A stream's ChaCha key is its label written out (run seed, purpose, agent, index): two labels never share a stream,
/// and drawing more from one stream moves no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    run: u64,
}

impl Seeds {
    /// The streams of the run with this seed.
    #[must_use]
    pub const fn new(run_seed: u64) -> Self {
        Self { run: run_seed }
    }

    /// The stream that belongs to the whole run; `index` tells streams of one purpose apart (a task, an epoch).
    #[must_use]
    pub fn shared(&self, purpose: Purpose, index: u64) -> ChaCha8Rng {
        self.keyed(purpose, u64::MAX, index)
    }

    /// An agent's own stream; `index` tells streams of one purpose apart (a task, an epoch, a round).
    #[must_use]
    pub fn agent(&self, purpose: Purpose, agent: AgentId, index: u64) -> ChaCha8Rng {
        self.keyed(purpose, u64::from(agent.0), index)
    }

    fn keyed(&self, purpose: Purpose, agent: u64, index: u64) -> ChaCha8Rng {
        let mut key = [0_u8; 32];
        for (chunk, word) in key.chunks_exact_mut(8).zip([self.run, purpose as u64, agent, index]) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::Rng;

    #[test]
    fn a_stream_is_a_function_of_its_label_alone() {
        let seeds = Seeds::new(7);
        let first = seeds.agent(Purpose::BatchOrder, AgentId(3), 0).next_u64();
        let _ = seeds.agent(Purpose::BatchOrder, AgentId(2), 0).next_u64();
        assert_eq!(first, Seeds::new(7).agent(Purpose::BatchOrder, AgentId(3), 0).next_u64());
    }

    #[test]
    fn labels_that_differ_in_one_part_give_different_streams() {
        let draw = |run, purpose, agent, index| Seeds::new(run).agent(purpose, AgentId(agent), index).next_u64();
        let reference = draw(1, Purpose::Link, 1, 1);
        assert_ne!(reference, draw(2, Purpose::Link, 1, 1));
        assert_ne!(reference, draw(1, Purpose::Fault, 1, 1));
        assert_ne!(reference, draw(1, Purpose::Link, 2, 1));
        assert_ne!(reference, draw(1, Purpose::Link, 1, 2));
        assert_ne!(reference, Seeds::new(1).shared(Purpose::Link, 1).next_u64());
    }
}
