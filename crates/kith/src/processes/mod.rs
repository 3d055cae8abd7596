//! Runs in real processes: what one process does for the agents that it hosts, and what puts many processes' results together.
//!
//! A process (`host`) leaves the files of a run directory for its own agents, `process.json` and the rows that its agents ended each
//! task with. `launch` starts processes on this machine and watches them; `gather` makes one run of what they left.
//!
//! *Architecture invariant:* nothing here computes what a round does. Numbers that no process knows alone (distances from the mean of
//! all agents, tests of that mean) are computed from the rows, by the same engine functions as in the simulator.

mod again;
mod child;
mod faults;
mod files;
mod gather;
mod host;
mod launch;
mod leavings;
mod lines;
mod means;
mod merge;
mod serve;
mod status;
mod stored;
mod supervise;
mod watch;

pub(crate) use again::{kept_state, states_of};
pub(crate) use child::{describe, last_words, share, stop_with_parent};
pub(crate) use faults::{StartedBy, refused};
pub(crate) use files::Ended;
pub(crate) use gather::{Gathered, LaunchError};
pub use host::{Hosting, Reports};
pub(crate) use host::{Resumed, Started, local, run_here};
pub(crate) use launch::{Launch, cohorts};
pub use launch::{Launching, ProcessError, Split, Transport};
pub(crate) use leavings::AllLeft;
pub use leavings::{Leavings, LeavingsError};
pub(crate) use serve::ask;
pub(crate) use status::ids;
pub use status::{Link, NeighbourStatus, Stage, Status};
pub use stored::{StoredError, stored};
