//! Golden trajectories on heterogeneous quadratics, from an independent implementation in f64, and laws on the same.

use std::path::PathBuf;

use kith_core::{AgentId, Batches, Layout, Matrix, Role, Round, Samples, Tensor};
use kith_data::{QuadraticCase, Quadratics};
use kith_engine::{NativeEngine, Objective, Quadratic};
use kith_method::{Cohort, ExchangeKind, Link, Mixing, Parts, Preset, Setup};

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
    let mut cohort = cohort(file, parts, mixing);
    let agents: Vec<AgentId> = (0..file.initial.len()).map(AgentId::from).collect();
    let neighbours: Vec<Vec<AgentId>> = (0..agents.len())
        .map(|agent| {
            agents.iter().copied().filter(|peer| peer.index() != agent && mixing[agent][peer.index()] != 0.0).collect()
        })
        .collect();
    let mut states = Vec::new();
    for round in 0..rounds {
        cohort.train(&agents, round..round + 1, &NoData, |_| rate);
        let rows: Vec<Mixing<'_>> = agents
            .iter()
            .map(|&agent| {
                let peers = &neighbours[agent.index()];
                Mixing { agent, fresh: peers, opened: peers, late: Vec::new() }
            })
            .collect();
        cohort.exchange(Round(round), gamma, &rows);
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

fn compare(file: &Quadratics, case: &QuadraticCase, kind: ExchangeKind) {
    let given = |name: &str, otherwise: f64| case.hyperparameters.get(name).copied().unwrap_or(otherwise);
    let parts = parts(kind, given("momentum", 0.0));
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
fn decentralized_sgd_with_and_without_momentum_follows_the_golden_trajectories() {
    let mut compared = 0;
    for path in files() {
        let file = Quadratics::read(&path).expect("the file is of the format");
        let known = |case: &&QuadraticCase| case.algorithm == "d-psgd" || case.algorithm == "dsgdm-n";
        for case in file.cases.iter().filter(known) {
            for kind in [ExchangeKind::Model, ExchangeKind::Difference] {
                compare(&file, case, kind);
                compared += 1;
            }
        }
    }
    assert!(compared >= 8, "{compared} trajectories were compared");
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
