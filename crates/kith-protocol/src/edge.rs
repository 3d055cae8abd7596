//! One edge as one of its ends sees it: numbered exchanges, at most one of them unsettled.
//!
//! The exchange of round k over an edge is a pair of payloads. Each end applies the flow `γ w (theirs − mine)` exactly once,
//! in the round itself or later, or neither end does. Hence the sum over both ends does not change, whatever the link loses.
//! An end opens a new exchange only after the last one is settled: its own payload acknowledged, the other's in hand. Until
//! then the edge sits out; the frame is sent again, and the flow is applied late.

use kith_core::{AgentId, Round};

use crate::{Peer, Time};

/// A flow to apply after its round: the exchange of `round` with `peer`, settled only now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Late {
    /// The other end.
    pub peer: AgentId,
    /// The round whose payloads are meant, on both sides.
    pub round: Round,
}

/// An exchange that this end has opened and that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) round: Round,
    pub(crate) mine_acked: bool,
    pub(crate) theirs_received: bool,
    pub(crate) send_again: Time,
    pub(crate) absolute: Absolute,
}

/// Whether a payload is a difference to what the receiver holds, or the public row itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absolute {
    Yes,
    No,
}

impl Open {
    pub(crate) const fn settled(&self) -> bool {
        self.mine_acked && self.theirs_received
    }
}

/// What to do with a payload that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It completes the open exchange.
    Completes,
    /// Kept for a round that this end has not reached.
    Kept,
    /// Known already.
    Duplicate,
    /// Of a round that this end sat out.
    SatOut,
    /// One for a round to come is kept already: it is sent again.
    Busy,
}

/// One edge as one of its ends sees it.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) peer: AgentId,
    pub(crate) up: bool,
    pub(crate) open: Option<Open>,
    /// A payload for a round that this end has not opened yet.
    pub(crate) early: Option<Round>,
    /// The first round at which the other end will exchange.
    pub(crate) peer_next: Round,
    /// All rounds before this are done with on this edge: settled, declined or sat out.
    pub(crate) done_before: Round,
    /// The round exchanged last, if no round was sat out since: differences need an unbroken row of them.
    pub(crate) unbroken_since: Option<Round>,
    /// The basis of this task is on its way to the peer, to be sent again at this time.
    pub(crate) basis: Option<(kith_core::TaskId, Time)>,
}

impl Edge {
    pub(crate) fn new(peer: AgentId) -> Self {
        Self {
            peer,
            up: true,
            open: None,
            early: None,
            peer_next: Round(0),
            done_before: Round(0),
            unbroken_since: None,
            basis: None,
        }
    }

    /// Forgets all that was under way, as after a restart of the other end, which joins at `round`.
    pub(crate) fn reset(&mut self, round: Round) {
        *self = Self { peer_next: round, done_before: round, ..Self::new(self.peer) };
    }

    /// Whether this end can open the exchange of `round` now.
    pub(crate) fn can_open(&self, round: Round) -> bool {
        self.up && self.open.is_none() && self.peer_next <= round && self.done_before <= round
    }

    /// Opens the exchange of `round`; the peer's payload may be here already.
    pub(crate) fn open(&mut self, round: Round, send_again: Time) -> Open {
        let theirs_received = self.early.take_if(|early| *early == round).is_some();
        let follows = round.0 > 0 && self.unbroken_since == Some(Round(round.0 - 1));
        let absolute = if follows { Absolute::No } else { Absolute::Yes };
        let open = Open { round, mine_acked: false, theirs_received, send_again, absolute };
        self.open = Some(open);
        open
    }

    /// Whether the other end has sent for a round to come: where only it sends, it has sat out those before.
    pub(crate) fn is_ahead(&self, round: Round) -> bool {
        self.early.is_some_and(|early| early > round)
    }

    /// The payload that was kept for `round`, if the round is over without it: the link went down in between.
    pub(crate) fn take_missed(&mut self, round: Round) -> Option<Round> {
        let missed = self.early.take_if(|early| *early <= round)?;
        self.done_before = self.done_before.max(missed.next());
        Some(missed)
    }

    /// Closes the open exchange if it is settled; the round it was of.
    pub(crate) fn settle(&mut self) -> Option<Round> {
        let open = self.open.take_if(|open| open.settled())?;
        self.done_before = open.round.next();
        self.unbroken_since = Some(open.round);
        Some(open.round)
    }

    /// A payload of `round` arrived while this end stands in round `current`, or earlier. What comes one way is taken in whenever it
    /// comes: its sender has given it away, and does not ask for what this end did in that round.
    pub(crate) fn receive(&mut self, round: Round, current: Round, way: Peer) -> Verdict {
        let one_way = way == Peer::Source;
        if one_way && self.early.is_some_and(|early| early < round) {
            return Verdict::Busy;
        }
        if let Some(open) = &mut self.open {
            if open.round == round {
                let first = !open.theirs_received;
                open.theirs_received = true;
                return if first { Verdict::Completes } else { Verdict::Duplicate };
            }
            if round > open.round {
                // The peer opens a new exchange only when the old one is settled, or when it sat the old one out.
                let old = open.round;
                open.mine_acked = true;
                if self.settle().is_none() {
                    self.declined(old, round);
                }
            }
        }
        if round < self.done_before {
            return Verdict::Duplicate;
        }
        if one_way && round < current {
            self.done_before = round.next();
            return Verdict::Completes;
        }
        if self.open.is_some() || round < current {
            return Verdict::SatOut;
        }
        let first = self.early != Some(round);
        self.early = Some(round);
        if first { Verdict::Kept } else { Verdict::Duplicate }
    }

    /// The peer has our payload of `round`, and will exchange again at `next`.
    pub(crate) fn acked(&mut self, round: Round, next: Round) {
        if let Some(open) = &mut self.open
            && open.round == round
        {
            open.mine_acked = true;
            self.peer_next = self.peer_next.max(next);
        }
    }

    /// The peer sat out `round`: the exchange never was.
    pub(crate) fn declined(&mut self, round: Round, next: Round) {
        self.peer_next = self.peer_next.max(next);
        if self.open.take_if(|open| open.round == round && !open.theirs_received).is_some() {
            self.done_before = round.next();
            self.unbroken_since = None;
        }
    }
}
