//! What the engine does besides gradients: threads, mixing, rows, scores, quadratics.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod support;

use kith_core::{AgentId, Head, Matrix, Network, NetworkError, Samples as _, TaskId};
use kith_engine::{
    Chart, Engine, EngineError, Geometry, MixingPlan, NativeBlock, NativeEngine, Objective, Point, Quadratic, Slot,
    Visit,
};
use proptest::prelude::*;
use support::{Cycle, Data, basis, block_of, distance, engine, geometry, noise, row, whole};

const AT: Point = Point { row: Slot::Block(0), base: None };

fn filled(engine: &NativeEngine, agents: usize, len: usize) -> NativeBlock {
    let mut block = engine.block(agents, len);
    for agent in 0..agents {
        engine.upload(&mut block, AgentId::from(agent), &noise(100 + agent as u64, len));
    }
    block
}

fn ring(agents: usize) -> MixingPlan {
    let mut plan = MixingPlan::default();
    for agent in 0..agents {
        let mut terms = vec![(agent + agents - 1) % agents, agent, (agent + 1) % agents];
        terms.sort_unstable();
        terms.dedup();
        plan.push(AgentId::from(agent), terms.into_iter().map(|j| (AgentId::from(j), 1.0 / 3.0)));
    }
    plan
}

/// A short run of seven agents with momentum, mixing and measurement; everything it computes.
fn run(threads: usize) -> (Vec<u32>, Vec<u64>) {
    let network = Network::mlp(33, &[21, 14], 5, true, Head::Shared, 1);
    let engine = engine(&network, threads);
    let chart = |label, d, r| Chart::Projected { basis: basis(label, d, r).0, importance: None };
    let geometry = geometry(&network, vec![chart(1, 33, 10), chart(2, 21, 3), Chart::Whole], 0);
    let agents: Vec<_> = (0..7).map(AgentId).collect();
    let mut x = filled(&engine, 7, geometry.layout.len());
    let mut momentum = engine.block(7, geometry.layout.len());
    let mut mixed = engine.block(7, geometry.layout.len());
    let batches = Cycle { data: Data::random(9, 33, 5, 600), size: 10 };
    let mut numbers = Vec::new();
    for round in 0..4 {
        let losses = engine.visit(&geometry, &agents, &mut [&mut x, &mut momentum], 1, |visit| {
            visit.accumulate_gradient(AT, Slot::Scratch(0), 0.0, 1.0, &batches, round);
            visit.clip(Slot::Scratch(0), 0.5);
            visit.scale(Slot::Block(1), 0.9);
            visit.axpy(Slot::Block(1), 1.0, Slot::Scratch(0));
            visit.axpy(Slot::Block(0), -0.1, Slot::Block(1));
        });
        numbers.extend(losses);
        engine.mix(&mut mixed, &x, &ring(7));
        std::mem::swap(&mut x, &mut mixed);
    }
    let scores = engine.evaluate(&x, &agents, &batches.data, TaskId(0));
    numbers.extend(scores.iter().flat_map(|score| [score.loss, score.accuracy()]));
    let (mean, distance) = engine.consensus(&x, &agents);
    numbers.push(distance);
    let rows = (0..7).flat_map(|agent| row(&engine, &x, agent)).chain(mean).map(f32::to_bits).collect();
    (rows, numbers.into_iter().map(f64::to_bits).collect())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let one = run(1);
    assert_eq!(run(2), one);
    assert_eq!(run(3), one);
    assert!(one.0.iter().all(|bits| f32::from_bits(*bits).is_finite()));
}

