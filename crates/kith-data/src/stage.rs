//! What agents learn in each stage of a run: one task after the other, each in its own order, or all at once.

use kith_core::{AgentId, Head, Purpose, Seeds, TaskId};
use rand_chacha::ChaCha8Rng;

use crate::{BatchOrder, DataError, Pool, Scenario, TaskOrder, draw};

/// Bits of a step in the index of a stream; the stage stands above them.
const STEP_BITS: u32 = 40;

impl Scenario {
    /// The task that `agent` learns in `stage`.
    #[must_use]
    pub fn task_of(&self, agent: AgentId, stage: TaskId) -> TaskId {
        self.orders.get(agent.index()).and_then(|order| order.get(stage.index())).copied().unwrap_or(stage)
    }

    /// The agent's training samples in `stage`: indices into the training set of the task that it learns then.
    #[must_use]
    pub fn shard(&self, agent: AgentId, stage: TaskId) -> &[u32] {
        &self.tasks[self.task_of(agent, stage).index()].shards[agent.index()]
    }

    /// How many agents there are.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.tasks.first().map_or(0, |task| task.shards.len())
    }

    /// Samples of the agent that has fewest in `stage`: all take as many steps as this one can.
    #[must_use]
    pub fn smallest_shard(&self, stage: TaskId) -> usize {
        (0..self.agents()).map(|agent| self.shard(AgentId::from(agent), stage).len()).min().unwrap_or(0)
    }

    fn pool(&self) -> Pool {
        Pool::new(self.tasks.iter().map(|task| task.train.clone()).collect())
    }

    fn numbered(&self, pool: &Pool, agent: AgentId, stage: TaskId) -> Vec<u32> {
        let task = self.task_of(agent, stage);
        self.shard(agent, stage).iter().map(|&index| pool.number(task, index)).collect()
    }

    /// The minibatches of `stage`, each agent's of the task that it learns then.
    ///
    /// # Errors
    /// If a shard does not fill one batch.
    pub fn batches(&self, stage: TaskId, batch_size: usize, seeds: &Seeds) -> Result<BatchOrder, DataError> {
        if self.orders.is_empty() {
            let task = &self.tasks[stage.index()];
            return BatchOrder::new(task.train.clone(), &task.shards, batch_size, seeds, stage);
        }
        let pool = self.pool();
        let agents = (0..self.agents()).map(AgentId::from);
        let shards: Vec<Vec<u32>> = agents.map(|agent| self.numbered(&pool, agent, stage)).collect();
        BatchOrder::new(pool, &shards, batch_size, seeds, stage)
    }

    /// The minibatches of all tasks' samples together, from step `first` of the whole run on.
    ///
    /// # Errors
    /// If a shard does not fill one batch.
    pub fn joint_batches(&self, first: u64, batch_size: usize, seeds: &Seeds) -> Result<BatchOrder, DataError> {
        let pool = self.pool();
        let stages = (0..self.tasks.len()).map(TaskId::from);
        let all = |agent| stages.clone().flat_map(|stage| self.numbered(&pool, agent, stage)).collect();
        let shards: Vec<Vec<u32>> = (0..self.agents()).map(AgentId::from).map(all).collect();
        Ok(BatchOrder::new(pool, &shards, batch_size, seeds, TaskId(0))?.starting_at(first))
    }
}

/// An order of tasks for each agent, from the run's seed; none where all share one.
pub(crate) fn orders(order: TaskOrder, tasks: usize, agents: usize, seeds: &Seeds) -> Vec<Vec<TaskId>> {
    let drawn = |agent| {
        let mut tasks: Vec<TaskId> = (0..tasks).map(TaskId::from).collect();
        draw::shuffle(&mut seeds.agent(Purpose::Tasks, agent, 0), &mut tasks);
        tasks
    };
    match order {
        TaskOrder::Shared => Vec::new(),
        TaskOrder::PerAgent => (0..agents).map(AgentId::from).map(drawn).collect(),
    }
}

