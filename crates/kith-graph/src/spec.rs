//! A graph as a file says it: the `[graph]` table of an experiment and the files in `topologies/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A family of graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A cycle; `directed` sends one way only.
    #[default]
    Ring,
    /// `rows × columns` with both directions wrapped.
    Torus,
    /// A path.
    Chain,
    /// One centre.
    Star,
    /// Every pair.
    Complete,
    /// `2^k` agents, neighbours differ in one bit.
    Hypercube,
    /// Neighbours at distance 1, 2, 4, …
    Exponential,
    /// Every pair with `probability`, drawn again until connected.
    ErdosRenyi,
    /// Every agent with `degree` neighbours, at random.
    RandomRegular,
    /// The Petersen graph: 10 agents of degree 3.
    Petersen,
    /// The Dyck graph: 32 agents of degree 3.
    Dyck,
    /// The list in `edges`.
    Edges,
}

/// How mixing weights follow from the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// `1 / (1 + max(deg i, deg j))`, the rest on self: doubly stochastic and symmetric on any undirected graph.
    #[default]
    Metropolis,
    /// `1 / (deg + 1)` on self and every neighbour: doubly stochastic on regular graphs only.
    Uniform,
    /// Every agent divides itself evenly: `1 / (out-degree + 1)` to itself and to each that it sends to. Column sums are one on any
    /// graph, row sums need not be: for push-sum.
    OutDegree,
}

/// Which of the graph's edges are used in which round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sequence {
    /// All, or those of the round in `rounds`.
    #[default]
    Static,
    /// One neighbour each, 1, 2, 4, … agents further on in turn: a directed exponential graph of `2^k` agents (Ying et al.
    /// 2021).
    OnePeer,
    /// A random matching of the undirected graph: pairs that no free edge is left beside.
    RandomMatching,
}

/// Which of the graph's edges make a tree of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tree {
    /// Nearest agents first: nobody is farther from agent 0 than in the whole graph.
    BreadthFirst,
    /// As far as it goes, then back: long ways and small degrees. A ring becomes a chain.
    DepthFirst,
}

/// A graph as a file says it.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Spec {
    /// A file of this same form, relative to the experiment file; other keys then may not be given, but `tree` and `weights`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "../topologies/dyck.toml")]
    pub file: Option<String>,
    /// The family; a ring where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Number of agents; follows from the family where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 8)]
    pub agents: Option<usize>,
    /// Rows of a torus.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 4)]
    pub rows: Option<usize>,
    /// Columns of a torus.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 4)]
    pub columns: Option<usize>,
    /// Degree of a random regular graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 3)]
    pub degree: Option<usize>,
    /// Edge probability of an Erdős–Rényi graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.4)]
    pub probability: Option<f64>,
    /// Whether edges go one way (ring, exponential and edge list only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directed: Option<bool>,
    /// Pairs of agents, for the family `edges`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = vec![(0, 1), (1, 2), (2, 0)])]
    pub edges: Option<Vec<(u32, u32)>>,
    /// Pairs of agents round by round, over and over, in place of `edges`; a round's graph need not be connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = vec![vec![(0, 1)], vec![(1, 2)]])]
    pub rounds: Option<Vec<Vec<(u32, u32)>>>,
    /// Which edges are used in which round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Keeps a spanning tree of the edges only, found by a walk from agent 0: for methods that need a tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// How mixing weights follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}
