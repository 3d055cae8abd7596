//! From a resolved arm to a run: the one place where all crates meet.

use std::io::Read;
use std::sync::Arc;

use kith_burn::BurnError;
use kith_core::{Digest, Network, NetworkError, Seeds, Shape, Tape};
use kith_data::{DataError, Scenario, SearchPath};
use kith_engine::{Engine, EngineError, NativeEngine, Objective};
use kith_graph::{Graph, GraphError, Meetings, Mixing};
use kith_method::ExchangeKind;
use kith_sim::{Checked, Observer, Outcome, SimError, StartFrom, Work};
use thiserror::Error;

use crate::config::{DataProblem, DataShape, NetworkFamily, ResolvedArm, check_against_data};
use crate::device::OpenDevice;
use crate::weights;

/// How to run an arm; nothing here changes a result, but by rounding.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Threads of the native engine.
    pub threads: usize,
    /// Where the arithmetic runs.
    pub device: OpenDevice,
    /// Whether the checkers watch.
    pub check: bool,
}

/// Why an arm could not be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// No graph follows from the arm's.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data do not fit the arm.
    #[error(transparent)]
    Shape(#[from] DataProblem),
    /// The network does not fit together.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] BurnError),
    /// A method that looks at features, on a device that does not give them.
    #[error(
        "exchange.kind = \"neighbour-features\" needs features of minibatches, which {device} does not give; accepted: --device cpu"
    )]
    Features {
        /// The device.
        device: String,
    },
    /// The run failed.
    #[error(transparent)]
    Run(#[from] SimError),
}

/// What an arm's run is made of.
pub struct Parts {
    /// Who talks to whom.
    pub graph: Graph,
    /// Mixing weights on it.
    pub mixing: Mixing,
    /// Who meets whom in which round, where that changes.
    pub meetings: Option<Arc<Meetings>>,
    /// Tasks, samples, shards.
    pub scenario: Scenario,
    /// What is trained.
    pub network: Network,
    /// What all agents start with, if not drawn.
    pub start: Option<Vec<f32>>,
}

impl Parts {
    /// Builds the graph, reads the data and checks them against the arm.
    ///
    /// # Errors
    /// Whatever does not fit.
    pub fn of(arm: &ResolvedArm, search: &SearchPath) -> Result<Self, RunError> {
        let seeds = Seeds::new(arm.seed);
        let graph = arm.graph.build(&seeds)?;
        let mixing = arm.graph.mixing(&graph)?;
        let meetings = Meetings::new(&arm.graph, &graph, &mixing, arm.train.participation, &seeds)?;
        let scenario = kith_data::load(&arm.data, graph.agents(), &seeds, search)?;
        let sizes = |task: &kith_data::TaskData| task.shards.iter().map(Vec::len).collect();
        check_against_data(arm, &DataShape { shards: scenario.tasks.iter().map(sizes).collect() })?;
        replay_fits(arm, &scenario)?;
        let network = arm.network.network(scenario.shape, scenario.classes, scenario.tasks.len());
        network.layout().map_err(|error| misfit(arm, scenario.shape, &error))?;
        let start = arm.train.start_from.as_ref().map(|from| start(&network, from)).transpose()?;
        Ok(Self { graph, mixing, meetings: meetings.map(Arc::new), scenario, network, start })
    }

    /// What the arm learns, with these parts.
    #[must_use]
    pub fn work(&self, arm: &ResolvedArm) -> Work<'_> {
        Work {
            graph: &self.graph,
            mixing: &self.mixing,
            scenario: &self.scenario,
            network: &self.network,
            parts: arm.parts(),
            train: arm.train.clone(),
            meetings: self.meetings.clone(),
            seeds: Seeds::new(arm.seed),
            start: self.start.as_deref(),
        }
    }
}

