//! Checkpoints: what a run needs to go on to the same bits, and the weights that an arm ended with.

mod file;
mod keeper;

use std::path::PathBuf;

use kith_core::TapeError;
use thiserror::Error;

pub(crate) use file::{Header, Holds, Opened};
pub(crate) use keeper::{Keeper, forget};

/// Why a checkpoint cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The system refused.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("this is no checkpoint of kith")]
    Foreign,
    /// Its format is another one.
    #[error("the checkpoint has format {found}; this version of kith reads format {accepted}")]
    Format {
        /// The file's.
        found: u32,
        /// What can be read.
        accepted: u32,
    },
    /// Bytes are missing, or there are too many.
    #[error("the checkpoint is cut short or has grown: {expected} bytes were written, {found} are there")]
    Length {
        /// As the file says.
        expected: u64,
        /// As the system says.
        found: u64,
    },
    /// Bytes changed.
    #[error("the checkpoint is damaged: its checksum is not that of its content")]
    Damaged,
    /// It was written by another version, for another experiment, or for another arm.
    #[error("the checkpoint is of {what} {found}; this run is of {what} {expected}")]
    Other {
        /// What differs.
        what: &'static str,
        /// This run's.
        expected: String,
        /// The checkpoint's.
        found: String,
    },
    /// Its content does not fit this run.
    #[error("the checkpoint does not fit this run: {0}")]
    State(#[from] TapeError),
    /// An arm ended, but its weights are not there.
    #[error("there are no checkpoints of arm `{arm}`")]
    Missing {
        /// The arm.
        arm: String,
    },
}

impl CheckpointError {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }

    pub(crate) fn at(self, path: impl Into<PathBuf>) -> super::RunError {
        super::RunError::Checkpoint { path: path.into(), source: Box::new(self) }
    }
}
