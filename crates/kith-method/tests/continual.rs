//! Update rules against forgetting, on quadratics with one agent or two, against numbers worked out by hand in f64.
//!
//! `f(x) = ½ ‖A x − b‖²` has the gradient `Aᵀ(A x − b)`; with A the identity it is `x − b`.
#![allow(missing_docs)]

use kith_core::{AgentId, Batches, Head, Layout, Leg, Matrix, Network, Role, Round, Samples, Seeds, TaskId, Tensor};
use kith_engine::{NativeEngine, Objective, Quadratic};
use kith_method::{
    Cohort, Consolidation, Continual, Importance, Link, Mixing, Parts, Preset, Rehearsal, Setup, Sharing,
};

mod support;

use support::NoData;

/// Agents with `f_i(x) = ½ ‖x − b_i‖²`, all from `start`.
fn cohort(parts: Parts, targets: &[[f32; 2]], start: [f32; 2]) -> Cohort<NativeEngine> {
    let identity = Matrix::new(2, 2, vec![1.0, 0.0, 0.0, 1.0]);
    let quadratics = targets.iter().map(|b| Quadratic { a: identity.clone(), b: b.to_vec() }).collect();
    let engine = NativeEngine::new(Objective::Quadratics(quadratics), 1).expect("quadratics fit");
    let tensor = Tensor { name: "x".into(), offset: 0, rows: 2, cols: 1, role: Role::Free };
    let others = |agent: usize| (0..targets.len()).filter(move |peer| *peer != agent);
    let weights = (0..targets.len()).map(|agent| others(agent).map(|peer| (AgentId::from(peer), 0.5)).collect());
    let setup = Setup {
        parts,
        layout: Layout { tensors: vec![tensor] },
        agents: targets.len(),
        weights: weights.collect(),
        seeds: Seeds::new(1),
    };
    let mut cohort = Cohort::new(engine, setup, |_, row| row.copy_from_slice(&start));
    cohort.begin_task(TaskId(0));
    cohort
}

fn row(cohort: &Cohort<NativeEngine>, agent: usize) -> [f64; 2] {
    let mut row = [0.0; 2];
    cohort.whole_row(AgentId::from(agent), &mut row);
    row.map(f64::from)
}

fn close(found: [f64; 2], expected: [f64; 2]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} is not {expected}");
    }
}

fn consolidating(importance: Importance, strength: f64) -> Parts {
    let consolidation = Consolidation { importance, strength, agreement: Sharing::Own, consensus_rounds: 0 };
    let continual = Continual { consolidation: Some(consolidation), ..Continual::default() };
    Parts { chain: vec![Link::Consolidate], continual, ..Preset::Local.parts() }
}

fn importance(cohort: &Cohort<NativeEngine>, agent: usize) -> [f64; 2] {
    let row = cohort.importance_row(AgentId::from(agent)).expect("importances are kept");
    [row[0], row[1]].map(f64::from)
}

const ALONE: &[AgentId] = &[AgentId(0)];

#[test]
fn elastic_weight_consolidation_pulls_back_by_fisher_times_way() {
    // Task 0 from (1, 2) to the target (0, 0) with η = 0.5: one step gives (0.5, 1).
    let mut cohort = cohort(consolidating(Importance::Fisher, 2.0), &[[0.0, 0.0]], [1.0, 2.0]);
    cohort.train(ALONE, 0..1, &NoData, |_| 0.5);
    close(row(&cohort, 0), [0.5, 1.0]);
    // F = n g² with n = 3 samples and g = (0.5, 1), the same at both minibatches.
    cohort.consolidate(ALONE, 0..2, &NoData, 3);
    close(importance(&cohort, 0), [0.75, 3.0]);
    cohort.end_task();
    cohort.begin_task(TaskId(1));
    // At the anchor there is no pull: x = (0.5, 1) − 0.1 (0.5, 1) = (0.45, 0.9).
    cohort.train(ALONE, 0..1, &NoData, |_| 0.1);
    close(row(&cohort, 0), [0.45, 0.9]);
    // Then g = x + 2 F (x − x*) = (0.45 − 2·0.75·0.05, 0.9 − 2·3·0.1) = (0.375, 0.3).
    cohort.train(ALONE, 1..2, &NoData, |_| 0.1);
    close(row(&cohort, 0), [0.4125, 0.87]);
    // The mean over tasks: (F₀ + n g²)/2 with g = x.
    cohort.consolidate(ALONE, 0..2, &NoData, 3);
    close(importance(&cohort, 0), [(0.75 + 3.0 * 0.4125 * 0.4125) / 2.0, (3.0 + 3.0 * 0.87 * 0.87) / 2.0]);
}

