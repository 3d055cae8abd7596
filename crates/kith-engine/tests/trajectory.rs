//! Several steps in a row: against PyTorch, and charts against each other.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod support;

use kith_core::{AgentId, Head, Network};
use kith_engine::{Chart, Engine, Geometry, NativeBlock, Point, Slot, Visit};
use serde_json::Value;
use support::{Cycle, Data, basis, block_of, distance, engine, geometry, noise, row, whole};

const AT: Point = Point { row: Slot::Block(0), base: None };

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

#[test]
fn three_steps_match_pytorch() {
    let text = include_str!("../../../tests/golden/mlp_step.json");
    let golden: Value = serde_json::from_str(text).expect("the golden file is JSON");
    assert_eq!(golden["format"], "mlp-step/1");
    for case in golden["cases"].as_array().expect("cases") {
        let head = if case["per_task"] == true { Head::PerTask } else { Head::Shared };
        let hidden: Vec<_> = floats(&case["hidden"]).iter().map(|&width| width as usize).collect();
        let (inputs, classes, tasks) = (size(&case["inputs"]), size(&case["classes"]), size(&case["tasks"]));
        let network = Network::mlp(inputs, &hidden, classes, case["bias"] == true, head, tasks);
        let geometry = whole(&network, size(&case["task"]) as u32);
        let engine = engine(&network, 1);
        let initial: Vec<f32> = floats(&case["initial"]).iter().map(|&v| v as f32).collect();
        let mut block = block_of(&engine, &initial);
        let mut gradient = engine.block(1, initial.len());
        let rate = case["learning_rate"].as_f64().expect("a rate") as f32;
        for step in case["steps"].as_array().expect("steps") {
            let inputs: Vec<f32> =
                step["x"].as_array().expect("samples").iter().flat_map(floats).map(|v| v as f32).collect();
            let labels: Vec<u32> = floats(&step["y"]).iter().map(|&v| v as u32).collect();
            let batch = labels.len();
            let batches = Cycle { data: Data { width: network.inputs(), inputs, labels }, size: batch };
            let losses = engine.visit(&geometry, &[AgentId(0)], &mut [&mut block, &mut gradient], 0, |visit| {
                visit.accumulate_gradient(AT, Slot::Block(1), 0.0, 1.0, &batches, 0);
                visit.accumulate_gradient(AT, Slot::Block(0), 1.0, -rate, &batches, 0);
            });
            let name = &case["name"];
            let expected = step["loss"].as_f64().expect("a loss");
            assert!((losses[0] / 2.0 - expected).abs() < 1e-5, "{name}: loss");
            assert!(distance(&row(&engine, &gradient, 0), &floats(&step["gradient"])) < 1e-5, "{name}: gradient");
            assert!(distance(&row(&engine, &block, 0), &floats(&step["parameters"])) < 1e-5, "{name}: parameters");
        }
    }
}

fn network() -> Network {
    Network::mlp(20, &[12, 9], 4, true, Head::Shared, 1)
}

fn batches() -> Cycle {
    Cycle { data: Data::random(9, 20, 4, 40), size: 6 }
}

fn relative(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    square(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b))) / square(&mut b.iter().map(|v| f64::from(*v)))
}

fn projected(importance: bool) -> Geometry {
    projected_at([7, 5, 4], importance)
}

fn projected_at(ranks: [usize; 3], importance: bool) -> Geometry {
    let chart = |label, d, r| Chart::Projected {
        basis: basis(label, d, r).0,
        importance: importance.then(|| noise(5, r).iter().map(|v| v.abs()).collect()),
    };
    geometry(&network(), vec![chart(1, 20, ranks[0]), chart(2, 12, ranks[1]), chart(3, 9, ranks[2])], 0)
}

#[test]
fn the_projected_gradient_is_the_raw_gradient_projected() {
    for geometry in [projected(false), projected(true), projected_at([20, 0, 9], false), projected_at([20, 0, 9], true)]
    {
        let engine = engine(&network(), 1);
        let mut block = block_of(&engine, &noise(2, geometry.layout.len()));
        let mut fused = engine.block(1, geometry.layout.len());
        let mut apart = engine.block(1, geometry.layout.len());
        let batches = batches();
        engine.visit(&geometry, &[AgentId(0)], &mut [&mut block, &mut fused, &mut apart], 0, |visit| {
            visit.accumulate_gradient(AT, Slot::Block(1), 0.0, 1.0, &batches, 3);
            visit.accumulate_raw_gradient(AT, Slot::Block(2), 0.0, 1.0, &batches, 3);
        });
        let raw = row(&engine, &apart, 0);
        engine.visit(&geometry, &[AgentId(0)], &mut [&mut apart], 0, |visit| visit.project(Slot::Block(0)));
        let (fused, apart) = (row(&engine, &fused, 0), row(&engine, &apart, 0));
        assert!(relative(&fused, &apart) < 1e-5, "{}", relative(&fused, &apart));
        assert!(relative(&raw, &apart) > 0.1, "projection does something");
    }
}

