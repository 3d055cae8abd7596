//! Mixing matrices: how much of each neighbour's model an agent takes.

use kith_core::AgentId;

use crate::spectral::{decay, largest_modulus};
use crate::{Graph, GraphError, Weights};

/// How far a row or column sum may be from one, and an entry from its mirror.
const TOLERANCE: f64 = 1e-12;

/// A mixing matrix W `[agents, agents]`, as sparse rows: doubly stochastic, or, of out-degree weights, with column sums of one.
///
/// Row `i` holds what agent `i` takes: from itself and from every agent that it hears from.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixing {
    weights: Weights,
    rows: Vec<Vec<(AgentId, f64)>>,
    symmetric: bool,
}

impl Mixing {
    /// The mixing matrix of `graph` by a rule.
    ///
    /// # Errors
    /// If the rule gives no doubly stochastic matrix on this graph: uniform weights on different degrees, Metropolis
    /// weights on a directed graph, any weights on a directed graph whose agents differ in degree.
    pub fn new(graph: &Graph, weights: Weights) -> Result<Self, GraphError> {
        match (weights, graph.is_directed()) {
            (Weights::Metropolis, true) => {
                return Err(GraphError::DirectedMetropolis { label: graph.label().to_owned() });
            }
            (Weights::Metropolis, false) | (Weights::OutDegree, _) => {}
            (Weights::Uniform, true) => check_directed_regular(graph)?,
            (Weights::Uniform, false) => check_regular(graph)?,
        }
        let weight = |i, j| match weights {
            // Xiao and Boyd (2004): the larger degree of the two, so that both ends agree.
            Weights::Metropolis => 1.0 / (1.0 + graph.degree(i).max(graph.degree(j)) as f64),
            Weights::Uniform => 1.0 / (1.0 + graph.degree(i) as f64),
            Weights::OutDegree => 1.0 / (1.0 + graph.degree(j) as f64),
        };
        let divides = weights == Weights::OutDegree;
        let rows: Vec<_> = graph
            .agent_ids()
            .map(|i| {
                let mut row: Vec<_> = graph.neighbours_in(i).iter().map(|&j| (j, weight(i, j))).collect();
                let taken = row.iter().map(|(_, weight)| weight).sum::<f64>();
                let own = if divides { weight(i, i) } else { 1.0 - taken };
                let place = row.partition_point(|(j, _)| *j < i);
                row.insert(place, (i, own));
                row
            })
            .collect();
        let mut mixing = Self { weights, rows, symmetric: false };
        let asymmetry = mixing.largest_asymmetry();
        mixing.symmetric = asymmetry <= TOLERANCE;
        let least = mixing.rows.iter().flatten().map(|(_, weight)| *weight).fold(f64::INFINITY, f64::min);
        let checks = [
            ("row sums", if divides { 0.0 } else { mixing.largest_row_error() }),
            ("column sums", mixing.largest_column_error()),
            ("sign", (-least).max(0.0)),
            ("symmetry", if graph.is_directed() || divides { 0.0 } else { asymmetry }),
        ];
        match checks.into_iter().find(|(_, error)| *error > TOLERANCE) {
            Some((what, error)) => {
                Err(GraphError::NotStochastic { label: graph.label().to_owned(), what, error, limit: TOLERANCE })
            }
            None => Ok(mixing),
        }
    }

    /// The rule of the weights.
    #[must_use]
    pub const fn weights(&self) -> Weights {
        self.weights
    }

