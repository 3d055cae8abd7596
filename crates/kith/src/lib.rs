//! kith: configuration, composition, run directory, tables, figures and command line.
//!
//! [`config`] turns a file into resolved arms, [`compose`] an arm into a run, [`run`] runs all arms and leaves a run
//! directory, and [`cli`] is what a user types.

pub mod cli;
pub mod compose;
pub mod config;
pub mod run;
pub mod summary;
mod table;
pub mod weights;
