//! The burn engine: the cohort as a tensor axis, for GPUs.
//!
//! Everything per agent is a row of a tensor `[agents, row length]`, minibatches are `[agents, batch, …]`, and one kernel launch
//! serves all agents of a chunk. Which steps there are, how values lie and what dropout draws comes from [`kith_engine::plan`],
//! as in the native engine; the way back is written out step by step. Backends are cargo features (`wgpu`, `cuda`, and `flex`,
//! which is the reference in tests). Without any, nothing is here but [`Backend`], which says what is missing.

mod backend;
#[cfg(feature = "engine")]
mod engine;
mod error;

pub use backend::{Backend, Opened};
#[cfg(feature = "engine")]
pub use engine::{BurnBlock, BurnEngine, BurnVisit, Limits};
pub use error::BurnError;
