//! What the agents' state machines are told and ask for.

use kith_core::{AgentId, Round, TaskId};
use kith_protocol::{FrameKind, HEADER_LEN, Input, Output, RoundKind};
use kith_run::Row;

use super::Driver;
use crate::body::Body;
use crate::codec::Packet;
use crate::network::Command;

impl Driver<'_> {
    pub(super) fn settle_local(&mut self) {
        while let Some((agent, input)) = self.local.pop_front() {
            let passes = match input {
                Input::Received { from, .. } => !self.cut.contains(&(agent, from)),
                _ => true,
            };
            if passes {
                self.handle(agent, input);
            }
        }
    }

    /// Cuts and mends an agent's links as planned, when it begins a round; those to an agent that is away from now on are down. Each
    /// end does so for itself.
    fn strike(&mut self, agent: AgentId, round: Round) {
        for neighbour in &self.sides.around[&agent] {
            let (peer, edge) = (neighbour.id, (agent, neighbour.id));
            if self.away.iter().any(|away| (away.agent, away.from) == (peer, round)) {
                self.local.push_back((agent, Input::LinkDown(peer)));
            }
            let is_cut = self.cuts.iter().any(|cut| cut.holds(agent, peer, round));
            let reached = self.sides.hosts.get(&peer).is_none_or(|host| self.sides.processes[host].greeted);
            if is_cut && self.cut.insert(edge) {
                self.local.push_back((agent, Input::LinkDown(peer)));
            } else if !is_cut && self.cut.remove(&edge) && reached {
                self.local.push_back((agent, Input::LinkUp(peer)));
            }
        }
    }

    pub(super) fn handle(&mut self, agent: AgentId, input: Input) {
        let now = self.now();
        let mut out = Vec::new();
        if let Some(machine) = self.agents.get_mut(&agent) {
            machine.handle(now, input, &mut out);
        }
        for output in out {
            match output {
                Output::Compute { round, .. } => {
                    self.strike(agent, round);
                    self.asked.insert(agent);
                }
                Output::Mix { round, fresh, opened, given, late } => {
                    self.rows.entry(round).or_default().push(Row { agent, fresh, opened, given, late });
                }
                Output::Send { to, kind, round, task, next } => self.send(agent, to, kind, round, task, next),
                Output::TaskEnd(_) | Output::Adopt(_) | Output::Done => {}
            }
        }
    }

    fn send(&mut self, from: AgentId, to: AgentId, kind: FrameKind, round: Round, task: TaskId, next: Round) {
        if self.cut.contains(&(from, to)) {
            return;
        }
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
            FrameKind::Ack | FrameKind::Decline | FrameKind::BasisAck => Some(Body::default()),
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
        self.traffic().sent(from, to, task, kind, round, training, bytes, full);
        self.board.sent(peer, bytes);
        // A queue that is full loses the frame, and the agent sends it again.
        let _ = self.commands.try_send(Command::Send(peer, Packet::Frame { from, to, header, body }));
    }
}
