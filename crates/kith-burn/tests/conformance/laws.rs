//! What every engine must do.

use kith_core::{AgentId, Matrix, TaskId};
use kith_engine::{Engine, Geometry, MixingPlan, Point, Score, Slot, Visit};

use crate::families::{AGENTS, ALL, Family, PROJECTED, WHOLE, families, golden};
use crate::support::{Cycle, Data, distance, noise, whole};
use crate::{Subject, native};

/// Both sides of a golden number compute in f32; through three steps with batch statistics of three images rounding grows to a
/// few 1e-5.
const GOLDEN: f64 = 5e-5;

/// One minibatch, forward and back, against the largest number: rounding of f32 in another order, amplified by statistics of few
/// images.
const ONCE: f64 = 2e-5;

/// Ten steps, against the largest number.
const TEN: f64 = 2e-4;

/// Mixing and change of coordinates: sums of a few products.
const ROUNDING: f64 = 2e-6;

const AT: Point = Point { row: Slot::Block(0), base: None };

fn agents(count: usize) -> Vec<AgentId> {
    (0..count).map(AgentId::from).collect()
}

fn block<E: Engine>(engine: &E, rows: &[Vec<f32>]) -> E::Block {
    let mut block = engine.block(rows.len(), rows[0].len());
    for (agent, row) in rows.iter().enumerate() {
        engine.upload(&mut block, AgentId::from(agent), row);
    }
    block
}

fn rows<E: Engine>(engine: &E, block: &E::Block, count: usize, len: usize) -> Vec<Vec<f32>> {
    let row = |agent| {
        let mut row = vec![0.0; len];
        engine.download(block, agent, &mut row);
        row
    };
    agents(count).into_iter().map(row).collect()
}

fn start(family: &Family) -> Vec<Vec<f32>> {
    (0..AGENTS).map(|agent| family.row(agent)).collect()
}

/// Largest difference, in units of the larger of 1 and the largest number that was expected.
fn apart(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let all: Vec<f64> = expected.iter().flatten().map(|v| f64::from(*v)).collect();
    let largest = all.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
    if all.is_empty() { 0.0 } else { distance(&found.concat(), &all) / largest }
}

/// Numbers of several kinds that an engine computed.
struct Numbers {
    losses: Vec<f64>,
    rows: Vec<Vec<f32>>,
}

/// Holds an engine against the native one.
fn holds(name: &str, what: &str, found: &Numbers, expected: &Numbers, tolerance: f64) {
    for (found, expected) in found.losses.iter().zip(&expected.losses) {
        assert!(expected.is_finite() && *expected > 0.0, "{name}: the loss is {expected}");
        let off = (found - expected).abs() / expected.max(1.0);
        assert!(off < tolerance, "{name}: the loss of {what} is off by {off:e}: {found} {expected}");
    }
    let off = apart(&found.rows, &expected.rows);
    assert!(off < tolerance, "{name}: {what} is off by {off:e}");
}

fn with<S: Subject>(law: impl Fn(&Family, &S::Engine)) {
    for family in families() {
        let Some(engine) = S::engine(&family.network) else { return };
        law(&family, &engine);
    }
}

/// Base and coordinates of the start rows.
fn entered<E: Engine>(engine: &E, family: &Family, geometry: &Geometry) -> (E::Block, E::Block) {
    let mut base = block(engine, &start(family));
    let mut held = engine.block(AGENTS, geometry.layout.len());
    engine.enter(geometry, &mut base, &mut held);
    (base, held)
}

/// Gradients of two minibatches, the second added to half of the first.
fn gradients<E: Engine>(engine: &E, family: &Family, geometry: &Geometry) -> Numbers {
    let (mut base, mut held) = entered(engine, family, geometry);
    let len = geometry.layout.len();
    let mut into = engine.block(AGENTS, len);
    let batches = family.batches();
    let at = Point { row: Slot::Block(0), base: Some(Slot::Block(2)) };
    let blocks = &mut [&mut held, &mut into, &mut base];
    let losses = engine.visit(geometry, &agents(AGENTS), blocks, 1, |visit| {
        visit.accumulate_gradient(at, Slot::Block(1), 0.0, 1.0, &batches, 0);
        visit.accumulate_gradient(at, Slot::Block(1), 0.5, -2.0, &batches, 1);
    });
    Numbers { losses, rows: rows(engine, &into, AGENTS, len) }
}

