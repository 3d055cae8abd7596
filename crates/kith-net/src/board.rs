//! What others of the same program may see of a process while it runs: where it is, and what it heard from whom.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_core::{AgentId, Round, TaskId};
use libp2p::PeerId;

use crate::Fault;

/// A process as it stands. [`Board::status`] may be asked at any time, from any thread; it costs a short lock.
#[derive(Debug, Default)]
pub struct Board(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    phase: Standing,
    round: Round,
    task: TaskId,
    sent_before: u64,
    sides: BTreeMap<PeerId, Side>,
}

#[derive(Debug, Default)]
struct Side {
    agents: Vec<AgentId>,
    link: Link,
    round: Option<Round>,
    heard: Option<Instant>,
    sent_bytes: u64,
    received_bytes: u64,
    repeated: u64,
    faults: BTreeMap<Fault, u64>,
}

/// Whether a process has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its neighbours.
    #[default]
    Waiting,
    /// Its agents go through rounds.
    Running,
    /// Its agents are done, or were stopped.
    Ended,
}

/// What became of a neighbouring process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// It never said who it is, or what it said does not fit.
    #[default]
    Unknown,
    /// It takes part.
    Up,
    /// It is gone, or cut off.
    Down,
    /// It ended its run, or was stopped.
    Left,
    /// It sent too many bad packets and is spoken to no more.
    Dropped,
}

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it has begun.
    pub standing: Standing,
    /// The round that its agents are in, as they count them.
    pub round: Round,
    /// The task under way.
    pub task: TaskId,
    /// Bytes that its agents sent before the process was started again.
    pub sent_before: u64,
    /// Processes at the other end of its edges, by their lowest agent.
    pub neighbours: Vec<NeighbourStatus>,
}

/// Another process as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// Its peer id.
    pub peer: String,
    /// The agents that it hosts.
    pub agents: Vec<AgentId>,
    /// What became of it.
    pub link: Link,
    /// The highest round of which a payload came.
    pub round: Option<Round>,
    /// How long ago a good packet came.
    pub last_heard: Option<Duration>,
    /// Bytes of frames that were sent to it.
    pub sent_bytes: u64,
    /// Bytes of good frames that came from it.
    pub received_bytes: u64,
    /// Payloads that came again after they were taken in: sent again, or replayed.
    pub repeated: u64,
    /// Bad packets that came from it, by what is wrong with them.
    pub faults: BTreeMap<Fault, u64>,
}

impl Board {
    /// A board on which nothing stands.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands on it.
    #[must_use]
    pub fn status(&self) -> Status {
        let inside = self.lock();
        let side = |(peer, side): (&PeerId, &Side)| NeighbourStatus {
            peer: peer.to_string(),
            agents: side.agents.clone(),
            link: side.link,
            round: side.round,
            last_heard: side.heard.map(|at| at.elapsed()),
            sent_bytes: side.sent_bytes,
            received_bytes: side.received_bytes,
            repeated: side.repeated,
            faults: side.faults.clone(),
        };
        let mut neighbours: Vec<NeighbourStatus> = inside.sides.iter().map(side).collect();
        neighbours.sort_by(|one, other| one.agents.cmp(&other.agents));
        let Inside { phase, round, task, sent_before, .. } = *inside;
        Status { standing: phase, round, task, sent_before, neighbours }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Whoever panicked while it held the lock left whole values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn side(&self, peer: PeerId, change: impl FnOnce(&mut Side)) {
        if let Some(side) = self.lock().sides.get_mut(&peer) {
            change(side);
        }
    }

    pub(crate) fn list(&self, peer: PeerId, agents: &[AgentId]) {
        let side = Side { agents: agents.to_vec(), ..Side::default() };
        self.lock().sides.insert(peer, side);
    }

    pub(crate) fn sent_before(&self, bytes: u64) {
        self.lock().sent_before = bytes;
    }

    pub(crate) fn stands(&self, phase: Standing) {
        self.lock().phase = phase;
    }

    pub(crate) fn reached(&self, round: Round, task: TaskId) {
        let mut inside = self.lock();
        (inside.round, inside.task) = (round, task);
    }

    pub(crate) fn link(&self, peer: PeerId, link: Link) {
        // What a peer was dropped for stays visible when its connection closes.
        self.side(peer, |side| {
            if side.link != Link::Dropped {
                side.link = link;
            }
        });
    }

    pub(crate) fn heard(&self, peer: PeerId, round: Option<Round>, bytes: u64) {
        self.side(peer, |side| {
            side.heard = Some(Instant::now());
            side.round = side.round.max(round);
            side.received_bytes += bytes;
        });
    }

    pub(crate) fn sent(&self, peer: PeerId, bytes: u64) {
        self.side(peer, |side| side.sent_bytes += bytes);
    }

    pub(crate) fn bad(&self, peer: PeerId, fault: Fault) {
        self.side(peer, |side| *side.faults.entry(fault).or_default() += 1);
    }

    pub(crate) fn repeated(&self, peer: PeerId) {
        self.side(peer, |side| side.repeated += 1);
    }
}
