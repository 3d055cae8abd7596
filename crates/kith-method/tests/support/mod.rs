//! What tests on quadratics share.
#![allow(dead_code, reason = "each test file uses a part")]

use kith_core::{AgentId, Batches, Layout, Matrix, Role, Round, Samples, Seeds, Tensor};
use kith_data::{Objective as Goal, Quadratics};
use kith_engine::{NativeEngine, Objective, Quadratic};
use kith_method::{Cohort, ExchangeKind, Mixing, Parts, Preset, Rates, Setup};

/// Quadratics need no data.
pub(crate) struct NoData;

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

pub(crate) fn to_f32(row: &[f64]) -> Vec<f32> {
    row.iter().map(|&value| value as f32).collect()
}

pub(crate) fn cohort(file: &Quadratics, parts: Parts, mixing: &[Vec<f64>]) -> Cohort<NativeEngine> {
    cohort_on(file, parts, mixing, 1)
}

fn cohort_on(file: &Quadratics, parts: Parts, mixing: &[Vec<f64>], threads: usize) -> Cohort<NativeEngine> {
    let quadratics = file.objectives.iter().map(|objective| {
        let a: Vec<f32> = objective.a.iter().flat_map(|row| to_f32(row)).collect();
        Quadratic { a: Matrix::new(objective.a.len(), file.dimensions(), a), b: to_f32(&objective.b) }
    });
    let engine = NativeEngine::new(Objective::Quadratics(quadratics.collect()), threads).expect("quadratics fit");
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
pub(crate) fn trajectory(
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
pub(crate) fn trajectory_with(
    file: &Quadratics,
    parts: Parts,
    mixing: &[Vec<f64>],
    rate: f64,
    gamma: f64,
    rounds: u64,
    before: impl Fn(Cohort<NativeEngine>, u64) -> Cohort<NativeEngine>,
) -> Vec<Vec<Vec<f64>>> {
    let everybody: Vec<usize> = (0..file.initial.len()).collect();
    Course { rate, gamma, rounds, threads: 1, living: &everybody }.states_with(file, parts, mixing, before)
}

/// How a cohort is driven.
pub(crate) struct Course<'a> {
    pub(crate) rate: f64,
    pub(crate) gamma: f64,
    pub(crate) rounds: u64,
    pub(crate) threads: usize,
    /// Agents that take part, ascending; the others are dead from the start.
    pub(crate) living: &'a [usize],
}

impl Course<'_> {
    /// The states after each round, `[round][agent][dimension]`.
    pub(crate) fn states(&self, file: &Quadratics, parts: Parts, mixing: &[Vec<f64>]) -> Vec<Vec<Vec<f64>>> {
        self.states_with(file, parts, mixing, |cohort, _| cohort)
    }

    fn states_with(
        &self,
        file: &Quadratics,
        parts: Parts,
        mixing: &[Vec<f64>],
        before: impl Fn(Cohort<NativeEngine>, u64) -> Cohort<NativeEngine>,
    ) -> Vec<Vec<Vec<f64>>> {
        let legs = parts.legs();
        let radius = parts.oracle.radius().map_or(0.0, |radius| radius.at(&kith_core::Position::default()));
        let mut cohort = cohort_on(file, parts, mixing, self.threads);
        let agents: Vec<AgentId> = self.living.iter().copied().map(AgentId::from).collect();
        let neighbours: Vec<Vec<AgentId>> = agents
            .iter()
            .map(|agent| {
                let row = &mixing[agent.index()];
                agents.iter().copied().filter(|peer| peer != agent && row[peer.index()] != 0.0).collect()
            })
            .collect();
        let only_receive = |agent: &AgentId| {
            let here = agent.index();
            let takes = |peer: &AgentId| mixing[peer.index()][here] != 0.0 && mixing[here][peer.index()] == 0.0;
            agents.iter().copied().filter(takes).collect()
        };
        let given: Vec<Vec<AgentId>> = agents.iter().map(only_receive).collect();
        let mut states = Vec::new();
        for round in 0..self.rounds {
            let rows: Vec<Mixing<'_>> = agents
                .iter()
                .zip(neighbours.iter().zip(&given))
                .map(|(&agent, (peers, given))| Mixing { agent, fresh: peers, opened: peers, given, late: Vec::new() })
                .collect();
            for (part, &leg) in legs.iter().enumerate() {
                cohort = before(cohort, round * legs.len() as u64 + part as u64);
                if leg.computes() {
                    let rates = Rates { learning_rate: self.rate, radius };
                    cohort.train(&agents, round..round + 1, &NoData, |_| rates);
                }
                cohort.exchange(Round(round * legs.len() as u64 + part as u64), leg, self.gamma, &rows);
            }
            let read = |agent: &AgentId| {
                let mut row = vec![0.0; file.dimensions()];
                cohort.trained_row(*agent, &mut row);
                row.into_iter().map(f64::from).collect()
            };
            states.push((0..file.initial.len()).map(|agent| read(&AgentId::from(agent))).collect());
        }
        states
    }
}

