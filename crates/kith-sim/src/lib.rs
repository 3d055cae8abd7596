//! The discrete-event driver: virtual clock, links, faults, checkers.
//!
//! *Architecture invariant:* time is virtual, randomness comes from labelled streams, and what a run computes depends on
//! neither the number of threads nor the machine's clock.

mod check;
mod link;
mod resume;
mod run;
mod spec;
mod timeline;

pub use check::CheckError;
pub use kith_run::{
    Moment, Observer, Outcome, Phase, Progress, RoundPlan, Row, RunError, Sent, StartFrom, Traffic, TrainSpec, Work,
};
pub use link::Links;
pub use run::{Checked, Experiment, SimError, resume, run};
pub use spec::{Fault, FaultKind, LinkRule, LinkSpec};
pub use timeline::{BodySizes, Settings, Step, Timeline};
