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

/// The file of the state after so many rounds: names sort by round.
fn name(rounds: u64) -> String {
    format!("round-{rounds:012}.kith")
}

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
    /// How many states stay while the arm runs.
    states: usize,
    /// Rounds done at the last checkpoint.
    last: u64,
}

impl Keeper {
    pub(crate) fn new(run: &Path, arm: &str, spec: &CheckpointSpec) -> Self {
        Self { folder: run.join(FOLDER).join(arm), spec: spec.clone(), states: spec.keep, last: 0 }
    }

    /// As it is, but that at least so many states stay while the arm runs.
    pub(crate) fn holding(mut self, states: usize) -> Self {
        self.states = self.states.max(states);
        self
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

    /// Writes state, then forgets what is older than wanted. What was kept of rounds that are being done again is forgotten first.
    pub(crate) fn save(
        &mut self,
        header: &Header,
        record: &mut dyn FnMut(&mut Tape<'_>) -> Result<(), TapeError>,
    ) -> Result<(), RunError> {
        for rounds in self.rounds()?.into_iter().filter(|rounds| *rounds > self.last) {
            self.remove(rounds)?;
        }
        self.write(&name(header.rounds), header, record)?;
        self.last = header.rounds;
        self.prune(self.states)
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
        self.rounds()?.into_iter().rev().skip(keep).try_for_each(|rounds| self.remove(rounds))
    }

    fn remove(&self, rounds: u64) -> Result<(), RunError> {
        let path = self.folder.join(name(rounds));
        fs::remove_file(&path).map_err(|source| RunError::output("remove", &path, source))
    }

    /// After how many rounds there is state that the arm can go on from, ascending.
    pub(crate) fn rounds(&self) -> Result<Vec<u64>, RunError> {
        let failed = |source| RunError::output("list", &self.folder, source);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(failed)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed)?.file_name();
            let digits = file.to_str().and_then(|text| text.strip_prefix("round-")?.strip_suffix(".kith"));
            let rounds = digits.and_then(|digits| digits.parse().ok());
            // What has another form is not ours.
            all.extend(rounds.filter(|rounds| file == *name(*rounds)));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Whether there is state of any arm in a run directory.
    pub(crate) fn any_state(run: &Path) -> bool {
        let arms = fs::read_dir(run.join(FOLDER)).into_iter().flatten().filter_map(Result::ok);
        let of = |folder| Self { folder, spec: CheckpointSpec::default(), states: 0, last: 0 };
        arms.into_iter().any(|arm| of(arm.path()).rounds().is_ok_and(|rounds| !rounds.is_empty()))
    }

    /// The state after so many rounds, or the newest, with its path; none where the arm was cut before the first.
    pub(crate) fn state(&self, rounds: Option<u64>) -> Result<Option<(PathBuf, Opened)>, RunError> {
        let newest = if rounds.is_none() { self.rounds()?.pop() } else { None };
        let Some(rounds) = rounds.or(newest) else { return Ok(None) };
        let path = self.folder.join(name(rounds));
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
