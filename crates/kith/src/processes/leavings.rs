//! Processes that have all ended, launched here or gathered from elsewhere, on their way to one run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kith_core::{AgentId, Event};
use thiserror::Error;

use super::files::{ProcessFile, forget_rows};
use super::gather::{Gathered, Left, gather};
use super::launch::{ProcessError, title};
use super::status::named;
use super::stored::{StoredError, processes};
use crate::compose::{Parts, RunOptions};
use crate::config::ResolvedArm;
use crate::run::{DIGESTS, DigestFile, RunError, forget_checkpoints};

/// Directories of processes that ran somewhere, of one experiment and arm.
#[derive(Clone)]
pub struct Leavings {
    /// In the order of agents.
    processes: Vec<(PathBuf, ProcessFile)>,
    experiment: PathBuf,
}

/// Why directories do not make one run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LeavingsError {
    /// There is nothing, or it cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// Two processes are of different runs.
    #[error("{} is of {what} {found}, {} of {expected}; accepted: processes of one experiment and arm", .other.display(), .first.display())]
    Different {
        /// What differs.
        what: &'static str,
        /// A process.
        first: PathBuf,
        /// Another one.
        other: PathBuf,
        /// The first's.
        expected: String,
        /// The other's.
        found: String,
    },
    /// Two processes host the same agent.
    #[error("{} and {} both host agent {agent}; accepted: one process an agent", .first.display(), .other.display())]
    Twice {
        /// The agent.
        agent: AgentId,
        /// A process.
        first: PathBuf,
        /// Another one.
        other: PathBuf,
    },
}

impl Leavings {
    /// Finds the processes below a folder.
    ///
    /// # Errors
    /// No processes, and some that are not of one run.
    pub fn find(root: &Path) -> Result<Self, LeavingsError> {
        let mut processes = processes(root)?;
        // A process that was killed and started again in another directory counts once: as it came to its end.
        let ended = processes.iter().filter(|(_, file)| file.ended.is_some());
        let ended: Vec<AgentId> = ended.flat_map(|(_, file)| file.agents.clone()).collect();
        processes.retain(|(_, file)| file.ended.is_some() || !file.agents.iter().any(|agent| ended.contains(agent)));
        let (first, one) = &processes[0];
        for (other, file) in &processes {
            let hashes = (one.experiment_hash.to_string(), file.experiment_hash.to_string());
            let versions = (one.kith_version.clone(), file.kith_version.clone());
            let arms = (one.arm.clone(), file.arm.clone());
            for (what, (expected, found)) in [("experiment", hashes), ("version", versions), ("arm", arms)] {
                if expected != found {
                    let (first, other) = (first.clone(), other.clone());
                    return Err(LeavingsError::Different { what, first, other, expected, found });
                }
            }
        }
        for (place, (other, file)) in processes.iter().enumerate() {
            for (first, before) in &processes[..place] {
                if let Some(agent) = file.agents.iter().find(|agent| before.agents.contains(agent)) {
                    return Err(LeavingsError::Twice { agent: *agent, first: first.clone(), other: other.clone() });
                }
            }
        }
        let experiment = first.join("experiment.resolved.toml");
        Ok(Self { processes, experiment })
    }

    /// The experiment with the one arm that they ran.
    #[must_use]
    pub fn experiment(&self) -> &Path {
        &self.experiment
    }

    /// Whether all of them wrote digests.
    #[must_use]
    pub fn has_digests(&self) -> bool {
        self.processes.iter().all(|(folder, _)| folder.join(DIGESTS).is_file())
    }

    /// The agents of each process.
    #[must_use]
    pub fn cohorts(&self) -> Vec<Vec<AgentId>> {
        self.processes.iter().map(|(_, file)| file.agents.clone()).collect()
    }

    pub(crate) fn with(&self, parts: Parts) -> AllLeft {
        let unended = self.processes.iter().enumerate().filter(|(_, (_, file))| file.ended.is_none());
        let lost = unended.map(|(place, (folder, file))| {
            format!("{} did not come to its end: {}", title(place, &file.agents), folder.display())
        });
        let mut lost: Vec<String> = lost.collect();
        let here = |agent: &AgentId| self.processes.iter().any(|(_, file)| file.agents.contains(agent));
        let nowhere: Vec<AgentId> = (0..parts.graph.agents()).map(AgentId::from).filter(|agent| !here(agent)).collect();
        if !nowhere.is_empty() {
            lost.push(format!("nothing is there of the process of {}", named(&nowhere)));
        }
        AllLeft {
            parts,
            lost,
            folders: self.processes.iter().map(|(folder, file)| (folder.clone(), file.agents.clone())).collect(),
            wall: None,
            asked: Asked::Nothing,
        }
    }
}

/// Processes that have all ended.
pub(crate) struct AllLeft {
    pub(crate) parts: Parts,
    /// Their folders and agents, in the order of agents.
    pub(super) folders: Vec<(PathBuf, Vec<AgentId>)>,
    pub(super) lost: Vec<String>,
    /// How long they took together, if somebody watched.
    pub(super) wall: Option<Duration>,
    /// Whether they were asked to stop before their end.
    pub(super) asked: Asked,
}

/// Whether processes were asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    ToStop,
    Nothing,
}

impl AllLeft {
    /// Puts together what the processes left.
    pub(crate) fn gather(
        &self,
        arm: &ResolvedArm,
        options: &RunOptions,
        digests: Option<&mut DigestFile>,
        emit: &mut dyn FnMut(&Event),
    ) -> Result<Gathered, RunError> {
        let read = |(folder, agents): &(PathBuf, Vec<AgentId>)| Left::read(folder.clone(), agents.clone());
        let left: Vec<Left> = self.folders.iter().map(read).collect::<Result<_, _>>()?;
        if left.iter().all(|left| left.ended.is_none()) {
            let source = ProcessError::All(self.lost.clone());
            return Err(RunError::Processes { arm: arm.name.clone(), source });
        }
        let mut gathered = gather(arm, &self.parts, options, &left, digests, emit)?;
        if let Some(wall) = self.wall {
            gathered.measured.wall_seconds = wall.as_secs_f64();
        }
        // Some may have come to their end all the same.
        let is_cut = |left: &Left| left.ended.as_ref().is_none_or(|ended| ended.outcome.stopped);
        gathered.outcome.stopped |= self.asked == Asked::ToStop && left.iter().any(is_cut);
        gathered.lost.extend(self.lost.iter().cloned());
        Ok(gathered)
    }

    /// Takes away what was needed to put the run together only: rows, and states to go on from.
    pub(crate) fn forget(&self) -> Result<(), RunError> {
        self.folders.iter().try_for_each(|(folder, _)| forget_rows(folder).and_then(|()| forget_checkpoints(folder)))
    }
}
