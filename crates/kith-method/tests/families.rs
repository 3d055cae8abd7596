//! Laws that every method passes on every family of graphs, on heterogeneous quadratics.

use kith_core::Seeds;
use kith_data::Quadratics;
use kith_graph::Spec;
use kith_method::{Buffer, Compressor, ExchangeKind, Feedback, Link, Oracle, Order, Parts, Preset};

mod support;

use support::{Course, decentralized, distance, keeps_mean, largest_gap, mean, oracle, problem, trajectory};

/// f32 against f64 over some rounds.
const TOLERANCE: f64 = 1e-4;
/// One graph a family, with even and odd numbers of agents.
const GRAPHS: [&str; 17] = [
    "chain:2",
    "ring:6",
    "ring:5",
    "ring:4:directed",
    "torus:3x3",
    "chain:5",
    "star:6",
    "complete:5",
    "hypercube:8",
    "exponential:7",
    "erdos-renyi:8:0.4",
    "random-regular:8:3",
    "petersen",
    "dyck",
    "exponential:8:directed",
    SPANNED,
    UNEVEN,
];

/// A spanning tree of a graph with cycles.
const SPANNED: &str = "spanned";

/// One-way edges, of which agents have different numbers in and out: rows of W do not sum to one.
const UNEVEN: &str = "uneven";

/// A graph with an objective and a start for each agent.
struct World {
    name: String,
    problem: Quadratics,
    directed: bool,
    /// Whether rows of W sum to one, as columns do.
    keeps_mean: bool,
    tree: bool,
    /// Second largest modulus, and smallest eigenvalue, of W.
    spectrum: (f64, f64),
}

impl World {
    fn new(name: &str) -> Self {
        let seeds = Seeds::new(1);
        let uneven = "family = 'edges'\ndirected = true\nedges = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0], [0, 2], [0, 3], [2, 0]]";
        let spec = match name {
            UNEVEN => Spec::from_toml(uneven),
            SPANNED => Spec::from_toml("family = 'torus'\nagents = 9\ntree = 'breadth-first'"),
            _ => Spec::parse_short(name),
        };
        let spec = spec.expect("a graph");
        let graph = spec.build(&seeds).expect("it builds");
        let mixing = spec.mixing(&graph).expect("it mixes");
        let dense = graph.agent_ids().map(|i| graph.agent_ids().map(|j| mixing.weight(i, j)).collect()).collect();
        Self {
            name: name.to_owned(),
            problem: problem(dense),
            directed: graph.is_directed(),
            keeps_mean: mixing.is_doubly_stochastic(),
            tree: !graph.is_directed() && graph.edges().len() + 1 == graph.agents(),
            spectrum: (1.0 - mixing.spectral_gap(), mixing.smallest_eigenvalue()),
        }
    }

    /// Whether `kith check` would let the method run here.
    fn admits(&self, parts: &Parts, gamma: f64) -> bool {
        match parts.exchange.kind {
            ExchangeKind::Relay => self.tree,
            ExchangeKind::Corrected => !self.directed && 1.0 - gamma * (1.0 - self.spectrum.1) > -1.0 / 3.0 + 1e-6,
            ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures | ExchangeKind::GlobalUpdate => {
                !self.directed
            }
            ExchangeKind::PushSum => true,
            _ if !self.keeps_mean => false,
            ExchangeKind::None | ExchangeKind::Model | ExchangeKind::Difference => true,
        }
    }

    fn run(&self, parts: Parts, rate: f64, gamma: f64, rounds: u64) -> Vec<Vec<Vec<f64>>> {
        trajectory(&self.problem, parts, &self.problem.mixing, rate, gamma, rounds)
    }
}

fn worlds() -> impl Iterator<Item = World> {
    GRAPHS.into_iter().map(World::new)
}

/// Every method on every graph that it may run on, at averaging rate one half (which every exchange here is stable at).
fn everywhere(mut law: impl FnMut(&World, Preset)) {
    let mut cases = 0;
    for world in worlds() {
        for preset in decentralized().filter(|preset| world.admits(&preset.parts(), 0.5)) {
            law(&world, preset);
            cases += 1;
        }
    }
    assert!(cases > 12 * 20, "{cases} cases");
}

