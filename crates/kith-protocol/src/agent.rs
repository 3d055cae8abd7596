//! One agent's state machine: rounds, exchanges, deadlines, the spreading of a basis.

use std::sync::Arc;

use kith_core::{AgentId, Calendar, Round, TaskId};

use crate::edge::{Absolute, Edge, Verdict};
use crate::{FrameKind, Late, Plan, Stage, Time};

/// What an agent must know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which agent it is.
    pub id: AgentId,
    /// Its neighbours, ascending.
    pub neighbours: Vec<Neighbour>,
    /// The rounds of the run.
    pub plan: Plan,
    /// How long a round waits for neighbours after its own frames are sent, nanoseconds.
    pub deadline: u64,
    /// After how long a frame without an answer is sent again, nanoseconds.
    pub retransmit: u64,
}

/// Which way payloads go between an agent and a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Both ways.
    Mutual,
    /// The neighbour sends to this agent only (directed graph).
    Source,
    /// This agent sends to the neighbour only (directed graph).
    Sink,
}

/// A neighbour and which way payloads go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub id: AgentId,
    /// Which way.
    pub way: Peer,
}

/// What a driver tells an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin at this round: 0 for a fresh run, later for an agent that comes back.
    Start(Round),
    /// The work asked for by [`Output::Compute`] is done.
    Computed,
    /// A frame arrived. Run, version and basis have been checked by the driver, which alone knows them.
    Received {
        /// Its sender.
        from: AgentId,
        /// What it is for.
        kind: FrameKind,
        /// Its round (for bases: 0).
        round: Round,
        /// Its task.
        task: TaskId,
        /// Its `next`.
        next: Round,
    },
    /// The time asked for by [`Agent::wake_at`] has come.
    Wake,
    /// Nothing passes to this neighbour any more.
    LinkDown(AgentId),
    /// It does again, and the neighbour still knows what was under way.
    LinkUp(AgentId),
    /// The neighbour comes back without memory of what was under way, and joins at this round.
    Rejoined(AgentId, Round),
    /// The memory has grown by the task's basis, which is to be spread: to the leader, in answer to [`Output::TaskEnd`].
    BasisReady(TaskId),
}

/// What an agent asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Do the round's local work, then say [`Input::Computed`].
    Compute {
        /// The round.
        round: Round,
        /// What it is for.
        stage: Stage,
    },
    /// Send a frame; a payload's body is this agent's payload of `round`.
    Send {
        /// To whom.
        to: AgentId,
        /// What it is for.
        kind: FrameKind,
        /// Its round.
        round: Round,
        /// Its task.
        task: TaskId,
        /// Its `next`.
        next: Round,
    },
    /// Mix: the round is over for this agent.
    Mix {
        /// The round.
        round: Round,
        /// Neighbours whose payload of this round is mixed now, ascending.
        fresh: Vec<AgentId>,
        /// Neighbours from whom a payload of this round is expected, ascending: those not fresh may settle later.
        opened: Vec<AgentId>,
        /// Neighbours that only receive from this agent and to whom a payload of this round was sent, ascending.
        given: Vec<AgentId>,
        /// Earlier exchanges that settled since.
        late: Vec<Late>,
    },
    /// The task's rounds are over. If the plan agrees on a basis now, the agent waits for it.
    TaskEnd(TaskId),
    /// A basis arrived and is to be adopted before the next round.
    Adopt(TaskId),
    /// The run is over for this agent.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Computing,
    Exchanging { deadline: Time },
    AwaitingBasis(TaskId),
    Done,
}

/// One agent. Call [`Agent::handle`] with whatever happened, in the order it happened, carry out the outputs in their
/// order, and call it with [`Input::Wake`] at [`Agent::wake_at`]. Time never goes backwards.
#[derive(Clone, Debug)]
pub struct Agent {
    config: Config,
    edges: Vec<Edge>,
    state: State,
    round: Round,
    late: Vec<Late>,
    early_basis: Option<TaskId>,
    missed: u64,
    calendar: Option<Arc<dyn Calendar>>,
    /// Whether each neighbour is met in the round under way.
    met: Vec<bool>,
}