proptest! {
    #[test]
    fn mixing_adds_terms_in_plan_order(
        len in 1_usize..5000,
        degree in 0_usize..8,
        threads in 1_usize..4,
        skip in 1_usize..4,
    ) {
        let network = Network::mlp(2, &[], 2, false, Head::Shared, 1);
        let engine = engine(&network, threads);
        let agents = 9;
        let input = filled(&engine, agents, len);
        let mut plan = MixingPlan::default();
        for agent in (0..agents).step_by(skip) {
            plan.push(AgentId::from(agent), (0..degree).map(|j| (AgentId::from(j + agent / 8), 0.2 + j as f32 * 0.07)));
        }
        let mut fresh = filled(&engine, agents, len);
        let mut added = filled(&engine, agents, len);
        engine.mix(&mut fresh, &input, &plan);
        engine.mix_into(&mut added, &input, &plan);
        let (mut apart, mut within) = (filled(&engine, agents, len), filled(&engine, agents, len));
        engine.mix(&mut apart, &input, &plan);
        engine.mix_in_place(&mut within, &plan);
        for agent in 0..agents as u32 {
            prop_assert_eq!(row(&engine, &within, agent), row(&engine, &apart, agent));
        }
        for agent in 0..agents {
            let before = noise(100 + agent as u64, len);
            let (mut from_zero, mut from_before) = (before.clone(), before.clone());
            if agent % skip == 0 {
                from_zero.fill(0.0);
                for (place, (j, c)) in plan.row(agent / skip).1.iter().enumerate() {
                    for (i, x) in noise(100 + u64::from(j.0), len).iter().enumerate() {
                        from_zero[i] = if place == 0 { c * x } else { from_zero[i] + c * x };
                        from_before[i] += c * x;
                    }
                }
            }
            prop_assert_eq!(row(&engine, &fresh, agent as u32), from_zero);
            prop_assert_eq!(row(&engine, &added, agent as u32), from_before);
        }
    }
}

/// Four rounds of steps and mixing of every agent, with momentum beside the rows; all rows afterwards, bit by bit.
fn rounds(threads: usize, plan: &MixingPlan, together: bool) -> Vec<u32> {
    let network = Network::mlp(9, &[7], 5, true, Head::Shared, 1);
    let engine = engine(&network, threads);
    let geometry = whole(&network, 0);
    let agents: Vec<_> = (0..plan.len()).map(AgentId::from).collect();
    let mut momentum = filled(&engine, plan.len(), geometry.layout.len());
    let mut x = filled(&engine, plan.len(), geometry.layout.len());
    let batches = Cycle { data: Data::random(3, 9, 5, 100), size: 4 };
    let mut losses = Vec::new();
    for round in 0..4 {
        let work = |visit: &mut <NativeEngine as Engine>::Visit<'_>| {
            visit.scale(Slot::Block(0), 0.9);
            let at = Point { row: Slot::Block(1), base: None };
            visit.accumulate_gradient(at, Slot::Block(0), 1.0, 1.0, &batches, round);
            visit.axpy(Slot::Block(1), -0.1, Slot::Block(0));
        };
        let blocks = &mut [&mut momentum, &mut x];
        if together {
            losses.extend(engine.visit_and_mix(&geometry, &agents, blocks, 0, work, (1, plan)));
        } else {
            losses.extend(engine.visit(&geometry, &agents, blocks, 0, work));
            engine.mix_in_place(&mut x, plan);
        }
        // A step of some agents between, whose rows lie where the rounds left them.
        engine.visit(&geometry, &[AgentId(1), AgentId(2)], &mut [&mut x], 0, |visit| visit.scale(Slot::Block(0), 0.5));
    }
    let mut copy = engine.block(plan.len(), geometry.layout.len());
    engine.mix(&mut copy, &x, plan);
    let (mean, distance) = engine.consensus(&x, &agents);
    let blocks = [&x, &momentum, &copy];
    let rows = blocks.iter().flat_map(|block| agents.iter().flat_map(|agent| row(&engine, block, agent.0)));
    let numbers = losses.into_iter().chain([distance]).map(|number| number as f32);
    rows.chain(mean).chain(numbers).map(f32::to_bits).collect()
}

