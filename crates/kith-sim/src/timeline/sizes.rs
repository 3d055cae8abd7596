//! How long payload bodies are, as the arithmetic says.

use kith_core::{Leg, Tape, TapeError};
use kith_engine::Engine;
use kith_method::{Cohort, WholeCopy};
use kith_protocol::FrameKind;

/// Bytes of the bodies of a task's payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodySizes {
    /// As they are, and had they been whole: where agents compute and exchange, and where they only exchange.
    legs: [(u64, u64); 2],
    /// Absolute payloads, where their length is their own.
    copy: Option<WholeCopy>,
}

impl BodySizes {
    /// Those of the task under way.
    #[must_use]
    pub fn of<E: Engine>(cohort: &Cohort<E>) -> Self {
        let legs = [Leg::Both, Leg::Exchange].map(|leg| cohort.payload_bytes(leg));
        Self { legs, copy: cohort.whole_copy() }
    }

    /// Bytes of a whole row.
    pub(super) fn whole(&self) -> u64 {
        self.legs[1].1
    }

    /// Bytes of a payload, and had it been whole. `before` is how many rounds the sender's copy has grown in.
    pub(super) fn payload(&self, kind: FrameKind, leg: Leg, before: u64) -> (u64, u64) {
        let (bytes, full) = self.legs[usize::from(!leg.computes())];
        match self.copy {
            Some(copy) if kind == FrameKind::Absolute && before >= copy.after => (copy.bytes, full),
            _ => (bytes, full),
        }
    }

    /// Carries everything over a tape.
    pub(crate) fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        let Self { legs, copy } = self;
        legs.iter_mut().try_for_each(|(bytes, full)| {
            tape.number(bytes)?;
            tape.number(full)
        })?;
        tape.option("lengths of whole copies", copy, |tape, WholeCopy { bytes, after }| {
            tape.number(bytes)?;
            tape.number(after)
        })
    }
}
