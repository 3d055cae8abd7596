//! How an engine asks for data without knowing where it comes from.

use rand_chacha::ChaCha8Rng;

use crate::AgentId;

/// The samples of one task, as an engine sees them.
pub trait Samples: Sync {
    /// Numbers in one input.
    fn input_len(&self) -> usize;
    /// How many samples there are.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Writes sample `index` (ready for the network: normalised, permuted) to `out`, `input_len` numbers.
    fn read(&self, index: u32, out: &mut [f32]);
    /// Whether [`Samples::read_changed`] changes anything.
    fn changes(&self) -> bool {
        false
    }
    /// As [`Samples::read`], changed at random as training data may be (cropped, flipped) by what `stream` gives.
    fn read_changed(&self, index: u32, stream: &mut ChaCha8Rng, out: &mut [f32]) {
        let _ = stream;
        self.read(index, out);
    }
    /// The class of sample `index`, counted within the head that the task uses.
    fn label(&self, index: u32) -> u32;
}

/// The minibatches of a cohort.
pub trait Batches: Sync {
    /// Where indices point.
    fn samples(&self) -> &dyn Samples;
    /// Writes to `out` (cleared first) the sample indices of the agent's minibatch at `step`, counted within the task from 0.
    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>);
    /// What changes of the minibatch at `step` are drawn from, the agent's own stream; none where nothing is changed.
    fn augmentation(&self, agent: AgentId, step: u64) -> Option<ChaCha8Rng> {
        let _ = (agent, step);
        None
    }
    /// Writes the inputs of the agent's minibatch at `step` to `out`, `input_len` numbers a sample: as it is trained on, changes
    /// included. `indices` are those of [`Batches::indices`].
    fn read(&self, agent: AgentId, step: u64, indices: &[u32], out: &mut [f32]) {
        let samples = self.samples();
        let mut stream = self.augmentation(agent, step);
        for (&index, out) in indices.iter().zip(out.chunks_exact_mut(samples.input_len().max(1))) {
            match &mut stream {
                Some(stream) => samples.read_changed(index, stream, out),
                None => samples.read(index, out),
            }
        }
    }
}
