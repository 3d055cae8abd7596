//! Which checkpoints are written, and which of them stay.

use std::fs;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::file::{self, Header, Opened};
use crate::config::CheckpointSpec;
use crate::run::RunError;
use kith_core::{Tape, TapeError};

const FOLDER: &str = "checkpoints";
const WEIGHTS: &str = "final.kith";

/// Removes all checkpoints of a run directory: for a run that begins anew in it.
pub(crate) fn forget(run: &Path) -> Result<(), RunError> {
    let folder = run.join(FOLDER);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::output("remove", &folder, error)),
        _ => Ok(()),
    }
}

/// The checkpoints of one arm: `checkpoints/<arm>/round-<round>.kith`, and `final.kith` at its end.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    folder: PathBuf,
    spec: CheckpointSpec,
    /// Rounds done at the last checkpoint.
    last: u64,
}

impl Keeper {
    pub(crate) fn new(run: &Path, arm: &str, spec: &CheckpointSpec) -> Self {
        Self { folder: run.join(FOLDER).join(arm), spec: spec.clone(), last: 0 }
    }

    /// Whether anything is kept at all.
    pub(crate) fn keeps(&self) -> bool {
        self.spec.keep > 0
    }

    /// Whether state is to be written now, `rounds` being done; `new_task` where a task ended with the last of them.
    pub(crate) fn is_due(&self, rounds: u64, new_task: bool) -> bool {
        let by_rounds = self.spec.every_rounds.is_some_and(|every| rounds >= self.last.saturating_add(every));
        self.keeps() && rounds > self.last && (by_rounds || (new_task && self.spec.task_ends))
    }

    /// The state after so many rounds is on the disk.
    pub(crate) fn resumed(&mut self, rounds: u64) {
        self.last = rounds;
    }

    /// Writes state, then forgets what is older than wanted.
    pub(crate) fn save(
        &mut self,
        header: &Header,
        record: &mut dyn FnMut(&mut Tape<'_>) -> Result<(), TapeError>,
    ) -> Result<(), RunError> {
        self.write(&format!("round-{:012}.kith", header.rounds), header, record)?;
        self.last = header.rounds;
        self.prune(self.spec.keep)
    }

    /// Writes the weights of an arm that ended.
    pub(crate) fn finish(
        &self,
        header: &Header,
        record: &mut dyn FnMut(&mut Tape<'_>) -> Result<(), TapeError>,
    ) -> Result<(), RunError> {
        self.write(WEIGHTS, header, record)
    }

    /// The arm is in the summary: its state is not needed to go on. What was asked to stay stays, the weights among it.
    pub(crate) fn close(&self) -> Result<(), RunError> {
        if self.keeps() { self.prune(self.spec.keep - 1) } else { Ok(()) }
    }

    fn write(
        &self,
        name: &str,
        header: &Header,
        record: &mut dyn FnMut(&mut Tape<'_>) -> Result<(), TapeError>,
    ) -> Result<(), RunError> {
        let path = self.folder.join(name);
        fs::create_dir_all(&self.folder).map_err(|source| RunError::output("create", &self.folder, source))?;
        file::write(&path, header, record).map_err(|error| error.at(path))
    }

    fn prune(&self, keep: usize) -> Result<(), RunError> {
        let old = self.states()?;
        for path in old.iter().rev().skip(keep) {
            fs::remove_file(path).map_err(|source| RunError::output("remove", path, source))?;
        }
        Ok(())
    }

    /// Checkpoints that an arm can go on from, oldest first: names sort by round.
    fn states(&self) -> Result<Vec<PathBuf>, RunError> {
        let failed = |source| RunError::output("list", &self.folder, source);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(failed)?,
        };
        let mut states = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str()
                && name.starts_with("round-")
                && name.ends_with(".kith")
            {
                states.push(self.folder.join(name));
            }
        }
        states.sort();
        Ok(states)
    }

    /// The newest checkpoint that the arm can go on from, with its path; none where it was cut before the first.
    pub(crate) fn newest(&self) -> Result<Option<(PathBuf, Opened)>, RunError> {
        let Some(path) = self.states()?.pop() else { return Ok(None) };
        match Opened::read(&path) {
            Ok(opened) => Ok(Some((path, opened))),
            Err(error) => Err(error.at(path)),
        }
    }

    /// The weights that the arm ended with.
    pub(crate) fn weights(&self, arm: &str) -> Result<(PathBuf, Opened), RunError> {
        let path = self.folder.join(WEIGHTS);
        if !path.exists() {
            return Err(CheckpointError::Missing { arm: arm.to_owned() }.at(path));
        }
        match Opened::read(&path) {
            Ok(opened) => Ok((path, opened)),
            Err(error) => Err(error.at(path)),
        }
    }
}