pub(crate) fn losses_and_gradients_are_the_native_ones<S: Subject>() {
    with::<S>(|family, engine| {
        let geometry = family.geometry(&WHOLE, 0);
        let expected = gradients(&native(&family.network), family, &geometry);
        let found = gradients(engine, family, &geometry);
        holds(&family.name, "the gradient", &found, &expected, ONCE);
        let largest = expected.rows.iter().flatten().fold(0.0_f32, |most, v| most.max(v.abs()));
        assert!(largest > 1e-2, "{}: the gradient is not trivially zero: {largest}", family.name);
    });
}

pub(crate) fn charts_constrain_alike<S: Subject>() {
    with::<S>(|family, engine| {
        for first in 0..ALL.len() {
            let geometry = family.geometry(&ALL, first);
            let expected = gradients(&native(&family.network), family, &geometry);
            let found = gradients(engine, family, &geometry);
            holds(&family.name, &format!("the gradient in charts {first}"), &found, &expected, ONCE);
        }
    });
}

pub(crate) fn three_steps_match_pytorch<S: Subject>() {
    for case in golden() {
        let (name, network) = (&case.name, case.network());
        let Some(engine) = S::engine(&network) else { return };
        let geometry = whole(&network, 0);
        // The second agent's row shows that agents do not disturb each other.
        let mut block = block(&engine, &[case.initial.clone(), noise(3, case.initial.len())]);
        let mut gradient = engine.block(2, case.initial.len());
        for step in &case.steps {
            let data = Data { width: network.inputs(), inputs: step.x.concat(), labels: step.y.clone() };
            let batches = Cycle { data, size: step.y.len() };
            let losses = engine.visit(&geometry, &agents(2), &mut [&mut block, &mut gradient], 0, |visit| {
                visit.accumulate_gradient(AT, Slot::Block(1), 0.0, 1.0, &batches, 0);
                visit.axpy(Slot::Block(0), -case.learning_rate, Slot::Block(1));
            });
            assert!((losses[0] - step.loss).abs() < GOLDEN, "{name}: loss {losses:?}, {}", step.loss);
            if !step.gradient.is_empty() {
                let found = distance(&rows(&engine, &gradient, 1, case.initial.len())[0], &step.gradient);
                assert!(found < GOLDEN, "{name}: the gradient is off by {found:e}");
            }
        }
        let found = distance(&rows(&engine, &block, 1, case.initial.len())[0], &case.parameters);
        assert!(found < GOLDEN, "{name}: parameters are off by {found:e}");
    }
}

/// Ten steps with momentum in a geometry.
fn ten_steps<E: Engine>(engine: &E, family: &Family, geometry: &Geometry) -> Numbers {
    let mut x = block(engine, &start(family));
    let mut momentum = engine.block(AGENTS, geometry.layout.len());
    let batches = family.batches();
    let losses = engine.visit(geometry, &agents(AGENTS), &mut [&mut x, &mut momentum], 0, |visit| {
        for step in 0..10 {
            visit.accumulate_gradient(AT, Slot::Block(1), 0.9, 1.0, &batches, step);
            visit.axpy(Slot::Block(0), -0.01, Slot::Block(1));
        }
    });
    Numbers { losses, rows: rows(engine, &x, AGENTS, geometry.layout.len()) }
}

pub(crate) fn ten_steps_with_momentum_end_alike<S: Subject>() {
    with::<S>(|family, engine| {
        let geometry = family.geometry(&WHOLE, 0);
        let expected = ten_steps(&native(&family.network), family, &geometry);
        holds(&family.name, "ten steps", &ten_steps(engine, family, &geometry), &expected, TEN);
        let moved = apart(&start(family), &expected.rows);
        assert!(moved > 20.0 * TEN, "{}: parameters moved by {moved:e}", family.name);
    });
}

pub(crate) fn ten_projected_steps_end_alike<S: Subject>() {
    with::<S>(|family, engine| {
        for first in 0..PROJECTED.len() {
            let geometry = family.geometry(&PROJECTED, first);
            let expected = ten_steps(&native(&family.network), family, &geometry);
            holds(&family.name, "ten projected steps", &ten_steps(engine, family, &geometry), &expected, TEN);
        }
    });
}

