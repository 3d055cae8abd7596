//! What can be wrong with a graph.

use std::path::PathBuf;

use kith_core::AgentId;

use crate::Family;

/// Why a graph or its mixing matrix could not be made: what was given and what would be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A ring of two agents, or of none.
    #[error(
        "a ring has at least 3 agents, {given} given; two agents are a chain (family = \"chain\"), one agent alone is agents = 1"
    )]
    RingTooSmall {
        /// Agents asked for.
        given: usize,
    },
    /// Fewer agents than the family can have.
    #[error("family \"{family}\" has at least {least} agents, {given} given")]
    TooFewAgents {
        /// The family.
        family: Family,
        /// Agents asked for.
        given: usize,
        /// The least that is accepted.
        least: usize,
    },
    /// More agents than is supported.
    #[error("{given} agents given, at most {limit} are supported")]
    TooManyAgents {
        /// Agents asked for.
        given: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// More connections than is supported.
    #[error("family \"{family}\" with {agents} agents may have {given} connections, at most {limit} are supported")]
    TooManyConnections {
        /// The family.
        family: Family,
        /// Agents asked for.
        agents: usize,
        /// Directed connections that would have to be held or drawn.
        given: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// A torus whose wrapped edges would fall together.
    #[error("a torus is at least 3 x 3, {rows} x {columns} given")]
    TorusTooSmall {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
    },
    /// `agents` beside `rows` and `columns` that say otherwise.
    #[error("a torus of {rows} x {columns} has {rows} times {columns} agents, but agents = {agents} is given")]
    TorusAgents {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Agents asked for.
        agents: usize,
    },
    /// Agents that do not fill a torus.
    #[error("{agents} agents do not fill a torus: give rows and columns, or a square number such as 9, 16 or 25")]
    TorusShape {
        /// Agents asked for.
        agents: usize,
    },
    /// A hypercube needs a power of two.
    #[error("a hypercube has a power of two of agents (2, 4, 8, 16, ...), {given} given")]
    NotPowerOfTwo {
        /// Agents asked for.
        given: usize,
    },
    /// A family of one size, asked for in another.
    #[error("family \"{family}\" has exactly {needed} agents, {given} given; leave agents out")]
    WrongAgents {
        /// The family.
        family: Family,
        /// Agents asked for.
        given: usize,
        /// The size of the family.
        needed: usize,
    },
    /// A degree that no simple connected graph of this size has.
    #[error(
        "{agents} agents cannot have degree {degree} each: the degree lies in {least}..={most} and agents times degree is even"
    )]
    Degree {
        /// Agents asked for.
        agents: usize,
        /// Degree asked for.
        degree: usize,
        /// Least degree of a connected graph of this size.
        least: usize,
        /// Largest degree of a simple graph of this size.
        most: usize,
    },
    /// A probability that is none, or that connects nothing.
    #[error("probability lies in (0, 1], {given} given")]
    Probability {
        /// Probability asked for.
        given: f64,
    },
    /// No draw gave a connected graph.
    #[error(
        "no connected graph of {agents} agents in {tries} draws of family \"{family}\"; a larger probability or degree connects more often"
    )]
    NoDraw {
        /// The family.
        family: Family,
        /// Agents asked for.
        agents: usize,
        /// Draws made.
        tries: usize,
    },
    /// An empty edge list without a number of agents.
    #[error("edges is empty: give at least one pair of agents, such as edges = [[0, 1]]")]
    NoEdges,
    /// An edge from an agent to itself.
    #[error("edge {index} joins agent {agent} to itself; the own weight follows from the weights rule")]
    SelfLoop {
        /// The agent.
        agent: AgentId,
        /// Position in the list, from 0.
        index: usize,
    },
    /// An edge given twice.
    #[error("edge {second} ({from}, {to}) is edge {first} again; give every edge once{}", both_ways(*.directed))]
    DuplicateEdge {
        /// Start of the edge.
        from: AgentId,
        /// End of the edge.
        to: AgentId,
        /// Position of the first, from 0.
        first: usize,
        /// Position of the second, from 0.
        second: usize,
        /// Whether the graph is directed.
        directed: bool,
    },
    /// An edge to an agent that is not there.
    #[error("edge {index} names agent {agent}, but with agents = {agents} they run from 0 to {}", .agents.saturating_sub(1))]
    VertexOutOfRange {
        /// The agent named.
        agent: u32,
        /// Number of agents.
        agents: usize,
        /// Position in the list, from 0.
        index: usize,
    },
    /// Agents that hear nothing from agent 0.
    #[error("the graph is not connected: agent 0 does not reach agents {}", list(.unreachable))]
    Unreachable {
        /// The agents, ascending.
        unreachable: Vec<AgentId>,
    },
    /// Agents from which agent 0 hears nothing (directed graphs).
    #[error("the graph is not strongly connected: agent 0 cannot be reached from agents {}", list(.silent))]
    Silent {
        /// The agents, ascending.
        silent: Vec<AgentId>,
    },
    /// Edges cannot change from round to round as the file says.
    #[error("the sequence does not fit family \"{family}\": {accepted}")]
    Sequence {
        /// The family.
        family: Family,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// An edge stands twice in one round.
    #[error("the edge between agents {from} and {to} stands twice in one round of `rounds`; once is accepted")]
    TwiceInRound {
        /// One end.
        from: AgentId,
        /// The other.
        to: AgentId,
    },
    /// A share of the agents on one-way edges.
    #[error(
        "with participation {participation}, no mixing matrix of one-way edges is doubly stochastic; an undirected graph, or 1, is accepted"
    )]
    PartialDirected {
        /// The share.
        participation: f64,
    },
    /// A key that the family does not use.
    #[error("family \"{family}\" does not use the key `{key}`; it uses {}", .used.join(", "))]
    UnusedKey {
        /// The family.
        family: Family,
        /// The key given.
        key: &'static str,
        /// The keys that the family uses.
        used: &'static [&'static str],
    },
    /// A key that the family needs.
    #[error("family \"{family}\" needs the key `{key}`; it uses {}", .used.join(", "))]
    MissingKey {
        /// The family.
        family: Family,
        /// The key needed.
        key: &'static str,
        /// The keys that the family uses.
        used: &'static [&'static str],
    },
    /// `file` beside a key that the file itself sets.
    #[error(
        "the graph comes from the file {file:?}: the key `{key}` may not stand beside it, only `tree` and `weights` may"
    )]
    KeyBesideFile {
        /// The file named.
        file: String,
        /// The key given.
        key: &'static str,
    },
    /// A graph was to be built from a spec whose file was not read yet.
    #[error("the graph file {file:?} was not read before building; resolve the file first")]
    UnresolvedFile {
        /// The file named.
        file: String,
    },
    /// A graph file that names another.
    #[error("the graph file {path:?} names another file, {inner:?}; a graph file gives the graph itself")]
    NestedFile {
        /// The file read.
        path: PathBuf,
        /// The file that it names.
        inner: String,
    },
    /// A graph file that cannot be read.
    #[error("cannot read the graph file {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A graph file that is not of the form.
    #[error("the graph file {path:?} is not a graph: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: Box<toml::de::Error>,
    },
    /// A text that is not of the form.
    #[error("not a graph: {source}")]
    Toml {
        /// What is wrong, with its line.
        source: Box<toml::de::Error>,
    },
    /// A short form that says no graph.
    #[error("\"{given}\" is not a graph: {reason}; accepted are {accepted}")]
    ShortForm {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
        /// The forms that are accepted.
        accepted: &'static str,
    },
    /// Uniform weights on a graph of different degrees.
    #[error(
        "uniform weights need one degree for all, but agent {one} has {one_degree} and agent {other} has {other_degree}; use weights = \"metropolis\""
    )]
    IrregularUniform {
        /// An agent.
        one: AgentId,
        /// Its degree.
        one_degree: usize,
        /// Another agent.
        other: AgentId,
        /// Its degree.
        other_degree: usize,
    },
    /// Metropolis weights on a directed graph.
    #[error("metropolis weights need an undirected graph and the {label} is directed; use weights = \"uniform\"")]
    DirectedMetropolis {
        /// The graph.
        label: String,
    },
    /// A spanning tree of one-way edges.
    #[error(
        "a spanning tree needs edges that go both ways and the {label} is directed; leave out `directed` or `tree`"
    )]
    DirectedTree {
        /// The graph.
        label: String,
    },
    /// A directed graph that uniform weights do not make doubly stochastic.
    #[error(
        "no doubly stochastic weights on this directed graph: agent {agent} sends to {outgoing} and hears from {incoming}, and every agent must have {needed} of both; make the graph undirected and use weights = \"metropolis\", or weights = \"out-degree\" and push-sum"
    )]
    DirectedIrregular {
        /// The agent.
        agent: AgentId,
        /// Agents that it sends to.
        outgoing: usize,
        /// Agents that it hears from.
        incoming: usize,
        /// The degree of agent 0, which all must have both ways.
        needed: usize,
    },
    /// A matrix whose rows or columns do not sum to one, or with a negative entry, or that is not symmetric.
    #[error("the mixing matrix of the {label} is wrong by {error:e} in its {what}, at most {limit:e} is accepted")]
    NotStochastic {
        /// The graph.
        label: String,
        /// What was checked.
        what: &'static str,
        /// How far off it is.
        error: f64,
        /// The tolerance.
        limit: f64,
    },
}

fn both_ways(directed: bool) -> &'static str {
    if directed { "" } else { ", in one direction (it goes both ways)" }
}

fn list(agents: &[AgentId]) -> String {
    const SHOWN: usize = 16;
    let mut text = agents.iter().take(SHOWN).map(AgentId::to_string).collect::<Vec<_>>().join(", ");
    if agents.len() > SHOWN {
        text.push_str(&format!(" and {} more", agents.len() - SHOWN));
    }
    text
}
