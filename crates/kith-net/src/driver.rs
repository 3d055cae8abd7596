//! The driver: the hosted agents' state machines, fed by what arrives, by the clock and by finished work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use kith_core::{AgentId, Layout, Round, TaskId};
use kith_engine::Engine;
use kith_method::PayloadSpec;
use kith_protocol::{Agent, Config, FrameKind, HEADER_LEN, Hello, Input, Neighbour, Output, Plan, RoundKind, Time};
use kith_run::{Row, Run, Traffic};
use libp2p::PeerId;
use tokio::sync::mpsc;

use crate::codec::{Body, Packet};
use crate::compute::{Arrived, Bodies, Done, Job, Settings, sends};
use crate::faults::{Fault, Faults, Sentence};
use crate::network::{Command, NetEvent};
use crate::peers::Peer;
use crate::{NetError, inbox::Inbox};

/// What a process has to say while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It listens here.
    Listening(String),
    /// The process of these agents is there and fits.
    Connected(Vec<AgentId>),
    /// The process of these agents is gone; why, if it said so.
    Gone(Vec<AgentId>),
    /// The process of these agents does not fit.
    Refused(Vec<AgentId>, String),
    /// The process of these agents sent something bad for the first time.
    Bad(Vec<AgentId>, Fault, String),
    /// The process of these agents sent too much of it and is spoken to no more.
    Dropped(Vec<AgentId>),
}

/// Where notices go.
pub type Tell<'t> = &'t (dyn Fn(Notice) + Sync);

/// What the driver waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Net(NetEvent),
    Done(Done),
    NetworkFailed(NetError),
}

/// What is left when the run is over.
pub(crate) struct Ended {
    pub(crate) traffic: Traffic,
    pub(crate) missed: u64,
    pub(crate) stopped: bool,
}

/// Who is on the other side of the edges that leave the process.
pub(crate) struct Sides {
    around: BTreeMap<AgentId, Vec<Neighbour>>,
    hosts: BTreeMap<AgentId, PeerId>,
    processes: BTreeMap<PeerId, Process>,
}

/// Another process.
struct Process {
    agents: Vec<AgentId>,
    /// Connected.
    up: bool,
    /// Its start, once it said hello and fits.
    instance: Option<u64>,
    greeted: bool,
    /// It said that it leaves.
    left: bool,
    refused: Option<String>,
}

impl Sides {
    pub(crate) fn new(
        around: BTreeMap<AgentId, Vec<Neighbour>>,
        peers: &BTreeMap<PeerId, Peer>,
    ) -> Result<Self, NetError> {
        let mut hosts = BTreeMap::new();
        let mut processes = BTreeMap::new();
        for (&agent, neighbours) in &around {
            for neighbour in neighbours.iter().map(|one| one.id).filter(|id| !around.contains_key(id)) {
                let peer = peers.values().find(|peer| peer.agents.contains(&neighbour));
                let peer = peer.ok_or(NetError::Unlisted { agent, neighbour })?;
                hosts.insert(neighbour, peer.id);
                processes.entry(peer.id).or_insert_with(|| Process {
                    agents: peer.agents.clone(),
                    up: false,
                    instance: None,
                    greeted: false,
                    left: false,
                    refused: None,
                });
            }
        }
        Ok(Self { around, hosts, processes })
    }

    pub(crate) fn speaks_to(&self, peer: PeerId) -> bool {
        self.processes.contains_key(&peer)
    }
}

/// See the module.
pub(crate) struct Driver<'t> {
    sides: Sides,
    agents: BTreeMap<AgentId, Agent>,
    plan: Plan,
    layout: Layout,
    leader: AgentId,
    everyone: u32,
    hello: Hello,
    run: u64,
    deadline: Duration,
    start: Duration,
    began: Instant,
    started: bool,
    /// A job is under way.
    busy: bool,
    /// The round that is mixed next, and whether its local work is done.
    current: Round,
    computed: bool,
    asked: BTreeSet<AgentId>,
    rows: BTreeMap<Round, Vec<Row>>,
    /// Since when a round that ends a task waits for its last flows.
    held: Option<Instant>,
    local: VecDeque<(AgentId, Input)>,
    inbox: Inbox,
    outgoing: BTreeMap<(AgentId, AgentId), BTreeMap<Round, (Body, Body)>>,
    spec: Option<(TaskId, PayloadSpec)>,
    bytes: (u64, u64),
    basis: u64,
    ranks: Vec<usize>,
    bases: BTreeMap<TaskId, Body>,
    adopted: BTreeSet<TaskId>,
    task_ended: Instant,
    faults: Faults,
    traffic: Traffic,
    alone: Option<Instant>,
    stopping: bool,
    commands: mpsc::Sender<Command>,
    jobs: SyncSender<Job>,
    tell: Tell<'t>,
}

