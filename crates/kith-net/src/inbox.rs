//! Payloads that arrived and are not mixed yet, and frames of a task that has not begun here. Both are bounded.

use std::collections::BTreeMap;

use kith_core::{AgentId, Round};
use kith_protocol::{FrameKind, Header};
use libp2p::PeerId;

use crate::body::Body;
use crate::compute::Arrived;
use crate::driver::form;

/// An edge has at most one open exchange and one payload for later.
const PER_EDGE: usize = 4;
/// Frames of an edge that cannot be judged yet; others are sent again.
const HELD_PER_EDGE: usize = 4;

/// A frame as it came.
pub(crate) type Held = (PeerId, AgentId, AgentId, Header, Body);

/// See the module.
#[derive(Default)]
pub(crate) struct Inbox {
    bodies: BTreeMap<(AgentId, AgentId), BTreeMap<Round, (FrameKind, Body)>>,
    held: Vec<Held>,
}

impl Inbox {
    /// Keeps a payload that its agent, who is in round `current`, is about to take in. Of rounds to come only the last that
    /// came is taken in, so that no other is kept.
    pub(crate) fn put(&mut self, from: AgentId, to: AgentId, current: Round, payload: (Round, FrameKind, Body)) {
        let edge = self.bodies.entry((from, to)).or_default();
        let (round, kind, body) = payload;
        if round > current {
            edge.retain(|kept, _| *kept <= current);
        }
        edge.insert(round, (kind, body));
        while edge.len() > PER_EDGE {
            edge.pop_first();
        }
    }

    /// Takes the payload of a round out.
    pub(crate) fn take(&mut self, from: AgentId, to: AgentId, round: Round) -> Option<Arrived> {
        let edge = self.bodies.get_mut(&(from, to))?;
        let (kind, body) = edge.remove(&round)?;
        Some(Arrived { from, to, round, form: form(kind), body })
    }

    pub(crate) fn hold(&mut self, peer: PeerId, from: AgentId, to: AgentId, header: Header, body: Body) {
        let same = |held: &&Held| (held.1, held.2) == (from, to);
        if self.held.iter().filter(same).count() < HELD_PER_EDGE {
            self.held.push((peer, from, to, header, body));
        }
    }

    /// Frames that were held, in the order in which they came.
    pub(crate) fn held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }
}
