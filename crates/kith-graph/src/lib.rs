//! Communication graphs and mixing matrices.
//!
//! A [`Spec`] (a `[graph]` table, a file in `topologies/`, or a short form such as `torus:4x4`) is built into a
//! [`Graph`], and the graph with a rule for the weights into a [`Mixing`] matrix W.
//!
//! *Architecture invariants:* every graph here is connected (strongly, where directed) and simple; every W is doubly
//! stochastic, or column stochastic where out-degree weights say so; neighbours and the entries of a row ascend by agent id; nothing but the given streams is random.

mod build;
mod error;
mod family;
mod graph;
mod inspect;
mod meetings;
mod mixing;
mod random;
mod short;
mod spec;
mod spectral;
mod svg;
mod tree;

pub use error::GraphError;
pub use graph::Graph;
pub use inspect::{Degrees, Inspection, picture};
pub use meetings::{Meeting, Meetings};
pub use mixing::Mixing;
pub use spec::{Family, Sequence, Spec, Tree, Weights};
pub use svg::{Drawing, drawing, svg};
