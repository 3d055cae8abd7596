//! Configuration in three stages: as written, merged, resolved.
//!
//! A file and the flags are read into tables that remember where each value stands (`written`); flags and arms
//! are laid over the base; presets are expanded and every rule is checked (`resolve`). After that nothing
//! about options can fail but what needs the data ([`check_against_data`]).

mod de;
mod expect;
mod hash;
mod merge;
mod network;
mod render;
mod resolve;
mod resolved;
mod rules;
mod schema;
mod spans;
mod start;
mod sweep;
mod topology;
mod written;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use expect::{Bounds, Expectations, Verdict, judge};
pub use network::{NetworkFamily, NetworkSpec, SpecHead};
pub use render::Diagnostic;
pub(crate) use render::closest;
pub(crate) use resolve::preset_name;
pub use resolved::{CheckpointSpec, ChecksSpec, Experiment, LogFormat, OutputSpec, ResolvedArm};
pub use rules::{DataProblem, DataShape, check_against_data};
pub use schema::json_schema;
pub(crate) use sweep::describe;
pub use sweep::{Filter, PlannedRun, Setting, SweepPlan, load_sweep, parse_sweep};
pub use written::{FileExpectations, Overrides};

use render::{Problem, Source};
use spans::{Node, Origin, Value};
use written::Written;

/// Why an experiment cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file or a flag says what cannot be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Invalid(Vec<Diagnostic>),
    /// The resolved form cannot be written as TOML.
    #[error("cannot write the resolved experiment: {0}")]
    Write(#[source] toml::ser::Error),
    /// The resolved form cannot be hashed.
    #[error("cannot hash the resolved experiment: {0}")]
    Hash(#[source] serde_json::Error),
}

impl ConfigError {
    fn one(diagnostic: Diagnostic) -> Self {
        Self::Invalid(vec![diagnostic])
    }

    /// With a line on the setting that a sweep chose.
    fn noted(mut self, setting: &str) -> Self {
        if let Self::Invalid(diagnostics) = &mut self
            && !setting.is_empty()
        {
            diagnostics.iter_mut().for_each(|diagnostic| diagnostic.note(format!("in the sweep's {setting}")));
        }
        self
    }
}

/// An experiment and where its values were written.
pub struct Loaded {
    /// The experiment.
    pub experiment: Experiment,
    located: Located,
}

/// Where the values of each arm were written.
pub(crate) struct Located {
    written: Written,
    trees: Vec<(String, Node)>,
}

/// Reads and resolves an experiment file.
///
/// # Errors
/// A file that cannot be read, and every rule that it breaks.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    finish(Written::read(path, overrides)?, overrides, folder)
}

/// As [`load`], from a text; `name` stands for the file in messages.
///
/// # Errors
/// Every rule that it breaks.
pub fn parse(name: &str, text: &str, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let source = Source { name: name.to_owned(), text: text.to_owned() };
    finish(Written::parse(source, overrides)?, overrides, Path::new(""))
}

fn finish(written: Written, overrides: &Overrides, folder: &Path) -> Result<Loaded, ConfigError> {
    sweep::check_shape(&written)?;
    let (experiment, located) = resolve::resolve(written, &overrides.arms, folder)?;
    Ok(Loaded { experiment, located })
}

impl Loaded {
    /// What became of the file's `[expect]`.
    #[must_use]
    pub fn file_expectations(&self) -> FileExpectations {
        self.located.written.expectations
    }

    /// Whether the file has a `[sweep]`, which only [`load_sweep`] looks into.
    #[must_use]
    pub fn has_sweep(&self) -> bool {
        self.located.written.sweep.is_some()
    }

    /// A problem that showed only with the data, with the line of the key that it names.
    #[must_use]
    pub fn explain(&self, arm: &str, problem: &DataProblem) -> Diagnostic {
        let DataProblem { path, message, accepted } = problem.clone();
        self.located.diagnostic(arm, Problem::new(path, message).accept(accepted))
    }
}

impl Located {
    /// The problem of an arm at its place: its key, the nearest table above it, or the arm's method.
    fn diagnostic(&self, arm: &str, problem: Problem) -> Diagnostic {
        let tree = self.trees.iter().find(|(name, _)| name == arm).map(|(_, tree)| tree);
        let path: Vec<String> = problem.path.split('.').map(str::to_owned).collect();
        let origin = tree.map_or(Origin::Default, |tree| match tree.origin_of(&path) {
            Origin::Default => tree.origin_of(&["method".to_owned()]),
            origin => origin,
        });
        let shown = (self.written.arms.len() > 1).then_some(arm);
        self.written.diagnostic(&origin, problem, shown)
    }
}

fn value_at<'a>(node: &'a Node, path: &[String]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| match &node.value {
        Value::Table(table) => table.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|place| items.get(place)),
        _ => None,
    })
}

/// Names of the datasets that `data.dataset` accepts.
#[must_use]
pub fn datasets() -> [&'static str; kith_data::DatasetName::ALL.len()] {
    kith_data::DatasetName::ALL.map(kith_data::DatasetName::as_str)
}
