//! Packets that are no good: counted, told once for each peer and kind, and too many of them end the acquaintance.

use std::collections::BTreeMap;

use libp2p::PeerId;

/// A peer that sent so many bad packets is spoken to no more.
const MOST: u64 = 100;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Its bytes are no packet, or announce more than any packet has.
    Malformed,
    /// It is not for this peer to say that now.
    Unknown,
    /// What the peer says of itself does not fit.
    Hello,
    /// The state that it handed over is not of this run.
    State,
    /// It is of another run.
    Run,
    /// Its sender or receiver is not who it may be.
    Agent,
    /// Its round is far off, or not of its task.
    Round,
    /// Its coefficients are in another basis.
    Basis,
    /// Its body has a wrong length or numbers that are none.
    Body,
}

/// What follows from a bad packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sentence {
    /// Nobody need know again.
    Count,
    /// The first of its kind from this peer.
    Tell,
    /// One too many.
    Drop,
    /// It came after that, before the connection closed.
    Again,
}

/// How many bad packets came from whom.
#[derive(Debug, Default)]
pub(crate) struct Faults(BTreeMap<PeerId, BTreeMap<Fault, u64>>);

impl Faults {
    pub(crate) fn count(&mut self, peer: PeerId, fault: Fault) -> Sentence {
        let kinds = self.0.entry(peer).or_default();
        let count = kinds.entry(fault).or_default();
        *count += 1;
        let first = *count == 1;
        match kinds.values().sum::<u64>() {
            MOST => Sentence::Drop,
            sum if sum > MOST => Sentence::Again,
            _ if first => Sentence::Tell,
            _ => Sentence::Count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_a_kind_and_the_hundredth_ends_it() {
        let (mut faults, peer) = (Faults::default(), PeerId::random());
        assert_eq!(faults.count(peer, Fault::Body), Sentence::Tell);
        assert_eq!(faults.count(peer, Fault::Body), Sentence::Count);
        assert_eq!(faults.count(peer, Fault::Round), Sentence::Tell);
        let last = (3..100).map(|_| faults.count(peer, Fault::Body)).last();
        assert_eq!(last, Some(Sentence::Drop));
        assert_eq!(faults.count(peer, Fault::Round), Sentence::Again);
        assert_eq!(faults.count(PeerId::random(), Fault::Body), Sentence::Tell);
    }
}
