//! How an engine asks for data without knowing where it comes from.

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
    /// The class of sample `index`, counted within the head that the task uses.
    fn label(&self, index: u32) -> u32;
}

/// The minibatches of a cohort.
pub trait Batches: Sync {
    /// Where indices point.
    fn samples(&self) -> &dyn Samples;
    /// Writes to `out` (cleared first) the sample indices of the agent's minibatch at `step`, counted within the task from 0.
    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>);
}
