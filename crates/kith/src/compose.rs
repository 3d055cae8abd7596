//! From a resolved arm to a run: the one place where all crates meet.

use std::io::Read;
use std::sync::Arc;

use kith_burn::BurnError;
use kith_core::{AgentId, Digest, Network, NetworkError, Samples, Seeds, Shape, Tape, TaskId};
use kith_data::{DataError, Scenario, SearchPath};
use kith_engine::{Engine, EngineError, NativeEngine, Objective};
use kith_graph::{Graph, GraphError, Meetings, Mixing};
use kith_method::ExchangeKind;
use kith_net::NetError;
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
    /// The process could not take part in the run.
    #[error(transparent)]
    Net(#[from] NetError),
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
pub fn run_arm<'s>(
    arm: &ResolvedArm,
    search: &SearchPath,
    options: RunOptions,
    state: Option<&'s mut dyn Read>,
    prepared: &mut dyn FnMut(&Parts),
    observer: &'s mut dyn Observer,
) -> Result<Outcome, RunError> {
    let parts = Parts::of(arm, search)?;
    prepared(&parts);
    let watched = options.check || arm.checks.invariants;
    let experiment = kith_sim::Experiment {
        work: parts.work(arm),
        links: arm.links.clone(),
        faults: arm.faults.clone(),
        checked: if watched { Checked::Yes } else { Checked::No },
    };
    on_engine(&parts, arm, &options, None, Simulated { experiment, state, observer })?
}

/// What is done on an engine, whichever it is.
trait Job {
    type Out;
    fn on<E: Engine>(self, engine: E) -> Self::Out;
}

/// Makes the engine that the options name, for all agents or for those of `roster`, and does the job on it.
fn on_engine<J: Job>(
    parts: &Parts,
    arm: &ResolvedArm,
    options: &RunOptions,
    roster: Option<Vec<AgentId>>,
    job: J,
) -> Result<J::Out, RunError> {
    let (seeds, network) = (Seeds::new(arm.seed), parts.network.clone());
    if !matches!(options.device, OpenDevice::Cpu) && arm.exchange.kind == ExchangeKind::NeighbourFeatures {
        return Err(RunError::Features { device: options.device.label() });
    }
    match &options.device {
        OpenDevice::Cpu => {
            let engine = NativeEngine::new(Objective::Network(network), options.threads)?.with_seeds(seeds);
            Ok(match roster {
                None => job.on(engine),
                Some(roster) => job.on(engine.hosting(roster)),
            })
        }
        #[cfg(feature = "gpu")]
        OpenDevice::Gpu(opened) => {
            let engine = kith_burn::BurnEngine::new(network, opened.clone())?.with_seeds(seeds);
            Ok(match roster {
                None => job.on(engine),
                Some(roster) => job.on(engine.hosting(roster)),
            })
        }
        #[cfg(not(feature = "gpu"))]
        OpenDevice::Gpu(opened) => Err(BurnError::NotBuilt { name: opened.backend().name() }.into()),
    }
}

/// A simulated run.
struct Simulated<'s, 'a> {
    experiment: kith_sim::Experiment<'a>,
    state: Option<&'s mut dyn Read>,
    observer: &'s mut dyn Observer,
}

impl Job for Simulated<'_, '_> {
    type Out = Result<Outcome, RunError>;

    /// Runs, or goes on from where a state was written.
    fn on<E: Engine>(self, engine: E) -> Self::Out {
        let Self { experiment, state, observer } = self;
        let (outcome, _) = match state {
            None => kith_sim::run(engine, experiment, observer)?,
            Some(state) => kith_sim::resume(engine, experiment, &mut Tape::playing(state), observer)?,
        };
        Ok(outcome)
    }
}

/// What a process leaves of an arm.
pub struct Hosted {
    /// What was measured of the agents that it hosts.
    pub outcome: Outcome,
    /// Their whole rows, in id order.
    pub rows: Vec<Vec<f32>>,
}

