//! What can go wrong before an engine runs.

use kith_core::NetworkError;
use thiserror::Error;

/// Why an engine cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BurnError {
    /// The network's layers do not fit.
    #[error("cannot lay out the network: {0}")]
    Network(#[from] NetworkError),
    /// This build has no such backend.
    #[error("device {name} is not in this build; build kith with `--features {name}`, or choose the device cpu")]
    NotBuilt {
        /// The backend, which is the feature's name too.
        name: &'static str,
    },
    /// The backend finds nothing to run on.
    #[error("device {name} finds no adapter; it needs {needs}, or choose the device cpu")]
    NoAdapter {
        /// The backend.
        name: &'static str,
        /// What would be found.
        needs: &'static str,
    },
}
