//! Golden trajectories on heterogeneous quadratics, from an independent implementation in f64, and laws on the same.

use std::path::PathBuf;

use kith_core::{AgentId, Batches, Layout, Matrix, Role, Round, Samples, Seeds, Tape, Tensor};
use kith_data::{QuadraticCase, Quadratics};
use kith_engine::{NativeEngine, Objective, Quadratic};
use kith_method::{Bias, Buffer, Cohort, Compressor, ExchangeKind, Link, Mixing, Oracle, Parts, Preset, Rates, Setup};

/// f32 against f64 over twelve rounds.
const TOLERANCE: f64 = 1e-4;

/// Quadratics need no data.
struct NoData;

impl Samples for NoData {
    fn input_len(&self) -> usize {
        0
    }
    fn len(&self) -> usize {
        0
    }
    fn read(&self, _index: u32, _out: &mut [f32]) {}
    fn label(&self, _index: u32) -> u32 {
        0
    }
}

impl Batches for NoData {
    fn samples(&self) -> &dyn Samples {
        self
    }
    fn indices(&self, _agent: AgentId, _step: u64, out: &mut Vec<u32>) {
        out.clear();
    }
}

/// Every file of the format: those of the repository, and those in the folder named by `KITH_GOLDEN_DIR`.
fn files() -> Vec<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let folders = [Some(own), std::env::var_os("KITH_GOLDEN_DIR").map(PathBuf::from)];
    let mut files: Vec<PathBuf> = folders
        .into_iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder).expect("the folder is there"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("quadratic_")))
        .collect();
    files.sort();
    files
}

fn to_f32(row: &[f64]) -> Vec<f32> {
    row.iter().map(|&value| value as f32).collect()
}

fn cohort(file: &Quadratics, parts: Parts, mixing: &[Vec<f64>]) -> Cohort<NativeEngine> {
    let quadratics = file.objectives.iter().map(|objective| {
        let a: Vec<f32> = objective.a.iter().flat_map(|row| to_f32(row)).collect();
        Quadratic { a: Matrix::new(objective.a.len(), file.dimensions(), a), b: to_f32(&objective.b) }
    });
    let engine = NativeEngine::new(Objective::Quadratics(quadratics.collect()), 1).expect("quadratics fit");
    let tensor = Tensor { name: "x".into(), offset: 0, rows: file.dimensions(), cols: 1, role: Role::Free };
    let weights = mixing.iter().enumerate().map(|(agent, row)| {
        let others = row.iter().enumerate().filter(|(peer, weight)| *peer != agent && **weight != 0.0);
        others.map(|(peer, &weight)| (AgentId::from(peer), weight)).collect()
    });
    Cohort::new(
        engine,
        Setup {
            parts,
            layout: Layout { tensors: vec![tensor] },
            agents: file.initial.len(),
            weights: weights.collect(),
            seeds: Seeds::new(1),
        },
        |agent, row| row.copy_from_slice(&to_f32(&file.initial[agent.index()])),
    )
}

/// The states after each round, `[round][agent][dimension]`.
fn trajectory(
    file: &Quadratics,
    parts: Parts,
    mixing: &[Vec<f64>],
    rate: f64,
    gamma: f64,
    rounds: u64,
) -> Vec<Vec<Vec<f64>>> {
    trajectory_with(file, parts, mixing, rate, gamma, rounds, |cohort, _| cohort)
}

