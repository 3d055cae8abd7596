//! How a process takes part in a run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kith_core::{AgentId, Digest, Round};

use crate::{Absence, Board, Cut, Discover, Identity, PeersFile, Straggle};

/// How a process takes part in a run.
#[derive(Clone)]
pub struct Settings {
    /// Who it is.
    pub identity: Identity,
    /// The agents that it hosts, ascending.
    pub hosted: Vec<AgentId>,
    /// Where it listens.
    pub listen: Vec<String>,
    /// All processes of the run.
    pub peers: PeersFile,
    /// A secret that all processes share; who does not know it cannot even begin to speak.
    pub pre_shared: Option<[u8; 32]>,
    /// How addresses are found.
    pub discover: Discover,
    /// Hash of the experiment, which must be the same everywhere.
    pub run: Digest,
    /// Tells this start of the process from others.
    pub instance: u64,
    /// Where the arithmetic runs, which must be the same everywhere.
    pub engine: String,
    /// How long a round waits for neighbours.
    pub deadline: Duration,
    /// After how long a frame without an answer is sent again.
    pub retransmit: Duration,
    /// How long the start waits for neighbours.
    pub start: Duration,
    /// What not every process needs.
    pub options: Options,
}

/// What not every process needs: [`Options::default`] leaves it all out.
#[derive(Clone, Default)]
pub struct Options {
    /// Where others of the program see how the process stands.
    pub board: Option<Arc<Board>>,
    /// Ends the wait for neighbours at the start, once it is set. Later, [`kith_run::Observer::stop`] is asked before every round.
    pub stop: Option<Arc<AtomicBool>>,
    /// State to go on from: what [`kith_run::Observer::before_round`] of a process that hosts the same agents put on its tape.
    pub resume: Option<Arc<[u8]>>,
    /// Links that are cut for some rounds, as an experiment plans it.
    pub cuts: Vec<Cut>,
    /// How slow this process is, as an experiment plans it; rounds ascend.
    pub straggles: Vec<Straggle>,
    /// The round before which somebody is going to kill this process, as an experiment plans it: it does not begin that round before its
    /// neighbours have what it sent them.
    pub crash: Option<Round>,
    /// Agents that are away for some rounds, as an experiment plans it: all of them, whoever hosts them.
    pub absences: Vec<Absence>,
    /// This start of the process is the one that comes back from the absence that began before this round.
    pub back_from: Option<Round>,
}
