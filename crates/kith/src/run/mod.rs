//! Runs an experiment's arms and leaves a run directory.

mod arm;
mod checkpoint;
mod digests;
mod directory;
mod export;
mod lock;
mod logs;
mod process;
mod progress;
mod recorder;
mod resume;
mod setup;
mod tables;

use std::path::{Path, PathBuf};

use kith_core::Digest;
use kith_data::SearchPath;
use thiserror::Error;

pub use checkpoint::CheckpointError;
pub(crate) use checkpoint::forget as forget_checkpoints;
pub use digests::RoundDigests;
pub(crate) use digests::{DIGESTS, DigestFile, DigestLine};
pub use directory::Manifest;
pub(crate) use directory::{Metrics, RunDirectory};
pub use export::{ExportError, Exported, export};
pub use lock::Owner;
pub(crate) use lock::{claim, holder};
pub(crate) use process::{Interrupt, host, now, use_small_pages};
pub use progress::Talk;
pub(crate) use progress::{Display, ProgressLine, Voice};
pub(crate) use recorder::Recorder;
pub use resume::ResumeError;
pub(crate) use tables::overview;

use crate::compose;
use crate::config::{ConfigError, FileExpectations, Loaded, ResolvedArm, Setting, Verdict, judge};
use crate::device::OpenDevice;
use crate::processes::{Hosting, Launching, Leavings, ProcessError, Reports};
use crate::report::{self, ReportError};
use crate::summary::{ArmSummary, Summary};
use checkpoint::Keeper;
use logs::Logs;
use recorder::Identity;
use resume::{Cut, Found};
pub(crate) use setup::{Setup, Setups};

/// How to run; nothing here changes a result, but by rounding.
#[derive(Clone)]
pub struct Settings {
    /// Folder that run directories go to, instead of the file's.
    pub out: Option<PathBuf>,
    /// Where a sweep has the run, if one does.
    pub sweep: Option<SweepPlace>,
    /// Run directory of a run that was cut, to go on in.
    pub resume: Option<PathBuf>,
    /// Threads of the engine.
    pub threads: usize,
    /// Where the arithmetic runs; on a GPU results differ by rounding.
    pub device: OpenDevice,
    /// Whether the simulator's checkers watch.
    pub check: bool,
    /// Whether progress is shown.
    pub talk: Talk,
    /// Whether parameters are digested after every round.
    pub digests: RoundDigests,
    /// Who drives the rounds.
    pub driver: Driver,
}

/// Who drives the rounds of a run. On the CPU results do not depend on it.
#[derive(Clone)]
pub enum Driver {
    /// The simulator, all agents in this process.
    Simulator,
    /// The network, some agents in this process.
    Hosted(Box<Hosting>),
    /// The network, all agents in processes that this one starts.
    Processes(Launching),
    /// The network did already: what processes left is put together.
    Left(Leavings),
}

/// The place of a run in a sweep.
#[derive(Clone, Debug)]
pub struct SweepPlace {
    /// The run directory; the caller holds its lock.
    pub directory: PathBuf,
    /// What the sweep set.
    pub setting: Setting,
}

/// What a run left.
#[derive(Clone, Debug)]
pub struct Report {
    /// What `summary.json` holds.
    pub summary: Summary,
    /// Every expectation of the arms that ran to their end.
    pub verdicts: Vec<Verdict>,
    /// What became of the file's `[expect]`.
    pub file_expectations: FileExpectations,
    /// The run directory.
    pub directory: PathBuf,
    /// Processes that did not end well, and how; the numbers are of what the others did.
    pub lost: Vec<String>,
    /// Whether it can be gone on with, if it was stopped.
    pub resumable: Resumable,
}

/// Whether a run that was stopped can be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumable {
    /// With `--resume`.
    Yes,
    /// Its processes keep no state.
    No,
}

