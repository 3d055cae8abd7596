//! Rules written out a second time, in f64 and message by message, against what the cohort does.

use std::collections::BTreeMap;

use kith_core::{AgentId, Batches, Head, Network, Round, Samples, Schedule, Seeds};
use kith_data::Quadratics;
use kith_engine::{NativeEngine, Objective};
use kith_method::{
    Buffer, Climb, ClimbNorm, Cohort, ExchangeKind, Link, Mixing, Oracle, Order, Parts, Preset, Rates, Setup,
};

mod support;

use support::{distance, gradient, problem, trajectory};

const TOLERANCE: f64 = 1e-4;
const RATE: f64 = 0.03;

type Rows = Vec<Vec<f64>>;

/// A path of five agents with Metropolis weights.
fn path() -> Quadratics {
    let weight = |i: usize, j: usize| match i.abs_diff(j) {
        1 => 1.0 / 3.0,
        0 if i == 0 || i == 4 => 2.0 / 3.0,
        0 => 1.0 / 3.0,
        _ => 0.0,
    };
    problem((0..5).map(|i| (0..5).map(|j| weight(i, j)).collect()).collect())
}

fn neighbours(world: &Quadratics, agent: usize) -> Vec<usize> {
    (0..5).filter(|peer| *peer != agent && world.mixing[agent][*peer] > 0.0).collect()
}

fn add(into: &mut [f64], factor: f64, row: &[f64]) {
    into.iter_mut().zip(row).for_each(|(into, value)| *into += factor * value);
}

/// `Σ_j w_ij z_j − z_i`.
fn residual(world: &Quadratics, z: &Rows, agent: usize) -> Vec<f64> {
    let mut sum: Vec<f64> = z[agent].iter().map(|value| -value).collect();
    z.iter().zip(&world.mixing[agent]).for_each(|(row, weight)| add(&mut sum, *weight, row));
    sum
}

fn mixed(world: &Quadratics, z: &Rows, gamma: f64) -> Rows {
    let row = |agent: usize| {
        let mut row = z[agent].clone();
        add(&mut row, gamma, &residual(world, z, agent));
        row
    };
    (0..5).map(row).collect()
}

/// Rounds of `next` against those of the cohort.
fn compare(world: &Quadratics, parts: Parts, gamma: f64, mut next: impl FnMut(&mut Rows)) {
    let kind = parts.exchange.kind;
    let states = trajectory(world, parts, &world.mixing, RATE, gamma, 12);
    let mut x = world.initial.clone();
    for (round, state) in states.iter().enumerate() {
        next(&mut x);
        for (agent, (ours, theirs)) in state.iter().zip(&x).enumerate() {
            let gap = distance(ours, theirs);
            assert!(gap < TOLERANCE, "{kind:?} round {round} agent {agent}: {gap:e}");
        }
    }
}

#[test]
fn relaying_is_the_rule_message_by_message() {
    let world = path();
    let mut messages: BTreeMap<(usize, usize), (Vec<f64>, f64)> = BTreeMap::new();
    compare(&world, Preset::RelaySgd.parts(), 1.0, |x| {
        for (row, objective) in x.iter_mut().zip(&world.objectives) {
            let g = gradient(objective, row);
            add(row, -RATE, &g);
        }
        let mut sent = BTreeMap::new();
        for (from, own) in x.iter().enumerate() {
            for to in neighbours(&world, from) {
                let (mut sum, mut count) = (own.clone(), 1.0);
                for other in neighbours(&world, from).into_iter().filter(|other| *other != to) {
                    if let Some((message, models)) = messages.get(&(other, from)) {
                        add(&mut sum, 1.0, message);
                        count += models;
                    }
                }
                sent.insert((from, to), (sum, count));
            }
        }
        messages = sent;
        for (agent, row) in x.iter_mut().enumerate() {
            let arrived: Vec<_> =
                neighbours(&world, agent).iter().map(|from| messages[&(*from, agent)].clone()).collect();
            let heard: f64 = arrived.iter().map(|(_, count)| count).sum();
            row.iter_mut().for_each(|value| *value *= (5.0 - heard) / 5.0);
            arrived.iter().for_each(|(message, _)| add(row, 0.2, message));
        }
    });
}

