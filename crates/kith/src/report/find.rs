//! Finds run directories.

use std::fs;
use std::path::{Path, PathBuf};

use super::ReportError;
use crate::runs::{self, Marker};

/// The run directories that these paths name or hold, each once, in order of their names.
///
/// # Errors
/// A path that does not exist or holds no run.
pub(super) fn directories(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReportError> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        let path = if path.file_name().is_some_and(|name| name == "manifest.json") {
            path.parent().unwrap_or(Path::new("."))
        } else {
            path
        };
        // An empty path is where a lone `manifest.json` lies.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        if let Err(source) = fs::metadata(path) {
            return Err(ReportError::Read { path: path.to_owned(), source });
        }
        // A folder that may not be read holds no run for us.
        found.extend(runs::marked(path, Marker::Manifest).unwrap_or_default());
        if found.len() == before {
            return Err(ReportError::NoRun { path: path.to_owned() });
        }
    }
    let mut unique: Vec<(PathBuf, PathBuf)> =
        found.into_iter().map(|path| (path.canonicalize().unwrap_or_else(|_| path.clone()), path)).collect();
    unique.sort();
    unique.dedup_by(|one, other| one.0 == other.0);
    Ok(unique.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_below_a_folder_and_each_once() {
        let root = tempfile::tempdir().expect("there is room");
        for name in ["sweep/b", "sweep/a", "sweep/.hidden", "sweep/a/inner"] {
            fs::create_dir_all(root.path().join(name)).expect("it can be made");
            fs::write(root.path().join(name).join("manifest.json"), "{}").expect("it can be written");
        }
        let at = |name: &str| root.path().join(name);
        let found = directories(&[at("sweep"), at("sweep/a"), at("sweep/a/manifest.json")]).expect("runs are there");
        assert_eq!(found, [at("sweep/a"), at("sweep/b")]);
        let empty = at("empty");
        fs::create_dir(&empty).expect("it can be made");
        assert!(matches!(directories(&[empty]), Err(ReportError::NoRun { .. })));
        assert!(matches!(directories(&[at("gone")]), Err(ReportError::Read { .. })));
    }
}