/// As [`trajectory`]; `before` may put another cohort in the place of the one before each leg.
fn trajectory_with(
    file: &Quadratics,
    parts: Parts,
    mixing: &[Vec<f64>],
    rate: f64,
    gamma: f64,
    rounds: u64,
    before: impl Fn(Cohort<NativeEngine>, u64) -> Cohort<NativeEngine>,
) -> Vec<Vec<Vec<f64>>> {
    let legs = parts.legs();
    let radius = match &parts.oracle {
        Oracle::Plain => 0.0,
        Oracle::SharpnessAware { radius } => radius.at(&kith_core::Position::default()),
    };
    let mut cohort = cohort(file, parts, mixing);
    let agents: Vec<AgentId> = (0..file.initial.len()).map(AgentId::from).collect();
    let neighbours: Vec<Vec<AgentId>> = (0..agents.len())
        .map(|agent| {
            agents.iter().copied().filter(|peer| peer.index() != agent && mixing[agent][peer.index()] != 0.0).collect()
        })
        .collect();
    let mut states = Vec::new();
    for round in 0..rounds {
        let rows: Vec<Mixing<'_>> = agents
            .iter()
            .map(|&agent| {
                let peers = &neighbours[agent.index()];
                Mixing { agent, fresh: peers, opened: peers, late: Vec::new() }
            })
            .collect();
        for (part, &leg) in legs.iter().enumerate() {
            cohort = before(cohort, round * legs.len() as u64 + part as u64);
            if leg.computes() {
                let rates = Rates { learning_rate: rate, radius };
                cohort.train(&agents, round..round + 1, &NoData, |_| rates);
            }
            cohort.exchange(Round(round * legs.len() as u64 + part as u64), leg, gamma, &rows);
        }
        let read = |agent: &AgentId| {
            let mut row = vec![0.0; file.dimensions()];
            cohort.trained_row(*agent, &mut row);
            row.into_iter().map(f64::from).collect()
        };
        states.push(agents.iter().map(read).collect());
    }
    states
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    let difference: f64 = one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum();
    let size: f64 = other.iter().map(|value| value * value).sum();
    (difference / size.max(1e-12)).sqrt()
}

fn parts(kind: ExchangeKind, beta: f64) -> Parts {
    let mut parts = Preset::DPsgd.parts();
    parts.exchange.kind = kind;
    if beta > 0.0 {
        parts.chain.push(Link::Momentum { beta, nesterov: true });
    }
    parts
}

/// The parts that a case asks for; nothing for an algorithm that this test does not know.
fn parts_of(case: &QuadraticCase, dimensions: usize) -> Option<Parts> {
    let given = |name: &str, otherwise: f64| case.hyperparameters.get(name).copied().unwrap_or(otherwise);
    let preset = match case.algorithm.as_str() {
        "d-psgd" => Preset::DPsgd,
        "dsgdm-n" => Preset::DsgdmN,
        "qg-dsgdm-n" => Preset::QgDsgdmN,
        "q-saddle" => Preset::QSaddle,
        "gradient-tracking" => Preset::GradientTracking,
        "d2" => Preset::D2,
        "choco" => Preset::Choco,
        "ngm" => Preset::Ngm,
        "n-saddle" => Preset::NSaddle,
        "gut" => Preset::Gut,
        _ => return None,
    };
    let mut parts = preset.parts();
    let beta = given("momentum", 0.0);
    for link in &mut parts.chain {
        match link {
            Link::Momentum { beta: own, .. } | Link::QuasiGlobal { beta: own, .. } => *own = beta,
            _ => {}
        }
    }
    let exchange = &mut parts.exchange;
    if let Some(alpha) = &mut exchange.data_variant_weight {
        *alpha = given("data_variant_weight", 0.0);
    }
    if let Some(mu) = &mut exchange.tracking {
        *mu = given("tracking", 0.0);
    }
    if let Some(compressor) = &mut exchange.compressor {
        *compressor = Compressor::TopK { share: given("top_k", 1.0) / dimensions as f64 };
    }
    let radius = given("sam_radius", 0.0);
    parts.oracle = Oracle::SharpnessAware { radius: radius.into() };
    Some(parts)
}

fn compare(file: &Quadratics, case: &QuadraticCase, parts: Parts) {
    let given = |name: &str, otherwise: f64| case.hyperparameters.get(name).copied().unwrap_or(otherwise);
    let kind = parts.exchange.kind;
    let rounds = case.states.len() as u64;
    let states =
        trajectory(file, parts, &file.mixing, given("learning_rate", 0.0), given("averaging_rate", 1.0), rounds);
    for (round, (ours, theirs)) in states.iter().zip(&case.states).enumerate() {
        for (agent, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            let error = distance(ours, theirs);
            assert!(error < TOLERANCE, "{} {kind:?} round {round} agent {agent}: {error:e}", case.algorithm);
        }
    }
}

#[test]
fn every_method_follows_its_golden_trajectories() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut compared = 0;
    for path in files() {
        let file = Quadratics::read(&path).expect("the file is of the format");
        for case in &file.cases {
            let Some(parts) = parts_of(case, file.dimensions()) else {
                assert!(!path.starts_with(&own), "{} is not known", case.algorithm);
                continue;
            };
            compare(&file, case, parts.clone());
            compared += 1;
            if parts.exchange.kind == ExchangeKind::Model && !parts.tracks() {
                let mut difference = parts;
                difference.exchange.kind = ExchangeKind::Difference;
                compare(&file, case, difference);
            }
        }
    }
    assert!(compared >= 14, "{compared} trajectories were compared");
}

