//! What the compute thread is asked for, and what becomes of it.

use std::time::Instant;

use kith_core::{AgentId, Round, TaskId};
use kith_protocol::{Agent, Input, Neighbour};
use kith_run::Row;

use super::Driver;
use crate::bodies::Bodies;
use crate::body::Body;
use crate::compute::{Arrived, Done, Job, sends};

impl Driver<'_> {
    pub(super) fn ask(&mut self, job: Job) {
        self.busy = self.jobs.send(job).is_ok();
        // Whoever did the arithmetic is gone.
        self.stopping |= !self.busy;
    }

    /// Hands out what can be worked on.
    pub(super) fn schedule(&mut self) {
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
            if self.hand_over() || self.settles_its_affairs() || self.awaits_a_return() {
                return;
            }
            self.asked.clear();
            let outside = |(&from, neighbours): (&AgentId, &Vec<Neighbour>)| {
                let to = neighbours.iter().filter(|one| self.sides.hosts.contains_key(&one.id) && sends(one.way));
                to.map(|one| (from, one.id)).collect::<Vec<_>>()
            };
            let edges = self.sides.around.iter().flat_map(outside).collect();
            self.ask(Job::Compute { round: self.current, agents: self.agents.keys().copied().collect(), edges });
        }
    }

    /// Whether a process that is to be killed before this round waits until its neighbours have all that it sent. In the simulator what
    /// is on its way arrives.
    fn settles_its_affairs(&self) -> bool {
        self.crash.is_some_and(|crash| self.current >= crash)
            && self.task_ended.elapsed() < self.deadline
            && !self.agents.values().all(Agent::is_settled)
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
        rows.iter_mut().for_each(|row| self.collect(row, &mut bodies));
        // Earlier rounds first: increments add up in order.
        bodies.sort_by_key(|arrived: &Arrived| (arrived.round, arrived.from, arrived.to));
        self.ask(Job::Exchange { round: self.current, rows, bodies });
    }

    /// Takes what an agent mixes out of the inbox. A peer that announces one round after the other and settles none can push
    /// bodies out of it; what is not there any more is not mixed, as if it had never come.
    fn collect(&mut self, row: &mut Row, bodies: &mut Vec<Arrived>) {
        let (agent, current) = (row.agent, self.current);
        let mut here = |from: AgentId, round: Round| {
            let arrived = self.inbox.take(from, agent, round);
            let is_here = arrived.is_some() || !self.sides.hosts.contains_key(&from);
            bodies.extend(arrived);
            is_here
        };
        row.late.retain(|late| here(late.peer, late.round));
        let missing: Vec<AgentId> = row.fresh.iter().copied().filter(|peer| !here(*peer, current)).collect();
        row.fresh.retain(|peer| !missing.contains(peer));
        row.opened.retain(|peer| !missing.contains(peer));
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

    pub(super) fn done(&mut self, done: Done) {
        // Behind an offer there is local work, or at least the word that it is done.
        self.busy = matches!(done, Done::Offered { .. });
        match done {
            Done::Offered { bodies, spec, bytes, basis, basis_spec } => {
                let task = self.plan.stage(self.current).map_or(TaskId(0), |stage| stage.task);
                self.spec = Some((task, spec));
                (self.bytes, self.basis) = (bytes, basis);
                if let Some(spec) = basis_spec {
                    self.basis_spec = Some((task, *spec));
                }
                self.keep(bodies);
                let agents: Vec<AgentId> = self.agents.keys().copied().collect();
                agents.into_iter().for_each(|agent| self.handle(agent, Input::Computed));
                self.judge_held();
            }
            Done::Computed => self.computed = true,
            Done::Exchanged => {
                self.current = self.current.next();
                self.computed = false;
                self.task_ended = Instant::now();
                if let Some(stage) = self.plan.stage(self.current) {
                    self.board.reached(self.current, stage.task);
                }
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
            Done::HandedOver { body } => self.handed_over(body),
            Done::Joined { fits } => self.read_state(fits),
            Done::Stopped | Done::Failed => self.stopping = true,
        }
    }

    /// Keeps a round's bodies beside those that may be sent again. An acknowledgement can be lost and the exchange settle all the
    /// same, so that the agent is asked and not the frames.
    fn keep(&mut self, bodies: Bodies) {
        for ((from, to), body) in bodies {
            let again = self.agents.get(&from).and_then(|agent| agent.unacknowledged(to));
            let kept = self.outgoing.entry((from, to)).or_default();
            kept.retain(|round, _| Some(*round) == again);
            kept.insert(self.current, body);
        }
    }
}
