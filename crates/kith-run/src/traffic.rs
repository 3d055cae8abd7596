//! Bytes on the wire, simulated or not, counted frame by frame.

use std::collections::BTreeMap;

use kith_core::{AgentId, Round, Tape, TapeError, TaskId};
use kith_protocol::FrameKind;

/// Bytes that one agent sent in one task, by what they were for. Frames count whole, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Payloads of training rounds.
    pub training: u64,
    /// The same, had every payload been whole.
    pub training_full: u64,
    /// Payloads of consensus rounds.
    pub consensus: u64,
    /// Bases.
    pub basis: u64,
    /// Acknowledgements, frames sent again, state for agents that come back.
    pub control: u64,
}

impl Sent {
    /// All that was sent.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.training + self.consensus + self.basis + self.control
    }
}

/// Bytes by agent and task.
pub struct Traffic {
    tasks: usize,
    sent: Vec<Sent>,
    /// The last round whose payload went over a directed edge: the same again is a frame sent again.
    last: BTreeMap<(AgentId, AgentId), Round>,
    received: u64,
    dropped: u64,
}

impl Traffic {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(agents: usize, tasks: usize) -> Self {
        let sent = vec![Sent::default(); agents * tasks];
        Self { tasks, sent, last: BTreeMap::new(), received: 0, dropped: 0 }
    }

    /// A frame of `bytes` bytes was sent, which would have been `full` bytes, had its payload been whole.
    #[allow(clippy::too_many_arguments)]
    pub fn sent(
        &mut self,
        from: AgentId,
        to: AgentId,
        task: TaskId,
        kind: FrameKind,
        round: Round,
        training: bool,
        bytes: u64,
        full: u64,
    ) {
        let first = !kind.is_payload() || self.last.insert((from, to), round) != Some(round);
        let sent = &mut self.sent[from.index() * self.tasks + task.index()];
        match kind {
            _ if !first => sent.control += bytes,
            FrameKind::Payload | FrameKind::Absolute if training => {
                sent.training += bytes;
                sent.training_full += full;
            }
            FrameKind::Payload | FrameKind::Absolute => sent.consensus += bytes,
            FrameKind::Basis => sent.basis += bytes,
            FrameKind::Ack | FrameKind::Decline | FrameKind::BasisAck => sent.control += bytes,
        }
    }

    /// Writes what was counted to a tape, or reads it back. Not which payloads went last: an edge begins anew where a process does.
    ///
    /// # Errors
    /// What the tape says, and counts of another run.
    pub fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        let Self { tasks, sent, last: _, received, dropped } = self;
        tape.agree("tasks of counted bytes", *tasks as u64)?;
        tape.agree("counts of bytes", sent.len() as u64)?;
        for Sent { training, training_full, consensus, basis, control } in sent {
            [training, training_full, consensus, basis, control]
                .into_iter()
                .try_for_each(|count| tape.number(count))?;
        }
        tape.number(received)?;
        tape.number(dropped)
    }

    /// State for an agent that comes back was sent and arrived.
    pub fn resync(&mut self, from: AgentId, task: TaskId, bytes: u64) {
        self.sent[from.index() * self.tasks + task.index()].control += bytes;
        self.received += bytes;
    }

    /// A frame arrived, or was dropped.
    pub fn arrived(&mut self, bytes: u64, arrives: bool) {
        *if arrives { &mut self.received } else { &mut self.dropped } += bytes;
    }

    /// What an agent sent in a task.
    #[must_use]
    pub fn of(&self, agent: AgentId, task: TaskId) -> Sent {
        self.sent[agent.index() * self.tasks + task.index()]
    }

    /// What an agent sent in the whole run.
    #[must_use]
    pub fn total(&self, agent: AgentId) -> u64 {
        (0..self.tasks).map(|task| self.of(agent, TaskId::from(task)).total()).sum()
    }

    /// Bytes sent, received and dropped by all agents together. Sent = received + dropped once nothing is under way.
    #[must_use]
    pub fn balance(&self) -> (u64, u64, u64) {
        (self.sent.iter().map(Sent::total).sum(), self.received, self.dropped)
    }
}
