//! What two processes tell each other before the first frame.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use kith_core::{AgentId, Digest, Round};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{FrameError, PROTOCOL_VERSION};

/// Longest encoded hello.
pub const MAX_HELLO_LEN: usize = 1 << 16;

const CODEC: Configuration<LittleEndian, Fixint, Limit<MAX_HELLO_LEN>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<MAX_HELLO_LEN>();

/// Who a process is and what it is about to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u16,
    /// Hash of the experiment.
    run: [u8; 32],
    /// Tells one start of a process from the next.
    pub instance: u64,
    /// Where its arithmetic runs.
    pub engine: String,
    /// The agents that it hosts, ascending.
    pub agents: Vec<AgentId>,
    /// The round at which they begin: 0, or a checkpoint's.
    pub begins: Round,
    /// The round that the sender's agents are in, once they have begun.
    pub under_way: Option<Round>,
    /// The start of the receiver's process that the sender runs with, as far as it knows. Another one has no part in the run yet.
    pub knows: Option<u64>,
}

/// Why two processes cannot run together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// Versions differ.
    #[error("the peer speaks protocol version {found}, this is version {expected}")]
    Version {
        /// Ours.
        expected: u16,
        /// The peer's.
        found: u16,
    },
    /// Experiments differ.
    #[error("the peer runs experiment {found}, this is {expected}; files, --set and seeds must be the same everywhere")]
    Run {
        /// Ours.
        expected: Digest,
        /// The peer's.
        found: Digest,
    },
    /// Engines differ.
    #[error("the peer computes with engine `{found}`, this is `{expected}`")]
    Engine {
        /// Ours.
        expected: String,
        /// The peer's.
        found: String,
    },
    /// It hosts others than it should.
    #[error("the peer hosts agents {found:?}, but {expected:?} were expected of it")]
    Agents {
        /// As we know it.
        expected: Vec<u32>,
        /// As it says.
        found: Vec<u32>,
    },
}

impl Hello {
    /// The hello of this version.
    #[must_use]
    pub fn new(run: Digest, instance: u64, engine: String, agents: Vec<AgentId>) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            run: run.0,
            instance,
            engine,
            agents,
            begins: Round(0),
            under_way: None,
            knows: None,
        }
    }

    /// The hello of a process whose agents begin at this round.
    #[must_use]
    pub fn beginning(self, begins: Round) -> Self {
        Self { begins, ..self }
    }

    /// The hello to a process of which this start is known, by one that is in this round, or has not begun.
    #[must_use]
    pub fn knowing(self, under_way: Option<Round>, knows: Option<u64>) -> Self {
        Self { under_way, knows, ..self }
    }

    /// Whether the run goes on at the sender's without the process that says `own`.
    #[must_use]
    pub fn goes_on_without(&self, own: &Self) -> bool {
        self.under_way.is_some() && self.knows != Some(own.instance)
    }

    /// Whether a peer that says `other` can run with us; `expected` are the agents that we think it hosts.
    ///
    /// # Errors
    /// The first difference, with both values.
    pub fn check(&self, other: &Self, expected: &[AgentId]) -> Result<(), HelloError> {
        if self.version != other.version {
            return Err(HelloError::Version { expected: self.version, found: other.version });
        }
        if self.run != other.run {
            return Err(HelloError::Run { expected: Digest(self.run), found: Digest(other.run) });
        }
        if self.engine != other.engine {
            return Err(HelloError::Engine { expected: self.engine.clone(), found: other.engine.clone() });
        }
        if expected != other.agents {
            let ids = |agents: &[AgentId]| agents.iter().map(|agent| agent.0).collect();
            return Err(HelloError::Agents { expected: ids(expected), found: ids(&other.agents) });
        }
        Ok(())
    }

    /// Writes a hello.
    ///
    /// # Errors
    /// More than [`MAX_HELLO_LEN`] bytes.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let bytes = bincode::serde::encode_to_vec(self, CODEC);
        let bytes = bytes.map_err(|error| FrameError::Malformed { found: 0, reason: error.to_string() })?;
        match u32::try_from(bytes.len()) {
            Ok(length) if bytes.len() > MAX_HELLO_LEN => Err(FrameError::TooLong { found: length }),
            _ => Ok(bytes),
        }
    }

    /// Reads a hello.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let read = bincode::serde::decode_from_slice(bytes, CODEC);
        let (hello, _) =
            read.map_err(|error| FrameError::Malformed { found: bytes.len(), reason: error.to_string() })?;
        Ok(hello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hello_comes_back_and_every_difference_is_named_with_both_values() {
        let hello = Hello::new(Digest::of(b"one"), 1, "cpu".to_owned(), vec![AgentId(1), AgentId(2)]);
        let running = hello.clone().knowing(Some(Round(7)), Some(3));
        assert!(running.goes_on_without(&hello) && !hello.goes_on_without(&running));
        assert!(!hello.clone().knowing(Some(Round(7)), Some(1)).goes_on_without(&hello));
        let bytes = hello.encode().expect("it encodes");
        assert_eq!(Hello::decode(&bytes).expect("it decodes"), hello);
        assert_eq!(hello.check(&hello, &[AgentId(1), AgentId(2)]), Ok(()));
        let other = Hello { run: Digest::of(b"two").0, ..hello.clone() };
        let (expected, found) = (Digest::of(b"one"), Digest::of(b"two"));
        assert_eq!(hello.check(&other, &hello.agents), Err(HelloError::Run { expected, found }));
        let other = Hello { engine: "wgpu".to_owned(), ..hello.clone() };
        let message = hello.check(&other, &hello.agents).expect_err("engines differ").to_string();
        assert!(message.contains("`wgpu`") && message.contains("`cpu`"), "{message}");
        let found = hello.check(&hello, &[AgentId(1)]);
        assert_eq!(found, Err(HelloError::Agents { expected: vec![1], found: vec![1, 2] }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Hello::decode(&bytes);
        }
    }
}
