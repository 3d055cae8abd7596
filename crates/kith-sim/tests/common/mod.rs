//! Small experiments on the embedded digits.

use kith_core::{Head, Network, Seeds, Tape};
use kith_data::{Scenario, SearchPath, TaskKind, TaskOrder, TasksSpec};
use kith_engine::{NativeEngine, Objective};
use kith_graph::{Graph, Meetings, Mixing, Sequence};
use kith_method::{Cohort, Memory, Parts, PerLayer, Preset};
use kith_sim::{Checked, Experiment, Fault, LinkSpec, Observer, Outcome, SimError, TrainSpec, Work, resume, run};

/// A small experiment, to be changed by tests.
pub(crate) struct Small {
    pub(crate) graph: &'static str,
    pub(crate) tasks: usize,
    pub(crate) parts: Parts,
    pub(crate) train: TrainSpec,
    pub(crate) links: LinkSpec,
    pub(crate) faults: Vec<Fault>,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) order: TaskOrder,
    pub(crate) checked: Checked,
}

impl Small {
    pub(crate) fn new(preset: Preset) -> Self {
        let mut parts = preset.parts();
        if let Some(memory) = &mut parts.memory {
            *memory = Memory { samples: PerLayer::All(60), consensus_rounds: 20, ..memory.clone() };
        }
        Self {
            graph: "ring:5",
            tasks: 3,
            parts,
            train: TrainSpec { rounds_per_task: Some(40), learning_rate: 0.05.into(), ..TrainSpec::default() },
            links: LinkSpec::default(),
            faults: Vec::new(),
            seed: 1,
            threads: 1,
            sequence: None,
            order: TaskOrder::Shared,
            checked: Checked::Yes,
        }
    }

    pub(crate) fn run(&self) -> Result<(Outcome, Cohort<NativeEngine>), SimError> {
        self.watched(None, &mut ())
    }

    /// The run from its start, or from where `state` was kept.
    pub(crate) fn watched(
        &self,
        state: Option<&[u8]>,
        observer: &mut dyn Observer,
    ) -> Result<(Outcome, Cohort<NativeEngine>), SimError> {
        self.with(|work| {
            let engine = self.engine(work.network);
            let (links, faults) = (self.links.clone(), self.faults.clone());
            let experiment = Experiment { work, links, faults, checked: self.checked };
            match state {
                None => run(engine, experiment, observer),
                Some(mut state) => resume(engine, experiment, &mut Tape::playing(&mut state), observer),
            }
        })
    }

    pub(crate) fn engine(&self, network: &Network) -> NativeEngine {
        NativeEngine::new(Objective::Network(network.clone()), self.threads).expect("an engine")
    }

    /// Does something with what the experiment learns.
    pub(crate) fn with<T>(&self, then: impl FnOnce(Work<'_>) -> T) -> T {
        let seeds = Seeds::new(self.seed);
        let short = !self.graph.contains('=');
        let spec =
            if short { kith_graph::Spec::parse_short(self.graph) } else { kith_graph::Spec::from_toml(self.graph) };
        let spec = spec.expect("a graph");
        let spec = kith_graph::Spec { sequence: self.sequence, ..spec };
        let graph: Graph = spec.build(&seeds).expect("it builds");
        let mixing: Mixing = spec.mixing(&graph).expect("it mixes");
        let share = self.train.participation;
        let meetings = Meetings::new(&spec, &graph, &mixing, share, &seeds).expect("rounds fit the graph");
        let data = kith_data::Spec {
            tasks: TasksSpec { kind: TaskKind::Permuted, count: self.tasks, order: self.order, ..TasksSpec::default() },
            ..kith_data::Spec::default()
        };
        let search = SearchPath { folders: Vec::new() };
        let scenario: Scenario = kith_data::load(&data, graph.agents(), &seeds, &search).expect("digits are embedded");
        let network = Network::mlp(scenario.inputs, &[32, 32], scenario.classes, false, Head::Shared, self.tasks);
        then(Work {
            graph: &graph,
            mixing: &mixing,
            scenario: &scenario,
            network: &network,
            parts: self.parts.clone(),
            train: self.train.clone(),
            meetings: meetings.map(std::sync::Arc::new),
            seeds,
            start: None,
        })
    }
}
