//! What is turned down, and what the error says.

use kith_core::Seeds;
use kith_graph::{GraphError, Spec};

/// The error of a graph given as TOML, in building it or its mixing matrix.
fn refusal(text: &str) -> GraphError {
    let spec = Spec::from_toml(text).expect("a spec");
    match spec.build(&Seeds::new(1)).and_then(|graph| spec.mixing(&graph)) {
        Ok(_) => panic!("{text} was accepted"),
        Err(error) => error,
    }
}

#[test]
fn a_graph_that_cannot_be_says_what_would_be_accepted() {
    // The graph, and two parts of what the error says: what is given, what is needed.
    let table = [
        ("agents = 2", "at least 3 agents, 2 given", "two agents are a chain"),
        ("agents = 0", "at least 3 agents, 0 given", "agents = 1"),
        ("family = 'ring'", "needs the key `agents`", "agents, directed, weights"),
        ("agents = 8\ndegree = 3", "\"ring\" does not use the key `degree`", "agents, directed, weights"),
        ("agents = 100000", "100000 agents given", "at most 16384"),
        ("family = 'complete'\nagents = 10000", "99990000 connections", "at most 16777216"),
        ("family = 'chain'\nagents = 1", "\"chain\" has at least 2 agents", "1 given"),
        ("family = 'complete'\nagents = 0", "at least 1 agents", "0 given"),
        ("family = 'star'\nagents = 4\ndirected = true", "\"star\" does not use the key `directed`", "agents, weights"),
        ("agents = 5\ndirected = true\ntree = 'breadth-first'", "directed ring of 5 is directed", "leave out"),
        ("family = 'edges'\nrounds = [[[0, 1]]]\ntree = 'depth-first'", "round by round", "no `tree` key"),
        ("family = 'torus'\nrows = 2\ncolumns = 4", "at least 3 x 3", "2 x 4 given"),
        ("family = 'torus'\nrows = 4\ncolumns = 4\nagents = 15", "4 times 4", "agents = 15 is given"),
        ("family = 'torus'\nrows = 4", "needs the key `columns`", "agents, rows, columns"),
        ("family = 'torus'\nagents = 12", "12 agents do not fill a torus", "rows and columns"),
        ("family = 'torus'\nrows = 0\nagents = 12", "12 agents do not fill a torus", "rows and columns"),
        ("family = 'torus'\nrows = 9223372036854775807\ncolumns = 9", "18446744073709551615 agents", "at most 16384"),
        ("family = 'hypercube'\nagents = 12", "power of two", "12 given"),
        ("family = 'petersen'\nagents = 12", "exactly 10 agents", "12 given"),
        ("family = 'dyck'\nagents = 16", "exactly 32 agents", "16 given"),
        ("family = 'random-regular'\nagents = 5\ndegree = 3", "5 agents cannot have degree 3", "is even"),
        ("family = 'random-regular'\nagents = 4\ndegree = 4", "4 agents cannot have degree 4", "2..=3"),
        ("family = 'random-regular'\nagents = 8\ndegree = 1", "8 agents cannot have degree 1", "2..=7"),
        ("family = 'random-regular'\nagents = 8", "needs the key `degree`", "agents, degree, weights"),
        ("family = 'erdos-renyi'\nagents = 8", "needs the key `probability`", "agents, probability"),
        ("family = 'erdos-renyi'\nagents = 8\nprobability = 0.0", "(0, 1]", "0 given"),
        ("family = 'erdos-renyi'\nagents = 8\nprobability = 1.5", "(0, 1]", "1.5 given"),
        ("family = 'erdos-renyi'\nagents = 8\nprobability = nan", "(0, 1]", "NaN given"),
        ("family = 'erdos-renyi'\nagents = 50\nprobability = 0.001", "1000 draws", "larger probability"),
        ("family = 'edges'", "needs the key `edges`", "edges, rounds, directed"),
        ("family = 'edges'\nedges = []", "edges is empty", "[[0, 1]]"),
        ("family = 'edges'\nedges = []\nagents = 0", "at least 1 agents", "0 given"),
        ("family = 'edges'\nedges = [[0, 1], [2, 3]]", "not connected", "does not reach agents 2, 3"),
        ("family = 'edges'\nedges = [[0, 1]]\nagents = 3", "not connected", "does not reach agents 2"),
        ("family = 'edges'\nedges = [[0, 1], [1, 1]]", "edge 1 joins agent 1 to itself", "own weight"),
        ("family = 'edges'\nedges = [[0, 1], [1, 2], [1, 0]]", "edge 2 (1, 0) is edge 0 again", "it goes both ways"),
        ("family = 'edges'\nedges = [[0, 1], [1, 5]]\nagents = 3", "edge 1 names agent 5", "run from 0 to 2"),
        ("family = 'edges'\nedges = [[0, 4294967295]]", "4294967296 agents given", "at most 16384"),
        ("family = 'edges'\nedges = [[1, 0]]\ndirected = true", "does not reach agents 1", "not connected"),
        ("family = 'edges'\nedges = [[0, 1]]\ndirected = true", "cannot be reached from agents 1", "not strongly"),
        (
            "family = 'edges'\ndirected = true\nweights = 'uniform'\nedges = [[0, 1], [1, 0], [1, 2], [2, 0]]",
            "agent 0 sends to 1 and hears from 2",
            "make the graph undirected",
        ),
        ("agents = 8\ndirected = true\nweights = 'metropolis'", "directed ring of 8 is directed", "\"uniform\""),
        ("family = 'star'\nagents = 4\nweights = 'uniform'", "agent 0 has 3 and agent 1 has 1", "\"metropolis\""),
        ("file = 'ring.toml'", "\"ring.toml\" was not read", "resolve the file first"),
    ];
    for (text, given, needed) in table {
        let said = refusal(text).to_string();
        assert!(said.contains(given) && said.contains(needed), "{text}\n  says: {said}");
    }
}

