//! Tasks of images through the simulator: CoDeC with a convolutional network, with the checkers on.
#![allow(missing_docs)]

use kith_core::{Head, Network, Role, Seeds};
use kith_data::{AugmentSpec, Scenario, SearchPath, Spec, SyntheticSpec, TaskKind, TasksSpec};
use kith_engine::{NativeEngine, Objective};
use kith_method::{Cohort, Memory, PerLayer, Preset};
use kith_sim::{Checked, Experiment, LinkSpec, Outcome, TrainSpec, Work, run};

const AGENTS: usize = 3;

/// Two tasks of two classes of colour images, on a ring of three.
fn outcome(preset: Preset, threads: usize, augment: Option<AugmentSpec>) -> (Outcome, Cohort<NativeEngine>) {
    let seeds = Seeds::new(1);
    let spec = kith_graph::Spec::parse_short("ring:3").expect("a graph");
    let graph = spec.build(&seeds).expect("it builds");
    let mixing = spec.mixing(&graph).expect("it mixes");
    let data = Spec {
        dataset: "synthetic".to_owned(),
        synthetic: Some(SyntheticSpec {
            shape: [3, 32, 32],
            classes: 4,
            train: 240,
            test: 40,
            ..SyntheticSpec::default()
        }),
        augment,
        tasks: TasksSpec { kind: TaskKind::Split, count: 2, ..TasksSpec::default() },
        ..Spec::default()
    };
    let search = SearchPath { folders: Vec::new() };
    let scenario: Scenario = kith_data::load(&data, AGENTS, &seeds, &search).expect("synthetic data need no file");
    let layers = Network::alexnet(scenario.shape, 16);
    let network = Network::of(scenario.shape, layers, Head::PerTask, scenario.classes, false, 2);
    let engine = NativeEngine::new(Objective::Network(network.clone()), threads).expect("an engine").with_seeds(seeds);
    let mut parts = preset.parts();
    if let Some(memory) = &mut parts.memory {
        *memory = Memory { samples: PerLayer::Each(vec![4, 8, 8, 20, 20]), consensus_rounds: 6, ..memory.clone() };
    }
    let train =
        TrainSpec { rounds_per_task: Some(8), batch_size: 8, learning_rate: 0.02.into(), ..TrainSpec::default() };
    let experiment = Experiment {
        work: Work {
            graph: &graph,
            mixing: &mixing,
            scenario: &scenario,
            network: &network,
            parts,
            train,
            seeds,
            start: None,
        },
        links: LinkSpec::default(),
        faults: Vec::new(),
        checked: Checked::Yes,
    };
    run(engine, experiment, &mut ()).expect("every check holds")
}

#[test]
fn codec_keeps_its_laws_on_a_convolutional_network_for_any_number_of_threads() {
    let (one, cohort) = outcome(Preset::Codec, 1, None);
    let (two, _) = outcome(Preset::Codec, 2, None);
    assert_eq!(one.parameter_digest, two.parameter_digest);
    let dimensions: Vec<_> = cohort.memory(kith_core::AgentId(0)).iter().map(|layer| layer.dimension()).collect();
    assert_eq!(dimensions, [48, 144, 128, 256, 512]);
    assert!(cohort.memory(kith_core::AgentId(0)).iter().all(|layer| layer.rank() > 0), "every layer has a memory");
    let affine = cohort.layout().tensors.iter().filter(|tensor| matches!(tensor.role, Role::Affine(_)));
    assert_eq!(affine.map(kith_core::Tensor::len).sum::<usize>(), 2272);
}

#[test]
fn augmented_training_is_the_same_for_any_number_of_threads_and_another_than_plain() {
    let augment = || Some(AugmentSpec { crop_padding: 3, horizontal_flip: true });
    let (one, _) = outcome(Preset::DPsgd, 1, augment());
    let (two, _) = outcome(Preset::DPsgd, 2, augment());
    let (plain, _) = outcome(Preset::DPsgd, 2, None);
    assert_eq!(one.parameter_digest, two.parameter_digest);
    assert_ne!(one.parameter_digest, plain.parameter_digest);
}
