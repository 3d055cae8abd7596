//! From a spec to a graph: which keys a family takes, and what they may say.

use std::collections::BTreeMap;

use kith_core::{AgentId, Purpose, Seeds};

use crate::graph::{Direction, Shape};
use crate::{Family, Graph, GraphError, Mixing, Sequence, Spec, Weights, family, random};

/// Most agents of a graph: beyond it, a spectral gap takes minutes.
const MAX_AGENTS: usize = 1 << 14;
/// Most directed connections of a graph: a quarter of a gibibyte of weights.
const MAX_CONNECTIONS: usize = 1 << 24;

impl Spec {
    /// Builds the graph; the families that are random draw from the run's graph stream.
    ///
    /// # Errors
    /// If a key is missing, is not one of the family's, or says what the family cannot be; if an edge list is not
    /// simple and connected; if no draw of a random family is connected.
    pub fn build(&self, seeds: &Seeds) -> Result<Graph, GraphError> {
        self.check_keys()?;
        self.check_sequence()?;
        let family = self.family();
        let graph = match family {
            Family::Ring | Family::Exponential => self.circulant(family),
            Family::Chain | Family::Star | Family::Complete | Family::Hypercube => self.sized(family),
            Family::Torus => self.torus(),
            Family::ErdosRenyi | Family::RandomRegular => self.random(family, seeds),
            Family::Petersen => self.fixed(10, "Petersen graph", family::petersen()),
            Family::Dyck => self.fixed(32, "Dyck graph", family::dyck()),
            Family::Edges => self.edge_list(),
        }?;
        match self.tree {
            Some(by) => graph.spanned(by),
            None => Ok(graph),
        }
    }

    /// The mixing matrix of `graph` by the rule that the spec names: where it names none, Metropolis weights on an
    /// undirected graph, and on a directed graph uniform ones where all degrees are the same, out-degree weights where not.
    ///
    /// # Errors
    /// As [`Mixing::new`].
    pub fn mixing(&self, graph: &Graph) -> Result<Mixing, GraphError> {
        let usual = match graph.is_directed() {
            false => Weights::Metropolis,
            true if graph.is_regular() => Weights::Uniform,
            true => Weights::OutDegree,
        };
        Mixing::new(graph, self.weights.unwrap_or(usual))
    }

    pub(crate) fn family(&self) -> Family {
        self.family.unwrap_or_default()
    }