#[test]
fn mixing_along_with_steps_gives_the_bits_of_steps_and_then_mixing() {
    let path = {
        let mut plan = MixingPlan::default();
        for agent in 0..12_usize {
            let near = agent.saturating_sub(1)..(agent + 2).min(12);
            plan.push(AgentId::from(agent), near.map(|other| (AgentId::from(other), 0.3)));
        }
        plan
    };
    let second = {
        let mut plan = MixingPlan::default();
        for agent in 0..21_usize {
            let mut terms: Vec<_> = [19, 20, 0, 1, 2].map(|far| (agent + far) % 21).into();
            terms.sort_unstable();
            plan.push(AgentId::from(agent), terms.into_iter().map(|other| (AgentId::from(other), 0.2)));
        }
        plan
    };
    let alone = {
        let mut plan = MixingPlan::default();
        (0..5_usize).for_each(|agent| plan.push(AgentId::from(agent), [(AgentId::from(agent), 0.5)]));
        plan
    };
    for plan in [ring(3), ring(4), ring(7), ring(24), ring(140), path, second, alone] {
        let apart = rounds(1, &plan, false);
        for threads in 1..4 {
            assert_eq!(rounds(threads, &plan, true), apart, "{} agents, {threads} threads", plan.len());
        }
    }
}

#[test]
fn rows_obey_their_arithmetic() {
    let network = Network::mlp(2, &[], 2, false, Head::Shared, 1);
    let engine = engine(&network, 1);
    let geometry = whole(&network, 0);
    let whole_row: Vec<_> = std::iter::once(0..4).collect();
    let mut x = block_of(&engine, &[3.0, 0.0, 4.0, 0.0]);
    let mut y = block_of(&engine, &[1.0, 2.0, 3.0, 4.0]);
    engine.visit(&geometry, &[AgentId(0)], &mut [&mut x, &mut y], 2, |visit| {
        visit.copy(Slot::Scratch(1), Slot::Block(0));
        visit.axpy_normalised(Slot::Block(1), 10.0, Slot::Scratch(1), 0.0, &[0..1, 1..4]);
        visit.axpy_normalised(Slot::Block(1), -4.0, Slot::Scratch(1), 0.0, &[0..1, 1..4]);
        visit.axpy(Slot::Block(1), -6.0 / 5.0, Slot::Scratch(1));
        visit.axpy_normalised(Slot::Block(1), 10.0, Slot::Scratch(1), 0.0, &whole_row);
        visit.clip(Slot::Block(0), 1.0);
        visit.clear(Slot::Scratch(0));
        visit.axpy(Slot::Scratch(0), 1.0, Slot::Scratch(1));
        visit.axpy(Slot::Scratch(0), 2.0, Slot::Scratch(0));
        visit.clip(Slot::Scratch(0), 100.0);
        visit.axpy(Slot::Block(0), 1.0, Slot::Scratch(0));
        assert_eq!(visit.agents(), [AgentId(0)]);
    });
    // By parts of norms 3 and 4: + 6 each; − 1.2 x; then by the whole norm 5: + 2 x.
    assert!(distance(&row(&engine, &y, 0), &[9.4, 2.0, 12.2, 4.0]) < 1e-6);
    assert!(distance(&row(&engine, &x, 0), &[9.6, 0.0, 12.8, 0.0]) < 1e-6);
}