/// Runs the agents of an arm that this process hosts, with everybody else's processes. `prepared` sees what the arm is made of
/// before anything is trained.
///
/// # Errors
/// Whatever does not fit, training that diverges, neighbours that never appear or are all gone.
pub fn run_hosted(
    arm: &ResolvedArm,
    search: &SearchPath,
    options: RunOptions,
    settings: kith_net::Settings,
    tell: kith_net::Tell<'_>,
    prepared: &mut dyn FnMut(&Parts),
    observer: &mut dyn Observer,
) -> Result<Hosted, RunError> {
    let parts = Parts::of(arm, search)?;
    prepared(&parts);
    let senders = kith_run::senders(&parts.graph, &settings.hosted);
    let roster = settings.hosted.iter().copied().chain(senders).collect();
    let work = parts.work(arm);
    on_engine(&parts, arm, &options, Some(roster), Networked { work, settings, tell, observer })?
}

/// A process's part of a run.
struct Networked<'s, 'a> {
    work: Work<'a>,
    settings: kith_net::Settings,
    tell: kith_net::Tell<'s>,
    observer: &'s mut dyn Observer,
}

impl Job for Networked<'_, '_> {
    type Out = Result<Hosted, RunError>;

    fn on<E: Engine>(self, engine: E) -> Self::Out {
        let Self { work, settings, tell, observer } = self;
        let (outcome, cohort) = kith_net::run(engine, work, settings, tell, observer)?;
        let row = |&agent: &AgentId| {
            let mut row = vec![0.0; cohort.row_len()];
            cohort.whole_row(agent, &mut row);
            row
        };
        let rows = cohort.hosted().iter().map(row).collect();
        Ok(Hosted { outcome, rows })
    }
}

/// What the rows of all agents say together: of no use to any of them, but what runs are judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Together {
    /// The mean row.
    pub mean: Vec<f32>,
    /// Root mean square distance of rows from it.
    pub distance: f64,
    /// Accuracy of the mean row on each of the tasks asked for.
    pub accuracy: Vec<f64>,
}

/// Measures rows of agents, each ascending by id, and their mean on `tasks`: as [`kith_run::Run::measure`] does where one process
/// hosts all.
///
/// # Errors
/// An engine that cannot be used.
pub fn measure_together(
    parts: &Parts,
    arm: &ResolvedArm,
    options: &RunOptions,
    rows: &[(AgentId, &[f32])],
    tasks: std::ops::Range<usize>,
) -> Result<Together, RunError> {
    on_engine(parts, arm, options, None, Measuring { parts, rows, tasks })
}

struct Measuring<'s> {
    parts: &'s Parts,
    rows: &'s [(AgentId, &'s [f32])],
    tasks: std::ops::Range<usize>,
}

impl Job for Measuring<'_> {
    type Out = Together;

    fn on<E: Engine>(self, engine: E) -> Together {
        let agents: Vec<AgentId> = self.rows.iter().map(|(agent, _)| *agent).collect();
        let length = self.rows.first().map_or(0, |(_, row)| row.len());
        let mut block = engine.block(agents.last().map_or(0, |agent| agent.index() + 1), length);
        self.rows.iter().for_each(|(agent, row)| engine.upload(&mut block, *agent, row));
        let (mean, distance) = engine.consensus(&block, &agents);
        let one = AgentId(0);
        let mut block = engine.block(1, length);
        engine.upload(&mut block, one, &mean);
        let test = |task: usize| {
            let samples: &dyn Samples = self.parts.scenario.tasks[task].test.as_ref();
            let scores = engine.evaluate(&block, &[one], samples, TaskId::from(task));
            scores.first().map_or(f64::NAN, kith_engine::Score::accuracy)
        };
        Together { accuracy: self.tasks.map(test).collect(), mean, distance }
    }
}