#[test]
fn at_learning_rate_zero_the_mean_stays() {
    everywhere(|world, preset| {
        if keeps_mean(&preset.parts()) && world.keeps_mean {
            let states = world.run(preset.parts(), 0.0, 0.5, 8);
            let gap = distance(&mean(&states[7]), &mean(&world.problem.initial));
            assert!(gap < 1e-5, "{preset:?} on {}: the mean moved by {gap:e}", world.name);
        }
    });
}

#[test]
fn without_a_killed_agent_the_living_keep_their_mean() {
    everywhere(|world, preset| {
        let parts = preset.parts();
        if world.directed || !keeps_mean(&parts) {
            return;
        }
        let living: Vec<usize> = (0..world.problem.initial.len()).filter(|agent| *agent != 1).collect();
        let course = Course { rate: 0.0, gamma: 0.5, rounds: 6, threads: 1, living: &living };
        let states = course.states(&world.problem, parts, &world.problem.mixing);
        let alive = |state: &[Vec<f64>]| mean(&living.iter().map(|agent| state[*agent].clone()).collect::<Vec<_>>());
        let gap = distance(&alive(&states[5]), &alive(&world.problem.initial));
        assert!(gap < 1e-5, "{preset:?} on {}: the mean of the living moved by {gap:e}", world.name);
        assert_eq!(distance(&states[5][1], &states[0][1]), 0.0, "{preset:?} on {}: the dead agent moved", world.name);
    });
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    everywhere(|world, preset| {
        let agents: Vec<usize> = (0..world.problem.initial.len()).collect();
        let with = |threads| {
            let course = Course { rate: 0.02, gamma: 0.5, rounds: 3, threads, living: &agents };
            course.states(&world.problem, preset.parts(), &world.problem.mixing)
        };
        assert_eq!(with(1), with(3), "{preset:?} on {}", world.name);
    });
}

#[test]
fn sharpness_aware_at_radius_zero_is_plain() {
    everywhere(|world, preset| {
        let with = |oracle| world.run(Parts { oracle, ..preset.parts() }, 0.02, 0.5, 4);
        assert_eq!(with(Oracle::sharpness_aware(0.0)), with(Oracle::Plain), "{preset:?} on {}", world.name);
    });
}

#[test]
fn with_nothing_lost_compressed_methods_are_those_that_send_everything() {
    let lossy = |preset: &Preset| {
        let exchange = preset.parts().exchange;
        // AdaGossip divides by what mixing did, so that rounding is as large as anything where agents agree.
        let compresses = exchange.compressor.is_some() || exchange.gradient_compressor.is_some();
        compresses && exchange.adaptive.is_none()
    };
    assert!(decentralized().filter(lossy).count() >= 5);
    for world in worlds() {
        for preset in decentralized().filter(lossy).filter(|preset| world.admits(&preset.parts(), 0.5)) {
            let (mut parts, mut whole) = (preset.parts(), preset.parts());
            parts.exchange.order = Order::default();
            parts.exchange.compressor = parts.exchange.compressor.map(|_| Compressor::Identity);
            parts.exchange.gradient_compressor = parts.exchange.gradient_compressor.map(|_| Compressor::Identity);
            whole.exchange.order = Order::default();
            (whole.exchange.compressor, whole.exchange.gradient_compressor) = (None, None);
            whole.exchange.feedback = Feedback::None;
            if whole.exchange.kind == ExchangeKind::Difference {
                whole.exchange.kind = ExchangeKind::Model;
            }
            let gap = largest_gap(&world.run(parts, 0.03, 0.5, 8), &world.run(whole, 0.03, 0.5, 8));
            assert!(gap < TOLERANCE, "{preset:?} on {}: {gap:e}", world.name);
        }
    }
}

#[test]
fn without_tracking_global_update_tracking_is_mixing_before_the_step() {
    for world in worlds().filter(|world| !world.directed) {
        let mut gut = Preset::Gut.parts();
        gut.exchange.tracking = Some(0.0);
        let gap = largest_gap(&world.run(gut, 0.03, 1.0, 8), &world.run(Preset::DPsgdCta.parts(), 0.03, 1.0, 8));
        assert!(gap < TOLERANCE, "{}: {gap:e}", world.name);
    }
}