    /// Number of agents.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.rows.len()
    }

    /// What `agent` takes from whom, ascending by agent, itself included.
    ///
    /// # Panics
    /// If there is no such agent.
    #[must_use]
    pub fn row(&self, agent: AgentId) -> &[(AgentId, f64)] {
        &self.rows[agent.index()]
    }

    /// The entry of row `i` and column `j`: what agent `i` takes from agent `j`.
    ///
    /// # Panics
    /// If there is no agent `i`.
    #[must_use]
    pub fn weight(&self, i: AgentId, j: AgentId) -> f64 {
        let row = self.row(i);
        row.binary_search_by_key(&j, |(agent, _)| *agent).map_or(0.0, |place| row[place].1)
    }

    /// Whether W equals its transpose, to 1e-12.
    #[must_use]
    pub const fn is_symmetric(&self) -> bool {
        self.symmetric
    }

    /// Whether rows sum to one, too, to 1e-12: then mixing keeps the mean and agents agree on it. Otherwise only push-sum does.
    #[must_use]
    pub fn is_doubly_stochastic(&self) -> bool {
        self.largest_row_error() <= TOLERANCE
    }

    /// The largest distance of a row sum from one.
    #[must_use]
    pub fn largest_row_error(&self) -> f64 {
        let sums = self.rows.iter().map(|row| row.iter().map(|(_, weight)| weight).sum::<f64>());
        sums.map(|sum| (sum - 1.0).abs()).fold(0.0, f64::max)
    }

    /// The largest distance of a column sum from one.
    #[must_use]
    pub fn largest_column_error(&self) -> f64 {
        let mut sums = vec![0.0; self.agents()];
        for (j, weight) in self.rows.iter().flatten() {
            sums[j.index()] += weight;
        }
        sums.into_iter().map(|sum| (sum - 1.0_f64).abs()).fold(0.0, f64::max)
    }

    /// The spectral gap `1 − ρ`, where `‖Wx − x̄‖ ≤ ρ ‖x − x̄‖` is the tightest bound for one mixing.
    ///
    /// For a symmetric W, ρ is the second largest modulus of its eigenvalues. Otherwise ρ is the largest singular
    /// value of W on the space orthogonal to the mean; for the directed ring, the directed exponential graph and
    /// every other circulant it is that modulus too. A single agent has gap 1. Where rows do not sum to one, ρ is the rate at
    /// which `Wᵏ x` of an x of sum zero dies out, over many k: the second largest modulus.
    #[must_use]
    pub fn spectral_gap(&self) -> f64 {
        let n = self.agents();
        if !self.is_doubly_stochastic() {
            return 1.0 - decay(n, |x, out| self.multiply(x, out));
        }
        let contraction = if self.symmetric {
            largest_modulus(n, 1, |x, out| self.multiply(x, out))
        } else {
            // The singular values of W, and their negatives, are the eigenvalues of [0 W; Wᵀ 0].
            largest_modulus(n, 2, |x, out| {
                let (upper, lower) = out.split_at_mut(n);
                self.multiply(&x[n..], upper);
                self.multiply_transposed(&x[..n], lower);
            })
        };
        1.0 - contraction
    }

    /// The smallest eigenvalue of a symmetric W, beside that of the mean; 1 for a single agent.
    #[must_use]
    pub fn smallest_eigenvalue(&self) -> f64 {
        // `I − W` has no eigenvalue below zero, so its largest modulus is `1 − λ`.
        let rest = largest_modulus(self.agents(), 1, |x, out| {
            self.multiply(x, out);
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x - *out);
        });
        1.0 - rest
    }

    /// `out ← W x`, summed in agent order.
    fn multiply(&self, x: &[f64], out: &mut [f64]) {
        for (out, row) in out.iter_mut().zip(&self.rows) {
            *out = row.iter().map(|(j, weight)| weight * x[j.index()]).sum();
        }
    }

    /// `out ← Wᵀ x`, summed in agent order.
    fn multiply_transposed(&self, x: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        for (x, row) in x.iter().zip(&self.rows) {
            for (j, weight) in row {
                out[j.index()] += weight * x;
            }
        }
    }

    fn largest_asymmetry(&self) -> f64 {
        let entries = self.rows.iter().enumerate().flat_map(|(i, row)| row.iter().map(move |entry| (i, entry)));
        entries.map(|(i, (j, weight))| (weight - self.weight(*j, AgentId::from(i))).abs()).fold(0.0, f64::max)
    }
}

fn check_regular(graph: &Graph) -> Result<(), GraphError> {
    let one = AgentId(0);
    match graph.agent_ids().find(|agent| graph.degree(*agent) != graph.degree(one)) {
        Some(other) => Err(GraphError::IrregularUniform {
            one,
            one_degree: graph.degree(one),
            other,
            other_degree: graph.degree(other),
        }),
        None => Ok(()),
    }
}

fn check_directed_regular(graph: &Graph) -> Result<(), GraphError> {
    let needed = graph.degree(AgentId(0));
    for agent in graph.agent_ids() {
        let (outgoing, incoming) = (graph.degree(agent), graph.neighbours_in(agent).len());
        if outgoing != needed || incoming != needed {
            return Err(GraphError::DirectedIrregular { agent, outgoing, incoming, needed });
        }
    }
    Ok(())
}
