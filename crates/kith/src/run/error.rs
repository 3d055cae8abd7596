//! Why a run failed.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{CheckpointError, ResumeError};
use crate::compose;
use crate::config::ConfigError;
use crate::processes::ProcessError;
use crate::report::ReportError;

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
    /// The processes of an arm failed.
    #[error("arm `{arm}`: {source}")]
    Processes {
        /// The arm.
        arm: String,
        /// Why.
        source: ProcessError,
    },
    /// A process cannot show how it stands.
    #[error("cannot listen at {address} for --metrics-addr: {source}")]
    Endpoint {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process is to begin where another run lies.
    #[error("{} holds a run already; choose another place with --out DIR", .directory.display())]
    Taken {
        /// The directory.
        directory: PathBuf,
    },
    /// A checkpoint cannot be written, or not be used.
    #[error("{}: {source}", .path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        source: Box<CheckpointError>,
    },
    /// A run directory cannot be gone on with. Nothing in it was changed.
    #[error("{}: {source}", .directory.display())]
    Resume {
        /// The run directory.
        directory: PathBuf,
        /// Why.
        source: ResumeError,
    },
    /// Another process writes to the run directory.
    #[error("another process is running in {}", .directory.display())]
    Busy {
        /// The run directory.
        directory: PathBuf,
    },
}

impl RunError {
    pub(crate) fn output(operation: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Output { operation, path: path.to_owned(), source }
    }

    /// Says where a run whose processes all died can be gone on with.
    pub(super) fn kept_in(self, directory: &Path) -> Self {
        match self {
            Self::Processes { arm, source: ProcessError::All(words) } => {
                let source = ProcessError::Kept { words, directory: directory.to_owned() };
                Self::Processes { arm, source }
            }
            other => other,
        }
    }
}
