//! How processes stood when they last said so: from their directories.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::files::ProcessFile;
use super::status::{STATUS, Stage, Status};
use crate::run::holder;

/// Why a directory tells nothing of processes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoredError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no process.
    #[error(
        "{} holds no process; accepted: a run directory of kith launch or kith agent, or a folder of those (kith runs show has what kith \
         run left)", .path.display()
    )]
    None {
        /// The directory.
        path: PathBuf,
    },
}

/// Folders below a given one are searched this deep: a run directory, its processes, an arm, one process.
const DEPTH: usize = 3;

/// The directories of processes at or below a folder, in order of their agents.
pub(super) fn processes(root: &Path) -> Result<Vec<(PathBuf, ProcessFile)>, StoredError> {
    let mut found = Vec::new();
    search(root, DEPTH, &mut found)?;
    if found.is_empty() {
        return Err(StoredError::None { path: root.to_owned() });
    }
    found.sort_by(|one, other| (&one.1.arm, &one.1.agents).cmp(&(&other.1.arm, &other.1.agents)));
    Ok(found)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<(PathBuf, ProcessFile)>) -> Result<(), StoredError> {
    let fail = |source| StoredError::Read { path: folder.to_owned(), source };
    if let Some(file) = ProcessFile::read(folder).map_err(fail)? {
        found.push((folder.to_owned(), file));
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            search(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

/// How the processes of a run directory stand.
///
/// # Errors
/// A folder without processes, and files that cannot be read.
pub fn stored(root: &Path) -> Result<Vec<Status>, StoredError> {
    let read = |(folder, _): (PathBuf, ProcessFile)| {
        let path = folder.join(STATUS);
        let text = std::fs::read_to_string(&path);
        let status = text.and_then(|text| serde_json::from_str::<Status>(&text).map_err(io::Error::from));
        let mut status = status.map_err(|source| StoredError::Read { path, source })?;
        // Whoever lives holds the directory's lock.
        if matches!(status.stage, Stage::Starting | Stage::Running) && holder(&folder).is_none() {
            status.stage = Stage::Gone;
        }
        Ok(status)
    };
    processes(root)?.into_iter().map(read).collect()
}