#[test]
fn a_directed_edge_list_that_is_balanced_is_accepted() {
    let text = "family = 'edges'\ndirected = true\nedges = [[0, 1], [1, 2], [2, 0], [1, 0], [2, 1], [0, 2]]";
    let spec = Spec::from_toml(text).expect("a spec");
    let graph = spec.build(&Seeds::new(1)).expect("a graph");
    let gap = spec.mixing(&graph).expect("a matrix").spectral_gap();
    assert!((gap - 1.0).abs() < 1e-12, "{gap}");
}

#[test]
fn a_torus_follows_from_its_agents() {
    for (text, label) in [
        ("family = 'torus'\nagents = 16", "torus of 4 x 4"),
        ("family = 'torus'\nagents = 12\nrows = 3", "torus of 3 x 4"),
        ("family = 'torus'\nagents = 12\ncolumns = 3", "torus of 4 x 3"),
    ] {
        let graph = Spec::from_toml(text).expect("a spec").build(&Seeds::new(1)).expect("a graph");
        assert_eq!(graph.label(), label);
    }
}

#[test]
fn short_forms_that_say_no_graph_list_those_that_do() {
    let table = [
        ("", "no family \"\""),
        ("mesh:4", "no family \"mesh\""),
        ("ring", "needs a number of agents"),
        ("ring:x", "\"x\" is not a whole number"),
        ("ring:-3", "\"-3\" is not a whole number"),
        ("ring:4:both", "ring does not take \"both\""),
        ("chain:4:directed", "chain does not take \"directed\""),
        ("torus:16", "\"16\" is not ROWSxCOLUMNS"),
        ("torus:4x4x4", "\"4x4\" is not a whole number"),
        ("erdos-renyi:16", "takes N:PROBABILITY"),
        ("erdos-renyi:16:half", "\"half\" is not a number"),
        ("random-regular:16", "takes N:DEGREE"),
        ("petersen:10", "takes nothing more"),
        ("edges", "stands in a file only"),
    ];
    for (given, reason) in table {
        let said = Spec::parse_short(given).expect_err(given).to_string();
        assert!(said.contains(reason) && said.contains("torus:ROWSxCOLUMNS"), "{given}\n  says: {said}");
    }
}

#[test]
fn a_mistake_in_toml_is_shown_with_its_line() {
    let said = Spec::from_toml("family = 'ring'\nagent = 4").expect_err("a mistyped key").to_string();
    assert!(said.contains("line 2") && said.contains("`agents`"), "{said}");
    let said = Spec::from_toml("family = 'mesh'").expect_err("no such family").to_string();
    assert!(said.contains("line 1") && said.contains("`erdos-renyi`"), "{said}");
}
