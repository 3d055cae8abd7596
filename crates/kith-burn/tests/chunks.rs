//! Memory limits: agents in many chunks and shares, and minibatches of unequal size.
#![cfg(feature = "flex")]
#![allow(missing_docs, clippy::cast_possible_truncation)]

#[path = "../../kith-engine/tests/support/mod.rs"]
mod support;

use kith_burn::{Backend, BurnEngine, Limits};
use kith_core::{AgentId, Batches, Head, Layer, Network, Samples, Seeds, TaskId};
use kith_engine::{Engine, MixingPlan, NativeEngine, Objective, Point, Slot, Visit};
use support::{Data, distance, noise, whole};

const AGENTS: usize = 7;
const AT: Point = Point { row: Slot::Block(0), base: None };

/// Two products with rounding in another order, through two steps and batch statistics.
const TOLERANCE: f64 = 2e-5;

/// Agent i's minibatch has `sizes[i]` samples.
struct Uneven {
    data: Data,
    sizes: [usize; AGENTS],
}

impl Batches for Uneven {
    fn samples(&self) -> &dyn Samples {
        &self.data
    }
    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>) {
        out.clear();
        let first = agent.0 + step as u32;
        out.extend((first..first + self.sizes[agent.index()] as u32).map(|i| i % self.data.len() as u32));
    }
}

fn network() -> Network {
    let layers = vec![
        Layer::Conv { in_channels: 2, out_channels: 3, kernel: 3, stride: 1, padding: 1, bias: true },
        Layer::EvoNorm { channels: 3, groups: 1 },
        Layer::MaxPool { kernel: 2, stride: 2, padding: 0 },
        Layer::Dropout { rate: 0.25 },
    ];
    Network::of([2, 6, 6], layers, Head::Shared, 3, false, 1)
}

/// Rows, losses, scores and consensus of a short run.
fn run<E: Engine>(engine: &E, sizes: [usize; AGENTS]) -> (Vec<f32>, Vec<f64>) {
    let network = network();
    let geometry = whole(&network, 0);
    let len = geometry.layout.len();
    let agents: Vec<_> = (0..AGENTS).map(AgentId::from).collect();
    let mut block = engine.block(AGENTS, len);
    for agent in &agents {
        engine.upload(&mut block, *agent, &noise(u64::from(agent.0), len));
    }
    let mut mixed = engine.block(AGENTS, len);
    let batches = Uneven { data: Data::random(5, network.inputs(), 3, 30), sizes };
    let mut numbers = Vec::new();
    for (step, who) in [agents.clone(), vec![AgentId(0), AgentId(2), AgentId(3), AgentId(6)]].iter().enumerate() {
        numbers.extend(engine.visit(&geometry, who, &mut [&mut block], 1, |visit| {
            visit.accumulate_gradient(AT, Slot::Scratch(0), 0.0, 1.0, &batches, step as u64);
            visit.axpy(AT.row, -0.1, Slot::Scratch(0));
        }));
        let mut plan = MixingPlan::default();
        for agent in 0..AGENTS {
            let mut terms = [agent, (agent + 1) % AGENTS, (agent + 4) % AGENTS];
            terms.sort_unstable();
            plan.push(AgentId::from(agent), terms.map(|other| (AgentId::from(other), 1.0 / 3.0)));
        }
        engine.mix(&mut mixed, &block, &plan);
        std::mem::swap(&mut block, &mut mixed);
    }
    let scores = engine.evaluate(&block, &[AgentId(6), AgentId(1)], &batches.data, TaskId(0));
    numbers.extend(scores.iter().map(|score| score.loss));
    let (mean, apart) = engine.consensus(&block, &agents);
    numbers.push(apart);
    let mut rows = mean;
    for agent in &agents {
        let mut row = vec![0.0; len];
        engine.download(&block, *agent, &mut row);
        rows.extend(row);
    }
    (rows, numbers)
}

#[test]
fn chunks_shares_and_unequal_minibatches_change_nothing_but_rounding() {
    let len = network().layout().expect("it fits").len();
    for sizes in [[4; AGENTS], [4, 4, 2, 2, 0, 4, 1]] {
        let native = NativeEngine::new(Objective::Network(network()), 1).expect("the engine starts");
        let (rows, numbers) = run(&native.with_seeds(Seeds::new(3)), sizes);
        let rows: Vec<f64> = rows.into_iter().map(f64::from).collect();
        let tight = [
            Limits::default(),
            // Chunks of three agents, of one agent; a pass takes one agent or two at a time.
            Limits { tensor_numbers: 3 * len, pass_numbers: 1 },
            Limits { tensor_numbers: 1, pass_numbers: 1 << 28 },
            Limits { tensor_numbers: 1 << 20, pass_numbers: 60_000 },
        ];
        for limits in tight {
            let opened = Backend::Flex.open().expect("flex is built in");
            let engine = BurnEngine::new(network(), opened).expect("it fits").with_seeds(Seeds::new(3));
            let (found, measured) = run(&engine.with_limits(limits), sizes);
            let off = distance(&found, &rows);
            assert!(off < TOLERANCE, "{limits:?}, {sizes:?}: off by {off:e}");
            for (found, expected) in measured.iter().zip(&numbers) {
                assert!((found - expected).abs() < TOLERANCE, "{limits:?}, {sizes:?}: {found} {expected}");
            }
        }
    }
}