/// Kept samples of earlier stages: of each, equally many of the agent's own, drawn at random once; what makes room for a
/// new stage leaves by the end of that draw.
#[derive(Clone, Debug)]
pub struct Recall {
    pool: Pool,
    /// `[agent][earlier stage]`: numbers in the pool.
    held: Vec<Vec<Vec<u32>>>,
    /// The tasks of earlier stages, where their heads differ.
    heads: Option<Vec<TaskId>>,
    batch_size: usize,
    seeds: Seeds,
    stage: TaskId,
}

impl Recall {
    /// What is held during `stage` by agents that keep at most `capacity` samples each; nothing where that is nothing.
    /// With a head a task, a minibatch is of one earlier task, drawn for all agents together; with a shared head, of all.
    #[must_use]
    pub fn new(
        scenario: &Scenario,
        stage: TaskId,
        capacity: usize,
        batch_size: usize,
        head: Head,
        seeds: &Seeds,
    ) -> Option<Self> {
        let earlier = stage.index();
        if earlier == 0 || batch_size == 0 || capacity < earlier {
            return None;
        }
        let pool = scenario.pool();
        let quota = |place: usize| capacity / earlier + usize::from(place < capacity % earlier);
        let of_stage = |agent, place: usize| {
            // Drawn as of the stage itself: a later stage keeps the beginning of the same draw.
            let mut rng = seeds.agent(Purpose::Recall, agent, place as u64);
            let all = scenario.numbered(&pool, agent, TaskId::from(place));
            let mut kept = draw::choose(&mut rng, all, capacity);
            kept.truncate(quota(place));
            kept
        };
        let of_agent = |agent| (0..earlier).map(|place| of_stage(agent, place)).collect();
        let held = (0..scenario.agents()).map(AgentId::from).map(of_agent).collect();
        let heads = (head == Head::PerTask).then(|| (0..earlier).map(TaskId::from).collect());
        Some(Self { pool, held, heads, batch_size, seeds: *seeds, stage })
    }

    /// Samples that `agent` holds.
    #[must_use]
    pub fn len(&self, agent: AgentId) -> usize {
        self.held.get(agent.index()).map_or(0, |stages| stages.iter().map(Vec::len).sum())
    }

    /// Whether `agent` holds none.
    #[must_use]
    pub fn is_empty(&self, agent: AgentId) -> bool {
        self.len(agent) == 0
    }

    /// The task whose head the minibatch of `step` goes through.
    #[must_use]
    pub fn head(&self, step: u64) -> TaskId {
        match &self.heads {
            Some(heads) => heads[draw::below(&mut self.stream(None, step), heads.len())],
            None => self.stage,
        }
    }

    fn stream(&self, agent: Option<AgentId>, step: u64) -> ChaCha8Rng {
        let index = u64::from(self.stage.0) << STEP_BITS | step;
        match agent {
            Some(agent) => self.seeds.agent(Purpose::RecallBatch, agent, index),
            None => self.seeds.shared(Purpose::RecallBatch, index),
        }
    }
}

impl kith_core::Batches for Recall {
    fn samples(&self) -> &dyn kith_core::Samples {
        self.pool.samples()
    }

    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>) {
        out.clear();
        let stages = &self.held[agent.index()];
        let stages = match &self.heads {
            Some(_) => std::slice::from_ref(&stages[self.head(step).index()]),
            None => stages.as_slice(),
        };
        let held = stages.iter().map(Vec::len).sum();
        for mut place in draw::distinct(&mut self.stream(Some(agent), step), held, self.batch_size) {
            let stage = stages.iter().find(|stage| {
                let here = place < stage.len();
                place -= if here { 0 } else { stage.len() };
                here
            });
            out.extend(stage.and_then(|stage| stage.get(place)));
        }
    }
}
