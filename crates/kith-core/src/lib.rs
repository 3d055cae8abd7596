//! Names, seeds, schedules, network descriptions and metric events: what every kith crate shares.
//!
//! *Architecture invariant:* nothing here knows of a dataset, a graph, a device, a file or a clock.

mod digest;
mod event;
mod ids;
mod leg;
mod matrix;
mod network;
mod sample;
mod schedule;
mod seed;
mod tape;

pub use digest::{Digest, Digester};
pub use event::{Event, Key};
pub use ids::{AgentId, Round, TaskId};
pub use leg::Leg;
pub use matrix::Matrix;
pub use network::{Affine, Head, Layer, Layout, Network, NetworkError, Norm, Role, Shape, Tensor};
pub use sample::{Batches, Samples};
pub use schedule::{Clock, Moving, Position, Schedule, ScheduleError};
pub use seed::{Purpose, Seeds};
pub use tape::{Tape, TapeError};
