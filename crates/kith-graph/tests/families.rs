//! Facts that are known of the families: sizes, degrees, diameters, cycles, spectral gaps.

use std::collections::VecDeque;
use std::f64::consts::{PI, TAU};

use kith_core::{AgentId, Seeds};
use kith_graph::{Graph, Mixing, Spec, Weights};

fn graph(short: &str) -> Graph {
    Spec::parse_short(short).expect("a short form").build(&Seeds::new(1)).expect("a graph")
}

fn gap(short: &str) -> f64 {
    let spec = Spec::parse_short(short).expect("a short form");
    spec.mixing(&spec.build(&Seeds::new(1)).expect("a graph")).expect("a matrix").spectral_gap()
}

fn assert_close(found: f64, expected: f64, what: &str) {
    // Rounding of some thousand sums of numbers up to one.
    assert!((found - expected).abs() < 1e-12, "{what}: {found} against {expected}");
}

/// The length of the shortest cycle, over the edges as pairs.
fn girth(graph: &Graph) -> usize {
    let mut best = usize::MAX;
    for &(from, to) in graph.edges() {
        // The shortest way round that avoids this edge closes the shortest cycle through it.
        let mut hops = vec![usize::MAX; graph.agents()];
        hops[from.index()] = 0;
        let mut queue = VecDeque::from([from]);
        while let Some(agent) = queue.pop_front() {
            for &next in graph.neighbours_out(agent) {
                if (agent, next) != (from, to) && hops[next.index()] == usize::MAX {
                    hops[next.index()] = hops[agent.index()] + 1;
                    queue.push_back(next);
                }
            }
        }
        best = best.min(hops[to.index()].saturating_add(1));
    }
    best
}

fn is_bipartite(graph: &Graph) -> bool {
    let mut side = vec![None; graph.agents()];
    side[0] = Some(false);
    let mut queue = VecDeque::from([AgentId(0)]);
    while let Some(agent) = queue.pop_front() {
        let other = side[agent.index()].map(|side: bool| !side);
        for next in graph.neighbours_out(agent) {
            if side[next.index()].is_none() {
                side[next.index()] = other;
                queue.push_back(*next);
            } else if side[next.index()] != other {
                return false;
            }
        }
    }
    true
}

#[test]
fn every_family_has_its_edges_degrees_and_diameter() {
    // Short form, agents, edges, least degree, largest degree, diameter.
    let table = [
        ("ring:1", 1, 0, 0, 0, 0),
        ("complete:1", 1, 0, 0, 0, 0),
        ("ring:3", 3, 3, 2, 2, 1),
        ("ring:16", 16, 16, 2, 2, 8),
        ("ring:16:directed", 16, 16, 1, 1, 15),
        ("torus:3x3", 9, 18, 4, 4, 2),
        ("torus:4x4", 16, 32, 4, 4, 4),
        ("torus:3x5", 15, 30, 4, 4, 3),
        ("chain:2", 2, 1, 1, 1, 1),
        ("chain:8", 8, 7, 1, 2, 7),
        ("star:8", 8, 7, 1, 7, 2),
        ("complete:8", 8, 28, 7, 7, 1),
        ("hypercube:2", 2, 1, 1, 1, 1),
        ("hypercube:16", 16, 32, 4, 4, 4),
        ("exponential:16", 16, 56, 7, 7, 2),
        ("exponential:16:directed", 16, 64, 4, 4, 4),
        ("exponential:2", 2, 1, 1, 1, 1),
        ("random-regular:10:8", 10, 40, 8, 8, 2),
        ("random-regular:9:8", 9, 36, 8, 8, 1),
        ("petersen", 10, 15, 3, 3, 2),
        ("dyck", 32, 48, 3, 3, 5),
    ];
    for (short, agents, edges, least, most, diameter) in table {
        let graph = graph(short);
        let degrees: Vec<_> = graph.agent_ids().map(|agent| graph.degree(agent)).collect();
        let found = (
            graph.agents(),
            graph.edges().len(),
            degrees.iter().min().copied(),
            degrees.iter().max().copied(),
            graph.diameter(),
        );
        assert_eq!(found, (agents, edges, Some(least), Some(most), diameter), "{short}");
    }
}

