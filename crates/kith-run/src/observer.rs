//! What a run reports while it goes.

use kith_core::{AgentId, Digest, Event, Round, TaskId};
use serde::{Deserialize, Serialize};

use crate::Moment;

/// What a run is doing: so that whoever holds a clock can time it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Local steps and exchange.
    Train,
    /// Exchange without training.
    Consensus,
    /// Testing.
    Evaluate,
    /// Updating and agreeing on the memory.
    Memory,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Task under way, from 0.
    pub task: usize,
    /// Tasks in all.
    pub tasks: usize,
    /// Epoch under way within the task, from 0.
    pub epoch: u64,
    /// Epochs in the task.
    pub epochs: u64,
    /// Rounds done in the whole run, consensus rounds included.
    pub rounds_done: u64,
    /// Rounds of the whole run.
    pub rounds: u64,
    /// Minibatch updates done by all agents together.
    pub agent_steps: u64,
    /// Mean accuracy over agents and the tasks seen, when last tested.
    pub accuracy: Option<f64>,
}

/// Who watches a run. A run makes no sound of its own.
pub trait Observer {
    /// A value was measured.
    fn event(&mut self, _event: &Event) {}
    /// A phase begins.
    fn phase(&mut self, _phase: Phase) {}
    /// Some rounds are done; called at least every few rounds, so it must be cheap.
    fn progress(&mut self, _progress: &Progress) {}
    /// Whether rows are digested after every round, for [`Observer::digest`]: slower.
    fn wants_digests(&self) -> bool {
        false
    }
    /// The digest of an agent's trained row after a round.
    fn digest(&mut self, _round: Round, _agent: AgentId, _digest: Digest) {}
    /// Whether agents' rows are shown after every task, for [`Observer::row`].
    fn wants_rows(&self) -> bool {
        false
    }
    /// The whole row of an agent after a task, before its memory update: what tests of the task are taken of.
    fn row(&mut self, _task: TaskId, _agent: AgentId, _row: &[f32]) {}
    /// A round comes next: what is kept now, a run can go on from. Called before every round, so it must be cheap where
    /// nothing is kept.
    fn before_round(&mut self, _moment: &mut Moment<'_>) {}
    /// The run came to its end: on tape are the mean of the living agents' weights, then the weights of each agent.
    fn ended(&mut self, _moment: &mut Moment<'_>) {}
    /// Whether to stop before the next round.
    fn stop(&mut self) -> bool {
        false
    }
}

/// An observer that looks away.
impl Observer for () {}
