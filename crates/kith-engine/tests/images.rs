//! Layers on images: gradients against central differences of a plain f64 network, layer inputs, dropout, threads.
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

mod support;

use kith_core::Purpose;
use kith_core::{Affine, AgentId, Head, Layer, Matrix, Network, Norm, Role, Samples, Seeds, Shape, TaskId};
use kith_engine::{Chart, Engine, Geometry, NativeEngine, Objective, Point, Slot, Visit, initialise};
use support::{Cycle, Data, basis, block_of, constrained, distance, engine, geometry, gradient, noise, row, whole};

/// Central differences with step 1e-6 in f64 are good to 1e-9; the engine computes in f32 on numbers near 1.
const TOLERANCE: f64 = 4e-6;

const AT: Point = Point { row: Slot::Block(0), base: Some(Slot::Block(2)) };

fn conv(in_channels: usize, out_channels: usize, kernel: usize, stride: usize, padding: usize) -> Layer {
    Layer::Conv { in_channels, out_channels, kernel, stride, padding, bias: stride == 2 }
}

fn network(input: Shape, layers: Vec<Layer>) -> Network {
    Network::of(input, layers, Head::Shared, 3, false, 1)
}

fn engines(network: &Network, geometry: &Geometry, start: &[f32], batches: &Cycle) -> Vec<f32> {
    let engine = engine(network, 1);
    let mut base = block_of(&engine, start);
    let mut held = engine.block(1, geometry.layout.len());
    let mut out = engine.block(1, geometry.layout.len());
    engine.enter(geometry, &mut base, &mut held);
    engine.visit(geometry, &[AgentId(0)], &mut [&mut held, &mut out, &mut base], 0, |visit| {
        visit.accumulate_gradient(AT, Slot::Block(1), 0.0, 1.0, batches, 0);
    });
    row(&engine, &out, 0)
}

fn start(network: &Network) -> Vec<f32> {
    let layout = network.layout().expect("it fits");
    let mut row = noise(3, layout.len());
    // Gains near 1, as in a network under training.
    for tensor in &layout.tensors {
        if tensor.role == Role::Affine(Affine::Gain) {
            row[tensor.range()].iter_mut().for_each(|v| *v = 1.0 + 0.3 * *v);
        }
    }
    row
}

fn holds(network: &Network, geometry: &Geometry) {
    let start = start(network);
    let batches = Cycle { data: Data::random(4, network.inputs(), network.classes as u32, 11), size: 4 };
    let reference = gradient(network, &start, geometry.task.0, &batches.data, &[0, 1, 2, 3]);
    let ours = engines(network, geometry, &start, &batches);
    let expected = constrained(network, geometry, &reference);
    let largest = expected.iter().fold(0.1_f64, |most, g| most.max(g.abs()));
    let found = distance(&ours, &expected) / largest;
    assert!(found < TOLERANCE, "off by {found:e} of {largest}: {:?}", network.layers);
    assert!(expected.iter().any(|g| g.abs() > 1e-2), "the gradient is not trivially zero");
}

#[test]
fn gradients_match_for_every_kind_of_layer() {
    let residual = |main, shortcut| Layer::Residual { main, shortcut };
    let bn = |features| Layer::BatchNorm { features };
    let evo = Layer::EvoNorm { channels: 4, groups: 2 };
    let response = Layer::LocalResponseNorm { size: 4, alpha: 0.5, beta: 0.75, k: 1.0 };
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    let stem = || conv(2, 4, 3, 1, 1);
    let cases = [
        vec![conv(2, 3, 3, 1, 0)],
        vec![conv(2, 3, 3, 2, 1), Layer::Relu],
        vec![conv(2, 3, 1, 2, 0), Layer::Relu, conv(3, 2, 2, 1, 1)],
        vec![stem(), Layer::MaxPool { kernel: 2, stride: 2, padding: 0 }, Layer::Relu],
        vec![stem(), Layer::MaxPool { kernel: 3, stride: 2, padding: 1 }],
        vec![stem(), Layer::AvgPool { kernel: 2, stride: 1 }, conv(4, 2, 2, 1, 0)],
        vec![stem(), Layer::Relu, Layer::GlobalAvgPool],
        vec![stem(), bn(4), Layer::Relu, conv(4, 3, 2, 1, 0), bn(3)],
        vec![stem(), evo.clone(), conv(4, 3, 2, 1, 0)],
        vec![stem(), response, conv(4, 3, 2, 1, 0)],
        vec![Layer::Relu, stem(), Layer::Flatten, linear(120, 6), bn(6), Layer::Relu, linear(6, 5)],
        vec![linear(60, 6), Layer::Relu, conv(6, 4, 1, 1, 0), evo],
        vec![stem(), residual(vec![conv(4, 4, 3, 1, 1), bn(4), Layer::Relu, conv(4, 4, 3, 1, 1)], vec![]), Layer::Relu],
        vec![stem(), residual(vec![Layer::Relu, conv(4, 3, 3, 2, 1)], vec![conv(4, 3, 1, 2, 0), bn(3)]), Layer::Relu],
        vec![residual(vec![conv(2, 2, 3, 1, 1)], vec![]), residual(vec![], vec![conv(2, 2, 1, 1, 0)])],
        vec![stem(), residual(vec![residual(vec![conv(4, 4, 3, 1, 1)], vec![]), Layer::Relu], vec![]), bn(4)],
    ];
    for layers in cases {
        let network = network([2, 6, 5], layers);
        holds(&network, &whole(&network, 0));
    }
}

