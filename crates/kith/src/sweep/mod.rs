//! Runs the runs of a sweep, each in a process of its own, so that one that dies takes no other with it.
//!
//! A run lives in `<folder>/<address>/`, and its address is the hash of its resolved experiment: what is done is found again, by
//! whatever file or process it was asked for. The process of a run holds the directory's lock while it works
//! ([`worker`]), and stops when the process that started it is gone.

mod jobs;
mod live;
mod table;
pub mod worker;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

pub use crate::stats::Spread;
pub(crate) use table::render;
pub use table::{Row, rows};

use crate::config::{ConfigError, PlannedRun, Setting, SweepPlan, Verdict, judge};
use crate::run::{RunError, Talk};
use crate::runs::{RunsError, State, StoredRun};
use crate::summary::ArmSummary;

/// How to run a sweep; nothing here changes a result.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary that runs one run: `kith` itself.
    pub program: PathBuf,
    /// Folder of the run directories.
    pub folder: PathBuf,
    /// Runs at the same time.
    pub jobs: NonZeroUsize,
    /// Threads of all of them together.
    pub threads: NonZeroUsize,
    /// Whether checkers watch every run.
    pub check: bool,
    /// What becomes of runs that failed before.
    pub failed: Failed,
    /// Which of the runs are this process's.
    pub shard: Shard,
    /// Whether progress is shown.
    pub talk: Talk,
}

/// What becomes of runs that failed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// They are listed.
    Keep,
    /// They run again.
    Retry,
}

/// Every `of`-th run, from the `index`-th; counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Shard {
    /// All runs.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    fn has(self, place: usize) -> bool {
        place % self.of == self.index - 1
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let shard = numbers.filter(|(index, of)| (1..=*of).contains(index));
        let (index, of) = shard.ok_or("expected i/n with i from 1 to n, e.g. 2/4")?;
        Ok(Self { index, of })
    }
}

/// Why a sweep cannot go on. A run that fails is no reason.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SweepError {
    /// A directory cannot be written, or not be locked.
    #[error(transparent)]
    Output(#[from] RunError),
    /// A directory cannot be read.
    #[error(transparent)]
    Runs(#[from] RunsError),
    /// A run cannot be written down.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No process can be started.
    #[error("cannot start {}: {source}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// One run of a sweep, and how it stands.
#[derive(Clone, Debug, Serialize)]
pub struct RunStatus {
    /// The arm.
    pub arm: String,
    /// What the sweep set besides arm and seed.
    pub setting: Setting,
    /// The seed.
    pub seed: u64,
    /// The hash of the experiment.
    pub hash: String,
    /// Its directory.
    pub directory: PathBuf,
    /// How it stands; `new` where it never began.
    #[serde(flatten)]
    pub state: RunState,
    /// What came out, of a run that is done.
    pub summary: Option<Box<ArmSummary>>,
    /// Expectations that do not hold.
    #[serde(skip)]
    pub missed: Vec<Verdict>,
}

/// How a run of a sweep stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RunState {
    /// It has a directory.
    Stored(State),
    /// It never began.
    New {
        /// Always `new`.
        state: New,
    },
}

/// The word for a run that never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum New {
    /// It never began.
    New,
}

impl RunState {
    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Stored(state) => state.word(),
            Self::New { .. } => "new",
        }
    }
}

/// What a sweep left.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every run of the plan.
    pub runs: Vec<RunStatus>,
    /// Which of them were this process's to run.
    pub mine: Vec<bool>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

impl Outcome {
    /// This process's runs.
    pub fn own(&self) -> impl Iterator<Item = &RunStatus> {
        self.runs.iter().zip(&self.mine).filter(|(_, mine)| **mine).map(|(run, _)| run)
    }
}

/// Where a run lies.
#[must_use]
pub fn directory(folder: &Path, run: &PlannedRun) -> PathBuf {
    folder.join(run.address())
}

/// How a run stands, as its directory says.
///
/// # Errors
/// A directory that is there and cannot be read.
pub fn status(folder: &Path, run: &PlannedRun) -> Result<RunStatus, RunsError> {
    let directory = directory(folder, run);
    let mut status = RunStatus {
        arm: run.arm.clone(),
        setting: run.setting.clone(),
        seed: run.seed,
        hash: run.hash.to_string(),
        state: RunState::New { state: New::New },
        summary: None,
        missed: Vec::new(),
        directory,
    };
    if !status.directory.join("experiment.resolved.toml").is_file() {
        return Ok(status);
    }
    let stored = match StoredRun::read(&status.directory) {
        Ok(stored) => stored,
        // Of another version, or torn by a full disk: it runs again.
        Err(RunsError::Content { .. }) => {
            status.state = RunState::Stored(State::Cut);
            return Ok(status);
        }
        Err(error) => return Err(error),
    };
    let known = stored.manifest.as_ref().is_some_and(|manifest| manifest.experiment_hash == run.hash);
    let arm = stored.summary.and_then(|summary| summary.arms.into_iter().next());
    status.state = match (stored.state, &arm) {
        (State::Done, Some(_)) if known => RunState::Stored(State::Done),
        (State::Done, _) => RunState::Stored(State::Cut),
        (state, _) => RunState::Stored(state),
    };
    if let (RunState::Stored(State::Done), Some(arm)) = (&status.state, arm) {
        if let Some(expected) = run.experiment.expect.get(&run.arm) {
            let values = serde_json::to_value(&arm).unwrap_or_default();
            status.missed = judge(&run.arm, expected, &values);
            status.missed.retain(|verdict| !verdict.holds());
        }
        status.summary = Some(Box::new(arm));
    }
    Ok(status)
}

/// How every run of a plan stands.
///
/// # Errors
/// A directory that is there and cannot be read.
pub fn look(plan: &SweepPlan, folder: &Path, shard: Shard) -> Result<Outcome, RunsError> {
    let runs = plan.runs.iter().map(|run| status(folder, run)).collect::<Result<Vec<_>, _>>()?;
    let mine = (0..runs.len()).map(|place| shard.has(place)).collect();
    Ok(Outcome { runs, mine, stopped: false })
}

/// Runs every run of the plan that is this process's and not done. Ctrl-C stops every run after its round.
///
/// # Errors
/// A folder that cannot be written, and processes that cannot be started.
pub fn sweep(plan: &SweepPlan, options: &Options) -> Result<Outcome, SweepError> {
    let before = look(plan, &options.folder, options.shard)?;
    let stopped = jobs::Jobs::new(plan, options, &before).run()?;
    let mut outcome = look(plan, &options.folder, options.shard)?;
    outcome.stopped = stopped;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_take_every_run_once() {
        let shards: Vec<Shard> = (1..=4).map(|i| format!("{i}/4").parse().expect("a shard")).collect();
        for place in 0..25 {
            assert_eq!(shards.iter().filter(|shard| shard.has(place)).count(), 1);
        }
        assert!((0..25).all(|place| Shard::WHOLE.has(place)));
        for wrong in ["0/4", "5/4", "1/0", "1", "a/b", "-1/4"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
