//! The run without its numbers: agents' state machines on a virtual clock, over links that delay, lose and fail.
//!
//! What an agent decides depends on when frames arrive, never on what they hold. So the timeline goes ahead of the
//! arithmetic and hands out one [`RoundPlan`] after another; a round is complete when every living agent has mixed it.

mod faults;
mod sizes;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use kith_core::{AgentId, Calendar, Digest, Digester, Leg, Round, TaskId};
use kith_protocol::{Agent, FrameKind, HEADER_LEN, Input, Output, Plan, RoundKind, Stage, Time};
use kith_run::{RoundPlan, Row, Traffic};

use crate::link::Links;
use crate::{Fault, FaultKind};

pub use sizes::BodySizes;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A round, complete.
    Round(RoundPlan),
    /// All agents wait for the task's basis, which this agent is to compute: answer with [`Timeline::basis_ready`].
    Basis(TaskId, AgentId),
    /// No agent is left, or all are done.
    Done,
}

/// Whether rounds that wait until nothing is under way are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Included,
    Excluded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Computed(AgentId),
    Deliver { to: AgentId, from: AgentId, kind: u8, round: Round, task: TaskId, next: Round, bytes: u64 },
    Wake(AgentId),
    Start(AgentId, Round),
}

const KINDS: [FrameKind; 6] = [
    FrameKind::Payload,
    FrameKind::Absolute,
    FrameKind::Ack,
    FrameKind::Decline,
    FrameKind::Basis,
    FrameKind::BasisAck,
];

/// What the timeline needs beside the machines.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rounds of the run.
    pub plan: Plan,
    /// Virtual nanoseconds of one training round's local steps.
    pub compute: u64,
    /// Who computes bases while it lives; then the next living agent.
    pub leader: AgentId,
    /// What goes wrong, in file order.
    pub faults: Vec<Fault>,
    /// Who does anything in which round, where that changes.
    pub calendar: Option<Arc<dyn Calendar>>,
    /// Bytes by which payload bodies of consensus rounds are longer than those of training rounds.
    pub consensus_more: u64,
}

/// The run without its numbers.
pub struct Timeline {
    settings: Settings,
    agents: Vec<Agent>,
    neighbours: Vec<Vec<AgentId>>,
    alive: Vec<bool>,
    slowness: Vec<f64>,
    woken: Vec<Option<Time>>,
    fired: Vec<bool>,
    links: Links,
    traffic: Traffic,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    now: Time,
    /// How many living agents stand in each round.
    standing: BTreeMap<Round, usize>,
    gathered: BTreeMap<Round, Vec<Row>>,
    joins: BTreeMap<Round, Vec<(AgentId, AgentId)>>,
    next: Round,
    waiting_since: Vec<Time>,
    waited: Vec<u64>,
    /// Nanoseconds that all agents together computed.
    computed: u64,
    /// Faults that struck, by the round that began.
    struck: BTreeMap<Round, Vec<(Fault, Time)>>,
    sizes: BodySizes,
    /// The round at which each agent came back last; 0 for those that were never gone.
    back_since: Vec<Round>,
    basis_len: BTreeMap<TaskId, u64>,
    trace: Digester,
}

impl Timeline {
    /// A timeline at its beginning; `agents` in id order.
    #[must_use]
    pub fn new(settings: Settings, agents: Vec<Agent>, neighbours: Vec<Vec<AgentId>>, links: Links) -> Self {
        let count = agents.len();
        let mut timeline = Self {
            fired: vec![false; settings.faults.len()],
            traffic: Traffic::new(count, settings.plan.train_rounds.len()),
            settings,
            agents,
            neighbours,
            alive: vec![true; count],
            slowness: vec![1.0; count],
            woken: vec![None; count],
            links,
            queue: BinaryHeap::new(),
            sequence: 0,
            now: Time(0),
            standing: BTreeMap::from([(Round(0), count)]),
            gathered: BTreeMap::new(),
            joins: BTreeMap::new(),
            next: Round(0),
            waiting_since: vec![Time(0); count],
            waited: vec![0; count],
            computed: 0,
            struck: BTreeMap::new(),
            sizes: BodySizes::default(),
            back_since: vec![Round(0); count],
            basis_len: BTreeMap::new(),
            trace: Digester::default(),
        };
        for agent in 0..count {
            timeline.push(Time(0), Event::Start(AgentId::from(agent), Round(0)));
        }
        timeline
    }

    /// From now on payload bodies have so many bytes.
    pub fn set_sizes(&mut self, sizes: BodySizes) {
        self.sizes = sizes;
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Bytes by agent, task and kind.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Living agents, ascending.
    pub fn living(&self) -> impl Iterator<Item = AgentId> {
        (0..self.alive.len()).filter(|&agent| self.alive[agent]).map(AgentId::from)
    }

    /// Exchanges that ended at a deadline without the neighbour's payload.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.agents.iter().map(Agent::missed).sum()
    }

    /// Share of the time that agents spent waiting for their neighbours, mean over agents.
    #[must_use]
    pub fn communication_share(&self) -> f64 {
        let waited: u64 = self.waited.iter().sum();
        let total = self.now.0 as f64 * self.agents.len() as f64;
        if total == 0.0 { 0.0 } else { waited as f64 / total }
    }

