//! Oracles, gradient chains and exchanges, written once over the engine port.
//!
//! The way of a gradient: [`Cohort::train`] runs oracle and chain (`train.rs`, `chain.rs`) on the rows of each agent; [`Cohort::exchange`] mixes
//! payloads of neighbours (`exchange/`); at the end of a task [`Cohort::propose`] and [`Cohort::adopt`] grow the gradient
//! projection memory (`cohort.rs`), from which the next task's [`kith_engine::Geometry`] follows.
//!
//! *Architecture invariant:* no files, no clocks, no randomness, no sockets: drivers hand in data and seeds.

mod chain;
mod cohort;
mod compress;
mod consolidate;
mod continual;
mod error;
mod exchange;
mod handover;
mod limits;
mod preset;
mod spec;
mod state;
mod train;

pub use chain::Rates;
pub use cohort::{Cohort, Setup};
pub use compress::{Bias, Compressor};
pub use continual::{Consolidation, Continual, Curriculum, Importance, Replay, Sharing};
pub use error::MethodError;
pub use exchange::{LateFlow, Mixing, PayloadError, PayloadForm, PayloadSpec, WholeCopy, decode_basis};
pub use handover::{BasisSpec, Handover};
pub use limits::Loss;
pub use spec::{
    Agreement, Buffer, Climb, ClimbNorm, Exchange, ExchangeKind, Feedback, Link, Memory, MemoryRule, Oracle, Order,
    Parts, Payload, PerLayer, Preset,
};
pub use train::Rehearsal;
