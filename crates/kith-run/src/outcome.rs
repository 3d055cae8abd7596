//! What a run leaves.

use kith_core::{AgentId, Digest, TaskId};
use serde::{Deserialize, Serialize};

use crate::{Sent, Traffic};

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

impl Outcome {
    /// Takes over what was sent, mean over agents and task by task.
    pub fn count(&mut self, traffic: &Traffic, tasks: usize) {
        let agents = self.agents;
        let mean = |task: usize, pick: fn(&Sent) -> u64| {
            let sum: u64 = (0..agents).map(|agent| pick(&traffic.of(AgentId::from(agent), TaskId::from(task)))).sum();
            sum as f64 / agents as f64
        };
        for task in 0..tasks {
            self.bytes_training.push(mean(task, |sent| sent.training));
            self.bytes_training_full.push(mean(task, |sent| sent.training_full));
            self.bytes_consensus.push(mean(task, |sent| sent.consensus));
            self.bytes_basis.push(mean(task, |sent| sent.basis));
            self.bytes_control.push(mean(task, |sent| sent.control));
        }
        self.bytes_sent_per_agent = (0..agents).map(|agent| traffic.total(AgentId::from(agent))).collect();
    }
}