#[test]
fn the_distance_to_the_mean_shrinks_at_least_at_the_spectral_rate() {
    let spread = |state: &[Vec<f64>]| {
        let centre = mean(state);
        state.iter().map(|row| distance_squared(row, &centre)).sum::<f64>().sqrt()
    };
    let mut cases = 0;
    for world in worlds().filter(|world| world.keeps_mean) {
        for preset in decentralized().filter(|preset| world.admits(&preset.parts(), 1.0)) {
            let exchange = preset.parts().exchange;
            // D² carries on what mixing did, GUT mixes through the step, and lossy rows settle by other bounds.
            let kinds = [
                ExchangeKind::Model,
                ExchangeKind::NeighbourGradients,
                ExchangeKind::NeighbourFeatures,
                ExchangeKind::PushSum,
            ];
            if !kinds.contains(&exchange.kind) || exchange.compressor.is_some() {
                continue;
            }
            let mut before = spread(&world.problem.initial);
            for state in world.run(preset.parts(), 0.0, 1.0, 8) {
                let after = spread(&state);
                let most = world.spectrum.0 * before + 1e-5;
                assert!(after <= most, "{preset:?} on {}: {after} from {before}", world.name);
                before = after;
            }
            cases += 1;
        }
    }
    assert!(cases > 150, "{cases} cases");
}

fn distance_squared(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum()
}

/// The centralised optimiser with the method's oracle and momentum, from `x`.
fn centralised(problem: &Quadratics, parts: &Parts, x: &[f64], rate: f64, rounds: usize) -> Vec<Vec<f64>> {
    let (mut x, mut m) = (x.to_vec(), vec![0.0; x.len()]);
    let step = |_| {
        let g = oracle(problem, parts, &x);
        for ((x, m), g) in x.iter_mut().zip(&mut m).zip(&g) {
            let decay = parts.chain.iter().find_map(|link| match link {
                Link::WeightDecay(rate) => Some(*rate),
                _ => None,
            });
            let g = &(g + decay.unwrap_or(0.0) * *x);
            let buffered = |link: &&Link| matches!(link, Link::Momentum { .. } | Link::QuasiGlobal { .. });
            let update = match parts.chain.iter().find(buffered) {
                Some(Link::Momentum { beta, nesterov }) => {
                    *m = beta * *m + g;
                    if *nesterov { g + beta * *m } else { *m }
                }
                Some(Link::QuasiGlobal { beta, nesterov, buffer }) => {
                    let local = beta * *m + g;
                    let update = if *nesterov { g + beta * local } else { local };
                    *m = if *buffer == Buffer::Smoothed { beta * *m + (1.0 - beta) * update } else { local };
                    update
                }
                _ => *g,
            };
            *x -= rate * update;
        }
        x.clone()
    };
    (0..rounds).map(step).collect()
}

#[test]
fn one_agent_alone_is_the_centralised_optimiser() {
    let problem = problem(vec![vec![1.0]]);
    for preset in decentralized() {
        let mut parts = preset.parts();
        if preset == Preset::QgGutm {
            // With momentum, tracking sees the momentum of the agent's own past too.
            parts.exchange.tracking = Some(0.0);
        }
        let expected = centralised(&problem, &parts, &problem.initial[0], 0.03, 10);
        let states = trajectory(&problem, parts, &problem.mixing, 0.03, 0.5, 10);
        for (state, expected) in states.iter().zip(&expected) {
            let gap = distance(&state[0], expected);
            assert!(gap < TOLERANCE, "{preset:?}: {gap:e}");
        }
    }
}

/// Why the mean of all agents of a method does not go the way of data-parallel training on the complete graph at γ = 1.
fn departs_from_data_parallel(parts: &Parts) -> Option<&'static str> {
    let exchange = &parts.exchange;
    if exchange.compressor.is_some() || exchange.gradient_compressor.is_some() {
        return Some("what compression holds back reaches the others later");
    }
    if exchange.adaptive.is_some() {
        return Some("averaging rates of each parameter are less than one");
    }
    let has_momentum = parts.chain.iter().any(|link| matches!(link, Link::Momentum { .. }));
    match exchange.kind {
        ExchangeKind::NeighbourGradients if exchange.data_variant_weight.unwrap_or(0.0) < 1.0 => {
            Some("its gradients are at the models that neighbours had before mixing")
        }
        ExchangeKind::GlobalUpdate if has_momentum => Some("momentum is of what is tracked, mixing included"),
        ExchangeKind::None
        | ExchangeKind::Model
        | ExchangeKind::Difference
        | ExchangeKind::Corrected
        | ExchangeKind::NeighbourGradients
        | ExchangeKind::NeighbourFeatures
        | ExchangeKind::GlobalUpdate
        | ExchangeKind::Relay
        | ExchangeKind::PushSum => None,
    }
}

