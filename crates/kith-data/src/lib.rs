//! Datasets, task sequences, partitions over agents and batch order.
//!
//! [`load`] turns a `[data]` table into a [`Scenario`]: tasks, each with a training set, a test set and one shard an
//! agent. [`BatchOrder`] says which samples each agent sees at each step.
//!
//! *Architecture invariant:* everything random is drawn from [`kith_core::Seeds`] or from a seed in the table, and what a
//! file claims about its size is checked against the file before memory is taken for it.

mod augment;
mod batch;
mod catalog;
mod cifar;
mod digits;
mod download;
mod draw;
mod error;
mod fetch;
mod folder;
mod idx;
mod image;
mod mersenne;
mod own;
mod partition;
mod png_file;
mod pool;
mod quadratic;
mod samples;
mod scenario;
mod spec;
mod stage;
mod synthetic;
mod view;

pub use augment::AugmentSpec;
pub use batch::{BatchOrder, representation_indices};
pub use catalog::{DatasetInfo, DatasetName, Place, SearchPath, available};
pub use download::{Checksum, Progress};
pub use error::{Attempt, DataError, RowProblem};
pub use fetch::{FetchFile, FetchPlan, Fetched, fetch, plan};
pub use image::{Dataset, ImageSet, Pixels, Scaling};
pub use pool::Pool;
pub use quadratic::{Objective, QuadraticCase, Quadratics};
pub use samples::TaskSamples;
pub use scenario::{Scenario, TaskData, label_histogram, load};
pub use spec::{Normalise, PartitionKind, Spec, SyntheticSpec, TaskKind, TaskOrder, TasksSpec};
pub use stage::Recall;
