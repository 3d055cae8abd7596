//! What a process leaves for whoever puts the run together: `process.json`, and rows of its agents.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use kith_core::{AgentId, Digest, TaskId};
use kith_sim::Outcome;
use serde::{Deserialize, Serialize};

use crate::run::{RunDirectory, RunError};
use crate::summary::Measured;

/// The file of a [`ProcessFile`].
const NAME: &str = "process.json";
/// The folder of rows.
const ROWS: &str = "rows";

/// `process.json`: which agents a process hosts, and what it left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessFile {
    pub(crate) kith_version: String,
    /// SHA-256 of the experiment with this arm alone.
    pub(crate) experiment_hash: Digest,
    pub(crate) arm: String,
    /// The agents that it hosts, ascending.
    pub(crate) agents: Vec<AgentId>,
    /// None until its end.
    pub(crate) ended: Option<Ended>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// What was measured of its agents; means of bytes are over the agents of all processes.
    pub(crate) outcome: Outcome,
    pub(crate) measured: Measured,
}

impl ProcessFile {
    pub(crate) fn write(&self, directory: &RunDirectory) -> Result<(), RunError> {
        directory.write_json(NAME, self)
    }

    /// Reads the file of a process's folder; none where there is none.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(folder.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
        }
    }
}

/// When rows were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// After a task, before its memory update.
    After(TaskId),
    /// At the end, however the process came to it.
    AtEnd,
}

impl Taken {
    fn file(self, folder: &Path) -> PathBuf {
        folder.join(ROWS).join(match self {
            Self::After(task) => format!("task-{task}.f32"),
            Self::AtEnd => "end.f32".to_owned(),
        })
    }
}

/// Writes rows of a process's agents as they come, each file whole or not at all.
pub(crate) struct RowsWriter {
    folder: PathBuf,
    /// Rows of a file.
    agents: usize,
    open: Option<(Taken, usize, BufWriter<File>)>,
}

impl RowsWriter {
    pub(crate) const fn new(folder: PathBuf, agents: usize) -> Self {
        Self { folder, agents, open: None }
    }

    /// The next agent's row.
    pub(crate) fn row(&mut self, taken: Taken, row: &[f32]) -> Result<(), RunError> {
        let path = taken.file(&self.folder);
        self.try_row(taken, &path, row).map_err(|source| RunError::output("write", &path, source))
    }

    fn try_row(&mut self, taken: Taken, path: &Path, row: &[f32]) -> io::Result<()> {
        let partial = path.with_extension("partial");
        let (count, mut file) = match self.open.take() {
            Some((open, count, file)) if open == taken => (count, file),
            _ => {
                fs::create_dir_all(self.folder.join(ROWS))?;
                (0, BufWriter::with_capacity(1 << 16, File::create(&partial)?))
            }
        };
        for value in row {
            file.write_all(&value.to_le_bytes())?;
        }
        if count + 1 < self.agents {
            self.open = Some((taken, count + 1, file));
            return Ok(());
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(partial, path)
    }
}

/// Rows of `length` numbers that a process left of `agents`; none where it did not come so far.
pub(crate) fn read_rows(
    folder: &Path,
    taken: Taken,
    agents: usize,
    length: usize,
) -> Result<Option<Vec<Vec<f32>>>, RunError> {
    let path = taken.file(folder);
    let fail = |source| RunError::output("read", &path, source);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(fail)?,
    };
    if bytes.len() != agents * length * 4 {
        let found = format!("{} bytes, where {agents} rows of {length} numbers are expected", bytes.len());
        return Err(fail(io::Error::new(io::ErrorKind::InvalidData, found)));
    }
    let number = |bytes: &[u8]| bytes.try_into().map_or(f32::NAN, f32::from_le_bytes);
    let row = |bytes: &[u8]| bytes.chunks_exact(4).map(number).collect();
    Ok(Some(if length == 0 { vec![Vec::new(); agents] } else { bytes.chunks_exact(4 * length).map(row).collect() }))
}

/// Takes the rows away: they are as large as the models, and needed until the run is put together only.
pub(crate) fn forget_rows(folder: &Path) -> Result<(), RunError> {
    let path = folder.join(ROWS);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunError::output("remove", &path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back_once_all_of_them_are_written() {
        let folder = tempfile::tempdir().expect("there is room");
        let taken = Taken::After(TaskId(1));
        let mut writer = RowsWriter::new(folder.path().to_owned(), 2);
        writer.row(taken, &[1.0, -2.5, 3.0]).expect("it is written");
        assert!(matches!(read_rows(folder.path(), taken, 2, 3), Ok(None)));
        writer.row(taken, &[0.0, f32::MIN, 7.0]).expect("it is written");
        let rows = read_rows(folder.path(), taken, 2, 3).expect("it can be read");
        assert_eq!(rows, Some(vec![vec![1.0, -2.5, 3.0], vec![0.0, f32::MIN, 7.0]]));
        let wrong = read_rows(folder.path(), taken, 2, 4).expect_err("other rows").to_string();
        assert!(wrong.contains("24 bytes, where 2 rows of 4 numbers"), "{wrong}");
        forget_rows(folder.path()).expect("they can be removed");
        assert!(matches!(read_rows(folder.path(), taken, 2, 3), Ok(None)));
    }
}
