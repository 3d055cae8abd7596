//! kith: configuration, composition, run directory, tables, figures and command line.

pub mod config;
pub mod summary;