pub(crate) fn distance(one: &[f64], other: &[f64]) -> f64 {
    let difference: f64 = one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum();
    let size: f64 = other.iter().map(|value| value * value).sum();
    (difference / size.max(1e-12)).sqrt()
}

pub(crate) fn mean(state: &[Vec<f64>]) -> Vec<f64> {
    let mean = |at: usize| state.iter().map(|row| row[at]).sum::<f64>() / state.len() as f64;
    (0..state[0].len()).map(mean).collect()
}

pub(crate) fn largest_gap(one: &[Vec<Vec<f64>>], other: &[Vec<Vec<f64>>]) -> f64 {
    let rows = one.iter().flatten().zip(other.iter().flatten());
    rows.map(|(one, other)| distance(one, other)).fold(0.0, f64::max)
}

pub(crate) fn decentralized() -> impl Iterator<Item = Preset> {
    Preset::ALL.into_iter().filter(|preset| {
        let parts = preset.parts();
        parts.memory.is_none() && parts.exchange.kind != ExchangeKind::None
    })
}

/// Whether mixing leaves the mean of all agents where it is.
pub(crate) fn keeps_mean(parts: &Parts) -> bool {
    parts.exchange.kind != ExchangeKind::Relay && parts.exchange.adaptive.is_none()
}

/// Numbers in a row of [`problem`].
const DIMENSIONS: usize = 5;

pub(crate) fn wave(at: usize, phase: f64) -> f64 {
    (at as f64 * 2.399 + phase).sin()
}

/// Objectives and starts that differ from agent to agent, under this W.
pub(crate) fn problem(mixing: Vec<Vec<f64>>) -> Quadratics {
    let objective = |agent: usize| {
        let row = |i: usize| {
            let entry = |j: usize| wave(agent * 31 + i * 7 + j, 0.3) * 0.5 + if i == j { 1.0 } else { 0.0 };
            (0..DIMENSIONS).map(entry).collect()
        };
        let b = (0..DIMENSIONS).map(|i| 2.0 * wave(agent * 5 + i, 1.1) + agent as f64 * 0.3).collect();
        Goal { a: (0..DIMENSIONS).map(row).collect(), b }
    };
    let start = |agent: usize| (0..DIMENSIONS).map(|i| 1.0 + wave(agent * 11 + i, 2.0)).collect();
    let agents = mixing.len();
    Quadratics {
        mixing,
        initial: (0..agents).map(start).collect(),
        objectives: (0..agents).map(objective).collect(),
        cases: Vec::new(),
    }
}

/// `∇f(x)` of one agent.
pub(crate) fn gradient(objective: &Goal, x: &[f64]) -> Vec<f64> {
    let mut gradient = vec![0.0; x.len()];
    for (row, b) in objective.a.iter().zip(&objective.b) {
        let residual: f64 = row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() - b;
        gradient.iter_mut().zip(row).for_each(|(g, a)| *g += a * residual);
    }
    gradient
}

/// The gradient that the oracle gives at x: for several agents, the mean of theirs.
pub(crate) fn oracle(problem: &Quadratics, parts: &Parts, x: &[f64]) -> Vec<f64> {
    let radius = parts.oracle.radius().map_or(0.0, |radius| radius.at(&kith_core::Position::default()));
    let mut sum = vec![0.0; x.len()];
    for objective in &problem.objectives {
        let mut g = gradient(objective, x);
        if radius > 0.0 {
            let norm = g.iter().map(|value| value * value).sum::<f64>().sqrt() + 1e-12;
            let up: Vec<f64> = x.iter().zip(&g).map(|(x, g)| x + radius * g / norm).collect();
            g = gradient(objective, &up);
        }
        sum.iter_mut().zip(&g).for_each(|(sum, g)| *sum += g / problem.objectives.len() as f64);
    }
    sum
}
