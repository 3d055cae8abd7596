//! The order in which agents see their samples.

use std::sync::Arc;

use kith_core::{AgentId, Batches, Purpose, Samples, Seeds, TaskId};

use rand_chacha::ChaCha8Rng;

use crate::{DataError, TaskSamples, draw};

/// The minibatches of a cohort in one task: every epoch of every agent is its shard in a fresh random order, cut into
/// whole batches; what does not fill a batch is left out of that epoch.
///
/// Call [`prepare`](Self::prepare) for the epochs that the coming steps touch; the last two prepared are kept. Other
/// epochs are right too, but every call shuffles the shard anew.
#[derive(Clone, Debug)]
pub struct BatchOrder {
    samples: Arc<TaskSamples>,
    shards: Vec<Vec<u32>>,
    batch_size: usize,
    steps_per_epoch: usize,
    seeds: Seeds,
    task: TaskId,
    /// Epoch `e` lies in slot `e % 2`.
    prepared: [Option<Prepared>; 2],
}

#[derive(Clone, Debug)]
struct Prepared {
    epoch: u64,
    orders: Vec<Vec<u32>>,
}

impl BatchOrder {
    /// The order of `task`, one shard (indices into `samples`) an agent.
    ///
    /// # Errors
    /// If there is no agent, or a shard does not fill one batch of at least one sample, or points outside `samples`.
    pub fn new(
        samples: Arc<TaskSamples>,
        shards: &[Vec<u32>],
        batch_size: usize,
        seeds: &Seeds,
        task: TaskId,
    ) -> Result<Self, DataError> {
        let smallest = shards.iter().map(Vec::len).min().unwrap_or(0);
        if batch_size == 0 || batch_size > smallest {
            return Err(DataError::Batch { task, batch: batch_size, smallest });
        }
        if let Some(index) = shards.iter().flatten().find(|&&index| index as usize >= samples.len()) {
            let accepted = format!("indices below {} are accepted", samples.len());
            return Err(DataError::setting("a shard's sample index", index, accepted));
        }
        Ok(Self {
            samples,
            shards: shards.to_vec(),
            batch_size,
            steps_per_epoch: smallest / batch_size,
            seeds: *seeds,
            task,
            prepared: [None, None],
        })
    }

    /// Whole batches in the smallest shard, at least 1: the steps of an epoch, for every agent.
    #[must_use]
    pub const fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// Samples in a batch.
    #[must_use]
    pub const fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The epoch that `step` belongs to, counted within the task.
    #[must_use]
    pub const fn epoch_of(&self, step: u64) -> u64 {
        step / self.steps_per_epoch as u64
    }

    /// Shuffles every shard for `epoch`, unless that is done.
    pub fn prepare(&mut self, epoch: u64) {
        let slot = (epoch % 2) as usize;
        if self.prepared[slot].as_ref().is_some_and(|prepared| prepared.epoch == epoch) {
            return;
        }
        // The buffers of the epoch that makes room are used again.
        let mut orders = self.prepared[slot].take().map_or_else(|| self.shards.clone(), |prepared| prepared.orders);
        for (agent, (order, shard)) in orders.iter_mut().zip(&self.shards).enumerate() {
            order.copy_from_slice(shard);
            self.shuffle(AgentId::from(agent), epoch, order);
        }
        self.prepared[slot] = Some(Prepared { epoch, orders });
    }

    fn shuffle(&self, agent: AgentId, epoch: u64, order: &mut [u32]) {
        let index = u64::from(self.task.0) << 32 | epoch;
        draw::shuffle(&mut self.seeds.agent(Purpose::BatchOrder, agent, index), order);
    }
}

impl Batches for BatchOrder {
    fn samples(&self) -> &dyn Samples {
        self.samples.as_ref()
    }

    fn augmentation(&self, agent: AgentId, step: u64) -> Option<ChaCha8Rng> {
        // Steps are counted within the task; there are fewer than 2⁴⁰ of them.
        let index = u64::from(self.task.0) << 40 | step;
        self.samples().changes().then(|| self.seeds.agent(Purpose::Augment, agent, index))
    }

    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>) {
        out.clear();
        let epoch = self.epoch_of(step);
        let start = (step % self.steps_per_epoch as u64) as usize * self.batch_size;
        let batch = start..start + self.batch_size;
        match &self.prepared[(epoch % 2) as usize] {
            Some(prepared) if prepared.epoch == epoch => out.extend_from_slice(&prepared.orders[agent.index()][batch]),
            _ => {
                let mut order = self.shards[agent.index()].clone();
                self.shuffle(agent, epoch, &mut order);
                out.extend_from_slice(&order[batch]);
            }
        }
    }
}

/// `samples` distinct samples of the agent's shard (all, if it holds fewer), drawn at random: those whose
/// representations enter the gradient projection memory after `task`.
#[must_use]
pub fn representation_indices(shard: &[u32], samples: usize, seeds: &Seeds, task: TaskId, agent: AgentId) -> Vec<u32> {
    let mut rng = seeds.agent(Purpose::Representation, agent, u64::from(task.0));
    draw::choose(&mut rng, shard.to_vec(), samples)
}
