//! Datasets, task sequences, partitions over agents and batch order.

mod spec;

pub use spec::{Normalise, PartitionKind, Spec, SyntheticSpec, TaskKind, TasksSpec};