#[test]
fn the_dyck_graph_is_bipartite_of_girth_six_and_the_petersen_graph_is_not_of_girth_five() {
    let (dyck, petersen) = (graph("dyck"), graph("petersen"));
    assert_eq!((girth(&dyck), is_bipartite(&dyck)), (6, true));
    assert_eq!((girth(&petersen), is_bipartite(&petersen)), (5, false));
}

#[test]
fn a_directed_ring_sends_to_the_next_and_hears_from_the_one_before() {
    let ring = graph("ring:5:directed");
    assert!(ring.is_directed());
    assert_eq!(ring.neighbours_out(AgentId(4)), [AgentId(0)]);
    assert_eq!(ring.neighbours_in(AgentId(4)), [AgentId(3)]);
    let mixing = Mixing::new(&ring, Weights::Uniform).expect("a matrix");
    assert_eq!(mixing.row(AgentId(0)), [(AgentId(0), 0.5), (AgentId(4), 0.5)]);
    assert_eq!(mixing.weight(AgentId(0), AgentId(1)), 0.0);
    assert!(!mixing.is_symmetric());
}

#[test]
fn labels_say_the_family_and_the_size() {
    let table = [
        ("ring:16", "ring of 16"),
        ("ring:16:directed", "directed ring of 16"),
        ("ring:1", "single agent"),
        ("torus:4x5", "torus of 4 x 5"),
        ("random-regular:16:4", "random 4-regular graph of 16"),
        ("dyck", "Dyck graph"),
    ];
    for (short, label) in table {
        assert_eq!(graph(short).label(), label);
    }
}

#[test]
fn random_graphs_follow_from_the_seed_alone() {
    for short in ["erdos-renyi:20:0.3", "random-regular:20:3"] {
        let spec = Spec::parse_short(short).expect("a short form");
        let edges = |seed| spec.build(&Seeds::new(seed)).expect("a graph").edges().to_vec();
        assert_eq!(edges(3), edges(3), "{short}");
        assert_ne!(edges(3), edges(4), "{short}");
    }
}

#[test]
fn an_erdos_renyi_graph_has_about_its_share_of_the_pairs() {
    // 4950 pairs at 0.2: 990 edges, standard deviation 28; five of them on either side.
    let edges = graph("erdos-renyi:100:0.2").edges().len();
    assert!((849..=1131).contains(&edges), "{edges}");
    assert_eq!(graph("erdos-renyi:12:1").edges().len(), 66);
}

#[test]
fn random_regular_graphs_are_drawn_at_every_feasible_degree() {
    for degree in 2..=15 {
        let graph = graph(&format!("random-regular:16:{degree}"));
        assert!(graph.agent_ids().all(|agent| graph.degree(agent) == degree), "{degree}");
    }
    assert_eq!(graph("random-regular:200:20").edges().len(), 2000);
}

#[test]
fn gaps_of_rings_and_tori_are_those_printed_by_choco() {
    // Koloskova et al. (2020), "Decentralized deep learning with arbitrary communication compression": spectral gaps
    // at 4, 16 and 36 agents, ring .67/.05/.01 and torus -/.4/.2 (a 2 x 2 torus is not simple).
    let printed = |gap: f64| (gap * 100.0).round() / 100.0;
    let found = ["ring:4", "ring:16", "ring:36", "torus:4x4", "torus:6x6"].map(|short| printed(gap(short)));
    assert_eq!(found, [0.67, 0.05, 0.01, 0.4, 0.2]);
}

#[test]
fn gaps_are_those_of_the_closed_forms() {
    for n in [3_usize, 4, 5, 16, 100, 333, 1024] {
        let cosine = |k: usize| (1.0 + 2.0 * (TAU * k as f64 / n as f64).cos()) / 3.0;
        let largest = (1..n).map(|k| cosine(k).abs()).fold(0.0, f64::max);
        assert_close(gap(&format!("ring:{n}")), 1.0 - largest, &format!("ring {n}"));
        let directed = 1.0 - (PI / n as f64).cos();
        assert_close(gap(&format!("ring:{n}:directed")), directed, &format!("directed ring {n}"));
        let chain = 2.0 / 3.0 * (1.0 - (PI / n as f64).cos());
        assert_close(gap(&format!("chain:{n}")), chain, &format!("chain {n}"));
        assert_close(gap(&format!("star:{n}")), 1.0 / n as f64, &format!("star {n}"));
        assert_close(gap(&format!("complete:{n}")), 1.0, &format!("complete {n}"));
    }
    for bits in 1..=10_u32 {
        let expected = if bits == 1 { 1.0 } else { 2.0 / f64::from(bits + 1) };
        assert_close(gap(&format!("hypercube:{}", 1 << bits)), expected, &format!("hypercube {bits}"));
    }
    assert_close(gap("petersen"), 0.5, "petersen");
    assert_close(gap("dyck"), 1.0 - (1.0 + 5.0_f64.sqrt()) / 4.0, "dyck");
    assert_close(gap("torus:32x32"), 2.0 / 5.0 * (1.0 - (TAU / 32.0).cos()), "torus 32");
    assert_close(gap("ring:1"), 1.0, "single agent");
}

