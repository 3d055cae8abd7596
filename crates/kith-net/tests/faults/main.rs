//! What happens when peers lie, die, come back or cannot be reached.

mod children;
#[path = "../../../kith-sim/tests/common/mod.rs"]
#[allow(dead_code, reason = "the simulator's tests use more of it")]
mod common;
mod cuts;
mod liars;
mod raw;
mod returns;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod support;