/// Charts of every kind for a network with one wide convolution (fewer patches than rows: constrained on patches) and one
/// narrow one.
#[test]
fn gradients_match_for_every_chart() {
    let layers = vec![conv(2, 3, 3, 1, 1), Layer::BatchNorm { features: 3 }, Layer::Relu, conv(3, 40, 3, 2, 0)];
    let mut network = network([2, 5, 4], layers);
    network.head = Head::PerTask;
    network.tasks = 2;
    let scales = |count: usize| Some((0..count).map(|i| i as f32 / count as f32).collect());
    for (chart, first) in [(0, 18), (1, 18), (2, 18), (3, 18), (4, 18), (5, 18), (6, 18)] {
        let one = |label: u64, d: usize| {
            let (basis, span) = basis(label, d, d / 3);
            match chart {
                0 => Chart::Projected { basis, importance: None },
                1 => Chart::Projected { basis, importance: scales(d / 3) },
                2 => Chart::Confined { span },
                3 => Chart::Coordinates { span, gain: None },
                4 => Chart::Coordinates { gain: scales(span.cols()), span },
                5 => Chart::Confined { span: Matrix::new(d, 0, Vec::new()) },
                _ => Chart::Whole,
            }
        };
        holds_or_rests(&network, &geometry(&network, vec![one(1, first), one(2, 27)], 1));
    }
}

fn holds_or_rests(network: &Network, geometry: &Geometry) {
    assert_eq!(geometry.freezes_affine(), geometry.charts[0] != Chart::Whole);
    holds(network, geometry);
}

#[test]
fn gradients_match_for_small_versions_of_the_published_networks() {
    let input = [2, 11, 11];
    for layers in [
        Network::cnn5([2, 8, 8], Norm::BatchNorm),
        Network::lenet_superclass(input),
        Network::resnet20(input, 2, Norm::BatchNorm),
    ] {
        let small = shrunk(&layers);
        let input = if matches!(layers.first(), Some(Layer::Conv { kernel: 3, .. })) { [2, 8, 8] } else { input };
        let network = network(input, refit(input, small));
        holds(&network, &whole(&network, 0));
    }
}

/// The same layers with at most four channels or features.
fn shrunk(layers: &[Layer]) -> Vec<Layer> {
    let few = |n: usize| n.min(4);
    layers
        .iter()
        .map(|layer| match layer.clone() {
            Layer::Conv { out_channels, kernel, stride, padding, bias, .. } => {
                Layer::Conv { in_channels: 0, out_channels: few(out_channels), kernel, stride, padding, bias }
            }
            Layer::Linear { outputs, bias, .. } => Layer::Linear { inputs: 0, outputs: few(outputs), bias },
            Layer::Residual { main, shortcut } => Layer::Residual { main: shrunk(&main), shortcut: shrunk(&shortcut) },
            other => other,
        })
        .collect()
}

/// Sizes that follow from what reaches a layer.
fn refit(mut shape: Shape, layers: Vec<Layer>) -> Vec<Layer> {
    let mut fitted = Vec::new();
    for mut layer in layers {
        match &mut layer {
            Layer::Conv { in_channels, .. } => *in_channels = shape[0],
            Layer::Linear { inputs, .. } => *inputs = shape.iter().product(),
            Layer::BatchNorm { features } => *features = shape[0],
            Layer::Residual { main, shortcut } => {
                *main = refit(shape, std::mem::take(main));
                *shortcut = refit(shape, std::mem::take(shortcut));
            }
            _ => {}
        }
        shape = layer.output(shape, 0).expect("it fits");
        fitted.push(layer);
    }
    fitted
}

#[test]
fn the_input_of_a_convolution_is_its_patches_channel_major() {
    let network = network([2, 4, 5], vec![conv(2, 3, 3, 2, 1), Layer::Relu, conv(3, 2, 2, 1, 0)]);
    let engine = engine(&network, 1);
    let start = start(&network);
    let block = block_of(&engine, &start);
    let data = Data::random(7, 40, 3, 6);
    let inputs = engine.representations(&block, AgentId(0), &data, &[5, 1, 2]);
    let views: Vec<_> = inputs.iter().map(|m| (m.rows(), m.cols())).collect();
    assert_eq!(views, [(3 * 2 * 3, 18), (3 * 2, 12), (3, 4)]);
    let pixel = |sample: usize, channel: usize, y: usize, x: usize| {
        // Coordinates are those of the padded image.
        let inside = (1..5).contains(&y) && (1..6).contains(&x);
        if inside { data.inputs[sample * 40 + channel * 20 + (y - 1) * 5 + x - 1] } else { 0.0 }
    };
    for (image, &sample) in [5, 1, 2].iter().enumerate() {
        for place in 0..6 {
            for column in 0..18 {
                let (channel, y, x) = (column / 9, column / 3 % 3, column % 3);
                let expected = pixel(sample, channel, 2 * (place / 3) + y, 2 * (place % 3) + x);
                assert_eq!(inputs[0].get(image * 6 + place, column), expected);
            }
        }
    }
}