/// A sharpness-aware step on the raw gradient, clipped and projected.
fn sharp_step<E: Engine>(engine: &E, family: &Family, geometry: &Geometry) -> Numbers {
    let mut x = block(engine, &start(family));
    let batches = family.batches();
    let (gradient, perturbed) = (Slot::Scratch(0), Slot::Scratch(1));
    let layers: Vec<_> = geometry.layout.tensors.iter().map(|tensor| tensor.range()).collect();
    let losses = engine.visit(geometry, &agents(AGENTS), &mut [&mut x], 2, |visit| {
        visit.accumulate_raw_gradient(AT, gradient, 0.0, 1.0, &batches, 2);
        visit.copy(perturbed, AT.row);
        visit.axpy_normalised(perturbed, 0.05, gradient, 1e-12, &layers);
        visit.accumulate_raw_gradient(Point { row: perturbed, base: None }, gradient, 0.0, 1.0, &batches, 2);
        visit.clip(gradient, 0.5);
        visit.project(gradient);
        visit.axpy(AT.row, -0.3, gradient);
    });
    Numbers { losses, rows: rows(engine, &x, AGENTS, geometry.layout.len()) }
}

pub(crate) fn a_sharpness_aware_step_ends_alike<S: Subject>() {
    with::<S>(|family, engine| {
        let geometry = family.geometry(&PROJECTED, 0);
        let expected = sharp_step(&native(&family.network), family, &geometry);
        holds(&family.name, "a sharp step", &sharp_step(engine, family, &geometry), &expected, TEN);
        assert!(apart(&start(family), &expected.rows) > 20.0 * TEN, "{}: parameters moved", family.name);
    });
}

pub(crate) fn rows_obey_their_arithmetic<S: Subject>() {
    let network = kith_core::Network::mlp(2, &[], 2, false, kith_core::Head::Shared, 1);
    let Some(engine) = S::engine(&network) else { return };
    let mut x = block(&engine, &[vec![3.0, 0.0, 4.0, 0.0], vec![0.3, 0.0, 0.4, 0.0]]);
    let mut y = block(&engine, &[vec![1.0, 2.0, 3.0, 4.0], vec![1.0; 4]]);
    engine.visit(&whole(&network, 0), &agents(2), &mut [&mut x, &mut y], 2, |visit| {
        visit.copy(Slot::Scratch(1), Slot::Block(0));
        visit.axpy_normalised(Slot::Block(1), 10.0, Slot::Scratch(1), 0.0, std::slice::from_ref(&(0..4)));
        visit.clip(Slot::Block(0), 1.0);
        visit.clear(Slot::Scratch(0));
        visit.axpy(Slot::Scratch(0), 1.0, Slot::Scratch(1));
        visit.axpy(Slot::Scratch(0), 2.0, Slot::Scratch(0));
        visit.clip(Slot::Scratch(0), 100.0);
        visit.axpy(Slot::Block(0), 1.0, Slot::Scratch(0));
        visit.scale(Slot::Block(0), 0.5);
    });
    let expected_y = [vec![7.0, 2.0, 11.0, 4.0], vec![7.0, 1.0, 9.0, 1.0]];
    assert!(apart(&rows(&engine, &y, 2, 4), &expected_y) < ROUNDING);
    let expected_x = [vec![4.8, 0.0, 6.4, 0.0], vec![0.6, 0.0, 0.8, 0.0]];
    assert!(apart(&rows(&engine, &x, 2, 4), &expected_x) < ROUNDING);
    let mut z = block(&engine, &[vec![1.0, -1.0, 2.0, 0.0], vec![0.0; 4]]);
    let mut w = block(&engine, &[vec![-1.0, 1.0, 0.0, 3.0], vec![1.0, 2.0, 3.0, 4.0]]);
    engine.visit(&whole(&network, 0), &agents(2), &mut [&mut z, &mut w], 1, |visit| {
        visit.copy(Slot::Scratch(0), Slot::Block(1));
        visit.multiply_add(Slot::Scratch(0), 2.0, Slot::Block(0), Slot::Block(0));
        visit.deflect(Slot::Block(1), Slot::Block(0));
        visit.copy(Slot::Block(0), Slot::Scratch(0));
    });
    // ⟨w, z⟩ = −2 and ⟨z, z⟩ = 6 in the first row; a zero row deflects nothing.
    let third = 1.0 / 3.0;
    let deflected = [vec![-1.0 + third, 1.0 - third, 2.0 * third, 3.0], vec![1.0, 2.0, 3.0, 4.0]];
    assert!(apart(&rows(&engine, &w, 2, 4), &deflected) < ROUNDING);
    let multiplied = [vec![1.0, 3.0, 8.0, 3.0], vec![1.0, 2.0, 3.0, 4.0]];
    assert!(apart(&rows(&engine, &z, 2, 4), &multiplied) < ROUNDING);
    // A zero row stays a zero row when it is clipped.
    let mut zero = engine.block(1, 4);
    engine.visit(&whole(&network, 0), &agents(1), &mut [&mut zero], 0, |visit| visit.clip(Slot::Block(0), 1.0));
    assert_eq!(rows(&engine, &zero, 1, 4), [[0.0; 4]]);
}

