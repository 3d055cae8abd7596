//! What can go wrong when an engine is built.

use kith_core::NetworkError;
use thiserror::Error;

/// Why an engine cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The network's layers do not fit.
    #[error("cannot lay out the network: {0}")]
    Network(#[from] NetworkError),
    /// No thread to compute on.
    #[error("an engine on 0 threads; at least 1 is needed")]
    Threads,
    /// The operating system gave no threads.
    #[error("cannot start {threads} compute threads: {reason}")]
    Pool {
        /// How many were wanted.
        threads: usize,
        /// What the thread pool said.
        reason: String,
    },
    /// No objective at all.
    #[error("no quadratic objective; one an agent is needed")]
    NoQuadratics,
    /// A quadratic whose parts do not fit, or that differs in dimension from agent 0's.
    #[error("the quadratic of agent {agent} has {what} {actual}; expected {expected}")]
    Quadratic {
        /// Whose objective.
        agent: usize,
        /// Which number is wrong.
        what: &'static str,
        /// What it is.
        actual: usize,
        /// What it has to be.
        expected: usize,
    },
}