#[test]
fn push_sum_is_the_rule_share_by_share() {
    // 0 sends to 1, 2 and 3, the others around the circle, and 2 back to 0: no two agents have the same degrees.
    let edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (0, 2), (0, 3), (2, 0)];
    let receivers = |from: usize| edges.iter().filter(move |edge| edge.0 == from).map(|edge| edge.1);
    let share = |from: usize| 1.0 / (1 + receivers(from).count()) as f64;
    let takes = |to: usize, from: usize| to == from || receivers(from).any(|one| one == to);
    let row = |to: usize| (0..5).map(|from| if takes(to, from) { share(from) } else { 0.0 }).collect();
    let mut world = problem((0..5).map(row).collect());
    for gamma in [1.0, 0.4] {
        let (mut numerators, mut weights) = (world.initial.clone(), vec![1.0; 5]);
        compare(&world, Preset::PushSum.parts(), gamma, |z| {
            for (x, (model, objective)) in numerators.iter_mut().zip(z.iter().zip(&world.objectives)) {
                add(x, -RATE, &gradient(objective, model));
            }
            let (mut x, mut w) = (vec![vec![0.0; z[0].len()]; 5], vec![0.0; 5]);
            for from in 0..5 {
                let mut give = |to: usize, part: f64| {
                    add(&mut x[to], part, &numerators[from]);
                    w[to] += part * weights[from];
                };
                give(from, 1.0 - gamma + gamma * share(from));
                receivers(from).for_each(|to| give(to, gamma * share(from)));
            }
            (numerators, weights) = (x, w);
            for (model, (x, w)) in z.iter_mut().zip(numerators.iter().zip(&weights)) {
                *model = x.iter().map(|value| value / w).collect();
            }
        });
        assert!((weights.iter().sum::<f64>() - 5.0).abs() < 1e-12, "weight is neither made nor lost");
        assert!(weights.iter().any(|weight| (weight - 1.0).abs() > 0.2), "weights differ: {weights:?}");
        world.initial.rotate_left(1);
    }
}

#[test]
fn global_update_tracking_with_momentum_is_the_rule_hat_by_hat() {
    let world = path();
    for nesterov in [true, false] {
        let (beta, mu, gamma) = (0.7, 0.2, 0.6);
        let mut parts = Preset::QgGutm.parts();
        parts.chain = vec![Link::Momentum { beta, nesterov }];
        parts.exchange.tracking = Some(mu);
        let past = 1.0 + beta + if nesterov { beta * beta } else { 0.0 };
        let zero = vec![vec![0.0; world.initial[0].len()]; 5];
        let (mut hats, mut before, mut m) = (world.initial.clone(), zero.clone(), zero);
        compare(&world, parts, gamma, |x| {
            let moved: Rows =
                x.iter().zip(&hats).map(|(x, hat)| x.iter().zip(hat).map(|(x, h)| x - h).collect()).collect();
            let next = |agent: usize| {
                let mut all: Vec<f64> = vec![0.0; x[agent].len()];
                moved.iter().zip(&world.mixing[agent]).for_each(|(y, weight)| add(&mut all, *weight, y));
                add(&mut all, past, &residual(&world, &hats, agent));
                let gossip = residual(&world, x, agent);
                let mut there = x[agent].clone();
                add(&mut there, gamma, &gossip);
                let mut delta = gradient(&world.objectives[agent], &there);
                add(&mut delta, -1.0 / RATE, &gossip);
                let mut tracked = delta.clone();
                add(&mut tracked, -mu / RATE, &all);
                add(&mut tracked, -mu, &before[agent]);
                (delta, tracked)
            };
            let found: Vec<_> = (0..5).map(next).collect();
            hats.clone_from(x);
            for (agent, (delta, tracked)) in found.into_iter().enumerate() {
                m[agent].iter_mut().for_each(|value| *value *= beta);
                add(&mut m[agent], 1.0, &tracked);
                add(&mut x[agent], -RATE * if nesterov { beta } else { 1.0 }, &m[agent]);
                if nesterov {
                    add(&mut x[agent], -RATE, &tracked);
                }
                before[agent] = delta;
            }
        });
    }
}