/// A ring, every `skip`-th agent having a row.
fn plan(count: usize, degree: usize, skip: usize) -> MixingPlan {
    let mut plan = MixingPlan::default();
    for agent in (0..count).step_by(skip) {
        let mut terms: Vec<_> = (0..degree).map(|j| (agent + 7 * j) % count).collect();
        terms.sort_unstable();
        terms.dedup();
        plan.push(AgentId::from(agent), terms.into_iter().map(|j| (AgentId::from(j), 0.2 + 0.01 * j as f32)));
    }
    plan
}

pub(crate) fn mixing_is_the_plans_sum<S: Subject>() {
    let network = kith_core::Network::mlp(2, &[], 2, false, kith_core::Head::Shared, 1);
    let Some(engine) = S::engine(&network) else { return };
    // 5 agents mix as a dense product, 70 with one term each are gathered.
    for (count, degree, skip) in [(5, 3, 1), (5, 2, 2), (70, 1, 1), (150, 2, 3), (4, 0, 1)] {
        let len = 33;
        let noise = |base: u64| (0..count as u64).map(|agent| noise(base + agent, len)).collect::<Vec<_>>();
        let (input, before) = (noise(100), noise(500));
        let plan = plan(count, degree, skip);
        let from = block(&engine, &input);
        let (mut fresh, mut added) = (block(&engine, &before), block(&engine, &before));
        engine.mix(&mut fresh, &from, &plan);
        let (mut second, mut within) = (block(&engine, &input), block(&engine, &input));
        engine.mix(&mut second, &from, &plan);
        engine.mix_in_place(&mut within, &plan);
        let expected = rows(&engine, &second, count, len);
        assert_eq!(rows(&engine, &within, count, len), expected, "{count} agents, {degree} terms: in place");
        engine.mix_into(&mut added, &from, &plan);
        let (mut expected_fresh, mut expected_added) = (before.clone(), before);
        for index in 0..plan.len() {
            let (agent, terms) = plan.row(index);
            expected_fresh[agent.index()].fill(0.0);
            for expected in [&mut expected_fresh, &mut expected_added] {
                for (source, c) in terms {
                    for (out, x) in expected[agent.index()].iter_mut().zip(&input[source.index()]) {
                        *out += c * x;
                    }
                }
            }
        }
        let name = format!("{count} agents, {degree} terms, every {skip}");
        assert!(apart(&rows(&engine, &fresh, count, len), &expected_fresh) < ROUNDING, "{name}: mix");
        assert!(apart(&rows(&engine, &added, count, len), &expected_added) < ROUNDING, "{name}: mix into");
    }
}

pub(crate) fn entering_and_leaving_are_alike_and_inverse<S: Subject>() {
    with::<S>(|family, engine| {
        for first in 0..2 {
            let geometry = family.geometry(&ALL, first);
            let reference = native(&family.network);
            let whole = family.layout().len();
            let narrow = geometry.layout.len();
            let (expected_base, expected_held) = entered(&reference, family, &geometry);
            let (mut base, held) = entered(engine, family, &geometry);
            let found = rows(engine, &held, AGENTS, narrow);
            assert!(apart(&found, &rows(&reference, &expected_held, AGENTS, narrow)) < ROUNDING, "{}", family.name);
            let found = rows(engine, &base, AGENTS, whole);
            let expected = rows(&reference, &expected_base, AGENTS, whole);
            // Tensors that are no coordinates are constants of the base only by chance: what is read of it is the coordinates'.
            let charts = geometry.charts.iter();
            let coordinates = family
                .layout()
                .projected()
                .zip(charts)
                .filter(|(_, chart)| matches!(chart, kith_engine::Chart::Coordinates { .. }))
                .map(|(tensor, _)| tensor.range())
                .collect::<Vec<_>>();
            for range in coordinates {
                let part = |rows: &[Vec<f32>]| rows.iter().map(|row| row[range.clone()].to_vec()).collect::<Vec<_>>();
                assert!(apart(&part(&found), &part(&expected)) < ROUNDING, "{}: base", family.name);
            }
            engine.leave(&geometry, &mut base, &held);
            let back = rows(engine, &base, AGENTS, whole);
            assert!(apart(&back, &start(family)) < ROUNDING, "{}: leaving undoes entering", family.name);
        }
    });
}