/// A budget that holds a sample of every earlier task at least.
fn replay_fits(arm: &ResolvedArm, scenario: &Scenario) -> Result<(), DataProblem> {
    let Some(replay) = &arm.continual.replay else { return Ok(()) };
    let sample = kith_method::Replay::sample_bytes(scenario.inputs);
    let earlier = scenario.tasks.len().saturating_sub(1);
    if replay.capacity(scenario.inputs) >= earlier {
        return Ok(());
    }
    Err(DataProblem {
        path: "continual.replay.budget_bytes".to_owned(),
        message: format!("{} bytes are not enough for a sample of each earlier task", replay.budget_bytes),
        accepted: format!("accepted: {} or more, {sample} bytes a sample", sample * earlier as u64),
    })
}

/// The weights of `train.start_from`, which must be those that the experiment was resolved with.
fn start(network: &Network, from: &StartFrom) -> Result<Vec<f32>, DataProblem> {
    let problem = |message: String| {
        let accepted = "accepted: a safetensors file with the tensors that `kith check` shows, as F32".to_owned();
        DataProblem { path: "train.start_from".to_owned(), message, accepted }
    };
    let bytes = std::fs::read(&from.file).map_err(|error| problem(format!("cannot read {}: {error}", from.file)))?;
    if from.sha256.is_some_and(|expected| expected != Digest::of(&bytes)) {
        return Err(problem(format!("{} has changed since it was digested", from.file)));
    }
    weights::read(network, &bytes).map_err(|error| problem(format!("{}: {error}", from.file)))
}

/// A network that does not fit the data, at the key that says so.
fn misfit(arm: &ResolvedArm, shape: Shape, error: &NetworkError) -> DataProblem {
    let (NetworkError::Shape { layer, .. } | NetworkError::Value { layer, .. } | NetworkError::Empty { layer, .. }) =
        error;
    let [channels, height, width] = shape;
    let path = match arm.network.family {
        NetworkFamily::Layers => format!("network.layers.{layer}"),
        _ => "network.family".to_owned(),
    };
    let accepted = format!("accepted: layers that fit inputs of {channels} × {height} × {width}");
    DataProblem { path, message: error.to_string(), accepted }
}

/// Runs an arm in the simulator, from its start or from the state that a checkpoint holds. `prepared` sees what it is made
/// of before anything is trained.
///
/// # Errors
/// Whatever does not fit, and training that diverges.
pub fn run_arm(
    arm: &ResolvedArm,
    search: &SearchPath,
    options: RunOptions,
    state: Option<&mut dyn Read>,
    prepared: &mut dyn FnMut(&Parts),
    observer: &mut dyn Observer,
) -> Result<Outcome, RunError> {
    let parts = Parts::of(arm, search)?;
    prepared(&parts);
    let seeds = Seeds::new(arm.seed);
    let watched = options.check || arm.checks.invariants;
    let experiment = kith_sim::Experiment {
        work: parts.work(arm),
        links: arm.links.clone(),
        faults: arm.faults.clone(),
        checked: if watched { Checked::Yes } else { Checked::No },
    };
    let network = parts.network.clone();
    if !matches!(options.device, OpenDevice::Cpu) && arm.exchange.kind == ExchangeKind::NeighbourFeatures {
        return Err(RunError::Features { device: options.device.label() });
    }
    match options.device {
        OpenDevice::Cpu => {
            let engine = NativeEngine::new(Objective::Network(network), options.threads)?;
            drive(engine.with_seeds(seeds), experiment, state, observer)
        }
        #[cfg(feature = "gpu")]
        OpenDevice::Gpu(opened) => {
            let engine = kith_burn::BurnEngine::new(network, opened)?;
            drive(engine.with_seeds(seeds), experiment, state, observer)
        }
        #[cfg(not(feature = "gpu"))]
        OpenDevice::Gpu(opened) => Err(BurnError::NotBuilt { name: opened.backend().name() }.into()),
    }
}

/// Runs, or goes on from where a state was written.
fn drive<E: Engine>(
    engine: E,
    experiment: kith_sim::Experiment<'_>,
    state: Option<&mut dyn Read>,
    observer: &mut dyn Observer,
) -> Result<Outcome, RunError> {
    let (outcome, _) = match state {
        None => kith_sim::run(engine, experiment, observer)?,
        Some(state) => kith_sim::resume(engine, experiment, &mut Tape::playing(state), observer)?,
    };
    Ok(outcome)
}
