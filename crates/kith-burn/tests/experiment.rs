//! One experiment on both engines: the same accuracy curve, up to what rounding does to training.
#![cfg(feature = "flex")]
#![allow(missing_docs, clippy::cast_precision_loss)]

use kith_burn::{Backend, BurnEngine};
use kith_core::{Head, Network, Seeds};
use kith_data::{Scenario, SearchPath, TaskKind, TasksSpec};
use kith_engine::{Engine, NativeEngine, Objective};
use kith_graph::{Graph, Mixing};
use kith_method::{Memory, PerLayer, Preset};
use kith_sim::{Checked, Experiment, LinkSpec, Outcome, TrainSpec, Work};

/// Two permutations of the embedded digits on a ring of five.
struct Setting {
    seeds: Seeds,
    graph: Graph,
    mixing: Mixing,
    scenario: Scenario,
    network: Network,
}

impl Setting {
    fn new() -> Self {
        let seeds = Seeds::new(1);
        let spec = kith_graph::Spec::parse_short("ring:5").expect("a graph");
        let graph = spec.build(&seeds).expect("it builds");
        let mixing = spec.mixing(&graph).expect("it mixes");
        let data = kith_data::Spec {
            tasks: TasksSpec { kind: TaskKind::Permuted, count: 2, ..TasksSpec::default() },
            ..kith_data::Spec::default()
        };
        let search = SearchPath { folders: Vec::new() };
        let scenario = kith_data::load(&data, graph.agents(), &seeds, &search).expect("digits are embedded");
        let network = Network::mlp(scenario.inputs, &[32, 32], scenario.classes, false, Head::Shared, 2);
        Self { seeds, graph, mixing, scenario, network }
    }

    /// With the checkers on: what holds in every round holds on every engine.
    fn outcome<E: Engine>(&self, engine: E, preset: Preset) -> Outcome {
        let mut parts = preset.parts();
        if let Some(memory) = &mut parts.memory {
            *memory = Memory { samples: PerLayer::All(60), consensus_rounds: 20, ..memory.clone() };
        }
        let train = TrainSpec { rounds_per_task: Some(300), learning_rate: 0.1.into(), ..TrainSpec::default() };
        let work = Work {
            graph: &self.graph,
            mixing: &self.mixing,
            scenario: &self.scenario,
            network: &self.network,
            parts,
            train,
            meetings: None,
            seeds: self.seeds,
            start: None,
        };
        let experiment = Experiment { work, links: LinkSpec::default(), faults: Vec::new(), checked: Checked::Yes };
        kith_sim::run(engine, experiment, &mut ()).expect("every check holds").0
    }
}

/// Mean accuracy over agents: on task j after task t, all in one list.
fn curve(outcome: &Outcome) -> Vec<f64> {
    let agents = outcome.accuracy_per_agent.len() as f64;
    let flat = |agent: &Vec<Vec<f64>>| agent.concat();
    let mut sum: Vec<f64> = Vec::new();
    for agent in outcome.accuracy_per_agent.iter().map(flat) {
        sum.resize(agent.len(), 0.0);
        sum.iter_mut().zip(agent).for_each(|(sum, accuracy)| *sum += accuracy / agents);
    }
    sum
}

/// The test set has a few hundred samples: a handful of them near a border may fall on its other side.
const TOLERANCE: f64 = 0.01;

#[test]
fn methods_have_the_same_accuracy_curve_on_both_engines() {
    let setting = Setting::new();
    for preset in [Preset::Codec, Preset::CodecSgpFull, Preset::QgDsgdmN] {
        let native = NativeEngine::new(Objective::Network(setting.network.clone()), 2).expect("the engine starts");
        let opened = Backend::Flex.open().expect("flex is built in");
        let burn = BurnEngine::new(setting.network.clone(), opened).expect("the network fits");
        let expected = setting.outcome(native.with_seeds(setting.seeds), preset);
        let found = setting.outcome(burn.with_seeds(setting.seeds), preset);
        let (ours, theirs) = (curve(&found), curve(&expected));
        assert_eq!(ours.len(), 3);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((ours - theirs).abs() < TOLERANCE, "{preset:?}: {ours} on burn, {theirs} on the native engine");
        }
        assert!(theirs[0] > 0.5, "{preset:?} learned something: {theirs:?}");
        assert_eq!(found.basis_ranks, expected.basis_ranks, "{preset:?}");
        assert_eq!(found.trace_digest, expected.trace_digest, "{preset:?}");
    }
}
