//! The discrete-event driver: virtual clock, links, faults, checkers.

mod outcome;
mod spec;

pub use outcome::{Observer, Outcome, Phase, Progress};
pub use spec::{Fault, FaultKind, LinkRule, LinkSpec, TrainSpec};
