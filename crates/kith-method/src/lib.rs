//! Oracles, gradient chains and exchanges, written once over the engine port.
//!
//! The way of a gradient: [`Cohort::train`] runs the chain (`chain.rs`) on the rows of each agent; [`Cohort::exchange`] mixes
//! payloads of neighbours (`exchange.rs`); at the end of a task [`Cohort::propose`] and [`Cohort::adopt`] grow the gradient
//! projection memory (`cohort.rs`), from which the next task's [`kith_engine::Geometry`] follows.
//!
//! *Architecture invariant:* no files, no clocks, no randomness, no sockets: drivers hand in data and seeds.

mod chain;
mod cohort;
mod error;
mod exchange;
mod spec;

pub use cohort::{Cohort, Setup};
pub use error::MethodError;
pub use exchange::{LateFlow, Mixing};
pub use spec::{Agreement, Exchange, ExchangeKind, Link, Memory, MemoryRule, Oracle, Parts, Payload, PerLayer, Preset};
