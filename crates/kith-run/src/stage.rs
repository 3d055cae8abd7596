//! What a task's stage is made of: its minibatches, kept samples, weights to begin with, who meets whom.

use kith_core::{AgentId, Batches, Purpose, TaskId};
use kith_data::{BatchOrder, Recall};
use kith_engine::{Engine, initialise};
use kith_method::{Curriculum, Replay};

use crate::{RoundPlan, Run, RunError, Work};

impl<E: Engine> Run<'_, E> {
    /// Fresh weights, where every task has a learner of its own. Behind the end of the last task.
    pub(crate) fn restart(&mut self, task: TaskId) {
        if self.work.parts.continual.curriculum == Curriculum::Separate && task.index() > 0 {
            let work = &self.work;
            self.cohort.restart(|agent, row| initial_row(work, agent, task, row));
        }
    }

    /// The minibatches of a task's stage, and the steps of an epoch of it.
    pub(crate) fn order(&self, task: TaskId) -> Result<(BatchOrder, u64), RunError> {
        let Work { scenario, train, parts, seeds, .. } = &self.work;
        let mut batches = match parts.continual.curriculum {
            Curriculum::Sequence | Curriculum::Separate => scenario.batches(task, train.batch_size, seeds)?,
            Curriculum::Joint => {
                let before: u64 = self.plan.train_rounds[..task.index()].iter().sum();
                scenario.joint_batches(before * train.local_steps, train.batch_size, seeds)?
            }
        };
        batches.prepare_for(0..1);
        let per_epoch = (scenario.smallest_shard(task) / train.batch_size.max(1)).max(1) as u64;
        Ok((batches, per_epoch))
    }

    /// What agents have kept of the tasks before `task`.
    pub(crate) fn recall(&self, task: TaskId) -> Option<Recall> {
        let Work { scenario, train, parts, seeds, network, .. } = &self.work;
        let replay = parts.continual.replay.as_ref()?;
        let batch_size = replay.batch_size.unwrap_or(train.batch_size);
        Recall::new(scenario, task, replay.capacity(scenario.inputs), batch_size, network.head, seeds)
    }

    /// Whether `agent` does anything in this round.
    pub(crate) fn takes_part(&self, round: &RoundPlan, agent: AgentId) -> bool {
        let meetings = self.work.meetings.as_ref();
        meetings.is_none_or(|meetings| meetings.at(self.plan.ordinal(round.round)).is_present(agent))
    }

    /// Agents of a round that do something in it, ascending.
    pub(crate) fn present(&self, round: &RoundPlan) -> Vec<AgentId> {
        let mut agents = round.agents();
        agents.retain(|agent| self.takes_part(round, *agent));
        agents
    }

    /// Takes the task under way into what agents hold against forgetting it, once, when its last training round is over: before
    /// consensus rounds, which may mix that too.
    pub(crate) fn consolidate(&mut self, agents: &[AgentId]) {
        let Some(batches) = self.batches.as_mut().filter(|_| self.consolidated < self.task) else { return };
        self.consolidated = self.task;
        batches.prepare_for(0..1);
        let size = self.work.train.batch_size;
        self.cohort.consolidate(agents, 0..self.steps_per_epoch, &*batches as &dyn Batches, size);
    }

    /// Bytes that these agents together keep after `task` against forgetting it.
    pub(crate) fn memory_bytes(&self, agents: &[AgentId], task: TaskId) -> u64 {
        let recall = self.recall(TaskId(task.0 + 1));
        let samples = |agent| recall.as_ref().map_or(0, |recall| recall.len(agent) as u64);
        let whole = match self.work.parts.continual.curriculum {
            Curriculum::Separate => 4 * (self.cohort.row_len() * task.index()) as u64,
            Curriculum::Sequence | Curriculum::Joint => 0,
        };
        let sample = Replay::sample_bytes(self.work.scenario.inputs);
        agents.iter().map(|&agent| self.cohort.memory_bytes(agent) + samples(agent) * sample + whole).sum()
    }
}

/// The weights with which `agent` begins: the run, or, where each task has a learner of its own, `task`.
pub(crate) fn initial_row(work: &Work<'_>, agent: AgentId, task: TaskId, row: &mut [f32]) {
    if let Some(start) = work.start {
        row.copy_from_slice(start);
        return;
    }
    let index = u64::from(task.0);
    let mut stream = if work.train.same_start {
        work.seeds.shared(Purpose::Initialise, index)
    } else {
        work.seeds.agent(Purpose::Initialise, agent, index)
    };
    initialise(work.network, &mut stream, row);
}