#[test]
fn products_are_added_and_conflicts_taken_out() {
    let network = Network::mlp(2, &[], 2, false, Head::Shared, 1);
    let engine = engine(&network, 1);
    let mut x = block_of(&engine, &[1.0, -2.0, 3.0, 0.0]);
    let mut y = block_of(&engine, &[1.0, 1.0, -1.0, 5.0]);
    engine.visit(&whole(&network, 0), &[AgentId(0)], &mut [&mut x, &mut y], 2, |visit| {
        let (x, y, sum, kept) = (Slot::Block(0), Slot::Block(1), Slot::Scratch(0), Slot::Scratch(1));
        visit.clear(sum);
        visit.multiply_add(sum, 0.5, x, y);
        visit.multiply_add(sum, 2.0, x, x);
        // ⟨y, x⟩ = −4 and ‖x‖² = 14: y gets 2/7 x. The other way round, ⟨x, sum⟩ > 0 changes nothing.
        visit.deflect(y, x);
        visit.copy(kept, x);
        visit.deflect(kept, sum);
        visit.axpy(kept, -1.0, x);
        visit.copy(x, sum);
        visit.axpy(x, 1.0, kept);
    });
    assert_eq!(row(&engine, &x, 0), [2.5, 7.0, 16.5, 0.0]);
    let expected = [1.0 + 2.0 / 7.0, 1.0 - 4.0 / 7.0, -1.0 + 6.0 / 7.0, 5.0];
    assert!(distance(&row(&engine, &y, 0), &expected) < 1e-6);
}

#[test]
fn only_the_agents_of_a_visit_change() {
    let network = Network::mlp(3, &[], 2, false, Head::Shared, 1);
    let engine = engine(&network, 2);
    let mut block = filled(&engine, 5, 6);
    engine.visit(&whole(&network, 0), &[AgentId(1), AgentId(4)], &mut [&mut block], 0, |visit| {
        visit.clear(Slot::Block(0));
    });
    for agent in 0..5 {
        let expected = if agent == 1 || agent == 4 { vec![0.0; 6] } else { noise(100 + u64::from(agent), 6) };
        assert_eq!(row(&engine, &block, agent), expected);
    }
}

#[test]
fn evaluation_is_the_mean_over_all_samples_with_the_tasks_head() {
    let network = Network::mlp(6, &[8], 3, true, Head::PerTask, 2);
    let layout = network.layout().expect("it fits");
    let engine = engine(&network, 2);
    let data = Data::random(5, 6, 3, 700);
    let block = filled(&engine, 2, layout.len());
    let indices: Vec<_> = (0..700).collect();
    for task in [0, 1] {
        let scores = engine.evaluate(&block, &[AgentId(1)], &data, TaskId(task));
        let weights: Vec<f64> = row(&engine, &block, 1).iter().map(|v| f64::from(*v)).collect();
        let expected = support::loss(&network, &layout, &weights, task, &data, &indices);
        assert!((scores[0].loss - expected).abs() < 1e-5, "{} {expected}", scores[0].loss);
        assert_eq!(scores[0].total, data.len());
        let correct = indices.iter().filter(|&&index| {
            let with = |label: u32| {
                let one =
                    Data { width: 6, inputs: data.inputs[index as usize * 6..][..6].to_vec(), labels: vec![label] };
                support::loss(&network, &layout, &weights, task, &one, &[0])
            };
            (0..3).all(|label| with(data.label(index)) <= with(label))
        });
        assert_eq!(scores[0].correct, correct.count());
    }
    let none = engine.evaluate(&block, &[AgentId(0)], &Data::random(5, 6, 3, 0), TaskId(0));
    assert_eq!((none[0].total, none[0].loss), (0, 0.0));
}