pub(crate) fn scores_are_alike<S: Subject>() {
    with::<S>(|family, engine| {
        // 70 images go through in pieces of 64 and 6; 300 rows of features in pieces of 256 and 44.
        let count = if family.name.starts_with("perceptron") { 300 } else { 70 };
        let data = Data::random(9, family.network.inputs(), family.network.classes as u32, count);
        let who = [AgentId(0), AgentId(2)];
        let scores = |engine: &dyn Fn() -> Vec<Score>| engine();
        let reference = native(&family.network);
        let theirs = block(&reference, &start(family));
        let ours = block(engine, &start(family));
        let task = TaskId(family.task);
        let expected = scores(&|| reference.evaluate(&theirs, &who, &data, task));
        let found = scores(&|| engine.evaluate(&ours, &who, &data, task));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.total, count);
            let off = (found.loss - expected.loss).abs();
            assert!(off < ONCE * expected.loss.max(1.0), "{}: loss off by {off:e}", family.name);
            // Random scores of a sample are nowhere near equal.
            assert_eq!(found.correct, expected.correct, "{}", family.name);
            assert!(found.correct > 0 && found.correct < count, "{}: {found:?}", family.name);
        }
        let none = Data::random(9, family.network.inputs(), 2, 0);
        assert_eq!(engine.evaluate(&ours, &who, &none, task), [Score::default(); 2]);
    });
    // All scores equal: the first class counts.
    let network = kith_core::Network::mlp(2, &[], 3, false, kith_core::Head::Shared, 1);
    let Some(engine) = S::engine(&network) else { return };
    let zero = engine.block(1, 6);
    let data = Data { width: 2, inputs: vec![1.0; 8], labels: vec![0, 1, 2, 0] };
    assert_eq!(engine.evaluate(&zero, &agents(1), &data, TaskId(0))[0].correct, 2);
}

pub(crate) fn layer_inputs_are_alike<S: Subject>() {
    with::<S>(|family, engine| {
        let data = Data::random(9, family.network.inputs(), family.network.classes as u32, 12);
        let indices = [3, 0, 11, 5, 7];
        let reference = native(&family.network);
        let theirs = block(&reference, &start(family));
        let expected = reference.representations(&theirs, AgentId(1), &data, &indices);
        let ours = block(engine, &start(family));
        let found = engine.representations(&ours, AgentId(1), &data, &indices);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((found.rows(), found.cols()), (expected.rows(), expected.cols()), "{}", family.name);
            let list = |matrix: &Matrix| vec![matrix.as_slice().to_vec()];
            assert!(apart(&list(found), &list(expected)) < ONCE, "{}", family.name);
        }
    });
}

pub(crate) fn consensus_is_alike<S: Subject>() {
    let network = kith_core::Network::mlp(2, &[], 2, false, kith_core::Head::Shared, 1);
    let Some(engine) = S::engine(&network) else { return };
    let rows = [vec![1.0, 2.0, 0.0, 0.0], vec![9.0; 4], vec![3.0, 2.0, 0.0, 4.0]];
    let block = block(&engine, &rows);
    let (mean, distance) = engine.consensus(&block, &[AgentId(0), AgentId(2)]);
    assert_eq!(mean, [2.0, 2.0, 0.0, 2.0]);
    assert!((distance - 5.0_f64.sqrt()).abs() < 1e-6);
    let (mean, distance) = engine.consensus(&block, &[AgentId(1)]);
    assert_eq!((mean, distance), (vec![9.0; 4], 0.0));
    assert_eq!(engine.consensus(&block, &[]), (vec![0.0; 4], 0.0));
}

pub(crate) fn only_the_agents_of_a_visit_change<S: Subject>() {
    let network = kith_core::Network::mlp(2, &[], 2, false, kith_core::Head::Shared, 1);
    let Some(engine) = S::engine(&network) else { return };
    let before: Vec<_> = (0..5).map(|agent| noise(agent, 4)).collect();
    for visited in [vec![1, 4], vec![2, 3], vec![0, 1, 2, 3, 4]] {
        let mut block = block(&engine, &before);
        let who: Vec<_> = visited.iter().copied().map(AgentId).collect();
        let losses = engine.visit(&whole(&network, 0), &who, &mut [&mut block], 0, |visit| {
            visit.scale(Slot::Block(0), 2.0);
        });
        assert_eq!(losses, vec![0.0; who.len()]);
        for (agent, (found, before)) in (0_u32..).zip(rows(&engine, &block, 5, 4).iter().zip(&before)) {
            let factor = if visited.contains(&agent) { 2.0 } else { 1.0 };
            let expected: Vec<f32> = before.iter().map(|v| factor * v).collect();
            assert_eq!(*found, expected, "agent {agent} of {visited:?}");
        }
    }
}