#[test]
fn adaptive_mixing_is_the_rule_entry_by_entry() {
    let world = path();
    for kind in [ExchangeKind::Model, ExchangeKind::Difference] {
        let (gamma, beta) = (0.05, 0.9_f64);
        let mut parts = Preset::AdaGossip.parts();
        parts.chain.clear();
        (parts.exchange.kind, parts.exchange.compressor, parts.exchange.adaptive) = (kind, None, Some(beta));
        let (mut v, mut round) = (vec![vec![0.0; world.initial[0].len()]; 5], 0);
        compare(&world, parts, gamma, |x| {
            round += 1;
            for (row, objective) in x.iter_mut().zip(&world.objectives) {
                let g = gradient(objective, row);
                add(row, -RATE, &g);
            }
            let half = x.clone();
            for (agent, row) in x.iter_mut().enumerate() {
                for ((value, v), r) in row.iter_mut().zip(&mut v[agent]).zip(residual(&world, &half, agent)) {
                    *v = beta * *v + (1.0 - beta) * r * r;
                    let size = (*v / (1.0 - beta.powi(round))).sqrt() + 1e-8;
                    *value += (gamma / size).min(1.0) * r;
                }
            }
        });
    }
}

#[test]
fn quasi_global_momentum_follows_mixed_rows_where_mixing_comes_first() {
    let world = path();
    let (beta, gamma) = (0.8, 0.7);
    for (buffer, kind) in [
        (Buffer::Smoothed, ExchangeKind::Model),
        (Buffer::Corrected, ExchangeKind::Model),
        (Buffer::Smoothed, ExchangeKind::NeighbourGradients),
        (Buffer::Corrected, ExchangeKind::NeighbourGradients),
    ] {
        let mut parts = if kind == ExchangeKind::Model { Preset::DPsgdCta.parts() } else { Preset::Ngm.parts() };
        parts.chain = vec![Link::QuasiGlobal { beta, nesterov: true, buffer }];
        assert_eq!(parts.exchange.order == Order::CombineThenAdapt, kind == ExchangeKind::Model);
        let mut m = vec![vec![0.0; world.initial[0].len()]; 5];
        let mut anchor: Option<Rows> = None;
        compare(&world, parts, gamma, |x| {
            let sent = x.clone();
            *x = mixed(&world, &sent, gamma);
            for (agent, row) in x.iter().enumerate() {
                let Some(anchor) = &anchor else { break };
                let share = if buffer == Buffer::Smoothed { 1.0 - beta } else { 1.0 };
                if buffer == Buffer::Smoothed {
                    m[agent].iter_mut().for_each(|value| *value *= beta);
                }
                add(&mut m[agent], share / RATE, &anchor[agent]);
                add(&mut m[agent], -share / RATE, row);
            }
            let before = x.clone();
            for agent in 0..5 {
                let mut g = gradient(&world.objectives[agent], &before[agent]);
                if kind == ExchangeKind::NeighbourGradients {
                    let peers = neighbours(&world, agent);
                    peers.iter().for_each(|peer| add(&mut g, 1.0, &gradient(&world.objectives[agent], &sent[*peer])));
                    g.iter_mut().for_each(|value| *value /= (1 + peers.len()) as f64);
                }
                let mut local = g.clone();
                add(&mut local, beta, &m[agent]);
                if buffer == Buffer::Corrected {
                    m[agent] = local.clone();
                }
                add(&mut g, beta, &local);
                add(&mut x[agent], -RATE, &g);
            }
            anchor = Some(if buffer == Buffer::Smoothed { before } else { x.clone() });
        });
    }
}

#[test]
fn perturbations_climb_decay_only_where_asked_to() {
    let world = path();
    let (radius, decay) = (0.5, 0.3);
    for climbs in [Climb::Loss, Climb::LossAndDecay] {
        let mut parts = Preset::DPsgd.parts();
        parts.chain = vec![Link::WeightDecay(decay)];
        parts.oracle = Oracle::SharpnessAware { radius: Schedule::Constant(radius), norm: ClimbNorm::PerLayer, climbs };
        compare(&world, parts, 1.0, |x| {
            for (row, objective) in x.iter_mut().zip(&world.objectives) {
                let mut up = gradient(objective, row);
                if climbs == Climb::LossAndDecay {
                    add(&mut up, decay, row);
                }
                let length = up.iter().map(|value| value * value).sum::<f64>().sqrt();
                let mut above = row.clone();
                add(&mut above, radius / length, &up);
                let mut g = gradient(objective, &above);
                add(&mut g, decay, row);
                add(row, -RATE, &g);
            }
            *x = mixed(&world, x, 1.0);
        });
    }
}

