//! Metric events: what a run measures, one value at a time.

use serde::{Deserialize, Serialize};

use crate::{AgentId, Round, TaskId};

/// What an event's value is. Defined in `docs/metrics.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Share of test samples of task `of` that the agent classifies correctly, in \[0, 1\].
    Accuracy,
    /// Mean training loss since the last event of this key.
    TrainLoss,
    /// Bytes that an agent has sent since the start of the run, all kinds, mean over agents.
    BytesSent,
    /// Bytes that full exchange would have sent in the task.
    BytesSentFull,
    /// Bytes that the agent sent to spread bases in the task.
    BytesBasis,
    /// Root mean square distance of agents' parameters from their mean.
    ConsensusDistance,
    /// Rank of a layer's gradient projection memory after the task; `of` is the layer.
    BasisRank,
    /// Simulated seconds since the start of the run.
    SimulatedSeconds,
    /// Rounds of a link that ended at the deadline without the neighbour's frame.
    MissedExchanges,
    /// Learning rate of the round's first step; written when it changed.
    LearningRate,
    /// Averaging rate γ of the round; written when it changed.
    AveragingRate,
    /// Radius ρ of a sharpness-aware gradient; written when it changed.
    PerturbationRadius,
    /// Simulated seconds that an agent computed since the start of the run, mean over agents.
    ComputeSeconds,
    /// Simulated seconds that an agent waited for its neighbours since the start of the run, mean over agents.
    WaitingSeconds,
    /// The agent stopped. The value of this key and those below is when, in simulated seconds.
    Crash,
    /// The agent came back.
    Restart,
    /// Nothing passes between `agent` and `of` any more.
    LinkDown,
    /// It does again.
    LinkUp,
    /// The agent computes slower from now on.
    Straggler,
}

impl Key {
    /// Whether an event of this key says that something went wrong, or right again: its value is when.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::Crash | Self::Restart | Self::LinkDown | Self::LinkUp | Self::Straggler)
    }
}

/// One measured value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Whose value it is; none for a value of the whole group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The task that was being learned.
    pub task: TaskId,
    /// The round after which the value was taken.
    pub round: Round,
    /// What was measured.
    pub key: Key,
    /// Which of several (task tested, layer), where the key needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// The value, in the key's unit.
    pub value: f64,
}
