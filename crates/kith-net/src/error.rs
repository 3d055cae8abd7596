//! Why a process could not run its agents.

use kith_core::{AgentId, TapeError};
use kith_run::RunError;
use thiserror::Error;

/// Why a process could not run its agents.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetError {
    /// An address, key or list that says nothing usable.
    #[error("{what} `{found}`: {reason}; accepted: {accepted}")]
    Value {
        /// What it is.
        what: &'static str,
        /// What was found.
        found: String,
        /// Why it is no good.
        reason: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// A file cannot be read or written.
    #[error("cannot {operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody is known to host a neighbour.
    #[error("agent {agent} has neighbour {neighbour}, but no peer is listed that hosts it")]
    Unlisted {
        /// A hosted agent.
        agent: AgentId,
        /// Its neighbour.
        neighbour: AgentId,
    },
    /// The network could not be set up.
    #[error("cannot {operation}: {reason}")]
    Setup {
        /// What was tried.
        operation: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// Neighbours did not appear.
    #[error("after {waited_s} s no connection to the peers of agents {missing:?}{refusals}")]
    Start {
        /// How long was waited, seconds.
        waited_s: u64,
        /// Neighbours that are missing.
        missing: Vec<u32>,
        /// What peers said that did not fit.
        refusals: String,
    },
    /// State to go on from cannot be read, or is of another run.
    #[error("cannot go on from the state that was kept: {0}")]
    State(#[from] TapeError),
    /// State to go on from was kept before a round that this run does not have.
    #[error("state was kept before round {round}; this run has {rounds} rounds")]
    Replay {
        /// The round.
        round: u64,
        /// Rounds of the run, as agents count them.
        rounds: u64,
    },
    /// A process that was started anew found the run at its end.
    #[error("agents {agents:?} came back too late: the others ended their run before these could join it")]
    TooLate {
        /// Hosted agents.
        agents: Vec<u32>,
    },
    /// Nobody is left.
    #[error("all neighbours of agents {agents:?} are gone since round {round}: nobody is left to exchange with")]
    Alone {
        /// Hosted agents.
        agents: Vec<u32>,
        /// The round under way.
        round: u64,
    },
    /// A round's arithmetic failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A part of the process ended before the run did.
    #[error("the {part} thread ended before the run did")]
    Ended {
        /// Which.
        part: &'static str,
    },
}
