//! Communication graphs and mixing matrices.

mod spec;

pub use spec::{Family, Spec, Weights};