/// Inputs, hidden units, classes, and samples in a minibatch of the small network below.
const SIZES: (usize, usize, usize, usize) = (3, 4, 2, 5);

/// The minibatches of three agents.
struct Few;

impl Samples for Few {
    fn input_len(&self) -> usize {
        SIZES.0
    }
    fn len(&self) -> usize {
        1000
    }
    fn read(&self, index: u32, out: &mut [f32]) {
        (0..).zip(out).for_each(|(place, out)| *out = support::wave(index as usize * 13 + place, 0.4) as f32);
    }
    fn label(&self, index: u32) -> u32 {
        index % 2
    }
}

impl Batches for Few {
    fn samples(&self) -> &dyn Samples {
        self
    }
    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>) {
        out.clear();
        // The last agent sees one class only.
        out.extend((0..5).map(|at| (agent.0 * 100 + step as u32 * 10 + at) * if agent.0 == 2 { 2 } else { 1 }));
    }
}

/// A minibatch in f64: inputs and classes.
fn minibatch(agent: usize, step: u64) -> Vec<(Vec<f64>, usize)> {
    let mut indices = Vec::new();
    Few.indices(AgentId::from(agent), step, &mut indices);
    let sample = |index: &u32| {
        let mut input = vec![0.0; SIZES.0];
        Samples::read(&Few, *index, &mut input);
        (input.into_iter().map(f64::from).collect(), Few.label(*index) as usize)
    };
    indices.iter().map(sample).collect()
}

/// What the second layer takes.
fn hidden(x: &[f64], input: &[f64]) -> Vec<f64> {
    let unit = |weights: &[f64]| weights.iter().zip(input).map(|(w, x)| w * x).sum::<f64>().max(0.0);
    x[..SIZES.0 * SIZES.1].chunks_exact(SIZES.0).map(unit).collect()
}

/// The gradient of cross-entropy and of `strength · mean (z − target)²`, each sample with a target of its own.
fn drawn(x: &[f64], batch: &[(Vec<f64>, usize)], pulls: &[(f64, Rows)]) -> Vec<f64> {
    let (inputs, width, classes, size) = SIZES;
    let mut gradient = vec![0.0; x.len()];
    for (at, (input, label)) in batch.iter().enumerate() {
        let z = hidden(x, input);
        let second = &x[inputs * width..];
        let scores: Vec<f64> = second.chunks_exact(width).map(|w| w.iter().zip(&z).map(|(w, z)| w * z).sum()).collect();
        let total: f64 = scores.iter().map(|score: &f64| score.exp()).sum();
        let mut back = vec![0.0; width];
        for class in 0..classes {
            let error = (scores[class].exp() / total - f64::from(u8::from(class == *label))) / size as f64;
            add(&mut gradient[inputs * width + class * width..][..width], error, &z);
            add(&mut back, error, &second[class * width..][..width]);
        }
        for (strength, targets) in pulls {
            let pull = 2.0 * strength / (size * width) as f64;
            add(&mut back, pull, &z);
            add(&mut back, -pull, &targets[at]);
        }
        for unit in (0..width).filter(|unit| z[*unit] > 0.0) {
            add(&mut gradient[unit * inputs..][..inputs], back[unit], input);
        }
    }
    gradient
}