fn ring() -> Quadratics {
    Quadratics::read(&files()[0]).expect("the file is of the format")
}

/// Rounds of the golden ring under these parts at rate `rate`.
fn on_the_ring(parts: Parts, rate: f64, gamma: f64, rounds: u64) -> Vec<Vec<Vec<f64>>> {
    let file = ring();
    let mixing = file.mixing.clone();
    trajectory(&file, parts, &mixing, rate, gamma, rounds)
}

fn mean(state: &[Vec<f64>]) -> Vec<f64> {
    let mean = |at: usize| state.iter().map(|row| row[at]).sum::<f64>() / state.len() as f64;
    (0..state[0].len()).map(mean).collect()
}

fn largest_gap(one: &[Vec<Vec<f64>>], other: &[Vec<Vec<f64>>]) -> f64 {
    let rows = one.iter().flatten().zip(other.iter().flatten());
    rows.map(|(one, other)| distance(one, other)).fold(0.0, f64::max)
}

fn decentralized() -> impl Iterator<Item = Preset> {
    Preset::ALL.into_iter().filter(|preset| {
        let parts = preset.parts();
        parts.memory.is_none() && parts.exchange.kind != ExchangeKind::None
    })
}

#[test]
fn every_method_keeps_the_mean_at_learning_rate_zero() {
    let start = mean(&ring().initial);
    for preset in decentralized() {
        let states = on_the_ring(preset.parts(), 0.0, 0.4, 6);
        let gap = distance(&mean(&states[5]), &start);
        assert!(gap < 1e-5, "{preset:?}: the mean moved by {gap:e}");
    }
}

#[test]
fn every_method_gives_the_same_numbers_again() {
    for preset in decentralized() {
        let run = || on_the_ring(preset.parts(), 0.02, 0.3, 5);
        assert_eq!(run(), run(), "{preset:?}");
    }
}

#[test]
fn every_method_put_on_tape_before_any_leg_goes_on_to_the_same_bits() {
    let file = ring();
    for preset in decentralized() {
        let whole = on_the_ring(preset.parts(), 0.02, 0.3, 4);
        for cut in 0..4 * preset.parts().legs().len() as u64 {
            let before = |mut old: Cohort<NativeEngine>, leg| {
                if leg != cut {
                    return old;
                }
                let mut bytes = Vec::new();
                old.carry(&mut Tape::recording(&mut bytes)).expect("a vector takes everything");
                let mut from = bytes.as_slice();
                let mut fresh = cohort(&file, preset.parts(), &file.mixing);
                fresh.carry(&mut Tape::playing(&mut from)).expect("it is the same set-up");
                assert!(from.is_empty(), "{preset:?}: {} bytes were not played", from.len());
                fresh
            };
            let resumed = trajectory_with(&file, preset.parts(), &file.mixing, 0.02, 0.3, 4, before);
            assert_eq!(resumed, whole, "{preset:?} cut before leg {cut}");
        }
    }
}

#[test]
fn state_of_another_method_is_refused() {
    let file = ring();
    let mut bytes = Vec::new();
    let mut tracking = cohort(&file, Preset::GradientTracking.parts(), &file.mixing);
    tracking.carry(&mut Tape::recording(&mut bytes)).expect("a vector takes everything");
    let mut plain = cohort(&file, Preset::DPsgd.parts(), &file.mixing);
    let error = plain.carry(&mut Tape::playing(&mut bytes.as_slice())).expect_err("trackers have no place");
    assert_eq!(error.to_string(), "trackers: expected 0, found 1");
}

#[test]
fn sharpness_aware_gradients_at_radius_zero_are_plain() {
    for preset in decentralized() {
        let with = |oracle| on_the_ring(Parts { oracle, ..preset.parts() }, 0.02, 0.5, 6);
        let gap = largest_gap(&with(Oracle::SharpnessAware { radius: 0.0.into() }), &with(Oracle::Plain));
        assert_eq!(gap, 0.0, "{preset:?}");
    }
}

