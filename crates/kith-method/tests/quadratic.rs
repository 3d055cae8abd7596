//! Golden trajectories on heterogeneous quadratics, from an independent implementation in f64, and laws on the same.

use std::path::PathBuf;

use kith_core::Tape;
use kith_data::{QuadraticCase, Quadratics};
use kith_engine::NativeEngine;
use kith_method::{Buffer, Cohort, Compressor, ExchangeKind, Link, Oracle, Parts, Preset};

mod support;

use support::{cohort, decentralized, distance, gradient, largest_gap, mean, oracle, trajectory, trajectory_with};

/// f32 against f64 over twelve rounds.
const TOLERANCE: f64 = 1e-4;

/// The golden file of the repository.
fn own() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/quadratic_ring6.json")
}

/// Every file of the format: those of the repository, and those in the folder named by `KITH_GOLDEN_DIR`.
fn files() -> Vec<PathBuf> {
    let folders = [own().parent().map(PathBuf::from), std::env::var_os("KITH_GOLDEN_DIR").map(PathBuf::from)];
    let of_the_format = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        value["format"] == "quadratic-trajectory/1"
    };
    let mut files: Vec<PathBuf> = folders
        .into_iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder).expect("the folder is there"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(of_the_format)
        .collect();
    files.sort();
    files
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
    parts.oracle = Oracle::sharpness_aware(radius);
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
    let mut compared = 0;
    for path in files() {
        let file = Quadratics::read(&path).expect("the file is of the format");
        for case in &file.cases {
            let Some(parts) = parts_of(case, file.dimensions()) else {
                assert!(path != own(), "{} is not known", case.algorithm);
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
    Quadratics::read(&own()).expect("the file is of the format")
}

/// Rounds of the golden ring under these parts at rate `rate`.
fn on_the_ring(parts: Parts, rate: f64, gamma: f64, rounds: u64) -> Vec<Vec<Vec<f64>>> {
    let file = ring();
    let mixing = file.mixing.clone();
    trajectory(&file, parts, &mixing, rate, gamma, rounds)
}

#[test]
fn every_method_keeps_the_mean_at_learning_rate_zero() {
    let start = mean(&ring().initial);
    for preset in decentralized().filter(|preset| support::keeps_mean(&preset.parts())) {
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
        let gap = largest_gap(&with(Oracle::sharpness_aware(0.0)), &with(Oracle::Plain));
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
    let ring = ring();
    let agents = ring.objectives.len() as f64;
    let length = |state: &Vec<f64>| {
        let mean = oracle(&ring, &Preset::DPsgd.parts(), state);
        agents * mean.iter().map(|value| value * value).sum::<f64>().sqrt()
    };
    let states = on_the_ring(parts, 0.05, gamma, 3000);
    states[2999].iter().map(length).fold(0.0, f64::max)
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
            let gradient = gradient(&file.objectives[0], &x);
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
fn on_the_complete_graph_at_rate_one_decentralized_sgd_is_data_parallel_sgd() {
    let file = Quadratics::read(&own()).expect("the file is of the format");
    let agents = file.initial.len();
    let mut same = file.clone();
    same.initial = vec![file.initial[0].clone(); agents];
    let mixing = vec![vec![1.0 / agents as f64; agents]; agents];
    let states = trajectory(&same, parts(ExchangeKind::Model, 0.0), &mixing, 0.1, 1.0, 8);
    let mut x = file.initial[0].clone();
    for state in &states {
        let gradient = oracle(&file, &Preset::DPsgd.parts(), &x);
        x.iter_mut().zip(&gradient).for_each(|(x, g)| *x -= 0.1 * g);
        for agent in state {
            assert!(distance(agent, &x) < TOLERANCE, "{:e}", distance(agent, &x));
        }
    }
}

#[test]
fn at_learning_rate_zero_the_distance_to_the_mean_shrinks_at_the_spectral_rate() {
    let file = Quadratics::read(&own()).expect("the file is of the format");
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
