//! The engine port and the native CPU engine.

mod port;

pub use port::{Chart, Engine, Geometry, MixingPlan, Point, Score, Slot, Visit};