#[test]
fn without_tracking_global_update_tracking_is_decentralized_sgd() {
    let mut gut = Preset::Gut.parts();
    gut.exchange.tracking = Some(0.0);
    // Mixed first, the gradient at the mixed point: combine, then adapt.
    let gap = largest_gap(&on_the_ring(gut, 0.05, 1.0, 10), &on_the_ring(Preset::DPsgdCta.parts(), 0.05, 1.0, 10));
    assert!(gap < 1e-5, "{gap:e}");
}

#[test]
fn models_alone_make_one_leg_that_sends_and_gradients_two() {
    let sends = |preset: Preset| preset.parts().legs().iter().filter(|leg| leg.exchanges()).count();
    assert_eq!((sends(Preset::Ngm), sends(Preset::Ngc)), (1, 2));
}

#[test]
fn without_loss_choco_is_exact_gossip() {
    let mut choco = Preset::Choco.parts();
    choco.exchange.compressor = Some(Compressor::Identity);
    choco.exchange.order = kith_method::Order::AdaptThenCombine;
    let gap =
        largest_gap(&on_the_ring(choco, 0.05, 0.5, 10), &on_the_ring(parts(ExchangeKind::Model, 0.0), 0.05, 0.5, 10));
    assert!(gap < 1e-5, "{gap:e}");
}

/// How far the last of many rounds is from where the sum of all objectives is least.
fn far_from_the_optimum(parts: Parts, gamma: f64) -> f64 {
    let gradient = |state: &Vec<f64>| {
        let mut sum = vec![0.0; state.len()];
        for objective in &ring().objectives {
            for (row, b) in objective.a.iter().zip(&objective.b) {
                let residual: f64 = row.iter().zip(state).map(|(a, x)| a * x).sum::<f64>() - b;
                sum.iter_mut().zip(row).for_each(|(sum, a)| *sum += a * residual);
            }
        }
        sum.iter().map(|value| value * value).sum::<f64>().sqrt()
    };
    let states = on_the_ring(parts, 0.05, gamma, 3000);
    states[2999].iter().map(gradient).fold(0.0, f64::max)
}

#[test]
fn tracking_and_correction_reach_the_optimum_where_decentralized_sgd_stalls() {
    let stalls = far_from_the_optimum(Preset::DPsgd.parts(), 1.0);
    assert!(stalls > 0.05, "{stalls}");
    // On an even ring W has the eigenvalue -1/3, at which D² does not settle; γ = 0.9 lifts it.
    for (preset, gamma) in [(Preset::GradientTracking, 1.0), (Preset::D2, 0.9), (Preset::ExactDiffusion, 0.5)] {
        let far = far_from_the_optimum(preset.parts(), gamma);
        assert!(far < 5e-3 * stalls, "{preset:?}: {far} against {stalls}");
    }
}

#[test]
fn one_agent_with_quasi_global_momentum_keeps_its_own_updates_in_the_buffer() {
    let mut file = ring();
    file.initial.truncate(1);
    file.objectives.truncate(1);
    for buffer in [Buffer::Smoothed, Buffer::Corrected] {
        let mut parts = Preset::QgDsgdmN.parts();
        parts.chain = vec![Link::QuasiGlobal { beta: 0.9, nesterov: false, buffer }];
        let states = trajectory(&file, parts, &[vec![1.0]], 0.02, 1.0, 8);
        let (mut x, mut m) = (file.initial[0].clone(), vec![0.0; file.dimensions()]);
        for state in &states {
            let mut gradient = vec![0.0; x.len()];
            for (row, b) in file.objectives[0].a.iter().zip(&file.objectives[0].b) {
                let residual: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>() - b;
                gradient.iter_mut().zip(row).for_each(|(g, a)| *g += a * residual);
            }
            for ((x, m), g) in x.iter_mut().zip(&mut m).zip(&gradient) {
                let update = 0.9 * *m + g;
                *x -= 0.02 * update;
                *m = if buffer == Buffer::Smoothed { 0.9 * *m + 0.1 * update } else { update };
            }
            assert!(distance(&state[0], &x) < TOLERANCE, "{buffer:?}: {:e}", distance(&state[0], &x));
        }
    }
}

