//! Graphs that change from round to round, and rounds in which only some agents take part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kith_core::{AgentId, Calendar, Purpose, Seeds};
use rand::seq::SliceRandom;

use crate::{Graph, GraphError, Mixing, Sequence, Spec};

/// Rounds that are kept: agents are at most one round apart, and a round is asked for once an agent.
const KEPT: usize = 4;

/// Who meets whom in every round of a run, with mixing weights: on some of a graph's edges, among some of its agents.
///
/// Every round's W is doubly stochastic: of a whole graph that of the graph, of a part the Metropolis weights of the part,
/// of a round with one neighbour each one half.
#[derive(Debug)]
pub struct Meetings {
    kind: Kind,
    agents: usize,
    /// Agents that take part in a round.
    present: usize,
    seeds: Seeds,
    rounds: Mutex<BTreeMap<u64, Arc<Meeting>>>,
}

#[derive(Debug)]
enum Kind {
    /// The same edges and weights in every round.
    Static(Mixing),
    /// In round k everyone sends to the agent `2^(k mod log₂ N)` further on.
    OnePeer,
    /// A random maximal matching of these edges.
    Matching(Vec<(u32, u32)>),
    /// These lists, over and over.
    Listed(Vec<Vec<(u32, u32)>>),
}

/// One round.
#[derive(Clone, Debug, PartialEq)]
pub struct Meeting {
    present: Vec<bool>,
    /// Row i: from whom agent i takes how much, ascending, itself left out.
    rows: Vec<Vec<(AgentId, f64)>>,
}

impl Meeting {
    /// Whether `agent` takes part.
    #[must_use]
    pub fn is_present(&self, agent: AgentId) -> bool {
        self.present.get(agent.index()).copied().unwrap_or(false)
    }

    /// Row i: from whom agent i takes how much, ascending, itself left out.
    #[must_use]
    pub fn rows(&self) -> &[Vec<(AgentId, f64)>] {
        &self.rows
    }

    fn takes(&self, to: AgentId, from: AgentId) -> bool {
        let row = self.rows.get(to.index());
        row.is_some_and(|row| row.binary_search_by_key(&from, |(peer, _)| *peer).is_ok())
    }
}

impl Meetings {
    /// The rounds of `graph` (as `spec` built it) with its mixing matrix, of which a `participation` in (0, 1] of the agents
    /// takes part, at least one; none where every round is the whole graph with everyone.
    ///
    /// # Errors
    /// A sequence that the graph does not have, or a share of agents on one-way edges, where no W is doubly stochastic.
    pub fn new(
        spec: &Spec,
        graph: &Graph,
        mixing: &Mixing,
        participation: f64,
        seeds: &Seeds,
    ) -> Result<Option<Self>, GraphError> {
        let agents = graph.agents();
        let sequence = spec.sequence.unwrap_or_default();
        let partial = participation < 1.0;
        if partial && graph.is_directed() {
            return Err(GraphError::PartialDirected { participation });
        }
        let kind = match (sequence, &spec.rounds) {
            (Sequence::Static, Some(rounds)) => Kind::Listed(rounds.clone()),
            (Sequence::Static, None) if !partial => return Ok(None),
            (Sequence::Static, None) => Kind::Static(mixing.clone()),
            (Sequence::OnePeer, _) => Kind::OnePeer,
            (Sequence::RandomMatching, _) => {
                let of = |from: AgentId| graph.neighbours_out(from).iter().map(move |to| (from.0, to.0));
                Kind::Matching(graph.agent_ids().flat_map(of).filter(|(from, to)| from < to).collect())
            }
        };
        let present = ((participation * agents as f64).ceil() as usize).clamp(1, agents);
        Ok(Some(Self { kind, agents, present, seeds: *seeds, rounds: Mutex::new(BTreeMap::new()) }))
    }

    /// One round, counted through the whole run.
    #[must_use]
    pub fn at(&self, round: u64) -> Arc<Meeting> {
        // What a panicking thread left is a whole number of rounds.
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meeting) = rounds.get(&round) {
            return Arc::clone(meeting);
        }
        let meeting = Arc::new(self.draw(round));
        rounds.insert(round, Arc::clone(&meeting));
        if rounds.len() > KEPT {
            rounds.pop_first();
        }
        meeting
    }

    fn draw(&self, round: u64) -> Meeting {
        let mut order: Vec<usize> = (0..self.agents).collect();
        let mut present = vec![self.present == self.agents; self.agents];
        if self.present < self.agents {
            order.shuffle(&mut self.seeds.shared(Purpose::Participation, round));
            order[..self.present].iter().for_each(|&agent| present[agent] = true);
        }
        let both = |one: u32, other: u32| present[one as usize] && present[other as usize];
        let rows = match &self.kind {
            Kind::Static(mixing) => (0..self.agents)
                .map(|agent| {
                    let row = mixing.row(AgentId::from(agent)).iter().copied();
                    row.filter(|(peer, _)| peer.index() != agent && both(agent as u32, peer.0)).collect()
                })
                .collect(),
            Kind::OnePeer => {
                let hops = (self.agents as u64).trailing_zeros().max(1);
                let hop = 1_usize << (round % u64::from(hops));
                let from = |agent: usize| AgentId::from((agent + self.agents - hop) % self.agents);
                (0..self.agents).map(|agent| vec![(from(agent), 0.5)]).collect()
            }
            Kind::Matching(edges) => {
                let mut edges: Vec<_> = edges.iter().copied().filter(|(from, to)| both(*from, *to)).collect();
                edges.shuffle(&mut self.seeds.shared(Purpose::Meetings, round));
                let mut free = vec![true; self.agents];
                edges.retain(|(from, to)| {
                    let meet = free[*from as usize] && free[*to as usize];
                    free[*from as usize] &= !meet;
                    free[*to as usize] &= !meet;
                    meet
                });
                metropolis(self.agents, &edges)
            }
            Kind::Listed(rounds) => {
                let edges = rounds.get((round % rounds.len().max(1) as u64) as usize);
                let here = edges.into_iter().flatten().copied().filter(|(from, to)| both(*from, *to));
                metropolis(self.agents, &here.collect::<Vec<_>>())
            }
        };
        Meeting { present, rows }
    }
}

/// `1 / (1 + max(deg i, deg j))` on undirected edges, however many parts they fall into.
fn metropolis(agents: usize, edges: &[(u32, u32)]) -> Vec<Vec<(AgentId, f64)>> {
    let mut neighbours = vec![Vec::new(); agents];
    for &(from, to) in edges {
        neighbours[from as usize].push(to as usize);
        neighbours[to as usize].push(from as usize);
    }
    let degrees: Vec<usize> = neighbours.iter().map(Vec::len).collect();
    let row = |(agent, peers): (usize, &mut Vec<usize>)| {
        peers.sort_unstable();
        let weight = |peer: &usize| 1.0 / (1 + degrees[agent].max(degrees[*peer])) as f64;
        peers.iter().map(|peer| (AgentId::from(*peer), weight(peer))).collect()
    };
    neighbours.iter_mut().enumerate().map(row).collect()
}

impl Calendar for Meetings {
    fn takes_part(&self, round: u64, agent: AgentId) -> bool {
        self.at(round).is_present(agent)
    }

    fn meets(&self, round: u64, one: AgentId, other: AgentId) -> bool {
        let meeting = self.at(round);
        meeting.takes(one, other) || meeting.takes(other, one)
    }
}
