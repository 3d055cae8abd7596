//! What a process holds of the agents of others: whom they send to, what was sent and received last.

use std::collections::{BTreeMap, BTreeSet};

use kith_core::{AgentId, Round, Tape, TapeError};

use super::{PayloadForm, PayloadSpec};
use crate::exchange::numbers::read_floats;

/// Which task a frame is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    UnderWay,
    Before,
}

/// What goes to and comes from agents of other processes.
#[derive(Default)]
pub(crate) struct Wire {
    /// Agents of other processes that send to hosted ones, ascending, with all that they send to.
    senders: Vec<(AgentId, Vec<AgentId>)>,
    /// Whether anything leaves the process.
    open: bool,
    /// The round whose public rows are made already.
    pub(super) offered: Option<Round>,
    /// What agents made public last, as their compressor wrote it.
    pub(super) encoded: BTreeMap<AgentId, Vec<u8>>,
    /// Agents that have made something public in the task before what they made public last.
    pub(super) continued: BTreeSet<AgentId>,
    /// Sums that came along an edge from another process, with how many models they are of.
    pub(super) sums: BTreeMap<(AgentId, AgentId), (Vec<f32>, u32)>,
    /// Public copies that grow by compressed differences, by directed edge.
    replicas: BTreeMap<(AgentId, AgentId), Vec<f32>>,
    /// Those of the task before, for frames that come after its end.
    earlier: BTreeMap<(AgentId, AgentId), Vec<f32>>,
    /// The first round of the task under way.
    pub(super) began: Option<Round>,
    /// Room for what is being read.
    pub(super) row: Vec<f32>,
}

impl Wire {
    pub(crate) fn new(weights: &[Vec<(AgentId, f64)>], hosted: &[AgentId]) -> Self {
        let mut senders: BTreeMap<AgentId, Vec<AgentId>> = BTreeMap::new();
        for &agent in hosted {
            for (peer, _) in weights[agent.index()].iter().filter(|(peer, _)| hosted.binary_search(peer).is_err()) {
                senders.entry(*peer).or_default();
            }
        }
        // All of them, wherever they are: the place in this list is part of the order in which gradients are added.
        for (agent, from) in weights.iter().enumerate() {
            for (peer, _) in from {
                if let Some(receivers) = senders.get_mut(peer) {
                    receivers.push(AgentId::from(agent));
                }
            }
        }
        Self { senders: senders.into_iter().collect(), open: hosted.len() < weights.len(), ..Self::default() }
    }

    pub(crate) fn begin(&mut self) {
        self.offered = None;
        self.encoded.clear();
        self.continued.clear();
        self.earlier = std::mem::take(&mut self.replicas);
        self.began = None;
        self.sums.clear();
    }

    /// Whether anything leaves the process.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// The sum that `from`, of another process, sent to `to` in this round.
    pub(crate) fn take_sum(&mut self, from: AgentId, to: AgentId) -> Option<(Vec<f32>, u32)> {
        self.sums.remove(&(from, to))
    }

    /// Agents of other processes that send to hosted ones, with all that they send to.
    pub(crate) fn senders(&self) -> impl Iterator<Item = (AgentId, &[AgentId])> {
        self.senders.iter().map(|(agent, receivers)| (*agent, receivers.as_slice()))
    }

    /// Most agents that one of them sends to.
    pub(crate) fn most_receivers(&self) -> usize {
        self.senders.iter().map(|(_, receivers)| receivers.len()).max().unwrap_or(0)
    }

    pub(crate) fn is_offered(&self, round: Round) -> bool {
        self.offered == Some(round)
    }

    /// Carries everything over a tape; a row has at most `longest` numbers.
    pub(crate) fn carry(&mut self, tape: &mut Tape<'_>, longest: usize) -> Result<(), TapeError> {
        // Sums are taken in the round in which they come.
        let Self { senders: _, open: _, offered, encoded, continued, sums: _, replicas, earlier, began, row: _ } = self;
        tape.option("round whose public rows are made", offered, |tape, round| tape.number(&mut round.0))?;
        let mut sent: Vec<_> = std::mem::take(encoded).into_iter().collect();
        tape.list("agents that made something public", &mut sent, usize::MAX, |tape, (agent, bytes)| {
            agent.carry(tape)?;
            // No compressor takes more than twice the bytes of what it compresses.
            tape.blob("bytes of a payload", bytes, 8 * longest)
        })?;
        encoded.extend(sent);
        let mut again: Vec<_> = std::mem::take(continued).into_iter().collect();
        tape.list("agents that did so before", &mut again, usize::MAX, |tape, agent| agent.carry(tape))?;
        continued.extend(again);
        for all in [replicas, earlier] {
            let mut copies: Vec<_> = std::mem::take(all).into_iter().collect();
            tape.list("public copies of edges", &mut copies, usize::MAX, |tape, ((from, to), row)| {
                from.carry(tape)?;
                to.carry(tape)?;
                tape.kept_row("numbers in a public copy", row, longest)
            })?;
            all.extend(copies);
        }
        tape.option("first round of the task", began, |tape, round| tape.number(&mut round.0))
    }

    /// Keeps what an agent's receivers are sent.
    pub(crate) fn keep(&mut self, agent: AgentId, bytes: Vec<u8>) {
        if self.open && self.encoded.insert(agent, bytes).is_some() {
            self.continued.insert(agent);
        }
    }

    /// The agent's public row is zero again.
    pub(crate) fn restart(&mut self, agent: AgentId) {
        self.encoded.remove(&agent);
        self.continued.remove(&agent);
    }

    /// The public row that a body stands for, and the tracker where there is one, in place of what `row` held.
    pub(super) fn read(
        &mut self,
        spec: &PayloadSpec,
        edge: (AgentId, AgentId),
        (task, form): (Task, PayloadForm),
        body: &[u8],
        row: &mut Vec<f32>,
    ) {
        let Some(compressor) = spec.compressor else { return read_floats(body, row) };
        let copies = if task == Task::UnderWay { &mut self.replicas } else { &mut self.earlier };
        if spec.copies() && form == PayloadForm::Absolute && body.len() == 4 * spec.len {
            read_floats(body, row);
            row.clone_into(copies.entry(edge).or_default());
            return;
        }
        row.clear();
        row.resize(spec.len, 0.0);
        compressor.decode(body, &spec.layout, row);
        if !spec.copies() {
            return;
        }
        let replica = copies.entry(edge).or_insert_with(|| vec![0.0; spec.len]);
        if form == PayloadForm::Absolute {
            replica.fill(0.0);
        }
        for (held, value) in replica.iter_mut().zip(row) {
            *held += *value;
            *value = *held;
        }
    }
}