#[test]
fn synaptic_intelligence_credits_each_weight_with_its_share_of_the_fall() {
    let damping = 0.01;
    let mut cohort = cohort(consolidating(Importance::Path { damping }, 0.5), &[[0.0, 0.0]], [1.0, 2.0]);
    // Two steps of η = 0.5: g = (1, 2), then (0.5, 1). ω = 0.5 (1 + 0.25, 4 + 1) = (0.625, 2.5).
    cohort.train(ALONE, 0..2, &NoData, |_| 0.5);
    close(row(&cohort, 0), [0.25, 0.5]);
    cohort.consolidate(ALONE, 0..1, &NoData, 1);
    // The way was (0.75, 1.5).
    let expected = [0.625 / (0.5625 + damping), 2.5 / (2.25 + damping)];
    close(importance(&cohort, 0), expected);
    cohort.end_task();
    cohort.begin_task(TaskId(1));
    cohort.train(ALONE, 0..1, &NoData, |_| 0.5);
    close(row(&cohort, 0), [0.125, 0.25]);
    // The gradient of c Ω (x − x*)² is 2 c Ω (x − x*), here Ω (x − x*).
    let pulled = |x: f64, way: f64, omega: f64| x - 0.1 * (x - omega * way);
    cohort.train(ALONE, 1..2, &NoData, |_| 0.1);
    let after = [pulled(0.125, 0.125, expected[0]), pulled(0.25, 0.25, expected[1])];
    close(row(&cohort, 0), after);
    // ω of this task only, by the loss's gradient alone: 0.5 x² and then 0.1 x (x − Ω·way), at each weight's own x.
    let omega = |start: f64, x: f64, importance: f64| 0.5 * start * start + 0.1 * x * (x - importance * x);
    cohort.consolidate(ALONE, 0..1, &NoData, 1);
    let moved = |start: f64, end: f64| (end - start).powi(2) + damping;
    let second = [
        expected[0] + omega(0.25, 0.125, expected[0]) / moved(0.25, after[0]),
        expected[1] + omega(0.5, 0.25, expected[1]) / moved(0.5, after[1]),
    ];
    close(importance(&cohort, 0), second);
}

#[test]
fn gossiped_importances_reach_the_mean_of_all_agents_and_their_bytes_are_counted() {
    let mut parts = Preset::DEwc.parts();
    parts.chain = vec![Link::Consolidate];
    let mut cohort = cohort(parts, &[[0.0, 0.0], [2.0, -2.0]], [1.0, 2.0]);
    assert_eq!(cohort.consensus_more(), 8);
    let agents = [AgentId(0), AgentId(1)];
    cohort.consolidate(&agents, 0..1, &NoData, 1);
    // g = (1, 2) and (−1, 4).
    close(importance(&cohort, 0), [1.0, 4.0]);
    close(importance(&cohort, 1), [1.0, 16.0]);
    let mix = |agent: usize, peer: &'static [AgentId]| Mixing {
        agent: AgentId::from(agent),
        fresh: peer,
        opened: peer,
        given: &[],
        late: Vec::new(),
    };
    cohort.exchange(Round(1), Leg::Exchange, 1.0, &[mix(0, &[AgentId(1)]), mix(1, &[AgentId(0)])]);
    close(importance(&cohort, 0), [1.0, 10.0]);
    close(importance(&cohort, 1), [1.0, 10.0]);
}

/// One sample of two inputs and its class.
struct One([f32; 2], u32);

impl Samples for One {
    fn input_len(&self) -> usize {
        2
    }
    fn len(&self) -> usize {
        1
    }
    fn read(&self, _index: u32, out: &mut [f32]) {
        out.copy_from_slice(&self.0);
    }
    fn label(&self, _index: u32) -> u32 {
        self.1
    }
}

