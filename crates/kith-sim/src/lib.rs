//! The discrete-event driver: virtual clock, links, faults, checkers.
//!
//! *Architecture invariant:* time is virtual, randomness comes from labelled streams, and what a run computes depends on
//! neither the number of threads nor the machine's clock.

mod check;
mod link;
mod outcome;
mod run;
mod spec;
mod timeline;
mod traffic;

pub use check::CheckError;
pub use link::Links;
pub use outcome::{Observer, Outcome, Phase, Progress};
pub use run::{Checked, Experiment, SimError, run};
pub use spec::{Fault, FaultKind, LinkRule, LinkSpec, TrainSpec};
pub use timeline::{RoundPlan, Row, Settings, Step, Timeline};
pub use traffic::{Sent, Traffic};
