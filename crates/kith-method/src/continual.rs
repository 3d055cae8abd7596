//! What a method does against forgetting beside gradient projection memory: as a file says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[continual]` table.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Continual {
    /// Which tasks' data and weights an agent has.
    pub curriculum: Curriculum,
    /// A pull back to what earlier tasks left, number by number; used by the link `consolidate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consolidation: Option<Consolidation>,
    /// Samples of earlier tasks, kept; used by the links `replay` and `a-gem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

impl Continual {
    /// Whether nothing is done.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which tasks' data and weights an agent has while it learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curriculum {
    /// One task after the other, with the weights that the last one left.
    #[default]
    Sequence,
    /// All tasks' data from the start: an upper bound. A task's stage is a share of the training, as long as the task alone.
    Joint,
    /// One task after the other, each from fresh weights, which are kept: a learner for each task.
    Separate,
}

/// A quadratic pull to the weights that the last task left, stronger where a weight mattered.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consolidation {
    /// How weights are told to matter.
    pub importance: Importance,
    /// λ of `fisher` (loss `λ/2 Σ F (x − x*)²`), c of `path` (loss `c Σ Ω (x − x*)²`); at least 0.
    #[schemars(example = 100.0)]
    pub strength: f64,
    /// Whose importances an agent uses.
    pub agreement: Sharing,
    /// Rounds of exchange without training at a task's end, in which models and importances are mixed.
    #[schemars(example = 30)]
    pub consensus_rounds: u64,
}

/// How weights are told to matter.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Importance {
    /// Squared minibatch gradients over one epoch at the task's end, mean over tasks (Kirkpatrick et al. 2017).
    Fisher,
    /// How much of the loss's fall each weight's way accounts for, summed over tasks (Zenke et al. 2017).
    Path {
        /// ξ, above 0.
        #[schemars(example = 0.1)]
        damping: f64,
    },
}

/// Whose importances an agent uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Its own: nothing more is sent.
    Own,
    /// The mean of all agents', as far as consensus rounds bring it: each of their payloads holds both rows.
    Gossip,
}

/// Samples of earlier tasks, an equal number of each, drawn at random from the agent's own data.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Most bytes of an agent's samples: each takes four an input, and eight for its class and task.
    #[schemars(example = 100_000)]
    pub budget_bytes: u64,
    /// Samples of earlier tasks in a step; as many as of the present one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 10)]
    pub batch_size: Option<usize>,
}

impl Replay {
    /// Bytes of one sample.
    #[must_use]
    pub const fn sample_bytes(inputs: usize) -> u64 {
        4 * inputs as u64 + 8
    }

    /// Samples that the budget holds.
    #[must_use]
    pub fn capacity(&self, inputs: usize) -> usize {
        usize::try_from(self.budget_bytes / Self::sample_bytes(inputs)).unwrap_or(usize::MAX)
    }
}