impl Batches for One {
    fn samples(&self) -> &dyn Samples {
        self
    }
    fn indices(&self, _agent: AgentId, _step: u64, out: &mut Vec<u32>) {
        out.clear();
        out.push(0);
    }
}

/// The weights `[2, 2]` of a linear classifier after one step from zero with η = 1 on the sample (1, 0) of class 0, beside
/// the kept sample (1, 1) of class 1.
fn rehearsed(link: Link, kept: One) -> Vec<f32> {
    let network = Network::mlp(2, &[], 2, false, Head::Shared, 2);
    let layout = network.layout().expect("it fits");
    let parts = Parts { chain: vec![link], continual: Preset::AGem.parts().continual, ..Preset::Local.parts() };
    let setup = Setup { parts, layout, agents: 1, weights: vec![Vec::new()], seeds: Seeds::new(1) };
    let engine = NativeEngine::new(Objective::Network(network), 1).expect("an engine");
    let mut cohort = Cohort::new(engine, setup, |_, row| row.fill(0.0));
    cohort.begin_task(TaskId(1));
    let rehearsal = Some(Rehearsal { batches: &kept, heads: &[TaskId(0)] });
    cohort.train_rehearsing(ALONE, 0..1, &One([1.0, 0.0], 0), rehearsal, |_| 1.0);
    let mut row = vec![0.0; 4];
    cohort.whole_row(AgentId(0), &mut row);
    row
}

#[test]
fn a_gem_takes_out_of_the_gradient_what_points_against_that_of_kept_samples() {
    // At zero both classes have probability ½: g = (−½ 0; ½ 0), g_ref = (½ ½; −½ −½), ⟨g, g_ref⟩ = −½, ‖g_ref‖² = 1,
    // so the step follows g + ½ g_ref = (−¼ ¼; ¼ −¼).
    assert_eq!(rehearsed(Link::AGem, One([1.0, 1.0], 1)), [0.25, -0.25, -0.25, 0.25]);
    // A kept sample of class 0 agrees: the step follows g.
    assert_eq!(rehearsed(Link::AGem, One([1.0, 1.0], 0)), [0.5, 0.0, -0.5, 0.0]);
}

#[test]
fn replay_steps_by_the_weighted_mean_of_both_gradients() {
    // ¾ g + ¼ g_ref = (−¼ ⅛; ¼ −⅛).
    assert_eq!(rehearsed(Link::Replay(0.25), One([1.0, 1.0], 1)), [0.25, -0.125, -0.25, 0.125]);
}

#[test]
fn before_anything_is_kept_a_step_follows_the_present_gradient_alone() {
    for link in [Link::Replay(0.25), Link::AGem] {
        let parts = Parts { chain: vec![link], continual: Preset::AGem.parts().continual, ..Preset::Local.parts() };
        let mut cohort = cohort(parts, &[[4.0, -1.0]], [3.0, 1.0]);
        cohort.train(ALONE, 0..1, &NoData, |_| 0.5);
        close(row(&cohort, 0), [3.5, 0.0]);
    }
}

#[test]
fn the_mean_model_is_scored_by_the_mean_row() {
    let mut cohort = cohort(Preset::DPsgd.parts(), &[[0.0, 0.0], [2.0, -2.0]], [1.0, 2.0]);
    let agents = [AgentId(0), AgentId(1)];
    cohort.train(&agents, 0..1, &NoData, |_| 1.0);
    close(row(&cohort, 1), [2.0, -2.0]);
    // The mean row is (1, −1); the first agent's objective there is ½ (1 + 1).
    assert!((cohort.evaluate_mean(&agents, &NoData, TaskId(0)).loss - 1.0).abs() < 1e-6);
}

#[test]
fn what_an_agent_keeps_is_counted_in_bytes() {
    let keeps = |parts: Parts| cohort(parts, &[[0.0, 0.0]], [1.0, 2.0]).memory_bytes(AgentId(0));
    assert_eq!(keeps(Preset::Local.parts()), 0);
    assert_eq!(keeps(consolidating(Importance::Fisher, 1.0)), 2 * 2 * 4);
}
