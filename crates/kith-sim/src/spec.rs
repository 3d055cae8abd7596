//! Links and faults as a file says them.

use kith_core::Key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[links]` table: what lies between agents, and when a round stops waiting.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSpec {
    /// One-way delay, milliseconds.
    #[schemars(example = 20.0)]
    pub latency_ms: f64,
    /// Megabits a second, each direction; unlimited where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 100.0)]
    pub bandwidth_mbps: Option<f64>,
    /// Share of frames that are lost, in \[0, 1).
    #[schemars(example = 0.05)]
    pub loss: f64,
    /// Simulated milliseconds that one minibatch update takes.
    pub compute_ms_per_step: f64,
    /// A round waits this long for neighbours after its own frames are sent.
    pub deadline_ms: f64,
    /// A frame without an answer is sent again after this long.
    pub retransmit_ms: f64,
    /// Exceptions for some links; the first that fits is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<LinkRule>,
}

impl Default for LinkSpec {
    fn default() -> Self {
        Self {
            latency_ms: 0.0,
            bandwidth_mbps: None,
            loss: 0.0,
            compute_ms_per_step: 1.0,
            deadline_ms: 30_000.0,
            retransmit_ms: 200.0,
            rules: Vec::new(),
        }
    }
}

/// An exception for some links. Absent conditions fit everything; absent values are those of `[links]`.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkRule {
    /// Frames that this agent sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0)]
    pub from: Option<u32>,
    /// Frames that this agent gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1)]
    pub to: Option<u32>,
    /// From this round on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 100)]
    pub first_round: Option<u64>,
    /// Up to this round.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 200)]
    pub last_round: Option<u64>,
    /// One-way delay, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 50.0)]
    pub latency_ms: Option<f64>,
    /// Megabits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 10.0)]
    pub bandwidth_mbps: Option<f64>,
    /// Share of frames that are lost, in \[0, 1\].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.1)]
    pub loss: Option<f64>,
}

/// One entry of `[[faults]]`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// When the agent (for a link: its lower end) begins this round.
    #[schemars(example = 100)]
    pub round: u64,
    /// Whom it happens to; for a link, one of its ends.
    #[schemars(example = 3)]
    pub agent: u32,
    /// For a link: the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 4)]
    pub peer: Option<u32>,
    /// For a straggler: how many times slower it computes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 4.0)]
    pub factor: Option<f64>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The agent stops; its neighbours put its weight on themselves.
    Crash,
    /// The agent comes back with a neighbour's model.
    Restart,
    /// Nothing passes between two agents.
    LinkDown,
    /// It does again.
    LinkUp,
    /// The agent computes slower from now on.
    Straggler,
}

impl FaultKind {
    /// What its event is called.
    #[must_use]
    pub const fn key(self) -> Key {
        match self {
            Self::Crash => Key::Crash,
            Self::Restart => Key::Restart,
            Self::LinkDown => Key::LinkDown,
            Self::LinkUp => Key::LinkUp,
            Self::Straggler => Key::Straggler,
        }
    }
}
