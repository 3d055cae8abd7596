//! kith: configuration, composition, run directory, tables, figures and command line.
//!
//! [`config`] turns a file into resolved arms, [`compose`] an arm into a run, [`run`] runs all arms and leaves a run
//! directory, [`processes`] a run in several processes, [`sweep`] many runs in processes of their own, [`runs`] reads run directories, [`report`] makes pages, tables and
//! pictures of them, and [`cli`] is what a user types.

pub mod cli;
pub mod compose;
pub mod config;
pub mod deploy;
pub mod device;
mod metric;
mod plot;
pub mod processes;
pub mod reference;
pub mod report;
pub mod run;
pub mod runs;
mod stats;
pub mod summary;
pub mod sweep;
mod table;
pub mod weights;
