//! Training as a file says it.

use kith_core::Schedule;
use serde::{Deserialize, Serialize};

/// The `[train]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// Passes over the agent's data in each task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs_per_task: Option<u64>,
    /// Exchanges in each task, in place of epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds_per_task: Option<u64>,
    /// Samples in a minibatch.
    pub batch_size: usize,
    /// Minibatch updates between exchanges.
    pub local_steps: u64,
    /// Learning rate η.
    pub learning_rate: Schedule,
    /// Evaluate after every so many epochs, for the curves; tasks' ends are always evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<u64>,
    /// Whether every agent starts with the same weights.
    pub same_start: bool,
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            epochs_per_task: None,
            rounds_per_task: None,
            batch_size: 10,
            local_steps: 1,
            learning_rate: Schedule::Constant(0.01),
            evaluate_every: None,
            same_start: true,
        }
    }
}
