//! What a process knows of itself and its neighbours at any moment: for `kith status`, and for whoever watches.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kith_core::AgentId;
use kith_net::Notice;
use kith_sim::Progress;
use serde::{Deserialize, Serialize};

use crate::run::{host, now};

/// A process of a run, at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The experiment's name.
    pub experiment: String,
    /// The arm.
    pub arm: String,
    /// The agents that it hosts, ascending.
    pub agents: Vec<AgentId>,
    /// Its peer id.
    pub peer_id: String,
    /// Process.
    pub pid: u32,
    /// Its host.
    pub host: String,
    /// How far it is in its life.
    pub stage: Stage,
    /// Task under way, from 0.
    pub task: usize,
    /// Tasks in all.
    pub tasks: usize,
    /// Rounds done.
    pub round: u64,
    /// Rounds of the whole run; 0 before the first ended.
    pub rounds: u64,
    /// Minibatch updates done by the hosted agents.
    pub agent_steps: u64,
    /// Mean accuracy of the hosted agents on the tasks seen, when last tested.
    pub accuracy: Option<f64>,
    /// Bytes of frames that the hosted agents sent to other processes.
    pub bytes_sent: u64,
    /// The processes that host neighbours.
    pub neighbours: Vec<NeighbourStatus>,
    /// When this was so, UTC.
    pub updated: String,
}

/// How far a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It reads data and waits for its neighbours.
    Starting,
    /// Rounds are under way.
    Running,
    /// Its agents came to the end of the run.
    Ended,
    /// It was asked to stop before.
    Stopped,
    /// It failed.
    Failed,
}

impl Stage {
    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// A process that hosts neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourStatus {
    /// The agents that it hosts.
    pub agents: Vec<AgentId>,
    /// What there is between it and this one.
    pub link: Link,
    /// Seconds since something was heard of it, when this was written; none before.
    pub last_heard_seconds: Option<f64>,
    /// Why it was refused, or what it sent that was bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
}

/// What there is between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// It has not appeared yet.
    Awaited,
    /// It is there and fits.
    Connected,
    /// It is gone.
    Gone,
    /// It does not fit.
    Refused,
    /// It sent too much that was bad.
    Dropped,
}

impl Link {
    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Awaited => "awaited",
            Self::Connected => "connected",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

/// The status as threads of the process keep it up.
pub(crate) struct Board(Mutex<Kept>);

struct Kept {
    status: Status,
    heard: Vec<Option<Instant>>,
}

/// Who a process is.
pub(crate) struct Who {
    pub(crate) experiment: String,
    pub(crate) arm: String,
    pub(crate) agents: Vec<AgentId>,
    pub(crate) peer_id: String,
    /// The agents of each process with neighbours.
    pub(crate) neighbours: Vec<Vec<AgentId>>,
}

impl Board {
    pub(crate) fn new(who: Who) -> Self {
        let Who { experiment, arm, agents, peer_id, neighbours } = who;
        let heard = vec![None; neighbours.len()];
        let neighbour =
            |agents| NeighbourStatus { agents, link: Link::Awaited, last_heard_seconds: None, complaint: None };
        let status = Status {
            experiment,
            arm,
            agents,
            peer_id,
            pid: std::process::id(),
            host: host(),
            stage: Stage::Starting,
            task: 0,
            tasks: 0,
            round: 0,
            rounds: 0,
            agent_steps: 0,
            accuracy: None,
            bytes_sent: 0,
            neighbours: neighbours.into_iter().map(neighbour).collect(),
            updated: now().1,
        };
        Self(Mutex::new(Kept { status, heard }))
    }

    /// What one thread left half done is still a status.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> Status {
        let mut kept = self.kept();
        let seconds: Vec<_> = kept.heard.iter().map(|heard| heard.map(|heard| heard.elapsed().as_secs_f64())).collect();
        for (neighbour, seconds) in kept.status.neighbours.iter_mut().zip(seconds) {
            neighbour.last_heard_seconds = seconds;
        }
        kept.status.updated = now().1;
        kept.status.clone()
    }

    pub(crate) fn progress(&self, progress: &Progress) {
        let status = &mut self.kept().status;
        status.stage = Stage::Running;
        (status.task, status.tasks) = (progress.task, progress.tasks);
        (status.round, status.rounds) = (progress.rounds_done, progress.rounds);
        (status.agent_steps, status.accuracy) = (progress.agent_steps, progress.accuracy);
    }

