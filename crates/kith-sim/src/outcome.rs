//! What a run reports while it goes, and what it leaves.

use kith_core::{Digest, Event};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// Whether to stop after this round.
    fn stop(&mut self) -> bool {
        false
    }
}

/// An observer that looks away.
impl Observer for () {}

/// What a run leaves: everything in a summary that needs no clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Agents.
    pub agents: usize,
    /// Tasks learned to the end.
    pub tasks: usize,
    /// Rounds, consensus rounds included.
    pub rounds: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// `[agent][t][j]`: accuracy on task j after task t, `j <= t`.
    pub accuracy_per_agent: Vec<Vec<Vec<f64>>>,
    /// `[t]`: root mean square distance of agents from their mean after task t, before its memory update.
    pub consensus_distance: Vec<f64>,
    /// `[t][layer]`: rank of the memory after task t; empty without memory.
    pub basis_ranks: Vec<Vec<usize>>,
    /// `[t]`: bytes that one agent sent in training rounds, mean over agents: payload bodies and headers.
    pub bytes_training: Vec<f64>,
    /// `[t]`: the same, had every payload been full.
    pub bytes_training_full: Vec<f64>,
    /// `[t]`: bytes of consensus rounds, mean over agents.
    pub bytes_consensus: Vec<f64>,
    /// `[t]`: bytes spent to agree on the memory, mean over agents.
    pub bytes_basis: Vec<f64>,
    /// `[t]`: bytes of everything else (acknowledgements, retransmissions, resynchronisation), mean over agents.
    pub bytes_control: Vec<f64>,
    /// `[agent]`: bytes sent in the whole run, of every kind.
    pub bytes_sent_per_agent: Vec<u64>,
    /// Minibatch updates done by all agents together.
    pub agent_steps: u64,
    /// Simulated seconds of the whole run.
    pub simulated_seconds: f64,
    /// Share of the simulated time in which an agent waited for its neighbours, mean over agents.
    pub communication_share: f64,
    /// Exchanges that ended at the deadline without the neighbour's frame.
    pub missed_exchanges: u64,
    /// The mean of the living agents' parameters at the end.
    #[serde(skip)]
    pub mean_parameters: Vec<f32>,
    /// Digest of all agents' parameters at the end, in agent order.
    pub parameter_digest: Digest,
    /// Digest of every decision of every round: who mixed whose payload when, not the numbers.
    pub trace_digest: Digest,
}
