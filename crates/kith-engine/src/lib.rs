//! The engine port and the native CPU engine.

mod error;
mod initialise;
mod kernel;
mod native;
pub mod plan;
mod port;

pub use error::EngineError;
pub use initialise::initialise;
pub use native::{NativeBlock, NativeEngine, NativeVisit, Objective, Quadratic};
pub use port::{Chart, Draw, Engine, Features, Geometry, MixingPlan, Point, Score, Slot, Visit};