#[test]
fn representations_are_the_inputs_of_projected_layers() {
    let network = Network::mlp(2, &[2], 2, true, Head::Shared, 1);
    let engine = engine(&network, 1);
    let block = block_of(&engine, &[1.0, 0.0, 0.0, -1.0, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    let data = Data { width: 2, inputs: vec![1.0, 2.0, -3.0, -4.0], labels: vec![0, 1] };
    let inputs = engine.representations(&block, AgentId(0), &data, &[1, 0, 1]);
    assert_eq!(inputs[0], Matrix::new(3, 2, vec![-3.0, -4.0, 1.0, 2.0, -3.0, -4.0]));
    assert_eq!(inputs[1], Matrix::new(3, 2, vec![0.0, 4.0, 1.5, 0.0, 0.0, 4.0]));
    assert_eq!(inputs.len(), 2);
}

#[test]
fn consensus_is_the_mean_and_the_distance_from_it() {
    let network = Network::mlp(2, &[], 2, false, Head::Shared, 1);
    let engine = engine(&network, 2);
    let mut block = engine.block(3, 4);
    engine.upload(&mut block, AgentId(0), &[1.0, 2.0, 0.0, 0.0]);
    engine.upload(&mut block, AgentId(2), &[3.0, 2.0, 0.0, 4.0]);
    let (mean, distance) = engine.consensus(&block, &[AgentId(0), AgentId(2)]);
    assert_eq!(mean, [2.0, 2.0, 0.0, 2.0]);
    assert!((distance - 5.0_f64.sqrt()).abs() < 1e-12);
    assert_eq!(engine.consensus(&block, &[]), (vec![0.0; 4], 0.0));
}

#[test]
fn a_quadratics_gradient_is_exact() {
    let quadratic = |a: [f32; 6], b: [f32; 3]| Quadratic { a: Matrix::new(3, 2, a.into()), b: b.into() };
    let objective = Objective::Quadratics(vec![
        quadratic([1.0, 2.0, 0.0, 1.0, 3.0, 0.0], [1.0, 0.0, -1.0]),
        quadratic([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [0.0; 3]),
    ]);
    let engine = NativeEngine::new(objective, 2).expect("the quadratics fit");
    let geometry = Geometry { layout: engine.layout().clone(), charts: vec![], task: TaskId(0) };
    let mut x = engine.block(2, 2);
    engine.upload(&mut x, AgentId(0), &[1.0, 2.0]);
    engine.upload(&mut x, AgentId(1), &[5.0, -6.0]);
    let batches = Cycle { data: Data::random(1, 2, 2, 1), size: 1 };
    let agents = [AgentId(0), AgentId(1)];
    let scores = engine.evaluate(&x, &agents, &batches.data, TaskId(0));
    // The residual of agent 0 is (4, 2, 4), its gradient (16, 10).
    assert_eq!((scores[0].loss, scores[1].loss), (18.0, 30.5));
    let losses = engine.visit(&geometry, &agents, &mut [&mut x], 0, |visit| {
        visit.accumulate_gradient(AT, Slot::Block(0), 1.0, -0.5, &batches, 0);
    });
    assert_eq!(losses, [18.0, 30.5]);
    assert_eq!((row(&engine, &x, 0), row(&engine, &x, 1)), (vec![-7.0, -3.0], vec![2.5, -3.0]));
    assert!(engine.representations(&x, AgentId(0), &batches.data, &[0]).is_empty());
}

#[test]
fn engines_that_cannot_be_built_say_why() {
    let network = Network::mlp(2, &[], 0, false, Head::Shared, 1);
    let error = NativeEngine::new(Objective::Network(network), 1).err();
    assert_eq!(error, Some(EngineError::Network(NetworkError::Empty { layer: 0, what: "classes" })));
    let network = Network::mlp(2, &[], 2, false, Head::Shared, 1);
    assert_eq!(NativeEngine::new(Objective::Network(network), 0).err(), Some(EngineError::Threads));
    assert_eq!(NativeEngine::new(Objective::Quadratics(vec![]), 1).err(), Some(EngineError::NoQuadratics));
    let quadratic = |rows, cols, b| Quadratic { a: Matrix::from_fn(rows, cols, |_, _| 1.0), b: vec![0.0; b] };
    let error = NativeEngine::new(Objective::Quadratics(vec![quadratic(3, 2, 3), quadratic(3, 4, 3)]), 1).err();
    assert_eq!(error, Some(EngineError::Quadratic { agent: 1, what: "columns of a", actual: 4, expected: 2 }));
    let error = NativeEngine::new(Objective::Quadratics(vec![quadratic(3, 2, 1)]), 1).err();
    assert_eq!(error, Some(EngineError::Quadratic { agent: 0, what: "length of b", actual: 1, expected: 3 }));
}
