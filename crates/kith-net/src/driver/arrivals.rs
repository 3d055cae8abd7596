//! What comes from the network and from the compute thread.

use kith_core::AgentId;
use kith_protocol::{FrameKind, HEADER_LEN, Header, Input};
use libp2p::PeerId;

use super::judge::Verdict;
use super::{Driver, Event, Notice};
use crate::body::Body;
use crate::codec::Packet;
use crate::faults::{Fault, Sentence};
use crate::network::{Command, NetEvent};
use crate::{Link, NetError};

impl Driver<'_> {
    pub(super) fn event(&mut self, event: Event) -> Result<(), NetError> {
        match event {
            Event::Done(done) => self.done(done),
            Event::NetworkFailed(error) => return Err(error),
            Event::Net(NetEvent::Listening(address)) => (self.tell)(Notice::Listening(address.to_string())),
            Event::Net(NetEvent::Up(peer)) => {
                if let Some(process) = self.sides.processes.get_mut(&peer) {
                    process.up = true;
                    let under_way = self.started.then_some(self.current);
                    let hello = self.hello.clone().knowing(under_way, process.instance);
                    let _ = self.commands.try_send(Command::Send(peer, Packet::Hello(hello)));
                }
            }
            Event::Net(NetEvent::Down(peer)) => self.gone(peer),
            Event::Net(NetEvent::Malformed(peer, reason)) => self.bad(peer, Fault::Malformed, reason),
            Event::Net(NetEvent::Packet(peer, packet)) => match packet {
                Packet::Hello(hello) => self.greet(peer, &hello),
                Packet::Frame { from, to, header, body } => self.frame(peer, from, to, header, body),
                Packet::Malformed(reason) => self.bad(peer, Fault::Malformed, reason),
                Packet::UnderWay(round) => self.under_way(peer, round),
                Packet::Ask(task) => self.asked_for_state(peer, task),
                Packet::State { round, body } => self.state(peer, round, body),
                Packet::Joins(round) => self.joins(peer, round),
                Packet::Bye => {
                    if let Some(process) = self.sides.processes.get_mut(&peer) {
                        process.left = true;
                    }
                    self.gone(peer);
                    self.board.link(peer, Link::Left);
                }
            },
        }
        Ok(())
    }

    /// Something bad came from a peer.
    pub(super) fn bad(&mut self, peer: PeerId, fault: Fault, reason: String) {
        let Some(process) = self.sides.processes.get(&peer) else { return };
        let notice = Notice::Bad(process.agents.clone(), fault, reason);
        self.count(peer, fault, notice);
    }

    /// Counts a fault. The first of its kind from a peer is told; one too many, and nobody speaks to it any more.
    pub(super) fn count(&mut self, peer: PeerId, fault: Fault, notice: Notice) {
        self.board.bad(peer, fault);
        match self.faults.count(peer, fault) {
            Sentence::Count => {}
            Sentence::Tell => (self.tell)(notice),
            Sentence::Again => {
                let _ = self.commands.try_send(Command::Drop(peer));
            }
            Sentence::Drop => {
                let _ = self.commands.try_send(Command::Drop(peer));
                let agents = self.sides.processes.get(&peer).map(|process| process.agents.clone());
                self.gone(peer);
                self.board.link(peer, Link::Dropped);
                (self.tell)(Notice::Dropped(agents.unwrap_or_default()));
            }
        }
    }

    /// Frames that could not be judged when they came.
    pub(super) fn judge_held(&mut self) {
        for (peer, from, to, header, body) in self.inbox.held() {
            self.frame(peer, from, to, header, body);
        }
    }

    pub(super) fn frame(&mut self, peer: PeerId, from: AgentId, to: AgentId, header: Header, body: Body) {
        if self.cut.contains(&(to, from)) {
            return;
        }
        match self.judge(peer, from, to, &header, &body) {
            Err((fault, reason)) => self.bad(peer, fault, reason),
            Ok(Verdict::Wait) => self.inbox.hold(peer, from, to, header, body),
            Ok(Verdict::Accept) => {
                let Header { kind, round, task, next, .. } = header;
                let bytes = (HEADER_LEN + body.len()) as u64;
                self.board.heard(peer, kind.is_payload().then_some(round), bytes);
                match kind {
                    FrameKind::Payload | FrameKind::Absolute => {
                        let agent = self.agents.get(&to).filter(|agent| agent.wants(from, round));
                        match agent.map(|agent| agent.round()) {
                            Some(current) => self.inbox.put(from, to, current, (round, kind, body)),
                            None => self.board.repeated(peer),
                        }
                    }
                    FrameKind::Basis => {
                        self.bases.entry(task).or_insert(body);
                    }
                    FrameKind::Ack | FrameKind::Decline => {
                        // Who is killed after this, and back before the round is over, needs the round's body once more.
                        if let Some(kept) = self.outgoing.get_mut(&(to, from)).filter(|_| round != self.current) {
                            kept.remove(&round);
                        }
                    }
                    FrameKind::BasisAck => {}
                }
                self.handle(to, Input::Received { from, kind, round, task, next });
            }
        }
    }
}
