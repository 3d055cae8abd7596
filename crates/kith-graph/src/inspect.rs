//! What there is to know of a graph and its mixing matrix, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::{Graph, Mixing, Weights};

/// Up to this many agents, W is shown entry by entry.
const SMALL: usize = 32;

/// Least, largest and mean degree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Degrees {
    /// The least.
    pub min: usize,
    /// The largest.
    pub max: usize,
    /// The mean.
    pub mean: f64,
}

/// A graph and its mixing matrix in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// What the graph is, in words.
    pub label: String,
    /// Number of agents.
    pub vertices: usize,
    /// Number of edges; an edge that goes both ways counts once.
    pub edges: usize,
    /// Whether edges go one way.
    pub directed: bool,
    /// The longest of the shortest paths, in hops.
    pub diameter: usize,
    /// The rule of the weights.
    pub weights: Weights,
    /// As [`Mixing::spectral_gap`].
    pub spectral_gap: f64,
    /// The largest distance of a row sum of W from one.
    pub largest_row_error: f64,
    /// The largest distance of a column sum of W from one.
    pub largest_column_error: f64,
    /// Whether W equals its transpose.
    pub symmetric: bool,
    /// Degrees; of a directed graph, to how many agents each sends.
    pub degree: Degrees,
    /// W `[vertices, vertices]`, row by row; absent above 32 agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Vec<Vec<f64>>>,
}

impl Inspection {
    /// Inspects a graph and a mixing matrix of it.
    #[must_use]
    pub fn new(graph: &Graph, mixing: &Mixing) -> Self {
        let degrees = || graph.agent_ids().map(|agent| graph.degree(agent));
        let vertices = graph.agents();
        let dense = || {
            let row = |i| graph.agent_ids().map(|j| mixing.weight(i, j)).collect();
            graph.agent_ids().map(row).collect()
        };
        Self {
            label: graph.label().to_owned(),
            vertices,
            edges: graph.edges().len(),
            directed: graph.is_directed(),
            diameter: graph.diameter(),
            weights: mixing.weights(),
            spectral_gap: mixing.spectral_gap(),
            largest_row_error: mixing.largest_row_error(),
            largest_column_error: mixing.largest_column_error(),
            symmetric: mixing.is_symmetric(),
            degree: Degrees {
                min: degrees().min().unwrap_or(0),
                max: degrees().max().unwrap_or(0),
                mean: degrees().sum::<usize>() as f64 / vertices as f64,
            },
            matrix: (vertices <= SMALL).then(dense),
        }
    }
}

/// A picture for a terminal: a line of neighbours an agent and, up to 32 agents, W in shades.
///
/// Every line ends with a line feed. Of a directed graph, the neighbours are those that the agent sends to.
#[must_use]
pub fn picture(graph: &Graph, mixing: &Mixing) -> String {
    let width = graph.agents().saturating_sub(1).to_string().len();
    let arrow = if graph.is_directed() { " ->" } else { ":" };
    let mut text = String::new();
    for agent in graph.agent_ids() {
        let shown = format!("{:>width$}", agent.0);
        push(&mut text, format_args!("{shown}{arrow}"));
        for neighbour in graph.neighbours_out(agent) {
            push(&mut text, format_args!(" {neighbour}"));
        }
        text.push('\n');
    }
    if graph.agents() <= SMALL {
        shades(&mut text, graph, mixing, width);
    }
    text
}

/// Two cells an entry, so that the matrix looks square; the darkest shade is the largest weight.
fn shades(text: &mut String, graph: &Graph, mixing: &Mixing, width: usize) {
    const SHADES: [&str; 4] = ["░░", "▒▒", "▓▓", "██"];
    let entries = || graph.agent_ids().flat_map(|i| mixing.row(i)).map(|(_, weight)| *weight);
    let largest = entries().fold(0.0, f64::max);
    push(text, format_args!("\nW (·· is 0, ██ is {largest:.3})\n"));
    for i in graph.agent_ids() {
        let shown = format!("{:>width$}", i.0);
        push(text, format_args!("{shown} "));
        for j in graph.agent_ids() {
            let weight = mixing.weight(i, j);
            // Weights that are equal but for rounding fall into one shade.
            let level = (4.0 * weight / largest - 1e-9).ceil() as usize;
            text.push_str(if weight > 1e-12 { SHADES[level.clamp(1, 4) - 1] } else { "··" });
        }
        text.push('\n');
    }
}

pub(crate) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
}
