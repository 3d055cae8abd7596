//! Run directories as they lie on disk: what `kith runs` and `kith sweep` read.

mod diff;
mod find;

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::run::{Manifest, Owner, holder};
use crate::summary::Summary;

pub use diff::{Difference, diff};
pub(crate) use find::{Marker, marked};
pub use find::{below, named};

/// Why run directories cannot be looked at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunsError {
    /// A folder or file cannot be read, or not be removed.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Files {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("cannot read {}: {message}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A word names no run.
    #[error("no run is called `{word}`: neither a run directory nor the start of a name or hash below {}", .root.display())]
    Unknown {
        /// The word.
        word: String,
        /// Where was looked.
        root: PathBuf,
    },
    /// A word names several runs.
    #[error("`{word}` may be {}; give more of the name", .choices.join(" or "))]
    Ambiguous {
        /// The word.
        word: String,
        /// What it may be.
        choices: Vec<String>,
    },
    /// A run is under way.
    #[error("{} is under way{}; stop it first", .path.display(), .owner.as_ref().map_or_else(String::new, said))]
    UnderWay {
        /// The run directory.
        path: PathBuf,
        /// Who works in it.
        owner: Option<Owner>,
    },
}

fn said(owner: &Owner) -> String {
    format!(" in process {} on {} since {}", owner.pid, owner.host, owner.since)
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// It ran to its end.
    Done,
    /// A process works on it.
    UnderWay {
        /// Which, where it said so.
        owner: Option<Owner>,
    },
    /// It failed.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was stopped or its process was killed.
    Cut,
}

impl State {
    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::UnderWay { .. } => "under way",
            Self::Failed { .. } => "failed",
            Self::Cut => "cut",
        }
    }
}

/// `failure.json`: why a run of a sweep failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFailure {
    /// What was wrong, for people.
    pub(crate) reason: String,
    /// When, UTC.
    pub(crate) at: String,
}

/// The file of a [`RunFailure`].
pub(crate) const FAILURE: &str = "failure.json";

/// A run directory that was read.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// Where it lies.
    pub directory: PathBuf,
    /// How it stands.
    pub state: State,
    /// What ran; none where it failed or was cut before that was written.
    pub manifest: Option<Manifest>,
    /// What came out; of a cut run, as far as it went.
    pub summary: Option<Summary>,
}

impl StoredRun {
    /// Reads a run directory.
    ///
    /// # Errors
    /// A manifest or summary that is there and cannot be read.
    pub fn read(directory: &Path) -> Result<Self, RunsError> {
        let mut stored = Self::read_unlocked(directory)?;
        if let Some(owner) = holder(directory) {
            stored.state = State::UnderWay { owner };
        }
        Ok(stored)
    }

    /// As [`StoredRun::read`], by the process that holds the lock itself.
    pub(crate) fn read_unlocked(directory: &Path) -> Result<Self, RunsError> {
        let manifest: Option<Manifest> = read_json(&directory.join("manifest.json"))?;
        let summary: Option<Summary> = read_json(&directory.join("summary.json"))?;
        let failure: Option<RunFailure> = read_json(&directory.join(FAILURE))?;
        let ended = manifest.as_ref().is_some_and(|manifest| manifest.ended.is_some());
        let whole = summary.as_ref().is_some_and(|summary| !summary.stopped);
        let state = match failure {
            Some(failure) => State::Failed { reason: failure.reason },
            None if ended && whole => State::Done,
            None => State::Cut,
        };
        Ok(Self { directory: directory.to_owned(), state, manifest, summary })
    }

    /// The directory's own name.
    #[must_use]
    pub fn id(&self) -> String {
        self.directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Bytes of the directory's files.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn bytes(&self) -> Result<u64, RunsError> {
        let fail = |source| RunsError::Files { operation: "list", path: self.directory.clone(), source };
        let mut bytes = 0;
        let mut folders = vec![self.directory.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                // Gone since it was listed: temporary files of a run under way.
                let Ok(kind) = entry.metadata() else { continue };
                if kind.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += kind.len();
                }
            }
        }
        Ok(bytes)
    }

    /// A run directory whose files cannot be read, to be removed.
    pub(crate) fn unreadable(directory: &Path) -> Self {
        let state = holder(directory).map_or(State::Cut, |owner| State::UnderWay { owner });
        Self { directory: directory.to_owned(), state, manifest: None, summary: None }
    }

    /// Whether nobody works in the directory.
    ///
    /// # Errors
    /// A run under way.
    pub fn may_be_removed(&self) -> Result<(), RunsError> {
        match &self.state {
            State::UnderWay { owner } => {
                Err(RunsError::UnderWay { path: self.directory.clone(), owner: owner.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory.
    ///
    /// # Errors
    /// A run under way, and what the system refuses.
    pub fn remove(self) -> Result<(), RunsError> {
        self.may_be_removed()?;
        fs::remove_dir_all(&self.directory).map_err(|source| RunsError::Files {
            operation: "remove",
            path: self.directory,
            source,
        })
    }
}

/// A JSON file; none where there is no such file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunsError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RunsError::Files { operation: "read", path: path.to_owned(), source }),
    };
    let broken = |error: serde_json::Error| RunsError::Content { path: path.to_owned(), message: error.to_string() };
    serde_json::from_str(&text).map(Some).map_err(broken)
}
