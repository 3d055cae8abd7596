//! The `[graph]` table: a file is read in, and the graph is built once to see that it can be.

use std::path::Path;

use kith_core::Seeds;
use kith_graph::{Graph, GraphError, Spec};

use super::render::Problem;

/// Reads in `file`, if any, and builds the graph.
pub(crate) fn resolve(spec: &mut Spec, folder: &Path, seeds: &Seeds) -> Result<Graph, Problem> {
    *spec = spec.resolve_file(folder).map_err(|error| problem("graph.file", &error))?;
    let graph = spec.build(seeds).map_err(|error| problem(key_of(&error), &error))?;
    spec.mixing(&graph).map_err(|error| problem("graph.weights", &error))?;
    Ok(graph)
}

fn problem(path: &str, error: &GraphError) -> Problem {
    Problem::new(path, error.to_string())
}

/// The key to change.
fn key_of(error: &GraphError) -> &'static str {
    match error {
        GraphError::RingTooSmall { .. }
        | GraphError::TooFewAgents { .. }
        | GraphError::TooManyAgents { .. }
        | GraphError::TooManyConnections { .. }
        | GraphError::TorusAgents { .. }
        | GraphError::TorusShape { .. }
        | GraphError::NotPowerOfTwo { .. }
        | GraphError::WrongAgents { .. } => "graph.agents",
        GraphError::TorusTooSmall { .. } => "graph.rows",
        GraphError::Degree { .. } => "graph.degree",
        GraphError::Probability { .. } => "graph.probability",
        GraphError::NoEdges
        | GraphError::SelfLoop { .. }
        | GraphError::DuplicateEdge { .. }
        | GraphError::VertexOutOfRange { .. } => "graph.edges",
        GraphError::UnusedKey { key, .. } | GraphError::KeyBesideFile { key, .. } => match *key {
            "agents" => "graph.agents",
            "rows" => "graph.rows",
            "columns" => "graph.columns",
            "degree" => "graph.degree",
            "probability" => "graph.probability",
            "directed" => "graph.directed",
            "edges" => "graph.edges",
            "family" => "graph.family",
            "tree" => "graph.tree",
            _ => "graph",
        },
        GraphError::Sequence { .. } => "graph.sequence",
        GraphError::DirectedTree { .. } => "graph.tree",
        GraphError::TwiceInRound { .. } => "graph.rounds",
        _ => "graph",
    }
}