/// Why a run failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The run directory cannot be written.
    #[error("cannot {operation} {}: {source}; choose another place with --out DIR", .path.display())]
    Output {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The experiment cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The figures cannot be drawn.
    #[error(transparent)]
    Figures(#[from] ReportError),
    /// An arm failed. Arms before it are in the run directory.
    #[error("arm `{arm}`: {source}")]
    Arm {
        /// The arm.
        arm: String,
        /// Why.
        source: compose::RunError,
    },
    /// The processes of an arm failed.
    #[error("arm `{arm}`: {source}")]
    Processes {
        /// The arm.
        arm: String,
        /// Why.
        source: ProcessError,
    },
    /// A process cannot show how it stands.
    #[error("cannot listen at {address} for --metrics-addr: {source}")]
    Endpoint {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process is to begin where another run lies.
    #[error("{} holds a run already; choose another place with --out DIR", .directory.display())]
    Taken {
        /// The directory.
        directory: PathBuf,
    },
    /// A checkpoint cannot be written, or not be used.
    #[error("{}: {source}", .path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        source: Box<CheckpointError>,
    },
    /// A run directory cannot be gone on with. Nothing in it was changed.
    #[error("{}: {source}", .directory.display())]
    Resume {
        /// The run directory.
        directory: PathBuf,
        /// Why.
        source: ResumeError,
    },
    /// Another process writes to the run directory.
    #[error("another process is running in {}", .directory.display())]
    Busy {
        /// The run directory.
        directory: PathBuf,
    },
}

impl RunError {
    pub(crate) fn output(operation: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Output { operation, path: path.to_owned(), source }
    }
}

/// What the arms share while they run.
struct Running<'a> {
    loaded: &'a Loaded,
    settings: &'a Settings,
    identity: Identity,
    search: SearchPath,
    interrupt: Interrupt,
    directory: RunDirectory,
    metrics: Metrics,
    summary: Summary,
    setups: Setups,
    logs: Logs,
    digests: Option<DigestFile>,
    /// The mean weights of the first arm.
    first: Option<Vec<f32>>,
    lost: Vec<String>,
}

/// What an arm left.
struct Done {
    summary: ArmSummary,
    /// The mean of its agents' parameters.
    mean: Vec<f32>,
}

