//! A built graph.

use std::collections::VecDeque;

use kith_core::AgentId;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};

use crate::GraphError;

/// Whether an edge carries both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Undirected,
    Directed,
}

/// How a drawing places the vertices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    /// Agent 0 in the centre, the others around it.
    Star,
    /// Row-major.
    Grid {
        rows: usize,
        columns: usize,
    },
}

/// A connected simple graph of agents.
///
/// An edge `(i, j)` of a directed graph carries what `i` sends to `j`.
#[derive(Clone, Debug)]
pub struct Graph {
    label: String,
    direction: Direction,
    shape: Shape,
    edges: Vec<(AgentId, AgentId)>,
    outgoing: Vec<Vec<AgentId>>,
    incoming: Vec<Vec<AgentId>>,
}

impl Graph {
    /// A graph over edges that are simple and in range; checks that it is connected.
    pub(crate) fn new(
        label: String,
        agents: usize,
        direction: Direction,
        shape: Shape,
        edges: Vec<(u32, u32)>,
    ) -> Result<Self, GraphError> {
        let mut edges: Vec<_> = edges
            .into_iter()
            .map(|(from, to)| if direction == Direction::Undirected && from > to { (to, from) } else { (from, to) })
            .map(|(from, to)| (AgentId(from), AgentId(to)))
            .collect();
        edges.sort_unstable();
        check_connected(agents, direction, &edges)?;

        let mut outgoing = vec![Vec::new(); agents];
        let mut incoming = vec![Vec::new(); agents];
        for &(from, to) in &edges {
            outgoing[from.index()].push(to);
            incoming[to.index()].push(from);
            if direction == Direction::Undirected {
                outgoing[to.index()].push(from);
                incoming[from.index()].push(to);
            }
        }
        for neighbours in outgoing.iter_mut().chain(&mut incoming) {
            neighbours.sort_unstable();
        }
        Ok(Self { label, direction, shape, edges, outgoing, incoming })
    }

    /// What the graph is, in words: `ring of 16`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Number of agents.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.outgoing.len()
    }

    /// Every agent, ascending.
    pub fn agent_ids(&self) -> impl ExactSizeIterator<Item = AgentId> + use<> {
        (0..self.agents()).map(AgentId::from)
    }

    /// The agents that `agent` sends to, ascending.
    ///
    /// # Panics
    /// If the graph has no such agent.
    #[must_use]
    pub fn neighbours_out(&self, agent: AgentId) -> &[AgentId] {
        &self.outgoing[agent.index()]
    }

    /// The agents that `agent` hears from, ascending.
    ///
    /// # Panics
    /// If the graph has no such agent.
    #[must_use]
    pub fn neighbours_in(&self, agent: AgentId) -> &[AgentId] {
        &self.incoming[agent.index()]
    }

    /// Number of agents that `agent` sends to.
    ///
    /// # Panics
    /// If the graph has no such agent.
    #[must_use]
    pub fn degree(&self, agent: AgentId) -> usize {
        self.outgoing[agent.index()].len()
    }

    /// Whether every agent sends to as many as it hears from, and all to equally many.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        let degree = self.outgoing.first().map_or(0, Vec::len);
        self.outgoing.iter().chain(&self.incoming).all(|neighbours| neighbours.len() == degree)
    }

    /// Whether edges go one way.
    #[must_use]
    pub fn is_directed(&self) -> bool {
        self.direction == Direction::Directed
    }

    /// The edges, ascending: sender and receiver where directed, otherwise each pair once with the smaller id first.
    #[must_use]
    pub fn edges(&self) -> &[(AgentId, AgentId)] {
        &self.edges
    }

    /// The longest of the shortest paths, in hops.
    #[must_use]
    pub fn diameter(&self) -> usize {
        self.agent_ids().map(|agent| self.eccentricity(agent)).max().unwrap_or(0)
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Hops from `start` to the agent farthest from it.
    fn eccentricity(&self, start: AgentId) -> usize {
        let mut hops = vec![usize::MAX; self.agents()];
        hops[start.index()] = 0;
        let (mut seen, mut farthest) = (1, 0);
        let mut queue = VecDeque::from([start]);
        while let Some(agent) = queue.pop_front() {
            // Once every agent is seen, the rest of a dense graph need not be walked.
            if seen == self.agents() {
                break;
            }
            for &next in self.neighbours_out(agent) {
                if hops[next.index()] == usize::MAX {
                    hops[next.index()] = hops[agent.index()] + 1;
                    farthest = hops[next.index()];
                    seen += 1;
                    queue.push_back(next);
                }
            }
        }
        farthest
    }
}

fn check_connected(agents: usize, direction: Direction, edges: &[(AgentId, AgentId)]) -> Result<(), GraphError> {
    let mut arcs = DiGraph::<(), ()>::with_capacity(agents, edges.len());
    for _ in 0..agents {
        arcs.add_node(());
    }
    for &(from, to) in edges {
        arcs.add_edge(NodeIndex::from(from.0), NodeIndex::from(to.0), ());
        if direction == Direction::Undirected {
            arcs.add_edge(NodeIndex::from(to.0), NodeIndex::from(from.0), ());
        }
    }
    let mut reached = vec![false; agents];
    let mut walk = Dfs::new(&arcs, NodeIndex::from(0));
    while let Some(vertex) = walk.next(&arcs) {
        reached[vertex.index()] = true;
    }
    let unreachable = missing(&reached);
    if !unreachable.is_empty() {
        return Err(GraphError::Unreachable { unreachable });
    }
    if direction == Direction::Undirected {
        return Ok(());
    }
    let backwards = Reversed(&arcs);
    let mut reaching = vec![false; agents];
    let mut walk = Dfs::new(backwards, NodeIndex::from(0));
    while let Some(vertex) = walk.next(backwards) {
        reaching[vertex.index()] = true;
    }
    let silent = missing(&reaching);
    if silent.is_empty() { Ok(()) } else { Err(GraphError::Silent { silent }) }
}

fn missing(present: &[bool]) -> Vec<AgentId> {
    present.iter().enumerate().filter(|(_, present)| !**present).map(|(agent, _)| AgentId::from(agent)).collect()
}