#[test]
fn on_the_complete_graph_at_rate_one_the_mean_is_that_of_data_parallel_training() {
    let mut methods = 0;
    for preset in decentralized() {
        let parts = preset.parts();
        // The complete graph that is a tree.
        let graph = if parts.exchange.kind == ExchangeKind::Relay { "chain:2" } else { "complete:5" };
        let mut world = World::new(graph);
        world.problem.initial = vec![world.problem.initial[0].clone(); world.problem.initial.len()];
        let expected = centralised(&world.problem, &parts, &world.problem.initial[0], 0.03, 10);
        let states = world.run(parts.clone(), 0.03, 1.0, 10);
        let gaps = states.iter().zip(&expected).map(|(state, expected)| distance(&mean(state), expected));
        let gap = gaps.fold(0.0, f64::max);
        match departs_from_data_parallel(&parts) {
            None => assert!(gap < TOLERANCE, "{preset:?}: {gap:e}"),
            Some(why) => assert!(gap > TOLERANCE, "{preset:?} does not depart, though {why}"),
        }
        methods += usize::from(departs_from_data_parallel(&parts).is_none());
    }
    assert!(methods > 20, "{methods}");
}

#[test]
fn where_all_degrees_are_the_same_push_sum_is_decentralized_sgd() {
    let same = ["ring:6", "ring:4:directed", "torus:3x3", "complete:5", "hypercube:8", "exponential:8:directed"];
    for world in same.map(World::new) {
        let push = world.run(Preset::PushSum.parts(), 0.03, 0.5, 8);
        let gap = largest_gap(&push, &world.run(Preset::DPsgd.parts(), 0.03, 0.5, 8));
        assert!(gap < TOLERANCE, "{}: {gap:e}", world.name);
    }
}

#[test]
fn at_learning_rate_zero_push_sum_brings_everybody_to_the_mean_over_uneven_edges() {
    let world = World::new(UNEVEN);
    let centre = mean(&world.problem.initial);
    let far = |state: &[Vec<f64>]| state.iter().map(|row| distance(row, &centre)).fold(0.0, f64::max);
    let states = world.run(Preset::PushSum.parts(), 0.0, 1.0, 60);
    assert!(far(&states[59]) < 1e-5, "{:e}", far(&states[59]));
    // The rate in the long run is the second largest modulus of W.
    let rate = (far(&states[24]) / far(&states[4])).powf(1.0 / 20.0);
    assert!((rate - world.spectrum.0).abs() < 0.1, "{rate} against {}", world.spectrum.0);
    let plain = world.run(Preset::DPsgd.parts(), 0.0, 1.0, 60);
    let settled = plain[59].iter().map(|row| distance(row, &plain[59][0])).fold(0.0, f64::max);
    assert!(settled < 1e-5 && far(&plain[59]) > 0.01, "plain gossip agrees on something else: {:e}", far(&plain[59]));
}

/// How far the last of many rounds is from where the sum of all objectives is least.
fn far_from_the_optimum(world: &World, parts: &Parts, gamma: f64) -> f64 {
    let states = world.run(parts.clone(), 0.02, gamma, 4000);
    let length = |x: &Vec<f64>| oracle(&world.problem, parts, x).iter().map(|g| g * g).sum::<f64>().sqrt();
    states[3999].iter().map(length).fold(0.0, f64::max)
}

#[test]
fn tracking_correction_and_relaying_reach_the_optimum_where_decentralized_sgd_stalls() {
    for world in ["ring:6", "chain:5", "star:6", SPANNED, "erdos-renyi:8:0.4"].map(World::new) {
        let stalls = far_from_the_optimum(&world, &Preset::DPsgd.parts(), 1.0);
        assert!(stalls > 0.02, "{}: {stalls}", world.name);
        for preset in [Preset::GradientTracking, Preset::D2, Preset::ExactDiffusion] {
            let far = far_from_the_optimum(&world, &preset.parts(), 0.5);
            assert!(far < 0.02 * stalls, "{preset:?} on {}: {far} against {stalls}", world.name);
        }
        if world.tree {
            let far = far_from_the_optimum(&world, &Preset::RelaySgd.parts(), 1.0);
            assert!(far < 0.02 * stalls, "relaying on {}: {far} against {stalls}", world.name);
        }
    }
}
