//! One process at a time in a run directory.
//!
//! The lock is the system's, on the file `.lock`: it goes when its process does, however that ends, so that none is ever stale.
//! What the file says is for people: who has it, and since when.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{RunError, process};

const NAME: &str = ".lock";

/// Who works in a run directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process.
    pub pid: u32,
    /// Its host.
    pub host: String,
    /// Since when, UTC.
    pub since: String,
}

/// A held lock; free again when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Asks for the directory's lock, without waiting: none where another process has it ([`holder`]).
pub(crate) fn claim(directory: &Path) -> Result<Option<Lock>, RunError> {
    let path = directory.join(NAME);
    let fail = |operation, source| RunError::output(operation, &path, source);
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| fail("create", source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(source)) => return Err(fail("lock", source)),
    }
    let me = Owner { pid: std::process::id(), host: process::host(), since: process::now().1 };
    let text = serde_json::to_string(&me).map_err(|source| fail("write", source.into()))?;
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(|source| fail("write", source))?;
    Ok(Some(Lock { _file: file }))
}

/// Who holds the directory's lock now: `Some(None)` is somebody who has not said who.
pub(crate) fn holder(directory: &Path) -> Option<Option<Owner>> {
    let file = File::open(directory.join(NAME)).ok()?;
    // A shared lock tells without taking the file from anybody who reads it too.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| owner(directory))
}

fn owner(directory: &Path) -> Option<Owner> {
    serde_json::from_str(&std::fs::read_to_string(directory.join(NAME)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_owner_and_what_a_dead_one_left_does_not_hold() {
        let folder = tempfile::tempdir().expect("there is room");
        let stale = r#"{"pid":1,"host":"elsewhere","since":"2026-01-01T00:00:00Z"}, and a write that broke off"#;
        std::fs::write(folder.path().join(NAME), stale).expect("it can be written");
        assert_eq!(holder(folder.path()), None);
        let Ok(Some(lock)) = claim(folder.path()) else { panic!("nobody holds it") };
        assert!(matches!(claim(folder.path()), Ok(None)));
        let Some(Some(owner)) = holder(folder.path()) else { panic!("it is held, and by whom") };
        assert_eq!(owner.pid, std::process::id());
        drop(lock);
        assert!(matches!(claim(folder.path()), Ok(Some(_))));
    }
}
