//! Laws that every graph and every mixing matrix keeps.

use kith_core::{AgentId, Seeds};
use kith_graph::{Family, Graph, Mixing, Spec, Tree, Weights};
use proptest::prelude::*;

fn spec(family: Family) -> Spec {
    Spec { family: Some(family), ..Spec::default() }
}

fn sized(family: Family, agents: usize) -> Spec {
    Spec { agents: Some(agents), ..spec(family) }
}

/// An edge list that is connected: a random tree and some edges more.
fn edge_lists() -> impl Strategy<Value = Spec> {
    (2_u32..24).prop_flat_map(|n| {
        let parents = prop::collection::vec(any::<prop::sample::Index>(), n as usize - 1);
        (parents, prop::collection::vec((0..n, 0..n), 0..30)).prop_map(|(parents, more)| {
            let tree = (1_u32..).zip(parents).map(|(child, parent)| (parent.index(child as usize) as u32, child));
            let mut edges: Vec<_> =
                tree.chain(more).filter(|(i, j)| i != j).map(|(i, j)| (i.min(j), i.max(j))).collect();
            edges.sort_unstable();
            edges.dedup();
            Spec { edges: Some(edges), ..spec(Family::Edges) }
        })
    })
}

fn specs() -> impl Strategy<Value = Spec> {
    let directed = |family| move |(agents, directed)| Spec { directed: Some(directed), ..sized(family, agents) };
    prop_oneof![
        (3_usize..40, any::<bool>()).prop_map(directed(Family::Ring)),
        (2_usize..40, any::<bool>()).prop_map(directed(Family::Exponential)),
        (3_usize..8, 3_usize..8).prop_map(|(rows, columns)| Spec {
            rows: Some(rows),
            columns: Some(columns),
            ..spec(Family::Torus)
        }),
        (2_usize..40).prop_map(|n| sized(Family::Chain, n)),
        (2_usize..40).prop_map(|n| sized(Family::Star, n)),
        (1_usize..30).prop_map(|n| sized(Family::Complete, n)),
        (1_u32..6).prop_map(|bits| sized(Family::Hypercube, 1 << bits)),
        (2_usize..30, 0.3_f64..1.0).prop_map(|(n, p)| Spec { probability: Some(p), ..sized(Family::ErdosRenyi, n) }),
        (2_usize..15, 2_usize..8).prop_map(|(half, degree)| {
            let agents = 2 * half;
            Spec { degree: Some(degree.min(agents - 1)), ..sized(Family::RandomRegular, agents) }
        }),
        Just(spec(Family::Petersen)),
        Just(spec(Family::Dyck)),
        edge_lists(),
    ]
}

fn build(spec: &Spec, seed: u64) -> (Graph, Mixing) {
    let graph = spec.build(&Seeds::new(seed)).expect("a graph");
    let mixing = spec.mixing(&graph).expect("a matrix");
    (graph, mixing)
}

fn dense(mixing: &Mixing) -> Vec<Vec<f64>> {
    let agents = || (0..mixing.agents()).map(AgentId::from);
    agents().map(|i| agents().map(|j| mixing.weight(i, j)).collect()).collect()
}