impl Agent {
    /// An agent that has not begun.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let edges: Vec<Edge> = config.neighbours.iter().map(|neighbour| Edge::new(neighbour.id)).collect();
        Self {
            met: vec![true; edges.len()],
            config,
            edges,
            state: State::Idle,
            round: Round(0),
            late: Vec::new(),
            early_basis: None,
            missed: 0,
            calendar: None,
        }
    }

    /// The agent, meeting in each round those neighbours only that the calendar names.
    #[must_use]
    pub fn following(mut self, calendar: Arc<dyn Calendar>) -> Self {
        self.calendar = Some(calendar);
        self
    }

    /// An agent that comes back without memory of what was under way, to begin at `round`.
    #[must_use]
    pub fn rejoining(config: Config, round: Round) -> Self {
        let mut agent = Self::new(config);
        agent.edges.iter_mut().for_each(|edge| edge.reset(round));
        agent.round = round;
        agent
    }

    /// What the agent was given.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The round that the agent is in.
    #[must_use]
    pub const fn round(&self) -> Round {
        self.round
    }

    /// Flows that settled after the agent's last round, to be applied before anything else is done with its row.
    #[must_use]
    pub fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// Exchanges that ended at the deadline without the neighbour's payload.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Whether the agent waits for a basis.
    #[must_use]
    pub const fn awaits_basis(&self) -> bool {
        matches!(self.state, State::AwaitingBasis(_))
    }

    /// Whether nothing is under way with a neighbour that can be reached.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.edges.iter().all(|edge| !edge.up || (edge.basis.is_none() && edge.open.is_none_or(|open| open.settled())))
    }

    /// When the agent wants [`Input::Wake`], if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let deadline = match self.state {
            State::Exchanging { deadline } => Some(deadline),
            _ => None,
        };
        let resend = self.edges.iter().filter(|edge| edge.up).flat_map(|edge| {
            let payload = edge.open.filter(|open| !open.mine_acked).map(|open| open.send_again);
            payload.into_iter().chain(edge.basis.map(|(_, at)| at))
        });
        resend.chain(deadline).min()
    }

    /// Whether a payload of this round would be taken in now. Not so one that came before, or that nobody needs any more.
    #[must_use]
    pub fn wants(&self, peer: AgentId, round: Round) -> bool {
        self.position(peer).is_some_and(|edge| {
            let verdict = self.edges[edge].clone().receive(round, self.round, self.way(edge));
            matches!(verdict, Verdict::Completes | Verdict::Kept)
        })
    }

    /// The round whose payload this neighbour may still be sent again.
    #[must_use]
    pub fn unacknowledged(&self, peer: AgentId) -> Option<Round> {
        let open = self.edges[self.position(peer)?].open.filter(|open| !open.mine_acked)?;
        Some(open.round)
    }

    /// Takes in what happened and says what to do.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Start(round) => self.begin(round, out),
            Input::Computed => {
                if self.state == State::Computing {
                    self.state = State::Exchanging { deadline: now.after(self.config.deadline) };
                    self.advance(now, out);
                }
            }
            Input::Received { from, kind, round, task, next } => {
                if let Some(edge) = self.position(from) {
                    self.receive(now, edge, kind, round, task, next, out);
                }
            }
            Input::Wake => self.wake(now, out),
            Input::LinkDown(peer) => {
                if let Some(edge) = self.position(peer) {
                    self.edges[edge].up = false;
                }
                self.advance(now, out);
            }
            Input::LinkUp(peer) => {
                if let Some(edge) = self.position(peer) {
                    let edge = &mut self.edges[edge];
                    (edge.up, edge.unbroken_since) = (true, None);
                    // What was on its way when the link went down is lost: it goes again at once.
                    if let Some(open) = &mut edge.open {
                        open.send_again = now;
                    }
                    if let Some((_, at)) = &mut edge.basis {
                        *at = now;
                    }
                }
                self.advance(now, out);
            }
            Input::Rejoined(peer, round) => {
                if let Some(edge) = self.position(peer) {
                    self.edges[edge].reset(round);
                }
                self.advance(now, out);
            }
            Input::BasisReady(task) => self.adopt(now, task, None, out),
        }
    }

    fn position(&self, peer: AgentId) -> Option<usize> {
        self.edges.binary_search_by_key(&peer, |edge| edge.peer).ok()
    }

    fn way(&self, edge: usize) -> Peer {
        self.config.neighbours[edge].way
    }

    fn begin(&mut self, round: Round, out: &mut Vec<Output>) {
        self.round = round;
        if let Some(stage) = self.config.plan.stage(round) {
            if let Some(calendar) = &self.calendar {
                let (ordinal, me) = (self.config.plan.ordinal(round), self.config.id);
                for (met, edge) in self.met.iter_mut().zip(&self.edges) {
                    *met = calendar.meets(ordinal, me, edge.peer);
                }
            }
            self.state = State::Computing;
            out.push(Output::Compute { round, stage });
        } else {
            self.state = State::Done;
            out.push(Output::Done);
        }
    }

    /// Opens what can be opened, and ends the round if nothing more is waited for.
    fn advance(&mut self, now: Time, out: &mut Vec<Output>) {
        let State::Exchanging { deadline } = self.state else { return };
        let exchanges = self.config.plan.stage(self.round).is_none_or(|stage| stage.leg.exchanges());
        let mut waiting = false;
        for index in (0..self.edges.len()).filter(|_| exchanges) {
            if !self.edges[index].up {
                continue;
            }
            self.edges[index].settle();
            let sat_out_before = self.way(index) == Peer::Source && self.edges[index].is_ahead(self.round);
            if !self.met[index] || sat_out_before {
                continue;
            }
            if self.edges[index].can_open(self.round) {
                self.open(now, index, out);
            }
            let edge = &self.edges[index];
            let sat_out = edge.open.is_none() && (edge.peer_next > self.round || edge.done_before > self.round);
            let here = edge.open.is_some_and(|open| open.round == self.round && open.theirs_received);
            waiting |= !(sat_out || here);
        }
        if !waiting || now >= deadline {
            self.mix(now, out);
        }
    }

    fn open(&mut self, now: Time, index: usize, out: &mut Vec<Output>) {
        let way = self.way(index);
        let send_again = now.after(self.config.retransmit);
        let edge = &mut self.edges[index];
        let opened = edge.open(self.round, send_again);
        if let Some(open) = &mut edge.open {
            open.mine_acked |= way == Peer::Source;
            open.theirs_received |= way == Peer::Sink;
        }
        if way != Peer::Source {
            let kind = if opened.absolute == Absolute::Yes { FrameKind::Absolute } else { FrameKind::Payload };
            self.send(index, kind, self.round, out);
        }
    }

    fn send(&self, index: usize, kind: FrameKind, round: Round, out: &mut Vec<Output>) {
        let task = self.config.plan.stage(round).map_or(TaskId(0), |stage| stage.task);
        let next = round.next().max(self.round);
        out.push(Output::Send { to: self.edges[index].peer, kind, round, task, next });
    }

    fn mix(&mut self, now: Time, out: &mut Vec<Output>) {
        let round = self.round;
        let (mut fresh, mut opened) = (Vec::with_capacity(self.edges.len()), Vec::with_capacity(self.edges.len()));
        let mut given = Vec::new();
        for index in 0..self.edges.len() {
            let way = self.way(index);
            let edge = &self.edges[index];
            let open = edge.open.filter(|open| open.round == round);
            let settled_now = edge.unbroken_since == Some(round);
            if way == Peer::Sink && (open.is_some() || settled_now) {
                given.push(edge.peer);
            } else if open.is_some() || settled_now {
                opened.push(edge.peer);
                if open.is_none_or(|open| open.theirs_received) {
                    fresh.push(edge.peer);
                }
            }
            self.missed += u64::from(open.is_some_and(|open| !open.theirs_received));
            self.edges[index].settle();
        }
        out.push(Output::Mix { round, fresh, opened, given, late: std::mem::take(&mut self.late) });
        for (edge, neighbour) in self.edges.iter_mut().zip(&self.config.neighbours) {
            let missed = if neighbour.way == Peer::Source { edge.take_missed(round) } else { None };
            self.late.extend(missed.map(|round| Late { peer: edge.peer, round }));
        }
        let stage = self.config.plan.stage(round);
        self.round = round.next();
        match stage {
            Some(Stage { task, last: true, .. }) => {
                out.push(Output::TaskEnd(task));
                if self.config.plan.agrees_after(task) {
                    self.state = State::AwaitingBasis(task);
                    if let Some(early) = self.early_basis.take_if(|early| *early == task) {
                        self.adopt(now, early, None, out);
                    }
                } else {
                    self.begin(self.round, out);
                }
            }
            _ => self.begin(self.round, out),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn receive(
        &mut self,
        now: Time,
        index: usize,
        kind: FrameKind,
        round: Round,
        task: TaskId,
        next: Round,
        out: &mut Vec<Output>,
    ) {
        match kind {
            FrameKind::Payload | FrameKind::Absolute => {
                let (current, way) = (self.round, self.way(index));
                let verdict = self.edges[index].receive(round, current, way);
                match verdict {
                    Verdict::Completes if round < self.round => {
                        self.late.push(Late { peer: self.edges[index].peer, round });
                        self.send(index, FrameKind::Ack, round, out);
                    }
                    Verdict::Completes | Verdict::Kept | Verdict::Duplicate => {
                        self.send(index, FrameKind::Ack, round, out);
                    }
                    Verdict::SatOut => self.send(index, FrameKind::Decline, round, out),
                    Verdict::Busy => {}
                }
            }
            FrameKind::Ack => self.edges[index].acked(round, next),
            FrameKind::Decline => self.edges[index].declined(round, next),
            FrameKind::Basis => {
                out.push(Output::Send {
                    to: self.edges[index].peer,
                    kind: FrameKind::BasisAck,
                    round: Round(0),
                    task,
                    next: self.round,
                });
                let from = self.edges[index].peer;
                match self.state {
                    State::AwaitingBasis(awaited) if awaited == task => self.adopt(now, task, Some(from), out),
                    // A basis for a task that this agent is still learning: kept, so that nobody need send it again.
                    State::Computing | State::Exchanging { .. } if self.learns(task) => self.early_basis = Some(task),
                    _ => {}
                }
            }
            FrameKind::BasisAck => {
                self.edges[index].basis.take_if(|(sent, _)| *sent == task);
            }
        }
        if self.state != State::Computing {
            self.advance(now, out);
        } else {
            self.edges[index].settle();
        }
    }

    fn learns(&self, task: TaskId) -> bool {
        self.config.plan.stage(self.round).is_some_and(|stage| stage.task == task)
    }

    /// Adopts the basis of a task, passes it on, and goes on to the next task.
    fn adopt(&mut self, now: Time, task: TaskId, from: Option<AgentId>, out: &mut Vec<Output>) {
        if self.state != State::AwaitingBasis(task) {
            return;
        }
        if from.is_some() {
            out.push(Output::Adopt(task));
        }
        for (edge, neighbour) in self.edges.iter_mut().zip(&self.config.neighbours) {
            if edge.up && Some(edge.peer) != from && neighbour.way != Peer::Source {
                edge.basis = Some((task, now.after(self.config.retransmit)));
                out.push(Output::Send {
                    to: edge.peer,
                    kind: FrameKind::Basis,
                    round: Round(0),
                    task,
                    next: self.round,
                });
            }
            // Differences start afresh in the new coordinates.
            edge.unbroken_since = None;
        }
        self.begin(self.round, out);
    }

    fn wake(&mut self, now: Time, out: &mut Vec<Output>) {
        let again = now.after(self.config.retransmit);
        for index in 0..self.edges.len() {
            if !self.edges[index].up {
                continue;
            }
            if let Some(open) = &mut self.edges[index].open
                && !open.mine_acked
                && open.send_again <= now
            {
                open.send_again = again;
                let (round, absolute) = (open.round, open.absolute);
                let kind = if absolute == Absolute::Yes { FrameKind::Absolute } else { FrameKind::Payload };
                self.send(index, kind, round, out);
            }
            let Edge { peer: to, basis, .. } = &mut self.edges[index];
            if let Some((task, at)) = basis
                && *at <= now
            {
                *at = again;
                let (to, task) = (*to, *task);
                out.push(Output::Send { to, kind: FrameKind::Basis, round: Round(0), task, next: self.round });
            }
        }
        self.advance(now, out);
    }
}
