//! Gradients against central differences of a plain f64 network.
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

mod support;

use std::collections::BTreeMap;

use kith_core::{AgentId, Head, Layer, Matrix, Network, TaskId};
use kith_engine::{Chart, Draw, Engine, Geometry, Point, Slot, Visit};
use support::{Cycle, Data, basis, block_of, constrained, distance, engine, geometry, gradient, noise, row, whole};

/// Central differences with step 1e-6 in f64 are good to 1e-9; the engine computes in f32 on numbers near 1.
const TOLERANCE: f64 = 2e-6;

/// The engine's gradient at a whole row; with coordinates, at the point that `enter` makes of it.
fn engines(network: &Network, geometry: &Geometry, start: &[f32], batches: &Cycle) -> (Vec<f32>, f64) {
    let engine = engine(network, 1);
    let mut base = block_of(&engine, start);
    let mut held = engine.block(1, geometry.layout.len());
    let mut out = engine.block(1, geometry.layout.len());
    engine.enter(geometry, &mut base, &mut held);
    let losses = engine.visit(geometry, &[AgentId(0)], &mut [&mut held, &mut out, &mut base], 0, |visit| {
        let at = Point { row: Slot::Block(0), base: Some(Slot::Block(2)) };
        visit.accumulate_gradient(at, Slot::Block(1), 0.0, 1.0, batches, 0);
    });
    (row(&engine, &out, 0), losses[0])
}

fn holds(network: &Network, geometry: &Geometry) {
    let layout = network.layout().expect("it fits");
    let start = noise(3, layout.len());
    let batches = Cycle { data: Data::random(4, network.inputs(), network.classes as u32, 11), size: 5 };
    let indices = [0, 1, 2, 3, 4];
    let task = geometry.task.0;
    let reference = gradient(network, &start, task, &batches.data, &indices);
    let (ours, loss) = engines(network, geometry, &start, &batches);
    let expected = constrained(network, geometry, &reference);
    assert!(distance(&ours, &expected) < TOLERANCE, "{geometry:?}\n{ours:?}\n{expected:?}");
    assert!(expected.iter().any(|g| g.abs() > 1e-2), "the gradient is not trivially zero");
    let start: Vec<f64> = start.iter().map(|v| f64::from(*v)).collect();
    let expected = support::loss(network, &layout, &start, task, &batches.data, &indices);
    assert!((loss - expected).abs() < TOLERANCE, "loss {loss}, expected {expected}");
}

#[test]
fn gradients_match_for_every_bias_and_head() {
    for bias in [true, false] {
        for (head, tasks) in [(Head::Shared, 1), (Head::PerTask, 3)] {
            for hidden in [&[][..], &[6], &[6, 17]] {
                let network = Network::mlp(7, hidden, 4, bias, head, tasks);
                holds(&network, &whole(&network, tasks as u32 / 2));
            }
        }
    }
}

#[test]
fn gradients_match_with_relu_first_relu_twice_and_linear_after_linear() {
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let layers = vec![Layer::Relu, linear(6, 5), linear(5, 8), Layer::Relu, Layer::Relu, linear(8, 4)];
    let network = Network { input: [1, 1, 6], layers, head: Head::Shared, classes: 3, head_bias: false, tasks: 1 };
    holds(&network, &whole(&network, 0));
}

#[test]
fn projected_gradients_match_for_every_rank() {
    let network = Network::mlp(9, &[6], 3, true, Head::Shared, 1);
    for ranks in [[0, 0], [1, 5], [4, 2], [8, 6], [9, 0]] {
        for importance in [false, true] {
            let chart = |layer: usize, d: usize| Chart::Projected {
                basis: basis(layer as u64, d, ranks[layer]).0,
                importance: importance.then(|| noise(7, ranks[layer]).iter().map(|v| v.abs()).collect()),
            };
            holds(&network, &geometry(&network, vec![chart(0, 9), chart(1, 6)], 0));
        }
    }
}

#[test]
fn confined_gradients_match_for_every_width() {
    let network = Network::mlp(9, &[6], 3, true, Head::Shared, 1);
    for widths in [[0, 3], [1, 0], [5, 2], [9, 6]] {
        let chart = |layer: usize, d: usize| Chart::Confined { span: basis(layer as u64, d, widths[layer]).0 };
        holds(&network, &geometry(&network, vec![chart(0, 9), chart(1, 6)], 0));
    }
}

#[test]
fn coordinate_gradients_match_for_every_width() {
    for (bias, head, tasks) in [(false, Head::Shared, 1), (true, Head::PerTask, 2)] {
        let network = Network::mlp(9, &[6, 5], 3, bias, head, tasks);
        for widths in [[0, 3, 2], [4, 0, 5], [9, 6, 0], [1, 1, 1]] {
            for gain in [false, true] {
                let chart = |layer: usize, d: usize| Chart::Coordinates {
                    span: basis(layer as u64, d, widths[layer].min(d)).0,
                    gain: gain.then(|| noise(7, widths[layer].min(d)).iter().map(|v| v.abs()).collect()),
                };
                let mut charts = vec![chart(0, 9), chart(1, 6), chart(2, 5)];
                charts.truncate(if head == Head::Shared { 3 } else { 2 });
                holds(&network, &geometry(&network, charts, tasks as u32 - 1));
            }
        }
    }
}