impl<'t> Driver<'t> {
    pub(crate) fn new<E: Engine>(
        sides: Sides,
        run: &Run<'_, E>,
        settings: &Settings,
        commands: mpsc::Sender<Command>,
        jobs: SyncSender<Job>,
        tell: Tell<'t>,
    ) -> Self {
        let plan = run.plan().clone();
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let machine = |(&id, neighbours): (&AgentId, &Vec<Neighbour>)| {
            let config = Config {
                id,
                neighbours: neighbours.clone(),
                plan: plan.clone(),
                deadline: nanoseconds(settings.deadline),
                retransmit: nanoseconds(settings.retransmit),
            };
            (id, Agent::new(config))
        };
        let everyone = run.work().graph.agents();
        let now = Instant::now();
        Self {
            agents: sides.around.iter().map(machine).collect(),
            sides,
            layout: run.cohort().layout().clone(),
            leader: AgentId(run.work().parts.memory.as_ref().map_or(0, |memory| memory.leader)),
            everyone: everyone as u32,
            hello: Hello::new(settings.run, settings.instance, settings.engine.clone(), settings.hosted.clone()),
            run: settings.run.short(),
            deadline: settings.deadline,
            start: settings.start,
            began: now,
            started: false,
            busy: false,
            current: Round(0),
            computed: false,
            asked: BTreeSet::new(),
            rows: BTreeMap::new(),
            held: None,
            local: VecDeque::new(),
            inbox: Inbox::default(),
            outgoing: BTreeMap::new(),
            spec: None,
            bytes: (0, 0),
            basis: 0,
            ranks: Vec::new(),
            bases: BTreeMap::new(),
            adopted: BTreeSet::new(),
            task_ended: now,
            faults: Faults::default(),
            traffic: Traffic::new(everyone, plan.train_rounds.len()),
            plan,
            alone: None,
            stopping: false,
            commands,
            jobs,
            tell,
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn go(mut self, events: &Receiver<Event>) -> Result<Ended, NetError> {
        loop {
            self.settle_local();
            self.begin_if_ready()?;
            self.schedule();
            if !self.busy && (self.stopping || self.is_over()) {
                break;
            }
            self.wait(events)?;
        }
        if !self.stopping {
            self.linger(events)?;
        }
        self.leave();
        let missed = self.agents.values().map(Agent::missed).sum();
        Ok(Ended { traffic: self.traffic, missed, stopped: self.stopping })
    }

    /// Waits for the next event or for an agent's time.
    fn wait(&mut self, events: &Receiver<Event>) -> Result<(), NetError> {
        let now = self.now();
        let next = self.agents.values().filter_map(Agent::wake_at).min();
        let until = next.map_or(Duration::from_millis(100), |at| Duration::from_nanos(at.0.saturating_sub(now.0)));
        match events.recv_timeout(until.min(Duration::from_millis(100))) {
            Ok(event) => self.event(event)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(NetError::Ended { part: "network" }),
        }
        let now = self.now();
        let due: Vec<AgentId> = self
            .agents
            .iter()
            .filter(|(_, agent)| agent.wake_at().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        due.into_iter().for_each(|agent| self.handle(agent, Input::Wake));
        self.see_who_is_left()
    }

    fn see_who_is_left(&mut self) -> Result<(), NetError> {
        let gone = |process: &Process| !process.greeted;
        let processes = self.sides.processes.values();
        let nobody = self.started && !self.sides.processes.is_empty() && processes.clone().all(gone);
        if !nobody || processes.clone().all(|process| process.left) {
            self.alone = None;
            return Ok(());
        }
        if self.alone.get_or_insert_with(Instant::now).elapsed() <= self.deadline {
            return Ok(());
        }
        Err(NetError::Alone { agents: self.agents.keys().map(|agent| agent.0).collect(), round: self.current.0 })
    }

    fn begin_if_ready(&mut self) -> Result<(), NetError> {
        if self.started {
            return Ok(());
        }
        if self.sides.processes.values().all(|process| process.greeted) {
            self.started = true;
            let agents: Vec<AgentId> = self.agents.keys().copied().collect();
            agents.into_iter().for_each(|agent| self.handle(agent, Input::Start(Round(0))));
            return Ok(());
        }
        if self.began.elapsed() <= self.start {
            return Ok(());
        }
        let missing = self.sides.processes.values().filter(|process| !process.greeted);
        let refusals = missing.clone().filter_map(|process| {
            let agents: Vec<u32> = process.agents.iter().map(|agent| agent.0).collect();
            process.refused.as_ref().map(|reason| format!("; agents {agents:?}: {reason}"))
        });
        Err(NetError::Start {
            waited_s: self.start.as_secs(),
            refusals: refusals.collect(),
            missing: missing.flat_map(|process| process.agents.iter().map(|agent| agent.0)).collect(),
        })
    }

    fn is_over(&self) -> bool {
        self.started && self.plan.stage(self.current).is_none()
    }

    /// Everything is mixed; neighbours may still need an answer.
    fn linger(&mut self, events: &Receiver<Event>) -> Result<(), NetError> {
        let until = Instant::now() + self.deadline;
        while Instant::now() < until && !self.agents.values().all(Agent::is_settled) {
            self.wait(events)?;
            self.settle_local();
        }
        Ok(())
    }

    fn leave(&mut self) {
        for (peer, process) in &self.sides.processes {
            if process.up {
                let _ = self.commands.try_send(Command::Send(*peer, Packet::Bye));
            }
        }
    }

    // --- work ---

    fn ask(&mut self, job: Job) {
        self.busy = self.jobs.send(job).is_ok();
    }

    /// Hands out what can be worked on.
    fn schedule(&mut self) {
        if self.busy || !self.started || self.stopping {
            return;
        }
        if self.computed {
            self.schedule_exchange();
            return;
        }
        let before = Round(self.current.0.wrapping_sub(1));
        let ended = self.plan.stage(before).filter(|stage| stage.last && self.plan.agrees_after(stage.task));
        if let Some(stage) = ended.filter(|stage| !self.adopted.contains(&stage.task)) {
            self.schedule_basis(stage.task, before);
        } else if self.asked.len() == self.agents.len() && self.plan.stage(self.current).is_some() {
            self.asked.clear();
            let outside = |(&from, neighbours): (&AgentId, &Vec<Neighbour>)| {
                let to = neighbours.iter().filter(|one| self.sides.hosts.contains_key(&one.id) && sends(one.way));
                to.map(|one| (from, one.id)).collect::<Vec<_>>()
            };
            let edges = self.sides.around.iter().flat_map(outside).collect();
            self.ask(Job::Compute { round: self.current, agents: self.agents.keys().copied().collect(), edges });
        }
    }

    fn schedule_exchange(&mut self) {
        let Some(stage) = self.plan.stage(self.current) else { return };
        if self.rows.get(&self.current).is_none_or(|rows| rows.len() < self.agents.len()) {
            return;
        }
        // After this round rows change their meaning, or the run ends: flows that settle late must be applied before.
        let holds =
            (stage.last && self.plan.agrees_after(stage.task)) || self.plan.stage(self.current.next()).is_none();
        let moved_on = !self.asked.is_empty();
        let waits = holds && !moved_on && !self.agents.values().all(Agent::is_settled);
        if waits && self.held.get_or_insert_with(Instant::now).elapsed() < self.deadline {
            return;
        }
        self.held = None;
        let Some(mut rows) = self.rows.remove(&self.current) else { return };
        rows.sort_by_key(|row| row.agent);
        if holds {
            for row in &mut rows {
                if let Some(agent) = self.agents.get_mut(&row.agent) {
                    row.late.extend(agent.take_late());
                }
            }
        }
        let mut bodies = Vec::new();
        for row in &rows {
            let fresh = row.fresh.iter().map(|peer| (*peer, self.current));
            for (from, round) in fresh.chain(row.late.iter().map(|late| (late.peer, late.round))) {
                bodies.extend(self.inbox.take(from, row.agent, round));
            }
        }
        // Earlier rounds first: increments add up in order.
        bodies.sort_by_key(|arrived: &Arrived| (arrived.round, arrived.from, arrived.to));
        self.ask(Job::Exchange { round: self.current, rows, bodies });
    }

    /// Adopts the basis that arrived, or finds one if this process is the one to do so: the leader's at once, and its successors' in id
    /// order, each a deadline after the one before.
    fn schedule_basis(&mut self, task: TaskId, round: Round) {
        if let Some(basis) = self.bases.get(&task) {
            let basis = Body::clone(basis);
            self.ask(Job::Adopt { task, round, basis });
            return;
        }
        let rank = |agent: AgentId| (agent.0 + self.everyone - self.leader.0) % self.everyone.max(1);
        let first =
            self.agents.iter().filter(|(_, agent)| agent.awaits_basis()).map(|(id, _)| *id).min_by_key(|id| rank(*id));
        if let Some(agent) = first
            && self.task_ended.elapsed() >= self.deadline.saturating_mul(rank(agent))
        {
            self.ask(Job::Lead { agent, task, round });
        }
    }

    fn done(&mut self, done: Done) {
        self.busy = false;
        match done {
            Done::Computed { bodies, spec, bytes, basis, ranks } => {
                let task = self.plan.stage(self.current).map_or(TaskId(0), |stage| stage.task);
                self.spec = Some((task, spec));
                (self.bytes, self.basis, self.ranks, self.computed) = (bytes, basis, ranks, true);
                self.keep(bodies);
                let agents: Vec<AgentId> = self.agents.keys().copied().collect();
                agents.into_iter().for_each(|agent| self.handle(agent, Input::Computed));
                for (peer, from, to, header, body) in self.inbox.held() {
                    self.frame(peer, from, to, header, body);
                }
            }
            Done::Exchanged { stop } => {
                self.current = self.current.next();
                self.computed = false;
                self.task_ended = Instant::now();
                self.stopping |= stop;
            }
            Done::Led { task, basis } => {
                self.bases.insert(task, basis);
                self.adopted.insert(task);
                let rank = |agent: AgentId| (agent.0 + self.everyone - self.leader.0) % self.everyone.max(1);
                let waits = self.agents.iter().filter(|(_, agent)| agent.awaits_basis()).map(|(id, _)| *id);
                if let Some(agent) = waits.min_by_key(|id| rank(*id)) {
                    self.handle(agent, Input::BasisReady(task));
                }
            }
            Done::Adopted { task } => {
                self.adopted.insert(task);
            }
            Done::Failed => self.stopping = true,
        }
    }

    /// Keeps a round's bodies for as long as they may be asked for: two exchanges of an edge at most are under way.
    fn keep(&mut self, bodies: Bodies) {
        for (edge, body) in bodies {
            let kept = self.outgoing.entry(edge).or_default();
            kept.insert(self.current, body);
            while kept.len() > 2 {
                // The oldest may still be on its way; what lies between was never sent.
                let between = kept.keys().nth(1).copied().unwrap_or_default();
                kept.remove(&between);
            }
        }
    }

    // --- agents ---

    fn settle_local(&mut self) {
        while let Some((agent, input)) = self.local.pop_front() {
            self.handle(agent, input);
        }
    }

    fn handle(&mut self, agent: AgentId, input: Input) {
        let now = self.now();
        let mut out = Vec::new();
        if let Some(machine) = self.agents.get_mut(&agent) {
            machine.handle(now, input, &mut out);
        }
        for output in out {
            match output {
                Output::Compute { .. } => {
                    self.asked.insert(agent);
                }
                Output::Mix { round, fresh, opened, late } => {
                    self.rows.entry(round).or_default().push(Row { agent, fresh, opened, late });
                }
                Output::Send { to, kind, round, task, next } => self.send(agent, to, kind, round, task, next),
                Output::TaskEnd(_) | Output::Adopt(_) | Output::Done => {}
            }
        }
    }

    fn send(&mut self, from: AgentId, to: AgentId, kind: FrameKind, round: Round, task: TaskId, next: Round) {
        let Some(&peer) = self.sides.hosts.get(&to) else {
            self.local.push_back((to, Input::Received { from, kind, round, task, next }));
            return;
        };
        let body: Option<Body> = match kind {
            FrameKind::Payload | FrameKind::Absolute => {
                let kept = self.outgoing.get(&(from, to)).and_then(|kept| kept.get(&round));
                kept.map(|(increment, absolute)| if kind == FrameKind::Absolute { absolute } else { increment })
                    .cloned()
            }
            FrameKind::Basis => self.bases.get(&task).cloned(),
            FrameKind::Ack | FrameKind::Decline | FrameKind::BasisAck => Some(Body::from([])),
        };
        let Some(body) = body else { return };
        let header = kith_protocol::Header {
            version: self.hello.version,
            kind,
            run: self.run,
            round,
            task,
            basis: if kind.is_payload() { self.basis } else { 0 },
            next,
            body_len: body.len() as u32,
        };
        let training = self.plan.stage(round).is_some_and(|stage| stage.kind == RoundKind::Train);
        let head = HEADER_LEN as u64;
        let (bytes, full) = (body.len() as u64 + head, self.bytes.1 + head);
        self.traffic.sent(from, to, task, kind, round, training, bytes, full);
        // A queue that is full loses the frame, and the agent sends it again.
        let _ = self.commands.try_send(Command::Send(peer, Packet::Frame { from, to, header, body }));
    }

    // --- what arrives ---

    fn event(&mut self, event: Event) -> Result<(), NetError> {
        match event {
            Event::Done(done) => self.done(done),
            Event::NetworkFailed(error) => return Err(error),
            Event::Net(NetEvent::Listening(address)) => (self.tell)(Notice::Listening(address.to_string())),
            Event::Net(NetEvent::Up(peer)) => {
                if let Some(process) = self.sides.processes.get_mut(&peer) {
                    process.up = true;
                    let _ = self.commands.try_send(Command::Send(peer, Packet::Hello(self.hello.clone())));
                }
            }
            Event::Net(NetEvent::Down(peer)) => self.gone(peer),
            Event::Net(NetEvent::Malformed(peer, reason)) => self.bad(peer, Fault::Malformed, reason),
            Event::Net(NetEvent::Packet(peer, packet)) => match packet {
                Packet::Hello(hello) => self.greet(peer, &hello),
                Packet::Frame { from, to, header, body } => self.frame(peer, from, to, header, body),
                Packet::Bye => {
                    if let Some(process) = self.sides.processes.get_mut(&peer) {
                        process.left = true;
                    }
                    self.gone(peer);
                }
            },
        }
        Ok(())
    }

    fn greet(&mut self, peer: PeerId, hello: &Hello) {
        let Some(process) = self.sides.processes.get_mut(&peer) else { return };
        let agents = process.agents.clone();
        let mut fits = self.hello.check(hello, &agents).map_err(|error| error.to_string());
        if self.started && process.instance.is_some_and(|instance| instance != hello.instance) {
            fits = Err("it was started anew while the run goes on, without its state".to_owned());
        }
        match fits {
            Ok(()) => {
                process.instance = Some(hello.instance);
                if !std::mem::replace(&mut process.greeted, true) {
                    (self.tell)(Notice::Connected(agents.clone()));
                    self.links(&agents, Input::LinkUp);
                }
            }
            Err(reason) => {
                process.refused = Some(reason.clone());
                (self.tell)(Notice::Refused(agents, reason.clone()));
            }
        }
    }

    fn gone(&mut self, peer: PeerId) {
        let Some(process) = self.sides.processes.get_mut(&peer) else { return };
        process.up = false;
        if std::mem::replace(&mut process.greeted, false) {
            let agents = process.agents.clone();
            (self.tell)(Notice::Gone(agents.clone()));
            self.links(&agents, Input::LinkDown);
        }
    }

    /// Tells hosted agents what became of the links to these.
    fn links(&mut self, others: &[AgentId], input: fn(AgentId) -> Input) {
        if !self.started {
            return;
        }
        let here: Vec<AgentId> = self.agents.keys().copied().collect();
        for agent in here {
            for &other in others {
                if self.sides.around[&agent].iter().any(|neighbour| neighbour.id == other) {
                    self.handle(agent, input(other));
                }
            }
        }
    }

    fn bad(&mut self, peer: PeerId, fault: Fault, reason: String) {
        let Some(process) = self.sides.processes.get(&peer) else { return };
        let agents = process.agents.clone();
        match self.faults.count(peer, fault) {
            Sentence::Count => {}
            Sentence::Tell => (self.tell)(Notice::Bad(agents, fault, reason)),
            Sentence::Drop => {
                let _ = self.commands.try_send(Command::Drop(peer));
                (self.tell)(Notice::Dropped(agents));
                self.gone(peer);
            }
        }
    }

    fn frame(&mut self, peer: PeerId, from: AgentId, to: AgentId, header: kith_protocol::Header, body: Body) {
        match self.judge(peer, from, to, &header, &body) {
            Err((fault, reason)) => self.bad(peer, fault, reason),
            Ok(Verdict::Wait) => self.inbox.hold(peer, from, to, header, body),
            Ok(Verdict::Accept) => {
                let kith_protocol::Header { kind, round, task, next, .. } = header;
                match kind {
                    FrameKind::Payload | FrameKind::Absolute => self.inbox.put(from, to, round, kind, body),
                    FrameKind::Basis => {
                        self.bases.entry(task).or_insert(body);
                    }
                    FrameKind::Ack | FrameKind::Decline => {
                        if let Some(kept) = self.outgoing.get_mut(&(to, from)) {
                            kept.remove(&round);
                        }
                    }
                    FrameKind::BasisAck => {}
                }
                self.handle(to, Input::Received { from, kind, round, task, next });
            }
        }
    }

    /// Whether a frame may reach its agent.
    fn judge(
        &self,
        peer: PeerId,
        from: AgentId,
        to: AgentId,
        header: &kith_protocol::Header,
        body: &Body,
    ) -> Result<Verdict, (Fault, String)> {
        let unknown = || (Fault::Unknown, "a frame from a peer that has not said who it is".to_owned());
        let process = self.sides.processes.get(&peer).ok_or_else(unknown)?;
        if !process.greeted {
            // Streams of a connection overtake each other: before the start, its hello may be right behind.
            return if self.started { Err(unknown()) } else { Ok(Verdict::Wait) };
        }
        if header.run != self.run {
            return Err((Fault::Run, format!("a frame of run {:016x}; this is {:016x}", header.run, self.run)));
        }
        let neighbours = self.sides.around.get(&to).filter(|_| process.agents.contains(&from));
        if !neighbours.is_some_and(|all| all.iter().any(|one| one.id == from)) {
            return Err((
                Fault::Agent,
                format!("a frame from agent {from} to agent {to}, between whom this peer has no edge"),
            ));
        }
        if matches!(header.kind, FrameKind::Basis | FrameKind::BasisAck) {
            return self.judge_basis(header, body).map_err(|reason| (Fault::Basis, reason));
        }
        let stage = self.plan.stage(header.round).filter(|stage| stage.task == header.task);
        let stage = stage.ok_or_else(|| {
            (
                Fault::Round,
                format!("a frame of round {}, task {}: this run has no such round", header.round, header.task),
            )
        })?;
        if !header.kind.is_payload() {
            return Ok(Verdict::Accept);
        }
        let here = self.spec.as_ref().filter(|(task, _)| *task >= stage.task);
        let Some((task, spec)) = here else {
            // Its sender has adopted a basis that is still on its way here.
            let near = self.plan.stage(self.current).is_none_or(|now| stage.task.0 <= now.task.0 + 1);
            return if near {
                Ok(Verdict::Wait)
            } else {
                Err((Fault::Round, format!("a frame of round {}, tasks ahead", header.round)))
            };
        };
        if *task == stage.task {
            if header.basis != self.basis {
                let (found, own) = (header.basis, self.basis);
                return Err((
                    Fault::Basis,
                    format!("a payload in basis {found:016x}; agents of this run have {own:016x}"),
                ));
            }
            spec.check(stage.leg, form(header.kind), body).map_err(|error| (Fault::Body, error.to_string()))?;
        }
        Ok(Verdict::Accept)
    }

    fn judge_basis(&self, header: &kith_protocol::Header, body: &Body) -> Result<Verdict, String> {
        if !self.plan.agrees_after(header.task) {
            return Err(format!("a basis of task {}, after which none is agreed on", header.task));
        }
        if header.kind == FrameKind::Basis && !self.adopted.contains(&header.task) {
            let growths = kith_method::decode_basis(&self.layout, body).map_err(|error| error.to_string())?;
            let now = self.plan.stage(self.current).map_or(header.task, |stage| stage.task);
            let fits = growths.iter().zip(&self.ranks).all(|(growth, rank)| growth.base_rank() == *rank);
            if header.task == now && !self.ranks.is_empty() && !fits {
                return Err(format!("a basis that does not continue the memory of ranks {:?}", self.ranks));
            }
        }
        Ok(Verdict::Accept)
    }
}

/// What to do with a frame that is good.
enum Verdict {
    Accept,
    /// It is of a task that has not begun here.
    Wait,
}

pub(crate) const fn form(kind: FrameKind) -> kith_method::PayloadForm {
    match kind {
        FrameKind::Absolute => kith_method::PayloadForm::Absolute,
        _ => kith_method::PayloadForm::Increment,
    }
}
