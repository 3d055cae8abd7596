//! Runs an experiment's arms and leaves a run directory.

mod arm;
mod checkpoint;
mod digests;
mod directory;
mod driver;
mod error;
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

pub use checkpoint::CheckpointError;
pub(crate) use checkpoint::{Header, Keeper as Checkpoints, forget as forget_checkpoints};
pub use digests::RoundDigests;
pub(crate) use digests::{DIGESTS, DigestFile, DigestLine};
pub use directory::Manifest;
pub(crate) use directory::{Metrics, RunDirectory};
pub use driver::{Driver, Resumable};
pub use error::RunError;
pub use export::{ExportError, Exported, export};
pub use lock::Owner;
pub(crate) use lock::{claim, holder};
pub(crate) use process::{Interrupt, host, now, use_small_pages};
pub use progress::Talk;
pub(crate) use progress::{Display, ProgressLine, Voice};
pub(crate) use recorder::Recorder;
pub use resume::ResumeError;
pub(crate) use resume::state;
pub(crate) use tables::overview;

use crate::config::{FileExpectations, Loaded, ResolvedArm, Setting, Verdict, judge};
use crate::device::OpenDevice;
use crate::processes::{self, AllLeft};
use crate::report;
use crate::summary::{ArmSummary, Summary};
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
    /// The processes that did it, whose state is of no use once this is written.
    left: Option<AllLeft>,
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
            let found = resume::find(directory, &loaded.experiment, &hash, &settings.driver)?;
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
    let resumable = settings.driver.resumable();
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
        self.digests = self.digest_file(cut.as_ref())?;
        self.logs = Logs::open(self.directory.path(), &loaded.experiment.output.log, self.metrics.bytes())?;
        for arm in loaded.experiment.arms.iter().skip(self.summary.arms.len()) {
            if self.interrupt.is_asked() {
                self.summary.stopped = true;
                break;
            }
            let left = match self.arm(arm, cut.take()) {
                Ok(done) => self.add(done),
                Err(error) if self.settings.resume.is_some() && self.metrics.is_untouched() => {
                    return Err(error.kept_in(self.directory.path()));
                }
                Err(error) if self.metrics.is_empty() && !processes::kept_state(self.directory.path()) => {
                    self.directory.discard();
                    return Err(error);
                }
                Err(error) => {
                    self.summary.stopped = true;
                    return Ok(Some(error.kept_in(self.directory.path())));
                }
            };
            // After every arm, so that a later failure costs only its own arm.
            self.metrics.flush()?;
            self.digests.as_mut().map_or(Ok(()), DigestFile::flush)?;
            self.directory.write_json("summary.json", &self.summary)?;
            if !self.summary.stopped {
                // Others may have to go back, and this process with them, until somebody has put the run together.
                if !self.settings.driver.has_parent() {
                    self.keeper(arm).close()?;
                }
                left.map_or(Ok(()), |left| left.forget())?;
            }
        }
        Ok(None)
    }

    /// Where digests go: of a run that goes on, where they went.
    fn digest_file(&self, cut: Option<&Cut>) -> Result<Option<DigestFile>, RunError> {
        let directory = self.directory.path();
        if self.settings.resume.is_none() {
            return DigestFile::create(directory, self.settings.digests);
        }
        let finished: Vec<&str> = self.summary.arms.iter().map(|arm| arm.arm.as_str()).collect();
        let cut = cut.map(|cut| (cut.opened.header.arm.as_str(), cut.opened.header.round));
        DigestFile::go_on(directory, &finished, cut)
    }

    fn add(&mut self, done: Done) -> Option<AllLeft> {
        let Done { mut summary, mean, left } = done;
        summary.parameter_difference = self.first.as_ref().and_then(|first| relative_difference(&mean, first));
        self.first.get_or_insert(mean);
        self.summary.stopped |= summary.stopped;
        self.summary.arms.push(summary);
        left
    }

    fn write_results(&mut self) -> Result<(), RunError> {
        self.metrics.flush()?;
        self.digests.as_mut().map_or(Ok(()), DigestFile::flush)?;
        self.directory.write_json("summary.json", &self.summary)?;
        if self.settings.driver.has_parent() || self.metrics.is_empty() {
            return Ok(());
        }
        let directory = &self.directory;
        for (name, svg) in report::pictures(directory.path(), &["accuracy-over-time", "accuracy-against-bytes"])? {
            directory.write(&format!("{name}.svg"), &svg)?;
        }
        Ok(())
    }

    fn keeper(&self, arm: &ResolvedArm) -> Checkpoints {
        Checkpoints::new(self.directory.path(), &arm.name, &self.loaded.experiment.checkpoint)
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
