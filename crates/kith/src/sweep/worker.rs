//! The process of one run.

use std::io::Write as _;
use std::path::Path;

use crate::config::{self, Overrides, Setting};
use crate::device::OpenDevice;
use crate::processes::stop_with_parent;
use crate::run::{self, Driver, RoundDigests, RunDirectory, RunError, Settings, SweepPlace, Talk};
use crate::runs::{FAILURE, RunFailure, State, StoredRun};

use super::{Failed, SweepError};

/// File with what the sweep set, for the manifest.
pub(super) const SETTING: &str = "setting.json";

/// How to run the run.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Threads of the engine.
    pub threads: usize,
    /// Whether the simulator's checkers watch.
    pub check: bool,
    /// What to do where it failed before.
    pub failed: Failed,
}

/// How the process of a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The run is done.
    Done,
    /// It failed; the reason is in the directory.
    Failed,
    /// Another process has the run.
    Taken,
    /// It was asked to stop.
    Stopped,
}

impl End {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            // 2 is what the command line says of itself: there, no reason was written down.
            Self::Failed => 1,
            Self::Taken => 75,
            Self::Stopped => 130,
        }
    }

    pub(super) fn of_code(code: Option<i32>) -> Option<Self> {
        let all = [Self::Done, Self::Failed, Self::Taken, Self::Stopped];
        all.into_iter().find(|end| code == Some(i32::from(end.code())))
    }
}

/// Runs the run of a directory, unless it is done or another process has it. Says on stdout how far it is, and stops when stdin
/// ends: then the process that asked for it is gone.
///
/// # Errors
/// A directory that cannot be locked or written.
pub fn work(directory: &Path, task: &Task) -> Result<End, SweepError> {
    let Some(_lock) = run::claim(directory)? else { return Ok(End::Taken) };
    match stored(directory) {
        Some(State::Done) => return Ok(End::Done),
        // It failed in another process while it waited in the queue of ours.
        Some(State::Failed { .. }) if task.failed == Failed::Keep => return Ok(End::Failed),
        _ => {}
    }
    stop_with_parent();
    note_attempt(directory)?;
    forget_failure(directory)?;
    let files = RunDirectory::given(directory);
    match attempt(directory, task) {
        Ok(end) => Ok(end),
        Err(reason) => {
            files.write_json(FAILURE, &RunFailure { reason, at: run::now().1 })?;
            Ok(End::Failed)
        }
    }
}

/// How the run stood before this process took it.
fn stored(directory: &Path) -> Option<State> {
    StoredRun::read_unlocked(directory).ok().map(|stored| stored.state)
}

/// `attempts.log`: a line each time the run begins.
fn note_attempt(directory: &Path) -> Result<(), RunError> {
    let path = directory.join("attempts.log");
    let line = format!("{} process {} on {}\n", run::now().1, std::process::id(), run::host());
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|source| RunError::output("write", &path, source))
}

fn forget_failure(directory: &Path) -> Result<(), RunError> {
    let path = directory.join(FAILURE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::output("remove", &path, error)),
        _ => Ok(()),
    }
}

fn attempt(directory: &Path, task: &Task) -> Result<End, String> {
    let loaded = config::load(&directory.join("experiment.resolved.toml"), &Overrides::default())
        .map_err(|error| error.to_string())?;
    let setting = std::fs::read_to_string(directory.join(SETTING)).ok();
    let setting: Setting = setting.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut settings = Settings {
        device: OpenDevice::Cpu,
        out: None,
        sweep: Some(SweepPlace { directory: directory.to_owned(), setting }),
        resume: directory.join("manifest.json").is_file().then(|| directory.to_owned()),
        threads: task.threads,
        check: task.check,
        talk: Talk::Json,
        digests: RoundDigests::No,
        driver: Driver::Simulator,
    };
    let report = match run::run(&loaded, &settings) {
        // What is there cannot be gone on with: of another version, or torn. A sweep has to get on, and its runs can be repeated.
        Err(RunError::Resume { .. } | RunError::Checkpoint { .. }) if settings.resume.is_some() => {
            settings.resume = None;
            run::forget_checkpoints(directory).and_then(|()| run::run(&loaded, &settings))
        }
        result => result,
    };
    let report = report.map_err(|error| error.to_string())?;
    Ok(if report.summary.stopped { End::Stopped } else { End::Done })
}
