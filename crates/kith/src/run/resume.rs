//! Going on in a run directory: what is finished is read, what was cut is found, and what came after is cut off.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use kith_core::{AgentId, Digest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::checkpoint::{CheckpointError, Header, Holds, Keeper, Opened};
use super::directory::{Manifest, Metrics, RunDirectory};
use super::setup::Setups;
use super::{Driver, RunError};
use crate::config::{CheckpointSpec, Experiment};
use crate::processes::ids;
use crate::summary::{ArmSummary, Summary};

/// Why a run directory cannot be gone on with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// There is no run.
    #[error("it is no run directory: manifest.json is missing")]
    NoRun,
    /// A file cannot be understood.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The run is of another experiment.
    #[error(
        "it holds a run of experiment {found}, and the file with its flags is experiment {expected}; the same file, --set, \
         --seed and --arm are accepted"
    )]
    Experiment {
        /// The file's hash.
        expected: Digest,
        /// The manifest's.
        found: Digest,
    },
    /// The run is of another version.
    #[error("it holds a run of kith {found}; this is kith {expected}, whose numbers may differ")]
    Version {
        /// This one.
        expected: String,
        /// The manifest's.
        found: String,
    },
    /// The run is one of other processes, or of none.
    #[error(
        "it holds a run of {found}, and this would go on with one of {expected}; accepted: the command that began it"
    )]
    Processes {
        /// What would go on.
        expected: String,
        /// What began.
        found: String,
    },
    /// The metrics are not those that the checkpoint was written beside.
    #[error(
        "metrics.jsonl has no line that ends at byte {expected}, where the checkpoint goes on; it has {found} bytes"
    )]
    Metrics {
        /// Where the checkpoint goes on.
        expected: u64,
        /// How long the file is.
        found: u64,
    },
}

/// Where an arm goes on.
pub(super) struct Cut {
    pub(super) path: PathBuf,
    pub(super) opened: Opened,
}

/// What a run directory holds of a run that did not end.
pub(super) struct Found {
    pub(super) directory: RunDirectory,
    pub(super) manifest: Manifest,
    pub(super) metrics: Metrics,
    /// Finished arms.
    pub(super) summary: Summary,
    /// What arms that have begun were made of.
    pub(super) setups: Setups,
    /// The mean weights of the first arm, where it is finished and others are not.
    pub(super) first: Option<Vec<f32>>,
    /// Where the next arm goes on, if not at its start.
    pub(super) cut: Option<Cut>,
}

/// Looks into a run directory. Changes nothing in it.
pub(super) fn find(path: &Path, experiment: &Experiment, hash: &Digest, driver: &Driver) -> Result<Found, RunError> {
    let at = |source| RunError::Resume { directory: path.to_owned(), source };
    let (manifest, mut summary) = manifest_and_summary(path)?;
    let version = env!("CARGO_PKG_VERSION");
    if manifest.kith_version != version {
        return Err(at(ResumeError::Version { expected: version.to_owned(), found: manifest.kith_version }));
    }
    if manifest.experiment_hash != *hash {
        return Err(at(ResumeError::Experiment { expected: *hash, found: manifest.experiment_hash }));
    }
    let expected = driver.processes(experiment.arms.first());
    if manifest.processes != expected {
        let (expected, found) = (described(&expected), described(&manifest.processes));
        return Err(at(ResumeError::Processes { expected, found }));
    }
    let directory = RunDirectory::existing(path);
    let mut metrics = directory.metrics_again()?;
    // A process that came to its end goes back, too, where the others have to.
    let pinned = driver.begins_after();
    let finished = |arm: &&ArmSummary| !arm.stopped && pinned.is_none();
    let done = summary.arms.iter().take_while(finished).count();
    summary.arms.truncate(done);
    summary.stopped = false;
    if summary.arms.iter().zip(&experiment.arms).any(|(done, arm)| done.arm != arm.name) {
        let reason = "its arms are not those of the experiment".to_owned();
        return Err(at(ResumeError::File { file: "summary.json", reason }));
    }
    let opened = match experiment.arms.get(done) {
        Some(arm) => state(path, &arm.name, &experiment.checkpoint, hash, pinned)?,
        None => None,
    };
    let position = opened.as_ref().map(|(_, opened)| opened.header.metrics_bytes);
    let finished: Vec<&str> = summary.arms.iter().map(|arm| arm.arm.as_str()).collect();
    let end = end_of_metrics(&directory.metrics_path(), position, &finished).map_err(at)?;
    metrics.go_on_after(end);
    let first = match (summary.arms.first(), done < experiment.arms.len()) {
        (Some(arm), true) => match mean_weights(path, &arm.arm, &experiment.checkpoint, hash) {
            // Where a process died, nobody has the weights of all.
            Err(RunError::Checkpoint { source, .. })
                if matches!((&*source, driver), (CheckpointError::Missing { .. }, Driver::Processes(_))) =>
            {
                None
            }
            read => Some(read?),
        },
        _ => None,
    };
    let setups = read_json(path, "setup.json").map_err(at)?.unwrap_or_default();
    let cut = opened.map(|(path, opened)| Cut { path, opened });
    Ok(Found { directory, manifest, metrics, summary, setups, first, cut })
}

