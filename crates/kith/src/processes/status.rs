//! What a process knows of itself and its neighbours at any moment: for `kith status`, and for whoever watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kith_core::AgentId;
use kith_net::{Board, Notice, Standing};
use kith_sim::Progress;
use serde::{Deserialize, Serialize};

use crate::run::{host, now};

/// The file of a [`Status`] in a process's directory.
pub(crate) const STATUS: &str = "status.json";

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
    /// Tasks in all; 0 before the first round ended.
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
    /// Bytes of good frames that came from other processes.
    pub bytes_received: u64,
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
    /// It was killed, or its machine went down.
    Gone,
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
            Self::Gone => "gone",
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
    /// The highest round of which a payload came, as agents count rounds.
    pub round: Option<u64>,
    /// Seconds since something was heard of it, when this was written.
    pub last_heard_seconds: Option<f64>,
    /// Bytes of frames that were sent to it.
    pub bytes_sent: u64,
    /// Bytes of good frames that came from it.
    pub bytes_received: u64,
    /// Bad packets that came from it, by what is wrong with them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<String, u64>,
}

/// What there is between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// It has not appeared, or does not fit.
    Awaited,
    /// It takes part.
    Up,
    /// It is gone.
    Down,
    /// It ended its run, or was stopped.
    Left,
    /// It sent too much that was bad.
    Dropped,
}

impl Link {
    /// One word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Awaited => "awaited",
            Self::Up => "up",
            Self::Down => "down",
            Self::Left => "left",
            Self::Dropped => "dropped",
        }
    }

    const fn of(link: kith_net::Link) -> Self {
        match link {
            kith_net::Link::Unknown => Self::Awaited,
            kith_net::Link::Up => Self::Up,
            kith_net::Link::Down => Self::Down,
            kith_net::Link::Left => Self::Left,
            kith_net::Link::Dropped => Self::Dropped,
        }
    }
}

/// The status of this process, which its threads keep up.
pub(crate) struct Keeping {
    who: Who,
    /// What the driver sees.
    pub(crate) board: Arc<Board>,
    progress: Mutex<(Progress, Option<Stage>)>,
}

/// Who a process is.
pub(crate) struct Who {
    pub(crate) experiment: String,
    pub(crate) arm: String,
    pub(crate) agents: Vec<AgentId>,
    pub(crate) peer_id: String,
}

impl Keeping {
    pub(crate) fn new(who: Who) -> Self {
        Self { who, board: Arc::new(Board::new()), progress: Mutex::default() }
    }

    pub(crate) fn progress(&self, progress: &Progress) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).0 = *progress;
    }

    /// How the process ended.
    pub(crate) fn end(&self, stage: Stage) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(stage);
    }

    pub(crate) fn status(&self) -> Status {
        let seen = self.board.status();
        let (progress, ended) = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let Who { experiment, arm, agents, peer_id } = &self.who;
        let running = if seen.standing == Standing::Waiting { Stage::Starting } else { Stage::Running };
        let neighbours: Vec<NeighbourStatus> = seen.neighbours.iter().map(neighbour).collect();
        Status {
            experiment: experiment.clone(),
            arm: arm.clone(),
            agents: agents.clone(),
            peer_id: peer_id.clone(),
            pid: std::process::id(),
            host: host(),
            stage: ended.unwrap_or(running),
            task: progress.task,
            tasks: progress.tasks,
            round: progress.rounds_done,
            rounds: progress.rounds,
            agent_steps: progress.agent_steps,
            accuracy: progress.accuracy,
            bytes_sent: seen.sent_before + neighbours.iter().map(|neighbour| neighbour.bytes_sent).sum::<u64>(),
            bytes_received: neighbours.iter().map(|neighbour| neighbour.bytes_received).sum(),
            neighbours,
            updated: now().1,
        }
    }
}

fn neighbour(seen: &kith_net::NeighbourStatus) -> NeighbourStatus {
    let name = |fault: &kith_net::Fault| format!("{fault:?}").to_lowercase();
    NeighbourStatus {
        agents: seen.agents.clone(),
        link: Link::of(seen.link),
        round: seen.round.map(|round| round.0),
        last_heard_seconds: seen.last_heard.map(|since| since.as_secs_f64()),
        bytes_sent: seen.sent_bytes,
        bytes_received: seen.received_bytes,
        faults: seen.faults.iter().map(|(fault, count)| (name(fault), *count)).collect(),
    }
}

/// What a driver says, in words.
pub(crate) fn words(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::Listening(address) => format!("listening on {address}"),
        Notice::Connected(agents) => format!("connected to the process of {}", named(agents)),
        Notice::Gone(agents) => format!("the process of {} is gone", named(agents)),
        Notice::Rejoined(agents, round) => format!("back again from round {round} on: {}", named(agents)),
        Notice::Refused(agents, reason) => format!("the process of {} does not fit: {reason}", named(agents)),
        Notice::Bad(agents, fault, reason) => {
            let what = format!("{fault:?}").to_lowercase();
            format!("the process of {} sent something bad ({what}): {reason}", named(agents))
        }
        Notice::Dropped(agents) => {
            format!("the process of {} sent too much that was bad and is spoken to no more", named(agents))
        }
        _ => return None,
    })
}

/// Agents as a sentence names them.
pub(crate) fn named(agents: &[AgentId]) -> String {
    match agents {
        [one] => format!("agent {one}"),
        _ => format!("agents {}", ids(agents)),
    }
}

/// Agents as a list of ids, or the first and the last where none is left out.
pub(crate) fn ids(agents: &[AgentId]) -> String {
    match agents {
        [first, .., last] if agents.len() > 2 && agents.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0) => {
            format!("{first} to {last}")
        }
        _ => agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_until_it_is_said_how_it_ended() {
        let who = Who {
            experiment: "x".to_owned(),
            arm: "a".to_owned(),
            agents: vec![AgentId(1)],
            peer_id: "12D3".to_owned(),
        };
        let keeping = Keeping::new(who);
        assert_eq!(keeping.status().stage, Stage::Starting);
        let progress = Progress { task: 1, tasks: 3, rounds_done: 7, rounds: 30, ..Progress::default() };
        keeping.progress(&progress);
        keeping.end(Stage::Stopped);
        let status = keeping.status();
        assert_eq!((status.stage, status.task, status.round, status.rounds), (Stage::Stopped, 1, 7, 30));
        let json = serde_json::to_string(&status).expect("it is data");
        assert_eq!(serde_json::from_str::<Status>(&json).expect("it reads back"), status);
    }

    #[test]
    fn agents_are_named_by_their_ends_where_none_is_left_out() {
        let named = |ids: &[u32]| named(&ids.iter().copied().map(AgentId).collect::<Vec<_>>());
        assert_eq!(named(&[3]), "agent 3");
        assert_eq!(named(&[3, 4]), "agents 3, 4");
        assert_eq!(named(&[3, 4, 5]), "agents 3 to 5");
        assert_eq!(named(&[3, 5, 6]), "agents 3, 5, 6");
    }
}