/// Runs every arm in order, or those that a resumed run has left. Ctrl-C stops after the round under way, and what was
/// measured so far is written.
///
/// # Errors
/// A run directory that cannot be written (before anything is trained), one that cannot be resumed, and an arm that fails.
pub fn run(loaded: &Loaded, settings: &Settings) -> Result<Report, RunError> {
    let hash = loaded.experiment.hash()?;
    let (mut running, mut manifest, cut) = match &settings.resume {
        None => Running::begin(loaded, settings, hash)?,
        Some(directory) => {
            let found = resume::find(directory, &loaded.experiment, &hash)?;
            Running::go_on(loaded, settings, hash, found)
        }
    };
    let started = process::now().1;
    let left = loaded.experiment.arms.len() - running.summary.arms.len();
    if settings.resume.is_none() || left > 0 || manifest.ended.is_none() {
        let failed = running.arms(cut)?;
        running.write_results()?;
        if settings.resume.is_some() {
            manifest.resumed.push(started);
        }
        manifest.ended = Some(process::now().1);
        running.directory.write_json("manifest.json", &manifest)?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    let Running { summary, lost, directory, .. } = running;
    let verdicts = verdicts(loaded, &summary);
    let file_expectations = loaded.file_expectations();
    let resumable = if matches!(settings.driver, Driver::Simulator) { Resumable::Yes } else { Resumable::No };
    Ok(Report { summary, verdicts, file_expectations, directory: directory.path().to_owned(), lost, resumable })
}

impl<'a> Running<'a> {
    /// A new run directory.
    fn begin(
        loaded: &'a Loaded,
        settings: &'a Settings,
        hash: Digest,
    ) -> Result<(Self, Manifest, Option<Cut>), RunError> {
        let experiment = &loaded.experiment;
        let directory = match (&settings.sweep, &settings.driver) {
            (Some(place), _) => RunDirectory::given(&place.directory),
            (None, Driver::Hosted(hosting)) if hosting.directory.is_some() => {
                RunDirectory::empty(hosting.directory.as_deref().unwrap_or(Path::new(".")))?
            }
            (None, _) => {
                let base = settings.out.clone().unwrap_or_else(|| PathBuf::from(&experiment.output.dir));
                RunDirectory::create(&base, &experiment.name, &hash)?
            }
        };
        directory.write("experiment.resolved.toml", &experiment.to_toml()?)?;
        let mut manifest = Manifest::new(experiment, hash, settings.threads, &settings.device);
        manifest.note_driver(&settings.driver, experiment.arms.first());
        manifest.setting = settings.sweep.as_ref().map(|place| place.setting.clone()).unwrap_or_default();
        directory.write_json("manifest.json", &manifest)?;
        let metrics = directory.metrics()?;
        let summary = Summary { experiment: experiment.name.clone(), stopped: false, arms: Vec::new() };
        Ok((Self::over(loaded, settings, hash, (directory, metrics, summary)), manifest, None))
    }

    /// The run directory of a run that was cut.
    fn go_on(loaded: &'a Loaded, settings: &'a Settings, hash: Digest, found: Found) -> (Self, Manifest, Option<Cut>) {
        let Found { directory, mut manifest, metrics, summary, setups, first, cut } = found;
        manifest.go_on(&settings.device);
        let running = Self::over(loaded, settings, hash, (directory, metrics, summary));
        (Self { setups, first, ..running }, manifest, cut)
    }

    fn over(
        loaded: &'a Loaded,
        settings: &'a Settings,
        hash: Digest,
        (directory, metrics, summary): (RunDirectory, Metrics, Summary),
    ) -> Self {
        let identity = Identity { experiment: loaded.experiment.name.clone(), hash };
        let (search, interrupt) = (SearchPath::standard(), Interrupt::catch());
        let (setups, logs) = (Setups::default(), Logs::default());
        let (digests, first, lost) = (None, None, Vec::new());
        Self {
            loaded,
            settings,
            identity,
            search,
            interrupt,
            directory,
            metrics,
            summary,
            setups,
            logs,
            digests,
            first,
            lost,
        }
    }

    /// Runs what is left of the arms; the first goes on from `cut`. An arm that fails ends the run, and is returned where
    /// there is something to write all the same.
    fn arms(&mut self, mut cut: Option<Cut>) -> Result<Option<RunError>, RunError> {
        let loaded = self.loaded;
        self.digests = DigestFile::create(self.directory.path(), self.settings.digests)?;
        self.logs = Logs::open(self.directory.path(), &loaded.experiment.output.log, self.metrics.bytes())?;
        for arm in loaded.experiment.arms.iter().skip(self.summary.arms.len()) {
            if self.interrupt.is_asked() {
                self.summary.stopped = true;
                break;
            }
            match self.arm(arm, cut.take()) {
                Ok(done) => self.add(done),
                Err(error) if self.settings.resume.is_some() && self.metrics.is_untouched() => return Err(error),
                Err(error) if self.metrics.is_empty() => {
                    self.directory.discard();
                    return Err(error);
                }
                Err(error) => {
                    self.summary.stopped = true;
                    return Ok(Some(error));
                }
            }
            // After every arm, so that a later failure costs only its own arm.
            self.metrics.flush()?;
            self.directory.write_json("summary.json", &self.summary)?;
            if !self.summary.stopped {
                self.keeper(arm).close()?;
            }
        }
        Ok(None)
    }

    fn add(&mut self, done: Done) {
        let Done { mut summary, mean } = done;
        summary.parameter_difference = self.first.as_ref().and_then(|first| relative_difference(&mean, first));
        self.first.get_or_insert(mean);
        self.summary.stopped |= summary.stopped;
        self.summary.arms.push(summary);
    }

    fn write_results(&mut self) -> Result<(), RunError> {
        self.metrics.flush()?;
        self.digests.as_mut().map_or(Ok(()), DigestFile::flush)?;
        self.directory.write_json("summary.json", &self.summary)?;
        if matches!(&self.settings.driver, Driver::Hosted(hosting) if hosting.reports == Reports::Parent) {
            // Whoever started this process draws all agents.
            return Ok(());
        }
        let directory = &self.directory;
        for (name, svg) in report::pictures(directory.path(), &["accuracy-over-time", "accuracy-against-bytes"])? {
            directory.write(&format!("{name}.svg"), &svg)?;
        }
        Ok(())
    }

    fn keeper(&self, arm: &ResolvedArm) -> Keeper {
        Keeper::new(self.directory.path(), &arm.name, &self.loaded.experiment.checkpoint)
    }
}

/// ‖one − other‖ / ‖other‖, where they are of the same length.
fn relative_difference(one: &[f32], other: &[f32]) -> Option<f64> {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let size = norm(&mut other.iter().map(|value| f64::from(*value)));
    let apart = norm(&mut one.iter().zip(other).map(|(one, other)| f64::from(*one) - f64::from(*other)));
    (one.len() == other.len() && size > 0.0).then(|| apart / size)
}

/// Expectations are about whole runs: an arm that was stopped is not judged.
fn verdicts(loaded: &Loaded, summary: &Summary) -> Vec<Verdict> {
    let judged = summary.arms.iter().filter(|arm| !arm.stopped).filter_map(|arm| {
        let expectations = loaded.experiment.expect.get(&arm.arm)?;
        let json = serde_json::to_value(arm).unwrap_or_default();
        Some(judge(&arm.arm, expectations, &json))
    });
    judged.flatten().collect()
}

impl Report {
    /// The tables for a terminal.
    #[must_use]
    pub fn render(&self) -> String {
        tables::render(self)
    }

    /// Whether every expectation holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(Verdict::holds)
    }
}