#[test]
fn charts_of_different_kinds_mix_in_one_network() {
    let network = Network::mlp(8, &[7, 6], 3, true, Head::Shared, 1);
    let charts = vec![
        Chart::Coordinates { span: basis(1, 8, 3).0, gain: None },
        Chart::Whole,
        Chart::Projected { basis: basis(2, 6, 2).0, importance: None },
    ];
    holds(&network, &geometry(&network, charts, 0));
}

#[test]
fn a_full_memory_without_importance_leaves_no_weight_gradient() {
    let network = Network::mlp(4, &[], 3, true, Head::Shared, 1);
    let full = Matrix::from_fn(4, 4, |row, col| if row == col { 1.0 } else { 0.0 });
    let geometry = geometry(&network, vec![Chart::Projected { basis: full, importance: None }], 0);
    let batches = Cycle { data: Data::random(4, 4, 3, 6), size: 6 };
    let (ours, _) = engines(&network, &geometry, &noise(1, 15), &batches);
    assert_eq!(ours[..12], [0.0; 12]);
    assert!(ours[12..].iter().all(|bias| bias.abs() > 1e-3), "biases are free: {ours:?}");
}

#[test]
fn an_empty_minibatch_has_no_loss_and_no_gradient() {
    let network = Network::mlp(4, &[3], 2, true, Head::Shared, 1);
    let batches = Cycle { data: Data::random(4, 4, 2, 6), size: 0 };
    let (ours, loss) = engines(&network, &whole(&network, 0), &noise(1, 23), &batches);
    assert_eq!((ours, loss), (vec![0.0; 23], 0.0));
}

#[test]
fn the_drawn_gradient_is_the_slope_of_loss_and_pull_together() {
    let network = Network::mlp(9, &[8, 6], 4, true, Head::Shared, 1);
    let engine = engine(&network, 1);
    let geometry = geometry(&network, vec![Chart::Whole, Chart::Whole, Chart::Whole], 0);
    let (agent, len, size) = (AgentId(0), geometry.layout.len(), 7);
    let batches = Cycle { data: Data::random(5, 9, 4, 40), size };
    // Towards two targets, .3 and .5 strong.
    let (near, far) = (noise(71, size * 6), noise(72, size * 6));
    let target = near.iter().zip(&far).map(|(near, far)| 0.3 * near + 0.5 * far).collect();
    let draws = BTreeMap::from([(agent, Draw { strength: 0.8, target })]);
    let place: Vec<f32> = noise(73, len).iter().map(|value| 0.7 * value).collect();
    let value = |row: &[f32]| {
        let mut block = engine.block(1, len);
        engine.upload(&mut block, agent, row);
        let found = engine.features(&block, &[agent], &batches, 3, TaskId(0)).expect("a network has features");
        let mean = |to: &[f32]| {
            let squares = found[0].values.as_slice().iter().zip(to).map(|(z, t)| f64::from(z - t).powi(2));
            squares.sum::<f64>() / (size * 6) as f64
        };
        found[0].loss + 0.3 * mean(&near) + 0.5 * mean(&far)
    };
    let mut blocks = (engine.block(1, len), engine.block(1, len));
    engine.upload(&mut blocks.0, agent, &place);
    let at = Point { row: Slot::Block(0), base: None };
    engine.visit(&geometry, &[agent], &mut [&mut blocks.0, &mut blocks.1], 0, |visit| {
        visit.drawn_gradient(at, Slot::Block(1), &draws, &batches, 3);
    });
    let mut gradient = vec![0.0; len];
    engine.download(&blocks.1, agent, &mut gradient);
    for label in 80..90 {
        let way = noise(label, len);
        let step = 1e-3_f32;
        let moved = |sign: f32| place.iter().zip(&way).map(|(x, v)| x + sign * step * v).collect::<Vec<_>>();
        let slope = (value(&moved(1.0)) - value(&moved(-1.0))) / f64::from(2.0 * step);
        let found: f64 = gradient.iter().zip(&way).map(|(g, v)| f64::from(g * v)).sum();
        // f32 sums of the loss over a step of a thousandth leave about 1e-3.
        assert!((slope - found).abs() < 5e-3 * (1.0 + slope.abs()), "{slope} against {found}");
    }
    // Without a draw it is the raw gradient.
    engine.visit(&geometry, &[agent], &mut [&mut blocks.0, &mut blocks.1], 1, |visit| {
        visit.drawn_gradient(at, Slot::Block(1), &BTreeMap::new(), &batches, 3);
        visit.accumulate_raw_gradient(at, Slot::Scratch(0), 0.0, 1.0, &batches, 3);
        visit.axpy(Slot::Block(1), -1.0, Slot::Scratch(0));
    });
    engine.download(&blocks.1, agent, &mut gradient);
    assert!(gradient.iter().all(|value| *value == 0.0));
}