/// Some steps of three agents under projection with dropout, on a chunked convolution; all that comes out.
fn run(threads: usize) -> Vec<u32> {
    let input = [3, 20, 20];
    let network = Network::of(input, Network::alexnet(input, 8), Head::PerTask, 4, false, 2);
    let engine = NativeEngine::new(Objective::Network(network.clone()), threads).expect("the engine starts");
    let engine = engine.with_seeds(Seeds::new(5));
    let layout = network.layout().expect("it fits");
    let chart = |label, d: usize| Chart::Projected { basis: basis(label, d, d / 4).0, importance: None };
    let charts = layout.projected().enumerate().map(|(i, tensor)| chart(i as u64, tensor.cols)).collect();
    let geometry = geometry(&network, charts, 1);
    let agents: Vec<_> = (0..3).map(AgentId).collect();
    let mut rows = engine.block(3, layout.len());
    let mut row = vec![0.0; layout.len()];
    initialise(&network, &mut Seeds::new(1).shared(Purpose::Initialise, 0), &mut row);
    agents.iter().for_each(|&agent| engine.upload(&mut rows, agent, &row));
    let batches = Cycle { data: Data::random(9, 1200, 4, 90), size: 30 };
    let losses = engine.visit(&geometry, &agents, &mut [&mut rows], 0, |visit| {
        for step in 0..3 {
            let at = Point { row: Slot::Block(0), base: None };
            visit.accumulate_gradient(at, Slot::Block(0), 1.0, -0.05, &batches, step);
        }
    });
    let scores = engine.evaluate(&rows, &agents, &batches.data, TaskId(1));
    let mut bits: Vec<u32> = losses.iter().map(|loss| (*loss as f32).to_bits()).collect();
    bits.extend(scores.iter().map(|score| (score.loss as f32).to_bits()));
    bits.extend(agents.iter().flat_map(|agent| support::row(&engine, &rows, agent.0)).map(f32::to_bits));
    bits
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let one = run(1);
    assert_eq!(run(2), one);
    assert!(one.iter().all(|bits| f32::from_bits(*bits).is_finite()));
    assert_ne!(one[0], one[1], "agents have their own minibatches and masks");
}

#[test]
fn dropout_zeros_its_share_in_training_only_and_differs_from_step_to_step() {
    // One input to 4 000 features that are 1, dropped, and summed: the gradient by the head's weights shows the mask.
    let layers = vec![Layer::Linear { inputs: 1, outputs: 4000, bias: false }, Layer::Dropout { rate: 0.3 }];
    let network = Network::of([1, 1, 1], layers, Head::Shared, 2, false, 1);
    let engine = engine(&network, 1).with_seeds(Seeds::new(2));
    let mut row = vec![1.0; 4000];
    row.extend(vec![0.0; 8000]);
    let mut block = block_of(&engine, &row);
    let mut out = engine.block(1, row.len());
    let data = Data { width: 1, inputs: vec![1.0; 4], labels: vec![0; 4] };
    let batches = Cycle { data, size: 1 };
    let mut mask = |step: u64| {
        engine.visit(&whole(&network, 0), &[AgentId(0)], &mut [&mut block, &mut out], 0, |visit| {
            let at = Point { row: Slot::Block(0), base: None };
            visit.accumulate_gradient(at, Slot::Block(1), 0.0, 1.0, &batches, step);
        });
        // Softmax of equal scores is ½, so the gradient is −½ of the feature.
        support::row(&engine, &out, 0)[4000..8000].iter().map(|g| -2.0 * g).collect::<Vec<_>>()
    };
    let (first, again, second) = (mask(0), mask(0), mask(1));
    let dropped = first.iter().filter(|v| **v == 0.0).count();
    assert!((1100..1300).contains(&dropped), "{dropped} of 4 000 at a rate of 0.3");
    assert!(first.iter().all(|v| *v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-4));
    assert_eq!(first, again, "a step's mask is a function of agent, task and step");
    assert_ne!(first, second);
    let inputs = engine.representations(&block, AgentId(0), &batches.data, &[0]);
    assert!(inputs[1].as_slice().iter().all(|v| *v == 1.0), "nothing is dropped when layer inputs are taken");
    assert_eq!(batches.data.len(), 4);
}
