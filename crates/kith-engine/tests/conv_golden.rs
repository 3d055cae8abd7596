//! Small versions of the published convolutional networks against PyTorch.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod support;

use kith_core::{AgentId, Head, Layer, Network, Shape};
use kith_engine::{Engine, Point, Slot, Visit};
use serde::Deserialize;
use support::{Cycle, Data, block_of, distance, engine, row, whole};

#[derive(Deserialize)]
struct Document {
    format: String,
    cases: Vec<Case>,
    patches: Vec<Patches>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    input: Shape,
    layers: Vec<Layer>,
    classes: usize,
    learning_rate: f32,
    initial: Vec<f32>,
    steps: Vec<Step>,
    parameters: Vec<f64>,
}

#[derive(Deserialize)]
struct Step {
    x: Vec<Vec<f32>>,
    y: Vec<u32>,
    loss: f64,
    #[serde(default)]
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct Patches {
    kernel: usize,
    stride: usize,
    padding: usize,
    rows: Vec<Vec<f32>>,
}

fn document() -> Document {
    let text = include_str!("../../../tests/golden/conv_step.json");
    let document: Document = serde_json::from_str(text).expect("the golden file is JSON");
    assert_eq!(document.format, "conv-step/1");
    document
}

const AT: Point = Point { row: Slot::Block(0), base: None };

/// Both sides compute in f32; through three steps with batch statistics of three images rounding grows to a few 1e-5.
const TOLERANCE: f64 = 5e-5;

#[test]
fn three_steps_of_every_published_network_match_pytorch() {
    for case in document().cases {
        let name = &case.name;
        let network = Network::of(case.input, case.layers, Head::Shared, case.classes, false, 1);
        let engine = engine(&network, 1);
        let mut block = block_of(&engine, &case.initial);
        let mut gradient = engine.block(1, case.initial.len());
        for step in case.steps {
            let size = step.y.len();
            let data = Data { width: network.inputs(), inputs: step.x.concat(), labels: step.y };
            let batches = Cycle { data, size };
            let losses =
                engine.visit(&whole(&network, 0), &[AgentId(0)], &mut [&mut block, &mut gradient], 0, |visit| {
                    visit.accumulate_gradient(AT, Slot::Block(1), 0.0, 1.0, &batches, 0);
                    visit.accumulate_gradient(AT, Slot::Block(0), 1.0, -case.learning_rate, &batches, 0);
                });
            assert!((losses[0] / 2.0 - step.loss).abs() < TOLERANCE, "{name}: loss {losses:?}, {}", step.loss);
            if !step.gradient.is_empty() {
                let found = distance(&row(&engine, &gradient, 0), &step.gradient);
                assert!(found < TOLERANCE, "{name}: the gradient is off by {found:e}");
            }
        }
        let found = distance(&row(&engine, &block, 0), &case.parameters);
        assert!(found < TOLERANCE, "{name}: parameters are off by {found:e}");
        let moved = distance(&case.initial, &case.parameters);
        assert!(moved > 100.0 * TOLERANCE, "{name}: parameters moved by {moved}");
    }
}

#[test]
fn patches_are_those_of_pytorchs_unfold() {
    for Patches { kernel, stride, padding, rows } in document().patches {
        let conv = Layer::Conv { in_channels: 2, out_channels: 1, kernel, stride, padding, bias: false };
        let network = Network::of([2, 5, 4], vec![conv], Head::PerTask, 2, false, 1);
        let engine = engine(&network, 1);
        let block = engine.block(1, network.layout().expect("it fits").len());
        let data = Data { width: 40, inputs: (0_u8..80).map(f32::from).collect(), labels: vec![0, 1] };
        let inputs = engine.representations(&block, AgentId(0), &data, &[0, 1]);
        assert_eq!(inputs[0].rows(), rows.len());
        assert_eq!(inputs[0].as_slice(), rows.concat());
    }
}