/// Eigenvalues of a symmetric matrix by cyclic Jacobi rotations: independent of the library's own method.
fn eigenvalues(mut a: Vec<Vec<f64>>) -> Vec<f64> {
    let n = a.len();
    for _ in 0..60 {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q].abs() < 1e-300 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = if theta < 0.0 { -1.0 } else { 1.0 } / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    (0..n).map(|i| a[i][i]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn rows_and_columns_of_w_sum_to_one_and_no_entry_is_negative(spec in specs(), seed in 0_u64..1000) {
        let matrix = dense(&build(&spec, seed).1);
        for i in 0..matrix.len() {
            let row: f64 = matrix[i].iter().sum();
            let column: f64 = matrix.iter().map(|row| row[i]).sum();
            prop_assert!((row - 1.0).abs() < 1e-12 && (column - 1.0).abs() < 1e-12, "{row} {column}");
            prop_assert!(matrix[i].iter().all(|weight| *weight >= -1e-12));
            prop_assert!(matrix[i][i] > 0.0);
        }
    }

    #[test]
    fn w_lives_on_the_edges_and_is_symmetric_where_they_go_both_ways(spec in specs(), seed in 0_u64..1000) {
        let (graph, mixing) = build(&spec, seed);
        for i in graph.agent_ids() {
            let mut agents: Vec<_> = mixing.row(i).iter().map(|(j, _)| *j).collect();
            prop_assert!(agents.is_sorted());
            agents.retain(|j| *j != i);
            prop_assert_eq!(&agents, graph.neighbours_in(i));
        }
        let matrix = dense(&mixing);
        let mirrored = (0..matrix.len()).all(|i| (0..i).all(|j| (matrix[i][j] - matrix[j][i]).abs() < 1e-12));
        prop_assert_eq!(mixing.is_symmetric(), mirrored);
        prop_assert!(graph.is_directed() || mirrored);
    }

    #[test]
    fn neighbours_ascend_and_are_each_others(spec in specs(), seed in 0_u64..1000) {
        let (graph, _) = build(&spec, seed);
        for i in graph.agent_ids() {
            prop_assert!(graph.neighbours_out(i).is_sorted_by(|a, b| a < b));
            prop_assert!(graph.neighbours_in(i).is_sorted_by(|a, b| a < b));
            for j in graph.neighbours_out(i) {
                prop_assert!(*j != i && graph.neighbours_in(*j).contains(&i));
                prop_assert!(graph.is_directed() || graph.neighbours_out(*j).contains(&i));
            }
        }
        let out: usize = graph.agent_ids().map(|agent| graph.degree(agent)).sum();
        prop_assert_eq!(out, graph.edges().len() * if graph.is_directed() { 1 } else { 2 });
        prop_assert!(graph.edges().is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn every_agent_reaches_every_other(spec in specs(), seed in 0_u64..1000) {
        let (graph, _) = build(&spec, seed);
        let mut reached = vec![vec![false; graph.agents()]; graph.agents()];
        for start in graph.agent_ids() {
            let mut stack = vec![start];
            while let Some(agent) = stack.pop() {
                if !std::mem::replace(&mut reached[start.index()][agent.index()], true) {
                    stack.extend(graph.neighbours_out(agent));
                }
            }
        }
        prop_assert!(reached.iter().flatten().all(|reached| *reached));
    }

    #[test]
    fn one_mixing_contracts_by_the_spectral_gap(
        spec in specs(),
        seed in 0_u64..1000,
        values in prop::collection::vec(-10.0_f64..10.0, 64),
    ) {
        let (graph, mixing) = build(&spec, seed);
        let x = &values[..graph.agents()];
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let norm = |x: &[f64]| x.iter().map(|x| (x - mean).powi(2)).sum::<f64>().sqrt();
        let row = |i| mixing.row(i).iter().map(|(j, weight)| weight * x[j.index()]).sum();
        let mixed: Vec<f64> = graph.agent_ids().map(row).collect();
        let bound = (1.0 - mixing.spectral_gap()) * norm(x);
        prop_assert!(norm(&mixed) <= bound + 1e-11, "{} > {bound}", norm(&mixed));
    }

    #[test]
    fn the_spectral_gap_is_that_of_a_dense_eigensolver(spec in edge_lists(), seed in 0_u64..1000) {
        let (_, mixing) = build(&spec, seed);
        let mut moduli: Vec<f64> = eigenvalues(dense(&mixing)).into_iter().map(f64::abs).collect();
        moduli.sort_by(f64::total_cmp);
        let expected = 1.0 - moduli[moduli.len() - 2];
        prop_assert!((mixing.spectral_gap() - expected).abs() < 1e-10, "{} {expected}", mixing.spectral_gap());
    }

    #[test]
    fn a_spec_survives_being_written_and_read(spec in specs()) {
        let text = toml::to_string(&spec).expect("a spec is written");
        prop_assert_eq!(Spec::from_toml(&text).expect("a spec is read"), spec);
    }

    #[test]
    fn uniform_and_metropolis_weights_agree_on_regular_graphs(spec in specs(), seed in 0_u64..1000) {
        let graph = spec.build(&Seeds::new(seed)).expect("a graph");
        let regular = graph.agent_ids().all(|agent| graph.degree(agent) == graph.degree(AgentId(0)));
        let uniform = Mixing::new(&graph, Weights::Uniform);
        prop_assert_eq!(uniform.is_ok(), regular);
        if let (Ok(uniform), Ok(metropolis)) = (uniform, Mixing::new(&graph, Weights::Metropolis)) {
            for (u, m) in dense(&uniform).iter().flatten().zip(dense(&metropolis).iter().flatten()) {
                prop_assert!((u - m).abs() < 1e-15);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_spanning_tree_has_edges_of_the_graph_one_fewer_than_agents_and_keeps_agents_near_if_it_is_breadth_first(
        spec in specs().prop_filter("edges go both ways", |spec| spec.directed != Some(true)),
        seed in 0_u64..100,
    ) {
        let (graph, _) = build(&spec, seed);
        for tree in [Tree::BreadthFirst, Tree::DepthFirst] {
            let (spanned, mixing) = build(&Spec { tree: Some(tree), ..spec.clone() }, seed);
            prop_assert_eq!(spanned.edges().len() + 1, graph.agents());
            prop_assert!(spanned.edges().iter().all(|edge| graph.edges().contains(edge)));
            prop_assert!(mixing.is_doubly_stochastic());
            if tree == Tree::BreadthFirst {
                prop_assert!(spanned.diameter() <= 2 * graph.diameter());
            }
        }
    }
}

#[test]
fn a_ring_becomes_a_chain_if_it_is_walked_in_depth_and_has_two_branches_if_in_breadth() {
    let edges = |tree| {
        let (graph, _) = build(&Spec { tree: Some(tree), ..sized(Family::Ring, 6) }, 1);
        graph.edges().iter().map(|(from, to)| (from.0, to.0)).collect::<Vec<_>>()
    };
    assert_eq!(edges(Tree::DepthFirst), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
    assert_eq!(edges(Tree::BreadthFirst), [(0, 1), (0, 5), (1, 2), (2, 3), (4, 5)]);
}
