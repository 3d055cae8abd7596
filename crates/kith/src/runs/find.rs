//! Finds run directories: all below a folder, or one by a word.

use std::fs;
use std::path::{Path, PathBuf};

use super::RunsError;

/// Folders below a given one are searched this deep.
const DEPTH: usize = 8;

/// What makes a folder a run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// Its manifest: there is something to report.
    Manifest,
    /// Any file that a run begins with: one that failed early has no manifest.
    AnyFile,
}

impl Marker {
    fn marks(self, folder: &Path) -> bool {
        let names: &[&str] = match self {
            Self::Manifest => &["manifest.json"],
            Self::AnyFile => &["manifest.json", "experiment.resolved.toml"],
        };
        names.iter().any(|name| folder.join(name).is_file())
    }
}

/// The run directories at or below a folder, in order of their paths.
///
/// # Errors
/// A folder that cannot be listed.
pub fn below(root: &Path) -> Result<Vec<PathBuf>, RunsError> {
    marked(root, Marker::AnyFile)
}

/// The folders that are marked as runs, at or below a folder, in order of their paths.
pub(crate) fn marked(root: &Path, marker: Marker) -> Result<Vec<PathBuf>, RunsError> {
    let mut found = Vec::new();
    search(root, marker, DEPTH, &mut found)?;
    Ok(found)
}

fn search(folder: &Path, marker: Marker, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), RunsError> {
    if marker.marks(folder) {
        found.push(folder.to_owned());
        return Ok(());
    }
    let fail = |source| RunsError::Files { operation: "list", path: folder.to_owned(), source };
    let mut inner = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // Links are not followed: they may lead in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !entry.file_name().to_string_lossy().starts_with('.') {
            inner.push(entry.path());
        }
    }
    inner.sort();
    if depth > 0 {
        // A folder among others that may not be read holds no run for us.
        inner.iter().for_each(|folder| drop(search(folder, marker, depth - 1, found)));
    }
    Ok(())
}

/// The run that a word names: a run directory, or the start of a directory's name or of its hash, below `root`.
///
/// # Errors
/// No such run, and several.
pub fn named(word: &str, root: &Path) -> Result<PathBuf, RunsError> {
    let path = Path::new(word);
    if Marker::AnyFile.marks(path) {
        return Ok(path.to_owned());
    }
    let unknown = || RunsError::Unknown { word: word.to_owned(), root: root.to_owned() };
    let name_of = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let fits = |path: &PathBuf| {
        let name = name_of(path);
        // `20260131T235959Z-1a2b3c4d`: the hash comes after the time.
        name.starts_with(word) || name.split_once('-').is_some_and(|(_, hash)| hash.starts_with(word))
    };
    let mut fitting: Vec<PathBuf> = below(root).map_err(|_| unknown())?;
    fitting.retain(|path| !word.is_empty() && fits(path));
    match fitting.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(one.clone()),
        several => {
            let choices = several.iter().take(4).map(|path| path.display().to_string()).collect();
            Err(RunsError::Ambiguous { word: word.to_owned(), choices })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_its_path_its_name_and_its_hash() {
        let root = tempfile::tempdir().expect("there is room");
        for name in ["a/20260131T235959Z-1a2b3c4d", "a/20260131T235959Z-1a2b9999", "b/5e6f", "b/.5e6f"] {
            fs::create_dir_all(root.path().join(name)).expect("it can be made");
            fs::write(root.path().join(name).join("manifest.json"), "{}").expect("it can be written");
        }
        let find = |word: &str| named(word, root.path());
        assert_eq!(below(root.path()).expect("it can be listed").len(), 3);
        let second = root.path().join("a/20260131T235959Z-1a2b9999");
        assert_eq!(find("1a2b9").expect("one fits"), second);
        assert_eq!(find(&second.display().to_string()).expect("it is a path"), second);
        assert_eq!(find("5e").expect("one fits"), root.path().join("b/5e6f"));
        assert!(matches!(find("1a2b"), Err(RunsError::Ambiguous { choices, .. }) if choices.len() == 2));
        assert!(matches!(find("7"), Err(RunsError::Unknown { .. })));
        assert!(matches!(find(""), Err(RunsError::Unknown { .. })));
    }
}
