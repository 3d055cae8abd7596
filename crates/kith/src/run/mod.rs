//! Runs an experiment's arms and leaves a run directory.

mod directory;
mod logs;
mod process;
mod progress;
mod recorder;
mod setup;
mod tables;

use std::path::{Path, PathBuf};

use kith_core::Digest;
use kith_data::SearchPath;
use thiserror::Error;

pub use directory::Manifest;
pub use progress::Talk;

use crate::compose::{self, RunOptions};
use crate::config::{ConfigError, FileExpectations, Loaded, ResolvedArm, Verdict, judge};
use crate::report::{self, ReportError};
use crate::summary::{ArmSummary, Summary};
use directory::{Metrics, RunDirectory};
use logs::Logs;
pub(crate) use process::Interrupt;
use progress::Display;
use recorder::Recorder;
pub(crate) use setup::{Setup, Setups};

/// How to run; nothing here changes a result.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder that run directories go to, instead of the file's.
    pub out: Option<PathBuf>,
    /// Threads of the engine.
    pub threads: usize,
    /// Whether the simulator's checkers watch.
    pub check: bool,
    /// Whether progress is shown.
    pub talk: Talk,
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
    search: SearchPath,
    interrupt: Interrupt,
    metrics: Metrics,
    setups: Setups,
    logs: Logs,
}

/// Runs every arm in order. Ctrl-C stops after the round under way, and what was measured so far is written.
///
/// # Errors
/// A run directory that cannot be written (before anything is trained), and an arm that fails.
pub fn run(loaded: &Loaded, settings: &Settings) -> Result<Report, RunError> {
    let experiment = &loaded.experiment;
    let hash = experiment.hash()?;
    let directory = prepare(loaded, settings, &hash)?;
    let mut manifest = Manifest::new(experiment, hash, settings.threads);
    directory.write_json("manifest.json", &manifest)?;
    let mut running = Running {
        loaded,
        settings,
        search: SearchPath::standard(),
        interrupt: Interrupt::catch(),
        metrics: directory.metrics()?,
        setups: Setups::default(),
        logs: Logs::open(directory.path(), &experiment.output.log)?,
    };
    let mut summary = Summary { experiment: experiment.name.clone(), stopped: false, arms: Vec::new() };
    let mut failed = None;
    let mut first: Option<Vec<f32>> = None;
    for arm in &experiment.arms {
        if running.interrupt.is_asked() {
            summary.stopped = true;
            break;
        }
        match running.arm(arm, &directory) {
            Ok((mut result, mean)) => {
                result.parameter_difference = first.as_ref().and_then(|first| relative_difference(&mean, first));
                first.get_or_insert(mean);
                summary.stopped |= result.stopped;
                summary.arms.push(result);
            }
            Err(error) => {
                summary.stopped = true;
                failed = Some(error);
                break;
            }
        }
        // After every arm, so that a later failure costs only its own arm.
        running.metrics.flush()?;
        directory.write_json("summary.json", &summary)?;
    }
    if let Some(error) = failed.take_if(|_| running.metrics.is_empty()) {
        directory.discard();
        return Err(error);
    }
    running.metrics.flush()?;
    directory.write_json("summary.json", &summary)?;
    for (name, svg) in report::pictures(directory.path(), &["accuracy-over-time", "accuracy-against-bytes"])? {
        directory.write(&format!("{name}.svg"), &svg)?;
    }
    manifest.ended = Some(process::now().1);
    directory.write_json("manifest.json", &manifest)?;
    if let Some(error) = failed {
        return Err(error);
    }
    let verdicts = verdicts(loaded, &summary);
    let file_expectations = loaded.file_expectations();
    Ok(Report { summary, verdicts, file_expectations, directory: directory.path().to_owned() })
}

fn prepare(loaded: &Loaded, settings: &Settings, hash: &Digest) -> Result<RunDirectory, RunError> {
    let experiment = &loaded.experiment;
    let base = settings.out.clone().unwrap_or_else(|| PathBuf::from(&experiment.output.dir));
    let directory = RunDirectory::create(&base, &experiment.name, hash)?;
    directory.write("experiment.resolved.toml", &experiment.to_toml()?)?;
    Ok(directory)
}

impl Running<'_> {
    /// Runs one arm: its summary, and the mean of its agents' parameters.
    fn arm(&mut self, arm: &ResolvedArm, directory: &RunDirectory) -> Result<(ArmSummary, Vec<f32>), RunError> {
        let display = Display::new(&arm.name, self.settings.talk);
        let mut recorder = Recorder::new(&arm.name, &mut self.metrics, &mut self.logs, display, self.interrupt.clone());
        let options = RunOptions { threads: self.settings.threads, check: self.settings.check };
        let mut written = Ok(());
        let mut prepared = |parts: &compose::Parts| {
            self.setups.arms.push(Setup::new(&arm.name, parts));
            written = directory.write_compact("setup.json", &self.setups);
        };
        let result = compose::run_arm(arm, &self.search, options, &mut prepared, &mut recorder);
        let measured = recorder.finish();
        let logged = self.logs.end();
        match result {
            Ok(outcome) => {
                written.and(logged)?;
                Ok((ArmSummary::new(arm, &outcome, &measured), outcome.mean_parameters))
            }
            Err(compose::RunError::Shape(problem)) => {
                Err(ConfigError::Invalid(vec![self.loaded.explain(&arm.name, &problem)]).into())
            }
            Err(source) => Err(RunError::Arm { arm: arm.name.clone(), source }),
        }
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
