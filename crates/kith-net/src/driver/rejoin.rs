//! A process that was started anew while the run goes on: how it comes back, and what its neighbours do for it.
//!
//! It says hello as ever, and hears that the run is under way. It asks one neighbour, who names a round that it has not begun
//! itself and hands over rows and memory, unless the newcomer has state of its own of the same task. Then it tells all
//! neighbours at which round it joins. From there on the rule of an edge holds: both ends begin with nothing under way.

use std::time::Instant;

use kith_core::{AgentId, Round, TaskId};
use kith_protocol::{Agent, Input};
use libp2p::PeerId;

use super::sides::Process;
use super::{Driver, Notice};
use crate::absence::Away;
use crate::body::Body;
use crate::codec::Packet;
use crate::compute::Job;
use crate::faults::Fault;
use crate::network::Command;
use crate::{Link, NetError, Standing};

/// How far a process is on its way back.
pub(super) struct Coming {
    /// Whom it asked, and when.
    source: PeerId,
    since: Instant,
    /// The round at which it is to join, once the answer is there and is being read.
    round: Option<Round>,
}

impl Driver<'_> {
    fn say(&self, peer: PeerId, packet: Packet) {
        let _ = self.commands.try_send(Command::Send(peer, packet));
    }

    // --- those who stayed ---

    /// A process said hello that was started anew.
    pub(super) fn returns(&mut self, peer: PeerId, instance: u64) {
        if let Some(process) = self.sides.processes.get_mut(&peer) {
            process.returning = Some(instance);
            self.say(peer, Packet::UnderWay(self.current));
            self.meets(peer);
        }
    }

    /// Takes up with a neighbour that this process could not reach when it joined, and tells it. Only if it never met it: whom it knows
    /// from an earlier start comes back itself, and says when; until then what was under way with that start is not forgotten here.
    fn meets(&mut self, peer: PeerId) {
        let (Some(joined), Some(process)) = (self.joined, self.sides.processes.get(&peer)) else { return };
        if let Some(instance) = process.returning.filter(|_| process.under_way && process.instance.is_none()) {
            self.connect(peer, instance);
            self.say(peer, Packet::Joins(joined));
        }
    }

    pub(super) fn asked_for_state(&mut self, peer: PeerId, task: Option<TaskId>) {
        let returning = self.sides.processes.get(&peer).is_some_and(|process| process.returning.is_some());
        if !self.started || !returning {
            return self.bad(peer, Fault::Unknown, "a question for state from a peer that was not away".to_owned());
        }
        self.asks.insert(peer, task);
    }

    /// Answers a process that wants to come back; whether the compute thread is asked for what it takes. Before the local
    /// work of a round, of which the answer is the state; the next one, at which the other joins, nobody here has begun. Across
    /// the end of a task nobody can join: it would miss the basis. Whose return is planned joins at the round of the plan, and gets the
    /// state before that round.
    pub(super) fn hand_over(&mut self) -> bool {
        if let Some((peer, source)) = self.asks.keys().find_map(|peer| Some((*peer, self.due_to(*peer)?))) {
            self.asks.remove(&peer);
            return self.make_state(source, peer, self.current);
        }
        let (now, then) = (self.plan.stage(self.current), self.plan.stage(self.current.next()));
        let Some(task) = now.zip(then).filter(|(now, then)| now.task == then.task).map(|(now, _)| now.task) else {
            return false;
        };
        while let Some(peer) = self.asks.keys().copied().find(|peer| !self.is_planned(*peer)) {
            if self.asks.remove(&peer) == Some(Some(task)) {
                self.answer(peer, self.current.next(), Body::default());
                continue;
            }
            let Some(process) = self.sides.processes.get(&peer) else { continue };
            let neighbours =
                |agent: &&AgentId| self.sides.around[*agent].iter().any(|one| process.agents.contains(&one.id));
            let Some(&agent) = self.agents.keys().find(neighbours) else { continue };
            return self.make_state(agent, peer, self.current.next());
        }
        false
    }

    fn make_state(&mut self, agent: AgentId, peer: PeerId, joins: Round) -> bool {
        self.handing = Some((peer, joins));
        self.ask(Job::HandOver { agent, round: self.current });
        true
    }

    pub(super) fn handed_over(&mut self, body: Body) {
        if let Some((peer, joins)) = self.handing.take() {
            self.answer(peer, joins, body);
        }
    }

    /// The hosted agent whose rows this process is to get now, as planned.
    fn due_to(&self, peer: PeerId) -> Option<AgentId> {
        let process = self.sides.processes.get(&peer)?;
        let mut backs =
            self.away.iter().filter(|away| process.agents.contains(&away.agent)).filter_map(|away| away.back);
        let due = backs.find(|back| back.round == self.current && self.agents.contains_key(&back.source));
        due.map(|back| back.source)
    }

    /// Whether this process is to come back at a later round, as planned.
    fn is_planned(&self, peer: PeerId) -> bool {
        self.sides.processes.get(&peer).is_some_and(|process| self.is_expected(process))
    }

    /// Whether an agent of this process is away, and to come back.
    pub(super) fn is_expected(&self, process: &Process) -> bool {
        self.away.iter().any(|away| process.agents.contains(&away.agent) && away.is_expected(self.current))
    }

    /// Whether the round that comes next waits for an agent that is to be back in it and has not said that it joins. A process that
    /// never starts is waited for as long as at the beginning of a run.
    pub(super) fn awaits_a_return(&mut self) -> bool {
        let current = self.current;
        let due = |away: &&Away| away.back.is_some_and(|back| back.round == current);
        // The process that is to be killed may still be there.
        let missing = |away: &Away| {
            let neighbours = self.sides.hosts.contains_key(&away.agent);
            neighbours && !self.back.contains(&(away.agent, current))
        };
        if !self.away.iter().filter(due).any(missing) {
            self.awaited = None;
            return false;
        }
        self.awaited.get_or_insert_with(Instant::now).elapsed() <= self.start
    }

    fn answer(&mut self, peer: PeerId, round: Round, body: Body) {
        let task = self.plan.stage(self.current).map_or(TaskId(0), |stage| stage.task);
        if let Some(&agent) = self.agents.keys().next() {
            self.traffic().resync(agent, task, body.len() as u64);
        }
        self.board.sent(peer, body.len() as u64);
        self.say(peer, Packet::State { round, body });
    }

    /// A process joins at this round: with it, nothing is under way.
    pub(super) fn joins(&mut self, peer: PeerId, round: Round) {
        let Some(process) = self.sides.processes.get_mut(&peer) else { return };
        if process.greeted {
            return;
        }
        let Some(instance) = process.returning.filter(|_| self.started && self.plan.stage(round).is_some()) else {
            return self.bad(peer, Fault::Unknown, format!("a peer that was not away wants to join at round {round}"));
        };
        (process.instance, process.returning) = (Some(instance), None);
        (process.greeted, process.left) = (true, false);
        let others = process.agents.clone();
        self.back.extend(others.iter().map(|agent| (*agent, round)));
        self.board.link(peer, Link::Up);
        (self.tell)(Notice::Rejoined(others.clone(), round));
        for agent in self.agents.keys().copied().collect::<Vec<_>>() {
            for neighbour in self.sides.around[&agent].clone() {
                if others.contains(&neighbour.id) {
                    self.handle(agent, Input::Rejoined(neighbour.id, round));
                }
                if others.contains(&neighbour.id) && self.cut.contains(&(agent, neighbour.id)) {
                    self.handle(agent, Input::LinkDown(neighbour.id));
                }
            }
        }
        self.judge_held();
    }

    // --- the one who comes back ---

    /// A neighbour says that the run goes on without this process.
    pub(super) fn under_way(&mut self, peer: PeerId, round: Round) {
        if self.plan.stage(round).is_none() {
            return self.bad(
                peer,
                Fault::Round,
                format!("a run under way in round {round}, which this run does not have"),
            );
        }
        let Some(process) = self.sides.processes.get_mut(&peer) else { return };
        process.under_way = true;
        self.meets(peer);
    }

    /// Whether this process is on its way back into a run that is under way: goes on with it.
    pub(super) fn comes_back(&mut self) -> Result<bool, NetError> {
        let processes = &self.sides.processes;
        let mut knowing = processes.iter().filter(|(_, process)| process.under_way).peekable();
        if knowing.peek().is_none() {
            return Ok(false);
        }
        if knowing.clone().all(|(_, process)| process.left) {
            return Err(NetError::TooLate { agents: self.agents.keys().map(|agent| agent.0).collect() });
        }
        let helps = |peer: &PeerId| processes.get(peer).is_some_and(|one| one.under_way && one.greeted);
        // Everybody else is to hear of a planned return, so it begins with all connected; the answer then comes when it is due.
        let planned = self.returning.and_then(|away| away.back).filter(|_| self.is_awaited());
        if planned.is_some() && !self.sides.processes.iter().all(|(peer, one)| helps(peer) || self.is_away(one)) {
            return Ok(true);
        }
        if let Some(coming) = &self.coming {
            let waits = coming.round.is_some() || planned.is_some() || coming.since.elapsed() <= self.deadline;
            if waits && helps(&coming.source) {
                return Ok(true);
            }
        }
        // The next one after who gave no answer, or the first.
        let before = self.coming.take().map(|coming| coming.source);
        let source = planned.and_then(|back| self.sides.hosts.get(&back.source));
        let is_it = |peer: &PeerId| source.is_none_or(|source| source == peer);
        let able: Vec<PeerId> = processes.keys().copied().filter(|peer| helps(peer) && is_it(peer)).collect();
        let next =
            able.iter().copied().find(|peer| before.is_none_or(|before| *peer > before)).or(able.first().copied());
        if let Some(source) = next {
            // As planned, it takes a neighbour's rows, whatever it has itself.
            let resumed = self.resumed && planned.is_none();
            let own = resumed.then(|| self.plan.stage(self.current).map(|stage| stage.task)).flatten();
            self.say(source, Packet::Ask(own));
            self.coming = Some(Coming { source, since: Instant::now(), round: None });
        }
        Ok(true)
    }

    /// Whether the plan has this process back before the run ends.
    pub(crate) fn comes_back_in_time(&self) -> bool {
        self.returning.is_some_and(|away| away.back.is_some()) && !self.sides.processes.is_empty()
    }

    /// Whether this process may still come back as planned: it is not too late, or it stands ready.
    fn is_awaited(&self) -> bool {
        self.returning.is_some() && (self.began.elapsed() <= self.start || self.stands_ready())
    }

    /// Whether this process stands ready to come back as planned, having asked for what it takes: its round may be far off.
    pub(super) fn stands_ready(&self) -> bool {
        let source = self.coming.as_ref().and_then(|coming| self.sides.processes.get(&coming.source));
        self.returning.is_some() && source.is_some_and(|source| source.greeted)
    }

    /// Whether all agents of a process are away when this one comes back, as planned.
    fn is_away(&self, process: &Process) -> bool {
        let Some(back) = self.returning.and_then(|away| away.back) else { return false };
        let away = |agent: &AgentId| {
            let mut own = self.away.iter().filter(|away| away.agent == *agent);
            own.any(|away| away.from <= back.round && away.back.is_none_or(|other| other.round > back.round))
        };
        process.agents.iter().all(away)
    }

    /// The answer is there.
    pub(super) fn state(&mut self, peer: PeerId, round: Round, body: Body) {
        let asked = self.coming.as_mut().filter(|coming| coming.source == peer && coming.round.is_none());
        let Some(coming) = asked.filter(|_| !self.started) else {
            return self.bad(peer, Fault::State, "state that was not asked for".to_owned());
        };
        let Some(stage) = self.plan.stage(round) else {
            return self.bad(peer, Fault::State, format!("state for round {round}, which this run does not have"));
        };
        coming.round = Some(round);
        let own = self.plan.stage(self.current).map(|stage| stage.task);
        if !body.is_empty() {
            self.ask(Job::Join { task: stage.task, body });
        } else if self.resumed && own == Some(stage.task) {
            self.read_state(Ok(()));
        } else {
            self.read_state(Err("no state, though there is none of this task here".to_owned()));
        }
    }

    /// The state was read, and fits or not.
    pub(super) fn read_state(&mut self, fits: Result<(), String>) {
        let Some(Coming { source, round: Some(round), .. }) = self.coming.take() else { return };
        match fits {
            Ok(()) => self.join(round),
            Err(reason) => {
                if let Some(process) = self.sides.processes.get_mut(&source) {
                    process.under_way = false;
                }
                self.bad(source, Fault::State, reason);
            }
        }
    }

    fn join(&mut self, round: Round) {
        (self.current, self.joined) = (round, Some(round));
        self.start_at(round);
        let others: Vec<PeerId> = self.sides.processes.keys().copied().collect();
        for peer in others {
            let Some(process) = self.sides.processes.get_mut(&peer) else { continue };
            let agents = process.agents.clone();
            if process.greeted && process.under_way {
                self.say(peer, Packet::Joins(round));
                continue;
            }
            // It is gone, or comes back itself and says so when it joins.
            let instance = process.instance.take().filter(|_| std::mem::replace(&mut process.greeted, false));
            self.links(&agents, Input::LinkDown);
            if let Some(instance) = instance {
                self.returns(peer, instance);
            }
        }
        let agents: Vec<AgentId> = self.agents.keys().copied().collect();
        (self.tell)(Notice::Rejoined(agents.clone(), round));
        agents.into_iter().for_each(|agent| self.handle(agent, Input::Start(round)));
    }

    /// All agents stand before this round, with nothing under way.
    pub(super) fn start_at(&mut self, round: Round) {
        self.started = true;
        self.board.stands(Standing::Running);
        let Some(stage) = self.plan.stage(round) else { return };
        self.board.reached(round, stage.task);
        self.adopted.extend((0..stage.task.0).map(TaskId));
        if round > Round(0) {
            for agent in self.agents.values_mut() {
                *agent = follow(Agent::rejoining(agent.config().clone(), round), self.calendar.as_ref());
            }
        }
    }
}

/// The agent, going by the calendar where there is one.
pub(super) fn follow(agent: Agent, calendar: Option<&std::sync::Arc<dyn kith_core::Calendar>>) -> Agent {
    match calendar {
        Some(calendar) => agent.following(std::sync::Arc::clone(calendar)),
        None => agent,
    }
}
