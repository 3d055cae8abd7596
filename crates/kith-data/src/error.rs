//! What can go wrong with data.

use std::path::{Path, PathBuf};

/// A dataset, a task sequence or a partition that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or a folder could not be read or written.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what its format says.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A line of a table does not hold what its columns say.
    #[error(transparent)]
    Row(Box<RowProblem>),
    /// A dataset lies in none of the folders that were looked in.
    #[error("dataset {dataset} was not found; looked in:{}\nto get it: {how}", lines(looked))]
    Missing {
        /// The dataset.
        dataset: String,
        /// Every folder that was looked in, in order.
        looked: Vec<PathBuf>,
        /// Ways to get it.
        how: String,
    },
    /// A setting has a value that cannot be used.
    #[error("{key} = {found}: {accepted}")]
    Setting {
        /// The setting, as an experiment file writes it.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        accepted: String,
    },
    /// There are not enough samples to give every agent its share.
    #[error(
        "{task} has {samples} training samples for {needed} equal shares: use at most {samples} shares, a larger \
         data.limit or a smaller data.holdout"
    )]
    TooFewSamples {
        /// The task.
        task: String,
        /// Its training samples.
        samples: usize,
        /// How many non-empty shares were asked for.
        needed: usize,
    },
    /// The test set has no image of a task's classes.
    #[error("{task} has no test image: give its classes test images, or use fewer tasks")]
    NoTestSamples {
        /// The task.
        task: String,
    },
    /// No Dirichlet draw gave every agent of a group at least half of an equal share.
    #[error(
        "data.alpha = {alpha}: none of {tries} draws over {classes} classes gave each of {agents} agents at least half \
         of an equal share; use a larger alpha, fewer agents, or partition = \"shards\""
    )]
    Dirichlet {
        /// The concentration α.
        alpha: f64,
        /// Agents in the group.
        agents: usize,
        /// Classes that occur in the task.
        classes: usize,
        /// Draws that were tried.
        tries: u32,
    },
    /// No mirror gave a file.
    #[error("cannot fetch {file}:{}", tries(attempts))]
    Fetch {
        /// The file.
        file: String,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// A minibatch does not fit in a shard.
    #[error("a batch of {batch} does not fit in the smallest shard of {task}, {smallest} samples: use 1 to {smallest}")]
    Batch {
        /// The task.
        task: kith_core::TaskId,
        /// The batch size that was asked for.
        batch: usize,
        /// Samples in the smallest shard.
        smallest: usize,
    },
}

/// What is wrong with a line of a table.
#[derive(Debug, thiserror::Error)]
#[error("{}, line {line}{}: expected {expected}, found {found}", path.display(), in_column(column))]
pub struct RowProblem {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The column; empty where the line as a whole is meant.
    pub column: String,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

/// One try to fetch a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The address.
    pub url: String,
    /// Why it gave no good file.
    pub reason: String,
}

fn tries(attempts: &[Attempt]) -> String {
    attempts.iter().map(|attempt| format!("\n  {}: {}", attempt.url, attempt.reason)).collect()
}

fn in_column(column: &str) -> String {
    if column.is_empty() { String::new() } else { format!(", column `{column}`") }
}

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("\n  {}", path.display())).collect()
}

impl DataError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    pub(crate) fn format(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }

    pub(crate) fn row(
        path: &Path,
        line: u64,
        column: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (path, column) = (path.to_owned(), column.to_owned());
        Self::Row(Box::new(RowProblem { path, line, column, expected: expected.into(), found: found.into() }))
    }

    pub(crate) fn setting(key: &'static str, found: impl ToString, accepted: impl Into<String>) -> Self {
        Self::Setting { key, found: found.to_string(), accepted: accepted.into() }
    }
}
