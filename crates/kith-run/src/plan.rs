//! What agents do in a round, and how many rounds there are.

use kith_core::{AgentId, Round, TaskId};
use kith_graph::Graph;
use kith_method::{Agreement, ExchangeKind};
use kith_protocol::{Late, Neighbour, Peer, Plan, Stage};

use crate::Work;

/// What one agent does in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who.
    pub agent: AgentId,
    /// Whose payloads of this round it mixes, ascending.
    pub fresh: Vec<AgentId>,
    /// From whom it expects a payload of this round, ascending.
    pub opened: Vec<AgentId>,
    /// To whom, of those that only receive from it, its payload of this round went, ascending.
    pub given: Vec<AgentId>,
    /// Earlier exchanges whose flow it applies now.
    pub late: Vec<Late>,
}

/// What all agents do in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundPlan {
    /// The round.
    pub round: Round,
    /// Where it stands in the run.
    pub stage: Stage,
    /// One row an agent that takes part, ascending.
    pub rows: Vec<Row>,
    /// Agents that come back before this round, each with the agent whose row it takes over.
    pub joins: Vec<(AgentId, AgentId)>,
}

impl RoundPlan {
    /// Agents that take part, ascending.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentId> {
        self.rows.iter().map(|row| row.agent).collect()
    }
}

/// The rounds of a run: as many as its least agent needs.
#[must_use]
pub fn plan(work: &Work<'_>) -> Plan {
    let train = &work.train;
    let train_rounds = (0..work.scenario.tasks.len()).map(|task| {
        let smallest = work.scenario.smallest_shard(TaskId::from(task));
        let per_epoch = (smallest / train.batch_size.max(1)).max(1) as u64;
        match (train.rounds_per_task, train.epochs_per_task) {
            (Some(rounds), _) => rounds,
            (None, epochs) => (epochs.unwrap_or(1) * per_epoch).div_ceil(train.local_steps.max(1)),
        }
    });
    let exchanges = work.parts.exchange.kind != ExchangeKind::None;
    let memory = work.parts.memory.as_ref();
    Plan {
        train_rounds: train_rounds.collect(),
        legs: work.parts.legs(),
        consensus_rounds: if exchanges { work.parts.consensus_rounds() } else { 0 },
        shared_memory: memory.is_some_and(|memory| memory.agreement == Agreement::Leader),
    }
}

/// Both kinds of neighbours of an agent, ascending, and which way payloads go.
#[must_use]
pub fn neighbours(graph: &Graph, agent: AgentId) -> Vec<Neighbour> {
    let (to, from) = (graph.neighbours_out(agent), graph.neighbours_in(agent));
    let mut all: Vec<AgentId> = to.iter().chain(from).copied().collect();
    all.sort_unstable();
    all.dedup();
    let way = |id: &AgentId| match (to.contains(id), from.contains(id)) {
        (true, true) => Peer::Mutual,
        (true, false) => Peer::Sink,
        _ => Peer::Source,
    };
    all.iter().map(|id| Neighbour { id: *id, way: way(id) }).collect()
}