/// The manifest of a run directory, and the summary so far.
pub(super) fn manifest_and_summary(path: &Path) -> Result<(Manifest, Summary), RunError> {
    let at = |source| RunError::Resume { directory: path.to_owned(), source };
    let manifest: Manifest = read_json(path, "manifest.json").map_err(at)?.ok_or_else(|| at(ResumeError::NoRun))?;
    let none = || Summary { experiment: manifest.experiment.clone(), stopped: false, arms: Vec::new() };
    let summary = read_json(path, "summary.json").map_err(at)?.unwrap_or_else(none);
    Ok((manifest, summary))
}

fn read_json<T: DeserializeOwned>(folder: &Path, file: &'static str) -> Result<Option<T>, ResumeError> {
    let failed = |reason: String| ResumeError::File { file, reason };
    match fs::read_to_string(folder.join(file)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| failed(error.to_string())),
    }
}

/// Who drives a run, in words.
fn described(processes: &[Vec<u32>]) -> String {
    let agents = |hosted: &[u32]| ids(&hosted.iter().copied().map(AgentId).collect::<Vec<_>>());
    match processes {
        [] => "`kith run`".to_owned(),
        [one] => format!("the process of agents {}", agents(one)),
        [first, ..] => format!("{} processes, the first of agents {}", processes.len(), agents(first)),
    }
}

/// The state of an arm after so many rounds, or its newest.
pub(crate) fn state(
    run: &Path,
    arm: &str,
    spec: &CheckpointSpec,
    hash: &Digest,
    rounds: Option<u64>,
) -> Result<Option<(PathBuf, Opened)>, RunError> {
    let Some((path, opened)) = Keeper::new(run, arm, spec).state(rounds)? else { return Ok(None) };
    match check(&opened.header, Holds::State, arm, hash) {
        Ok(()) => Ok(Some((path, opened))),
        Err(error) => Err(error.at(path)),
    }
}

/// The mean weights that an arm ended with.
fn mean_weights(run: &Path, arm: &str, spec: &CheckpointSpec, hash: &Digest) -> Result<Vec<f32>, RunError> {
    let (path, opened) = Keeper::new(run, arm, spec).weights(arm)?;
    check(&opened.header, Holds::Weights, arm, hash).and_then(|()| opened.mean()).map_err(|error| error.at(path))
}

/// Whether a checkpoint is of this run.
pub(super) fn check(header: &Header, holds: Holds, arm: &str, hash: &Digest) -> Result<(), CheckpointError> {
    let same = |what, expected: String, found: String| {
        if expected == found { Ok(()) } else { Err(CheckpointError::Other { what, expected, found }) }
    };
    same("kith", env!("CARGO_PKG_VERSION").to_owned(), header.kith_version.clone())?;
    same("experiment", hash.to_string(), header.experiment_hash.to_string())?;
    same("arm", arm.to_owned(), header.arm.clone())?;
    same("kind", format!("{holds:?}"), format!("{:?}", header.holds))
}

#[derive(Deserialize)]
struct OfArm {
    arm: String,
}

/// Reads the lines up to `position`, or up to the first that is not of these arms: the byte where they end.
fn end_of_metrics(path: &Path, position: Option<u64>, arms: &[&str]) -> Result<u64, ResumeError> {
    let failed = |reason: String| ResumeError::File { file: "metrics.jsonl", reason };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let found = file.metadata().map_err(|error| failed(error.to_string()))?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
    let (mut end, mut line) = (0, String::new());
    while position.is_none_or(|position| end < position) {
        line.clear();
        let bytes = file.read_line(&mut line).map_err(|error| failed(error.to_string()))?;
        if !line.ends_with('\n') {
            break;
        }
        let at = |error: serde_json::Error| failed(format!("the line from byte {end}: {error}"));
        let of: OfArm = serde_json::from_str(&line).map_err(at)?;
        if position.is_none() && !arms.contains(&of.arm.as_str()) {
            break;
        }
        end += bytes as u64;
    }
    match position {
        Some(expected) if expected != end => Err(ResumeError::Metrics { expected, found }),
        _ => Ok(end),
    }
}