    pub(crate) fn stage(&self, stage: Stage) {
        self.kept().status.stage = stage;
    }

    /// Bytes of all frames of the hosted agents so far.
    pub(crate) fn sent(&self, bytes: u64) {
        self.kept().status.bytes_sent = bytes;
    }

    /// Takes in what the driver says. What people should know of it, in words.
    pub(crate) fn notice(&self, notice: &Notice) -> Option<String> {
        let (agents, link, complaint, words) = match notice {
            Notice::Listening(address) => return Some(format!("listening on {address}")),
            Notice::Connected(agents) => {
                (agents, Link::Connected, None, format!("connected to the process of {}", named(agents)))
            }
            Notice::Gone(agents) => (agents, Link::Gone, None, format!("the process of {} is gone", named(agents))),
            Notice::Refused(agents, reason) => {
                let words = format!("the process of {} does not fit: {reason}", named(agents));
                (agents, Link::Refused, Some(reason.clone()), words)
            }
            Notice::Bad(agents, fault, reason) => {
                let what = format!("{fault:?}").to_lowercase();
                let words = format!("the process of {} sent something bad ({what}): {reason}", named(agents));
                (agents, Link::Connected, Some(format!("{what}: {reason}")), words)
            }
            Notice::Dropped(agents) => {
                let words =
                    format!("the process of {} sent too much that was bad and is spoken to no more", named(agents));
                (agents, Link::Dropped, None, words)
            }
        };
        let mut kept = self.kept();
        if let Some(place) = kept.status.neighbours.iter().position(|neighbour| neighbour.agents == *agents) {
            let neighbour = &mut kept.status.neighbours[place];
            // What is gone because it was dropped stays dropped.
            if !(neighbour.link == Link::Dropped && link == Link::Gone) {
                neighbour.link = link;
            }
            neighbour.complaint = complaint.or(neighbour.complaint.take());
            kept.heard[place] = Some(Instant::now());
        }
        Some(words)
    }
}

/// Agents as a sentence names them.
pub(crate) fn named(agents: &[AgentId]) -> String {
    let ids: Vec<String> = agents.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [one] => format!("agent {one}"),
        [first, .., last] if runs_on(agents) => format!("agents {first} to {last}"),
        _ => format!("agents {}", ids.join(", ")),
    }
}

fn runs_on(agents: &[AgentId]) -> bool {
    agents.len() > 2 && agents.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        Board::new(Who {
            experiment: "x".to_owned(),
            arm: "a".to_owned(),
            agents: vec![AgentId(1)],
            peer_id: "12D3".to_owned(),
            neighbours: vec![vec![AgentId(0)], vec![AgentId(2), AgentId(3), AgentId(4)]],
        })
    }

    #[test]
    fn neighbours_are_as_the_driver_said_last() {
        let board = board();
        let others = vec![AgentId(2), AgentId(3), AgentId(4)];
        assert_eq!(board.status().neighbours[1].link, Link::Awaited);
        board.notice(&Notice::Connected(others.clone()));
        let status = board.status();
        assert_eq!((status.neighbours[0].link, status.neighbours[1].link), (Link::Awaited, Link::Connected));
        assert!(status.neighbours[1].last_heard_seconds.is_some_and(|seconds| seconds < 60.0));
        board.notice(&Notice::Dropped(others.clone()));
        let words = board.notice(&Notice::Gone(others));
        assert_eq!(words.as_deref(), Some("the process of agents 2 to 4 is gone"));
        assert_eq!(board.status().neighbours[1].link, Link::Dropped);
    }

    #[test]
    fn rounds_and_accuracy_are_those_of_the_last_progress() {
        let board = board();
        board.progress(&Progress {
            task: 1,
            tasks: 3,
            rounds_done: 7,
            rounds: 30,
            accuracy: Some(0.5),
            ..Progress::default()
        });
        let status = board.status();
        assert_eq!((status.stage, status.task, status.round, status.rounds), (Stage::Running, 1, 7, 30));
        assert_eq!(status.accuracy, Some(0.5));
        let json = serde_json::to_string(&status).expect("it is data");
        assert_eq!(serde_json::from_str::<Status>(&json).expect("it reads back"), status);
    }
}