#[test]
fn gaps_of_exponential_graphs_are_those_of_their_circulants() {
    // Ying et al. (2021), theorem 1: 2 / (1 + ceil(log2 n)) on the directed graph, n even.
    for n in [4_usize, 6, 8, 10, 16, 64, 1000, 1024] {
        let hops = (n as f64).log2().ceil();
        assert_close(gap(&format!("exponential:{n}:directed")), 2.0 / (1.0 + hops), &format!("directed {n}"));
    }
    for n in [5_usize, 16, 33, 100] {
        let graph = graph(&format!("exponential:{n}"));
        let hops: Vec<_> = graph.neighbours_out(AgentId(0)).iter().map(|agent| f64::from(agent.0)).collect();
        let value = |k: usize| {
            let sum: f64 = hops.iter().map(|hop| (TAU * k as f64 * hop / n as f64).cos()).sum();
            ((1.0 + sum) / (1.0 + hops.len() as f64)).abs()
        };
        let largest = (1..n).map(value).fold(0.0, f64::max);
        assert_close(gap(&format!("exponential:{n}")), 1.0 - largest, &format!("undirected {n}"));
    }
}

#[test]
fn weights_on_rings_and_tori_are_a_third_and_a_fifth_by_either_rule() {
    for (short, expected) in [("ring:16", 1.0 / 3.0), ("torus:4x4", 0.2), ("dyck", 0.25)] {
        for weights in [Weights::Metropolis, Weights::Uniform] {
            let mixing = Mixing::new(&graph(short), weights).expect("a matrix");
            for (agent, weight) in mixing.row(AgentId(5)) {
                assert_close(*weight, expected, &format!("{short}, agent {agent}"));
            }
        }
    }
}

#[test]
fn metropolis_weights_on_a_star_leave_the_rest_on_the_leaf() {
    let mixing = Mixing::new(&graph("star:5"), Weights::Metropolis).expect("a matrix");
    assert_eq!(mixing.row(AgentId(3)), [(AgentId(0), 0.2), (AgentId(3), 0.8)]);
    assert_close(mixing.weight(AgentId(0), AgentId(0)), 0.2, "centre");
}

#[test]
fn out_degree_weights_divide_every_agent_evenly_and_their_gap_is_that_of_a_complex_pair() {
    let text = "family = 'edges'\ndirected = true\nedges = [[0, 1], [1, 2], [2, 0], [0, 2]]";
    let spec = Spec::from_toml(text).expect("a spec");
    let graph = spec.build(&Seeds::new(1)).expect("a graph");
    let mixing = spec.mixing(&graph).expect("a matrix");
    assert_eq!((mixing.weights(), mixing.is_doubly_stochastic()), (Weights::OutDegree, false));
    assert_eq!(mixing.row(AgentId(0)), [(AgentId(0), 1.0 / 3.0), (AgentId(2), 0.5)]);
    assert_eq!(mixing.row(AgentId(2)), [(AgentId(0), 1.0 / 3.0), (AgentId(1), 0.5), (AgentId(2), 0.5)]);
    assert!(mixing.largest_column_error() < 1e-15, "{}", mixing.largest_column_error());
    // The other two eigenvalues have the sum 1/3 and the product 1/12.
    let gap = 1.0 - (1.0_f64 / 12.0).sqrt();
    assert!((mixing.spectral_gap() - gap).abs() < 1e-3, "{} against {gap}", mixing.spectral_gap());
    let ring = Mixing::new(&self::graph("ring:8:directed"), Weights::OutDegree).expect("a matrix");
    assert!(ring.is_doubly_stochastic());
}
