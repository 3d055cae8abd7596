//! Gradients against central differences of a plain f64 network.
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

mod support;

use kith_core::{AgentId, Head, Layer, Matrix, Network};
use kith_engine::{Chart, Engine, Geometry, Point, Slot, Visit};
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