    /// The first key that is given, of those that `accept` turns down.
    pub(crate) fn given_key(&self, accept: impl Fn(&str) -> bool) -> Option<&'static str> {
        let keys = [
            ("family", self.family.is_some()),
            ("agents", self.agents.is_some()),
            ("rows", self.rows.is_some()),
            ("columns", self.columns.is_some()),
            ("degree", self.degree.is_some()),
            ("probability", self.probability.is_some()),
            ("directed", self.directed.is_some()),
            ("edges", self.edges.is_some()),
            ("rounds", self.rounds.is_some()),
            ("sequence", self.sequence.is_some()),
            ("tree", self.tree.is_some()),
            ("weights", self.weights.is_some()),
        ];
        keys.into_iter().find(|(key, given)| *given && !accept(key)).map(|(key, _)| key)
    }

    fn check_keys(&self) -> Result<(), GraphError> {
        if let Some(file) = &self.file {
            return Err(GraphError::UnresolvedFile { file: file.clone() });
        }
        let (family, used) = (self.family(), self.family().keys());
        match self.given_key(|key| ["family", "sequence", "tree"].contains(&key) || used.contains(&key)) {
            Some(key) => Err(GraphError::UnusedKey { family, key, used }),
            None => Ok(()),
        }
    }

    fn check_sequence(&self) -> Result<(), GraphError> {
        let directed = self.directed == Some(true);
        let refused = |accepted| Err(GraphError::Sequence { family: self.family(), accepted });
        match self.sequence.unwrap_or_default() {
            Sequence::OnePeer
                if self.family() != Family::Exponential
                    || !directed
                    || !self.agents.is_some_and(usize::is_power_of_two) =>
            {
                refused("\"one-peer\" needs family = \"exponential\", directed = true and 2, 4, 8, … agents")
            }
            Sequence::RandomMatching if directed => refused("\"random-matching\" needs an undirected graph"),
            Sequence::OnePeer | Sequence::RandomMatching if self.rounds.is_some() => {
                refused("edges round by round are a sequence of their own: no `sequence` key beside `rounds`")
            }
            _ if self.rounds.is_some() && directed => refused("edges round by round go both ways"),
            _ if self.rounds.is_some() && self.tree.is_some() => {
                refused("edges round by round are all used: no `tree` key beside `rounds`")
            }
            _ => Ok(()),
        }
    }

    /// The edges of all rounds, each once, in the order in which rounds bring them.
    fn edges_of_rounds(&self) -> Result<Option<Vec<(u32, u32)>>, GraphError> {
        let Some(rounds) = &self.rounds else { return Ok(None) };
        let mut all = Vec::new();
        let mut known = std::collections::BTreeSet::new();
        for round in rounds {
            let mut here = std::collections::BTreeSet::new();
            for &(from, to) in round {
                let edge = (from.min(to), from.max(to));
                if !here.insert(edge) {
                    return Err(GraphError::TwiceInRound { from: AgentId(from), to: AgentId(to) });
                }
                if known.insert(edge) {
                    all.push(edge);
                }
            }
        }
        Ok(Some(all))
    }

    fn missing(&self, key: &'static str) -> GraphError {
        GraphError::MissingKey { family: self.family(), key, used: self.family().keys() }
    }

    /// `agents`, at least `least`.
    fn agents_from(&self, least: usize) -> Result<u32, GraphError> {
        let given = self.agents.ok_or_else(|| self.missing("agents"))?;
        if given < least {
            return Err(GraphError::TooFewAgents { family: self.family(), given, least });
        }
        supported(given)
    }

    fn direction(&self) -> Direction {
        if self.directed == Some(true) { Direction::Directed } else { Direction::Undirected }
    }

    fn circulant(&self, family: Family) -> Result<Graph, GraphError> {
        let direction = self.direction();
        let way = if direction == Direction::Directed { "directed " } else { "" };
        if family == Family::Ring {
            let n = self.agents_from(0)?;
            return match n {
                0 | 2 => Err(GraphError::RingTooSmall { given: n as usize }),
                1 => single(),
                _ => circle(format!("{way}ring of {n}"), n, direction, family::ring(n)),
            };
        }
        let n = self.agents_from(2)?;
        let edges = match direction {
            Direction::Directed => family::exponential_directed(n),
            Direction::Undirected => family::exponential_undirected(n),
        };
        circle(format!("{way}exponential graph of {n}"), n, direction, edges)
    }

    fn sized(&self, family: Family) -> Result<Graph, GraphError> {
        let n = self.agents_from(if family == Family::Complete { 1 } else { 2 })?;
        match family {
            Family::Complete if n == 1 => single(),
            Family::Complete => {
                check_pairs(family, n)?;
                circle(format!("complete graph of {n}"), n, Direction::Undirected, family::complete(n))
            }
            Family::Star => {
                Graph::new(format!("star of {n}"), n as usize, Direction::Undirected, Shape::Star, family::star(n))
            }
            Family::Hypercube if !n.is_power_of_two() => Err(GraphError::NotPowerOfTwo { given: n as usize }),
            Family::Hypercube => circle(format!("hypercube of {n}"), n, Direction::Undirected, family::hypercube(n)),
            _ => circle(format!("chain of {n}"), n, Direction::Undirected, family::chain(n)),
        }
    }

    fn torus(&self) -> Result<Graph, GraphError> {
        let (rows, columns) = self.torus_sides()?;
        if rows < 3 || columns < 3 {
            return Err(GraphError::TorusTooSmall { rows, columns });
        }
        let agents = rows.saturating_mul(columns);
        if let Some(given) = self.agents.filter(|given| *given != agents) {
            return Err(GraphError::TorusAgents { rows, columns, agents: given });
        }
        supported(agents)?;
        let edges = family::torus(supported(rows)?, supported(columns)?);
        let label = format!("torus of {rows} x {columns}");
        Graph::new(label, agents, Direction::Undirected, Shape::Grid { rows, columns }, edges)
    }

    /// Both sides as given; a side left out follows from `agents`, and both from a square number of agents.
    fn torus_sides(&self) -> Result<(usize, usize), GraphError> {
        let other = |agents: usize, side: usize| {
            let fits = side > 0 && agents.is_multiple_of(side);
            if fits { Ok(agents / side) } else { Err(GraphError::TorusShape { agents }) }
        };
        match (self.rows, self.columns, self.agents) {
            (Some(rows), Some(columns), _) => Ok((rows, columns)),
            (Some(rows), None, Some(agents)) => Ok((rows, other(agents, rows)?)),
            (None, Some(columns), Some(agents)) => Ok((other(agents, columns)?, columns)),
            (None, None, Some(agents)) if agents.isqrt().pow(2) == agents => Ok((agents.isqrt(), agents.isqrt())),
            (None, None, Some(agents)) => Err(GraphError::TorusShape { agents }),
            (Some(_), None, None) => Err(self.missing("columns")),
            (None, _, None) => Err(self.missing("rows")),
        }
    }

    fn random(&self, family: Family, seeds: &Seeds) -> Result<Graph, GraphError> {
        let n = self.agents_from(2)?;
        check_pairs(family, n)?;
        let mut rng = seeds.shared(Purpose::Graph, 0);
        let (label, drawn) = if family == Family::ErdosRenyi {
            let given = self.probability.ok_or_else(|| self.missing("probability"))?;
            if !(given > 0.0 && given <= 1.0) {
                return Err(GraphError::Probability { given });
            }
            (format!("Erdős–Rényi graph of {n} (probability {given})"), random::erdos_renyi(n, given, &mut rng))
        } else {
            let degree = self.degree.ok_or_else(|| self.missing("degree"))?;
            let agents = n as usize;
            let (least, most) = (if n == 2 { 1 } else { 2 }, agents - 1);
            if degree < least || degree > most || !(degree * agents).is_multiple_of(2) {
                return Err(GraphError::Degree { agents, degree, least, most });
            }
            (format!("random {degree}-regular graph of {n}"), random::random_regular(n, supported(degree)?, &mut rng))
        };
        let edges = drawn.ok_or(GraphError::NoDraw { family, agents: n as usize, tries: random::tries(n) })?;
        circle(label, n, Direction::Undirected, edges)
    }

    fn fixed(&self, needed: u32, label: &str, edges: Vec<(u32, u32)>) -> Result<Graph, GraphError> {
        match self.agents {
            Some(given) if given != needed as usize => {
                Err(GraphError::WrongAgents { family: self.family(), given, needed: needed as usize })
            }
            _ => circle(label.to_owned(), needed, Direction::Undirected, edges),
        }
    }

    fn edge_list(&self) -> Result<Graph, GraphError> {
        let edges = match (self.edges_of_rounds()?, &self.edges) {
            (Some(_), Some(_)) => {
                return Err(GraphError::Sequence { family: Family::Edges, accepted: "`edges` or `rounds`, not both" });
            }
            (Some(edges), None) => edges,
            (None, edges) => edges.clone().ok_or_else(|| self.missing("edges"))?,
        };
        let direction = self.direction();
        let named = edges.iter().map(|(from, to)| *from.max(to) as usize + 1).max();
        let agents = self.agents.or(named).ok_or(GraphError::NoEdges)?;
        if agents == 0 {
            return Err(GraphError::TooFewAgents { family: Family::Edges, given: 0, least: 1 });
        }
        let n = supported(agents)?;
        let mut seen = BTreeMap::new();
        for (index, &(from, to)) in edges.iter().enumerate() {
            if let Some(agent) = [from, to].into_iter().find(|agent| *agent >= n) {
                return Err(GraphError::VertexOutOfRange { agent, agents, index });
            }
            if from == to {
                return Err(GraphError::SelfLoop { agent: AgentId(from), index });
            }
            let directed = direction == Direction::Directed;
            let key = if directed { (from, to) } else { (from.min(to), from.max(to)) };
            if let Some(first) = seen.insert(key, index) {
                let (from, to) = (AgentId(from), AgentId(to));
                return Err(GraphError::DuplicateEdge { from, to, first, second: index, directed });
            }
        }
        let way = if direction == Direction::Directed { "directed graph" } else { "graph" };
        circle(format!("{way} of {n} and {} edges", edges.len()), n, direction, edges)
    }
}

fn single() -> Result<Graph, GraphError> {
    circle("single agent".to_owned(), 1, Direction::Undirected, Vec::new())
}

fn circle(label: String, n: u32, direction: Direction, edges: Vec<(u32, u32)>) -> Result<Graph, GraphError> {
    Graph::new(label, n as usize, direction, Shape::Circle, edges)
}

fn supported(given: usize) -> Result<u32, GraphError> {
    u32::try_from(given)
        .ok()
        .filter(|_| given <= MAX_AGENTS)
        .ok_or(GraphError::TooManyAgents { given, limit: MAX_AGENTS })
}

/// Refuses a family that goes over every pair of agents where there are too many pairs.
fn check_pairs(family: Family, n: u32) -> Result<(), GraphError> {
    let agents = n as usize;
    let given = agents * (agents - 1);
    if given > MAX_CONNECTIONS {
        return Err(GraphError::TooManyConnections { family, agents, given, limit: MAX_CONNECTIONS });
    }
    Ok(())
}
