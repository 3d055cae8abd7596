//! Oracles, gradient chains and exchanges, written once over the engine port.

mod spec;

pub use spec::{Agreement, Exchange, ExchangeKind, Link, Memory, MemoryRule, Oracle, Parts, Payload, PerLayer, Preset};
