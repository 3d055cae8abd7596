//! Faults: what strikes an agent when it begins a round, and how it comes back.

use kith_core::{AgentId, Round, TaskId};
use kith_protocol::{Agent, HEADER_LEN, Input};

use super::{Event, Timeline};
use crate::FaultKind;

impl Timeline {
    /// Carries out the faults that are due when `agent` begins `round`.
    pub(super) fn strike(&mut self, agent: AgentId, round: Round) {
        for index in 0..self.settings.faults.len() {
            if self.fired[index] || self.settings.faults[index].round > round.0 {
                continue;
            }
            let fault = self.settings.faults[index].clone();
            let struck = AgentId(fault.agent);
            let peer = fault.peer.map_or(struck, AgentId);
            match fault.kind {
                FaultKind::Crash if struck == agent => self.crash(agent, round),
                FaultKind::Restart
                    if !self.alive[struck.index()]
                        && self.first_living(struck) == Some(agent)
                        && self.can_join(round) =>
                {
                    self.rejoin(struck, agent);
                }
                FaultKind::Straggler if struck == agent => {
                    self.slowness[agent.index()] = fault.factor.unwrap_or(1.0);
                }
                FaultKind::LinkDown if struck.min(peer) == agent => {
                    self.links.cut(struck, peer);
                    self.handle(struck, Input::LinkDown(peer));
                    self.handle(peer, Input::LinkDown(struck));
                }
                FaultKind::LinkUp if struck.min(peer) == agent => self.mend(struck, peer),
                _ => continue,
            }
            self.fired[index] = true;
            self.struck.entry(round).or_default().push((fault, self.now));
        }
    }

    fn first_living(&self, of: AgentId) -> Option<AgentId> {
        self.neighbours[of.index()].iter().copied().find(|peer| self.alive[peer.index()])
    }

    pub(super) fn mend(&mut self, one: AgentId, other: AgentId) {
        self.links.mend(one, other);
        self.handle(one, Input::LinkUp(other));
        self.handle(other, Input::LinkUp(one));
    }

    /// The first round that no agent has begun, nor waits to begin.
    fn ahead(&self) -> Round {
        self.standing.last_key_value().map_or(Round(0), |(round, _)| round.next())
    }

    /// An agent comes back within a task only: between tasks it would miss the basis that the others wait for.
    fn can_join(&self, round: Round) -> bool {
        let plan = &self.settings.plan;
        let (now, then) = (plan.stage(round), plan.stage(self.ahead()));
        now.zip(then).is_some_and(|(now, then)| now.task == then.task || !plan.agrees_after(now.task))
    }

    pub(super) fn crash(&mut self, agent: AgentId, round: Round) {
        self.alive[agent.index()] = false;
        self.moved(round, None);
        for peer in self.neighbours[agent.index()].clone() {
            self.handle(peer, Input::LinkDown(agent));
        }
    }

    /// Brings an agent back with a neighbour's row, at a round that nobody has begun.
    fn rejoin(&mut self, agent: AgentId, source: AgentId) {
        let ahead = self.ahead();
        self.alive[agent.index()] = true;
        self.back_since[agent.index()] = ahead;
        *self.standing.entry(ahead).or_default() += 1;
        self.joins.entry(ahead).or_default().push((agent, source));
        let memory: u64 = self.basis_len.values().sum();
        let bytes = self.sizes.whole() + memory + HEADER_LEN as u64;
        let task = self.settings.plan.stage(ahead).map_or(TaskId(0), |stage| stage.task);
        self.traffic.resync(source, task, bytes);
        let arrival = self.links.carry_reliably(self.now, source, agent, bytes);
        let config = self.agents[agent.index()].config().clone();
        self.agents[agent.index()] = Agent::rejoining(config, ahead);
        for peer in self.neighbours[agent.index()].clone() {
            if self.alive[peer.index()] {
                self.handle(peer, Input::Rejoined(agent, ahead));
            } else {
                self.handle(agent, Input::LinkDown(peer));
            }
        }
        self.push(arrival, Event::Start(agent, ahead));
    }
}