/// One round of CCL over three agents that all hear each other, with weights of a third.
fn contrast(x: &Rows, step: u64, gamma: f64, (model, data): (f64, f64), radius: f64) -> Rows {
    let batches: Vec<_> = (0..3).map(|agent| minibatch(agent, step)).collect();
    let mean: Vec<f64> = (0..x[0].len()).map(|at| x.iter().map(|row| row[at] / 3.0).sum()).collect();
    let mixed = |agent: usize| {
        let mut row = x[agent].clone();
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value += gamma * (mean - *value));
        row
    };
    let features = |x: &[f64], of: usize| batches[of].iter().map(|(input, _)| hidden(x, input)).collect::<Rows>();
    let one = |agent: usize| {
        let own = mixed(agent);
        let others = || (0..3).filter(move |peer| *peer != agent);
        let mut pulls: Vec<(f64, Rows)> = others().map(|peer| (model, features(&x[peer], agent))).collect();
        // Own samples at the mixed model, neighbours' samples at the model that they were sent.
        let mut seen: Vec<(usize, Vec<f64>)> = Vec::new();
        let classes = |of: usize| batches[of].iter().map(|(_, label)| *label).collect::<Vec<_>>();
        seen.extend(classes(agent).into_iter().zip(features(&own, agent)));
        others().for_each(|peer| seen.extend(classes(peer).into_iter().zip(features(&x[agent], peer))));
        let centre = |label: &usize| {
            let mut sum = vec![0.0; SIZES.1];
            let same: Vec<_> = seen.iter().filter(|(class, _)| class == label).collect();
            same.iter().for_each(|(_, z)| add(&mut sum, 1.0 / same.len() as f64, z));
            sum
        };
        pulls.push((data, classes(agent).iter().map(centre).collect()));
        let up = drawn(&own, &batches[agent], &pulls);
        let length = up.iter().map(|value| value * value).sum::<f64>().sqrt();
        let (mut next, mut above) = (own.clone(), own);
        add(&mut above, radius / length, &up);
        add(&mut next, -0.2, &drawn(&above, &batches[agent], &pulls));
        next
    };
    (0..3).map(one).collect()
}

#[test]
fn features_are_drawn_to_neighbours_models_and_to_means_of_classes() {
    for (strengths, radius) in
        [((0.4, 0.7), 0.0), ((0.4, 0.0), 0.0), ((0.0, 0.7), 0.0), ((0.4, 0.7), 0.3), ((0.4, 0.0), 0.3)]
    {
        let network = Network::mlp(SIZES.0, &[SIZES.1], SIZES.2, false, Head::Shared, 1);
        let layout = network.layout().expect("it fits together");
        let mut parts = Preset::Ccl.parts();
        parts.chain.clear();
        parts.oracle = Oracle::sharpness_aware(radius);
        (parts.exchange.model_variant_strength, parts.exchange.data_variant_strength) =
            (Some(strengths.0), Some(strengths.1));
        let legs = parts.legs();
        assert_eq!(legs.iter().filter(|leg| leg.exchanges()).count(), if strengths.1 > 0.0 { 2 } else { 1 });
        let start = |agent: usize| (0..layout.len()).map(|at| support::wave(agent * 57 + at, 0.9)).collect::<Vec<_>>();
        let mut x: Rows = (0..3).map(start).collect();
        let all: Vec<AgentId> = (0..3).map(AgentId).collect();
        let others: Vec<Vec<AgentId>> =
            all.iter().map(|agent| all.iter().copied().filter(|peer| peer != agent).collect()).collect();
        let weights = others.iter().map(|peers| peers.iter().map(|peer| (*peer, 1.0 / 3.0)).collect()).collect();
        let engine = NativeEngine::new(Objective::Network(network), 1).expect("an engine");
        let setup = Setup { parts, layout, agents: 3, weights, seeds: Seeds::new(1) };
        let mut cohort =
            Cohort::new(engine, setup, |agent, row| row.copy_from_slice(&support::to_f32(&x[agent.index()])));
        for round in 0..6_u64 {
            x = contrast(&x, round, 0.6, strengths, radius);
            let rows: Vec<Mixing<'_>> = all
                .iter()
                .zip(&others)
                .map(|(&agent, peers)| Mixing { agent, fresh: peers, opened: peers, given: &[], late: Vec::new() })
                .collect();
            for (part, &leg) in legs.iter().enumerate() {
                if leg.computes() {
                    cohort.train(&all, round..round + 1, &Few, |_| Rates { learning_rate: 0.2, radius });
                }
                cohort.exchange(Round(2 * round + part as u64), leg, 0.6, &rows);
            }
            for agent in &all {
                let mut row = vec![0.0; x[0].len()];
                cohort.trained_row(*agent, &mut row);
                let gap = distance(&row.into_iter().map(f64::from).collect::<Vec<_>>(), &x[agent.index()]);
                assert!(gap < TOLERANCE, "{strengths:?} round {round} agent {agent}: {gap:e}");
            }
        }
    }
}
