//! Who drives the rounds of a run.

use crate::config::ResolvedArm;
use crate::processes::{Hosting, Launching, Leavings, Reports};

/// Who drives the rounds of a run. On the CPU results do not depend on it.
#[derive(Clone)]
pub enum Driver {
    /// The simulator, all agents in this process.
    Simulator,
    /// The network, some agents in this process.
    Hosted(Box<Hosting>),
    /// The network, all agents in processes that this one starts.
    Processes(Launching),
    /// The network did already: what processes left is put together.
    Left(Leavings),
}

impl Driver {
    /// The agents of each process, if the run is one of processes: all of them, or the one that this is. `arm` is the first.
    pub(super) fn processes(&self, arm: Option<&ResolvedArm>) -> Vec<Vec<u32>> {
        let cohorts = match self {
            Self::Simulator => Vec::new(),
            Self::Hosted(hosting) => vec![hosting.agents.clone()],
            Self::Left(left) => left.cohorts(),
            Self::Processes(launching) => arm.map(|arm| launching.cohorts(arm)).unwrap_or_default(),
        };
        cohorts.into_iter().map(|agents| agents.into_iter().map(|agent| agent.0).collect()).collect()
    }

    /// After how many rounds a run that goes on has to begin, if not where it stood last.
    pub(super) fn begins_after(&self) -> Option<u64> {
        match self {
            Self::Hosted(hosting) => hosting.begins_after,
            _ => None,
        }
    }

    /// Whether somebody else puts the run together, and draws it.
    pub(super) fn has_parent(&self) -> bool {
        matches!(self, Self::Hosted(hosting) if hosting.reports == Reports::Parent)
    }

    /// Whether what is left of a run that was stopped can be gone on with.
    pub(super) fn resumable(&self) -> Resumable {
        if matches!(self, Self::Left(_)) { Resumable::No } else { Resumable::Yes }
    }
}

/// Whether a run that was stopped can be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumable {
    /// With `--resume`.
    Yes,
    /// What processes left elsewhere is only read.
    No,
}
