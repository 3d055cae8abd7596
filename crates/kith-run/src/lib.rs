//! The arithmetic of a run's rounds, for the agents that one process hosts.
//!
//! A driver says who computes, who mixes whose payload and whose memory grows ([`RoundPlan`]); [`Run`] does it. The simulator
//! and the runtime are two drivers of the same value.
//!
//! *Architecture invariant:* no clock, virtual or real, no links, no sockets, no files. What rounds compute depends on the round
//! plans alone.

mod observer;
mod outcome;
mod plan;
mod rates;
mod run;
mod spec;
mod state;
mod traffic;

pub use observer::{Observer, Phase, Progress};
pub use outcome::Outcome;
pub use plan::{RoundPlan, Row, neighbours, plan};
pub use run::{Run, RunError, Work, group, senders};
pub use spec::{StartFrom, TrainSpec};
pub use state::Moment;
pub use traffic::{Sent, Traffic};
