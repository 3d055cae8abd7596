//! Frames: a fixed-length header, then a body of raw little-endian `f32` or basis bytes.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use kith_core::{Round, TaskId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the wire protocol; a peer of another version is refused.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bytes of an encoded header, whatever its values.
pub const HEADER_LEN: usize = 2 + 4 + 8 + 8 + 4 + 8 + 8 + 4;

/// Longest body that a frame may announce: 1 GiB.
pub const MAX_BODY_LEN: u32 = 1 << 30;

const CODEC: Configuration<LittleEndian, Fixint, Limit<HEADER_LEN>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<HEADER_LEN>();

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameKind {
    /// Half of an exchange: the sender's payload for a round.
    Payload,
    /// As `Payload`, but the body is the public row itself and not a difference to what the receiver holds: the first of a
    /// task, and the first after a round that the edge sat out.
    Absolute,
    /// The payload of `round` arrived and counts; `next` is the first round at which the sender will exchange again.
    Ack,
    /// The sender sat out `round` on this edge and will exchange again at `next`.
    Decline,
    /// What the memory gained from `task`; passed on along the graph.
    Basis,
    /// The basis of `task` arrived.
    BasisAck,
}

impl FrameKind {
    /// Whether the body carries parameters.
    #[must_use]
    pub const fn is_payload(self) -> bool {
        matches!(self, Self::Payload | Self::Absolute)
    }
}

/// The head of a frame: a coefficient means nothing without its run, task and basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u16,
    /// What the frame is for.
    pub kind: FrameKind,
    /// Which run: the first bytes of the experiment's hash.
    pub run: u64,
    /// The round that the frame belongs to.
    pub round: Round,
    /// The task that the sender is learning.
    pub task: TaskId,
    /// Which basis the body's coefficients are in: the first bytes of the memory's digest.
    pub basis: u64,
    /// `Ack` and `Decline`: the first round at which the sender will exchange on this edge again.
    pub next: Round,
    /// Bytes of body that follow.
    pub body_len: u32,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Too few bytes, or values out of range.
    #[error("{found} bytes do not hold a frame header of {HEADER_LEN} bytes: {reason}")]
    Malformed {
        /// Bytes at hand.
        found: usize,
        /// What the decoder says.
        reason: String,
    },
    /// Another version of the protocol.
    #[error("the peer speaks protocol version {found}, this is version {PROTOCOL_VERSION}")]
    Version {
        /// The peer's.
        found: u16,
    },
    /// A body longer than any run can need.
    #[error("the frame announces a body of {found} bytes; at most {MAX_BODY_LEN} are accepted")]
    TooLong {
        /// What it announces.
        found: u32,
    },
}

/// Writes a header.
///
/// # Errors
/// None for any header that can be built; the codec's own error is passed on rather than assumed away.
pub fn encode_header(header: &Header) -> Result<[u8; HEADER_LEN], FrameError> {
    let mut bytes = [0; HEADER_LEN];
    let malformed = |reason: String| FrameError::Malformed { found: HEADER_LEN, reason };
    let written =
        bincode::serde::encode_into_slice(header, &mut bytes, CODEC).map_err(|error| malformed(error.to_string()))?;
    if written == HEADER_LEN { Ok(bytes) } else { Err(malformed(format!("{written} bytes were written"))) }
}

/// Reads a header from the first bytes of a frame.
///
/// # Errors
/// Too few bytes, values out of range, another protocol version, a body that is announced too long.
pub fn decode_header(bytes: &[u8]) -> Result<Header, FrameError> {
    let (header, _): (Header, usize) = bincode::serde::decode_from_slice(bytes, CODEC)
        .map_err(|error| FrameError::Malformed { found: bytes.len(), reason: error.to_string() })?;
    if header.version != PROTOCOL_VERSION {
        return Err(FrameError::Version { found: header.version });
    }
    if header.body_len > MAX_BODY_LEN {
        return Err(FrameError::TooLong { found: header.body_len });
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(kind: FrameKind, number: u64) -> Header {
        Header {
            version: PROTOCOL_VERSION,
            kind,
            run: number,
            round: Round(number),
            task: TaskId(3),
            basis: !number,
            next: Round(number / 2),
            body_len: 17,
        }
    }

    proptest! {
        #[test]
        fn every_header_has_the_computed_length_and_comes_back(number: u64, kind in 0_usize..6) {
            use FrameKind::{Absolute, Ack, Basis, BasisAck, Decline, Payload};
            let kind = [Payload, Absolute, Ack, Decline, Basis, BasisAck][kind];
            let header = header(kind, number);
            let bytes = encode_header(&header).expect("it encodes");
            prop_assert_eq!(bytes.len(), HEADER_LEN);
            prop_assert_eq!(decode_header(&bytes).expect("it decodes"), header);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let decoded = decode_header(&bytes);
            prop_assert!(decoded.is_err() || bytes.len() >= HEADER_LEN);
        }
    }

    #[test]
    fn another_version_and_a_body_too_long_are_refused() {
        let other = Header { version: 9, ..header(FrameKind::Payload, 1) };
        let bytes = encode_header(&other).expect("it encodes");
        assert_eq!(decode_header(&bytes), Err(FrameError::Version { found: 9 }));
        let long = Header { body_len: MAX_BODY_LEN + 1, ..header(FrameKind::Payload, 1) };
        let bytes = encode_header(&long).expect("it encodes");
        assert_eq!(decode_header(&bytes), Err(FrameError::TooLong { found: MAX_BODY_LEN + 1 }));
    }
}