fn descend(engine: &kith_engine::NativeEngine, geometry: &Geometry, rows: &mut NativeBlock, base: &mut NativeBlock) {
    let batches = batches();
    engine.visit(geometry, &[AgentId(0)], &mut [rows, base], 0, |visit| {
        let at = Point { row: Slot::Block(0), base: Some(Slot::Block(1)) };
        for step in 0..20 {
            visit.accumulate_gradient(at, Slot::Block(0), 1.0, -0.1, &batches, step);
        }
    });
}

#[test]
fn coordinates_in_the_residual_space_take_the_projected_path() {
    let network = network();
    let engine = engine(&network, 1);
    let start = noise(2, network.layout().expect("it fits").len());
    let geometry_projected = projected(false);
    let mut rows = block_of(&engine, &start);
    let mut unused = engine.block(1, start.len());
    descend(&engine, &geometry_projected, &mut rows, &mut unused);

    let chart = |label, d, r| Chart::Coordinates { span: basis(label, d, r).1, gain: None };
    let geometry = geometry(&network, vec![chart(1, 20, 7), chart(2, 12, 5), chart(3, 9, 4)], 0);
    let mut weights = block_of(&engine, &start);
    let mut coordinates = engine.block(1, geometry.layout.len());
    engine.enter(&geometry, &mut weights, &mut coordinates);
    descend(&engine, &geometry, &mut coordinates, &mut weights);
    engine.leave(&geometry, &mut weights, &coordinates);

    let (narrow, wide) = (row(&engine, &weights, 0), row(&engine, &rows, 0));
    assert!(relative(&narrow, &wide) < 1e-4, "{}", relative(&narrow, &wide));
    assert!(relative(&start, &wide) > 0.05, "the parameters moved");
}

#[test]
fn leaving_undoes_entering() {
    let network = network();
    let engine = engine(&network, 2);
    let start: Vec<_> = (0..3).map(|agent| noise(agent, network.layout().expect("it fits").len())).collect();
    let chart = |label, d, k| Chart::Coordinates { span: basis(label, d, k).0, gain: None };
    let geometry = geometry(&network, vec![chart(1, 20, 6), Chart::Whole, chart(3, 9, 0)], 0);
    let mut weights = engine.block(3, start[0].len());
    for (agent, row) in start.iter().enumerate() {
        engine.upload(&mut weights, AgentId::from(agent), row);
    }
    let mut coordinates = engine.block(3, geometry.layout.len());
    engine.enter(&geometry, &mut weights, &mut coordinates);
    let span = basis(1, 20, 6).0;
    let weight: Vec<f64> = start[2][..240].iter().map(|v| f64::from(*v)).collect();
    assert!(distance(&row(&engine, &coordinates, 2)[..72], &support::times(&weight, &span)) < 1e-5, "C = W S");
    let base: Vec<f64> = row(&engine, &weights, 2)[..240].iter().map(|v| f64::from(*v)).collect();
    assert!(support::times(&base, &span).iter().all(|v| v.abs() < 1e-5), "the base has no part in the span");
    engine.leave(&geometry, &mut weights, &coordinates);
    for (agent, start) in (0..).zip(&start) {
        assert!(relative(&row(&engine, &weights, agent), start) < 1e-6);
    }
}

#[test]
fn other_tasks_heads_get_no_gradient_but_are_scaled() {
    let network = Network::mlp(5, &[4], 2, true, Head::PerTask, 3);
    let engine = engine(&network, 1);
    let geometry = whole(&network, 1);
    let layout = network.layout().expect("it fits");
    let batches = Cycle { data: Data::random(9, 5, 2, 8), size: 4 };
    let mut rows = block_of(&engine, &noise(2, layout.len()));
    let mut into = block_of(&engine, &vec![1.0; layout.len()]);
    engine.visit(&geometry, &[AgentId(0)], &mut [&mut rows, &mut into], 0, |visit| {
        visit.accumulate_gradient(AT, Slot::Block(1), 0.5, 1.0, &batches, 0);
    });
    let into = row(&engine, &into, 0);
    for tensor in &layout.tensors {
        let frozen = tensor.name.starts_with("head.0") || tensor.name.starts_with("head.2");
        let values = &into[tensor.range()];
        assert_eq!(values.iter().all(|value| *value == 0.5), frozen, "{} {values:?}", tensor.name);
    }
}