    /// Seconds that an agent computed, and waited for its neighbours, so far: means over agents.
    #[must_use]
    pub fn split_seconds(&self) -> [f64; 2] {
        let agents = self.agents.len() as f64 * 1e9;
        [self.computed as f64 / agents, self.waited.iter().sum::<u64>() as f64 / agents]
    }

    /// Faults that struck as agents began a round, with the time on the virtual clock.
    pub fn struck(&self, round: Round) -> impl Iterator<Item = &(Fault, Time)> {
        self.struck.get(&round).into_iter().flatten()
    }

    /// Digest of every decision so far: who mixed what when, not the numbers.
    #[must_use]
    pub fn trace_digest(&self) -> Digest {
        self.trace.clone().finish()
    }

    /// The basis of `task` is known and takes `bytes` on the wire: the leader spreads it.
    pub fn basis_ready(&mut self, task: TaskId, leader: AgentId, bytes: u64) {
        self.basis_len.insert(task, bytes);
        self.handle(leader, Input::BasisReady(task));
    }

    /// Goes on until there is something for the arithmetic to do.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(plan) = self.complete(Held::Excluded) {
                return Step::Round(plan);
            }
            let Some(Reverse((time, _, event))) = self.queue.pop() else {
                if let Some(step) = self.idle() {
                    return step;
                }
                continue;
            };
            self.now = self.now.max(time);
            match event {
                Event::Start(agent, round) => self.handle(agent, Input::Start(round)),
                Event::Computed(agent) => {
                    self.waiting_since[agent.index()] = self.now;
                    self.handle(agent, Input::Computed);
                }
                Event::Deliver { to, from, kind, round, task, next, bytes } => {
                    let kind = KINDS[usize::from(kind)];
                    let arrives = self.alive[to.index()] && self.links.is_up(from, to);
                    self.traffic.arrived(bytes, arrives);
                    if arrives {
                        self.handle(to, Input::Received { from, kind, round, task, next });
                    }
                }
                Event::Wake(agent) => {
                    self.woken[agent.index()] = None;
                    let due = self.agents[agent.index()].wake_at().is_some_and(|at| at <= self.now);
                    if due { self.handle(agent, Input::Wake) } else { self.arm(agent) }
                }
            }
        }
    }

    /// Nothing is under way: either all wait for a basis, or the run is over. Nothing to return if links came back.
    fn idle(&mut self) -> Option<Step> {
        let first = self.settings.leader.index();
        let order = (first..self.agents.len()).chain(0..first);
        let mut waiting = order.filter(|&agent| self.alive[agent] && self.agents[agent].awaits_basis());
        let Some(leader) = waiting.next().map(AgentId::from) else {
            return Some(self.complete(Held::Included).map_or(Step::Done, Step::Round));
        };
        if let Some(plan) = self.complete(Held::Included) {
            return Some(Step::Round(plan));
        }
        let unreached = self.unreached(leader);
        if !unreached.is_empty() {
            // No round begins while agents wait, so links that are to come back do so now; whom no basis can reach stops.
            let due = |(index, fault): (usize, &Fault)| fault.kind == FaultKind::LinkUp && !self.fired[index];
            let Some(index) = self.settings.faults.iter().enumerate().position(due) else {
                for agent in unreached {
                    self.crash(agent, self.agents[agent.index()].round());
                }
                return None;
            };
            self.fired[index] = true;
            let fault = self.settings.faults[index].clone();
            let next = self.agents[leader.index()].round();
            self.struck.entry(next).or_default().push((fault.clone(), self.now));
            self.mend(AgentId(fault.agent), AgentId(fault.peer.unwrap_or(fault.agent)));
            return None;
        }
        let ended = Round(self.agents[leader.index()].round().0.saturating_sub(1));
        let task = self.settings.plan.stage(ended).map_or(TaskId(0), |stage| stage.task);
        Some(Step::Basis(task, leader))
    }

    /// Living agents that nothing from `leader` can reach.
    fn unreached(&self, leader: AgentId) -> Vec<AgentId> {
        let mut reached = vec![false; self.agents.len()];
        let mut next = vec![leader];
        reached[leader.index()] = true;
        while let Some(agent) = next.pop() {
            for &peer in &self.neighbours[agent.index()] {
                if self.alive[peer.index()] && !reached[peer.index()] && self.links.is_up(agent, peer) {
                    reached[peer.index()] = true;
                    next.push(peer);
                }
            }
        }
        self.living().filter(|agent| !reached[agent.index()]).collect()
    }

    /// Whether a round's arithmetic waits until nothing is under way: after it rows change their meaning, or the run ends,
    /// and flows that settle late must be applied before.
    fn is_held(&self, round: Round) -> bool {
        let plan = &self.settings.plan;
        let ends = |stage: Stage| stage.last && plan.agrees_after(stage.task);
        plan.stage(round).is_some_and(ends) || plan.stage(round.next()).is_none()
    }

    fn complete(&mut self, held: Held) -> Option<RoundPlan> {
        let round = self.next;
        let stage = self.settings.plan.stage(round)?;
        let left = self.standing.range(..=round).next().is_some();
        if left || (held == Held::Excluded && self.is_held(round)) {
            return None;
        }
        let mut rows = self.gathered.remove(&round)?;
        rows.sort_by_key(|row| row.agent);
        if held == Held::Included {
            for row in &mut rows {
                row.late.extend(self.agents[row.agent.index()].take_late());
            }
        }
        self.next = round.next();
        let joins = self.joins.remove(&round).unwrap_or_default();
        let plan = RoundPlan { round, stage, rows, joins };
        self.record(&plan);
        Some(plan)
    }

    fn record(&mut self, plan: &RoundPlan) {
        self.trace.number(plan.round.0);
        self.trace.number(plan.rows.len() as u64);
        for row in &plan.rows {
            let whole = row.fresh.len() == self.neighbours[row.agent.index()].len() && row.late.is_empty();
            if !whole {
                self.trace.number(u64::from(row.agent.0) << 32 | row.fresh.len() as u64);
                row.fresh.iter().for_each(|peer| self.trace.number(u64::from(peer.0)));
                row.late.iter().for_each(|late| self.trace.number(u64::from(late.peer.0) << 32 | late.round.0));
            }
        }
        plan.joins.iter().for_each(|(agent, from)| self.trace.number(u64::from(agent.0) << 32 | u64::from(from.0)));
    }

    fn push(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, event)));
    }

    /// Sees to it that the agent is woken when it wants, with at most one event under way for each.
    fn arm(&mut self, agent: AgentId) {
        if let Some(at) = self.agents[agent.index()].wake_at()
            && self.woken[agent.index()].is_none_or(|armed| at < armed)
        {
            self.woken[agent.index()] = Some(at);
            self.push(at, Event::Wake(agent));
        }
    }

    fn handle(&mut self, agent: AgentId, input: Input) {
        if !self.alive[agent.index()] {
            return;
        }
        let mut out = Vec::new();
        self.agents[agent.index()].handle(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Compute { round, stage } => self.compute(agent, round, stage),
                Output::Send { to, kind, round, task, next } => self.send(agent, to, kind, round, task, next),
                Output::Mix { round, fresh, opened, given, late } => {
                    self.waited[agent.index()] += self.now.0 - self.waiting_since[agent.index()].0;
                    self.moved(round, Some(round.next()));
                    self.gathered.entry(round).or_default().push(Row { agent, fresh, opened, given, late });
                }
                Output::TaskEnd(_) | Output::Adopt(_) | Output::Done => {}
            }
        }
        if self.alive[agent.index()] {
            self.arm(agent);
        }
    }

    fn moved(&mut self, from: Round, to: Option<Round>) {
        if let Some(count) = self.standing.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.standing.remove(&from);
            }
        }
        if let Some(to) = to {
            *self.standing.entry(to).or_default() += 1;
        }
    }

    fn compute(&mut self, agent: AgentId, round: Round, stage: Stage) {
        self.strike(agent, round);
        if !self.alive[agent.index()] {
            return;
        }
        let calendar = self.settings.calendar.as_ref();
        let rests = calendar.is_some_and(|all| !all.takes_part(self.settings.plan.ordinal(round), agent));
        let work = match stage.kind {
            _ if rests => 0,
            RoundKind::Train if stage.leg.computes() => {
                (self.settings.compute as f64 * self.slowness[agent.index()]) as u64
            }
            RoundKind::Train | RoundKind::Consensus => 0,
        };
        self.computed += work;
        self.push(self.now.after(work), Event::Computed(agent));
    }

    fn send(&mut self, from: AgentId, to: AgentId, kind: FrameKind, round: Round, task: TaskId, next: Round) {
        let stage = self.settings.plan.stage(round);
        let consensus = stage.is_some_and(|stage| stage.kind == RoundKind::Consensus);
        let leg = stage.map_or(Leg::Both, |stage| stage.leg);
        let begun = self.settings.plan.first_round(task).max(self.back_since[from.index()]);
        let (payload, full) = self.sizes.payload(kind, leg, round.0.saturating_sub(begun.0));
        let more = if consensus { self.settings.consensus_more } else { 0 };
        let body = match kind {
            FrameKind::Payload | FrameKind::Absolute => payload + more,
            FrameKind::Basis => self.basis_len.get(&task).copied().unwrap_or(0),
            FrameKind::Ack | FrameKind::Decline | FrameKind::BasisAck => 0,
        };
        let header = HEADER_LEN as u64;
        let bytes = body + header;
        let training = stage.is_some() && !consensus;
        self.traffic.sent(from, to, task, kind, round, training, bytes, full + header);
        match self.links.carry(self.now, from, to, round, bytes) {
            Some(arrival) => {
                let kind = KINDS.iter().position(|known| *known == kind).unwrap_or(0) as u8;
                self.push(arrival, Event::Deliver { to, from, kind, round, task, next, bytes });
            }
            None => self.traffic.arrived(bytes, false),
        }
    }
}
