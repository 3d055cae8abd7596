//! The agent as a sans-io state machine, and its frames.
//!
//! *Architecture invariant:* nothing here reads a clock, draws a random number, opens a socket or touches a parameter.
//! A driver feeds [`Agent::handle`] what happened and carries out what comes back; the simulator and the runtime are two
//! drivers of the same value.

mod agent;
mod edge;
mod frame;
mod hello;
mod plan;

pub use agent::{Agent, Config, Input, Neighbour, Output, Peer};
pub use edge::Late;
pub use frame::{
    FrameError, FrameKind, HEADER_LEN, Header, MAX_BODY_LEN, PROTOCOL_VERSION, decode_header, encode_header,
};
pub use hello::{Hello, HelloError, MAX_HELLO_LEN};
pub use plan::{Plan, RoundKind, Stage};

/// A point in a driver's time, in nanoseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// This much later.
    #[must_use]
    pub const fn after(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }
}
