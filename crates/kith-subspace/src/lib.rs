//! Gradient projection memory: which input directions of a layer past tasks need, and which are free.
//!
//! A layer with weight `W: [C_out, d]` sees inputs in a `d`-dimensional space. Its [`LayerMemory`] holds an orthonormal
//! basis `M: d × r` of the directions that past tasks used (the core space), with an importance λ ∈ [0, 1] each. The
//! complement, spanned by `O: d × (d − r)`, is the residual space, in which weights may move without changing what past
//! tasks compute.
//!
//! | step | function | source |
//! |---|---|---|
//! | representation → what to add | [`LayerMemory::propose`] | GPM (Saha, Garg, Roy, 2021), SGP (Saha, Roy, 2023) |
//! | agreement of all agents on the same bits | [`Growth::to_bytes`], [`Growth::rounded`] | CoDeC (Choudhary et al., 2024): one agent computes, all adopt |
//! | the memory of one more task | [`LayerMemory::grow`] | |
//! | where weights may move | [`LayerMemory::free_space`] | CoDeC: coefficients on `O`, for SGP also on columns with λ < 1 |
//!
//! Everything is computed in `f64` on one thread and handed out in `f32`.
//!
//! *Architecture invariant:* no files, no clock, no randomness, no thread pool; nothing here knows of agents or frames.

mod coefficients;
mod energy;
mod error;
mod growth;
mod linalg;
mod memory;
mod spectrum;

pub use coefficients::{encode, lift};
pub use error::SubspaceError;
pub use growth::Growth;
pub use memory::{FreeSpace, LayerMemory, Rule};