#[test]
fn compressors_take_the_bytes_that_they_say_and_contract() {
    use kith_core::Purpose;
    let seeds = Seeds::new(3);
    let bits = [2, 4, 8, 16].map(|bits| Compressor::Quantised { bits });
    let kept =
        [0.01, 0.25, 1.0].map(|share| [Compressor::TopK { share }, Compressor::RandomK { share, bias: Bias::Biased }]);
    let others = [Compressor::Identity, Compressor::ScaledSign];
    for len in [1_usize, 7, 64, 65, 1000] {
        for compressor in bits.into_iter().chain(kept.into_iter().flatten()).chain(others) {
            let (mut lost, mut size) = (0.0, 0.0);
            for draw in 0..200 {
                let row: Vec<f32> = (0..len).map(|at| ((at * 37 + draw * 11) as f32 * 0.7).sin()).collect();
                let mut stream = seeds.agent(Purpose::Compress, AgentId(0), draw as u64);
                let bytes = compressor.encode(&row, &mut stream);
                assert_eq!(bytes.len(), compressor.wire_len(len), "{compressor:?} {len}");
                let mut back = vec![f32::NAN; len];
                compressor.decode(&bytes, &mut back);
                lost += row.iter().zip(&back).map(|(one, other)| f64::from(one - other).powi(2)).sum::<f64>();
                size += row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            }
            let bound = 1.0 - compressor.contraction(len).expect("it contracts");
            assert!(lost <= size * (bound * 1.1 + 1e-9), "{compressor:?} {len}: {} above {bound}", lost / size);
        }
    }
}

#[test]
fn entries_kept_at_random_and_scaled_up_are_right_on_average() {
    let compressor = Compressor::RandomK { share: 0.25, bias: Bias::Unbiased };
    let row: Vec<f32> = (0..16).map(|at| at as f32 - 4.0).collect();
    let (mut sum, mut back) = ([0.0_f64; 16], vec![0.0; 16]);
    let mut stream = Seeds::new(3).agent(kith_core::Purpose::Compress, AgentId(0), 0);
    for _ in 0..20_000 {
        compressor.decode(&compressor.encode(&row, &mut stream), &mut back);
        sum.iter_mut().zip(&back).for_each(|(sum, value)| *sum += f64::from(*value) / 20_000.0);
    }
    for (mean, value) in sum.iter().zip(&row) {
        assert!((mean - f64::from(*value)).abs() < 0.5, "{mean} {value}");
    }
}

#[test]
fn on_the_complete_graph_at_rate_one_decentralized_sgd_is_data_parallel_sgd() {
    let file = Quadratics::read(&files()[0]).expect("the file is of the format");
    let agents = file.initial.len();
    let mut same = file.clone();
    same.initial = vec![file.initial[0].clone(); agents];
    let mixing = vec![vec![1.0 / agents as f64; agents]; agents];
    let states = trajectory(&same, parts(ExchangeKind::Model, 0.0), &mixing, 0.1, 1.0, 8);
    let mut x = file.initial[0].clone();
    for state in &states {
        let mut gradient = vec![0.0; x.len()];
        for objective in &file.objectives {
            for (row, b) in objective.a.iter().zip(&objective.b) {
                let residual: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>() - b;
                gradient.iter_mut().zip(row).for_each(|(g, a)| *g += a * residual / agents as f64);
            }
        }
        x.iter_mut().zip(&gradient).for_each(|(x, g)| *x -= 0.1 * g);
        for agent in state {
            assert!(distance(agent, &x) < TOLERANCE, "{:e}", distance(agent, &x));
        }
    }
}

#[test]
fn at_learning_rate_zero_the_distance_to_the_mean_shrinks_at_the_spectral_rate() {
    let file = Quadratics::read(&files()[0]).expect("the file is of the format");
    let agents = file.initial.len();
    let spread = |state: &[Vec<f64>]| {
        let mean = |at: usize| state.iter().map(|row| row[at]).sum::<f64>() / agents as f64;
        let squares = state.iter().flat_map(|row| row.iter().enumerate().map(|(at, value)| (value - mean(at)).powi(2)));
        squares.sum::<f64>().sqrt()
    };
    // The golden ring has six agents and weights of one third.
    let rate = (1.0 + 2.0 * (std::f64::consts::TAU / 6.0).cos()) / 3.0;
    let states = trajectory(&file, parts(ExchangeKind::Model, 0.0), &file.mixing, 0.0, 1.0, 10);
    let mut before = spread(&file.initial);
    for state in &states {
        let after = spread(state);
        assert!(after <= rate * before * (1.0 + 1e-5), "{after} from {before}");
        before = after;
    }
}
