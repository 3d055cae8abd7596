//! What several of the programs here look at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every file below a folder with its bytes, but locks: they say who looked last.
pub(crate) fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in folder.read_dir().expect("it can be listed") {
        let path = entry.expect("it is there").path();
        if path.is_dir() {
            files.extend(content(&path));
        } else if path.file_name().is_none_or(|name| name != ".lock") {
            let bytes = std::fs::read(&path).expect("it can be read");
            files.insert(path, bytes);
        }
    }
    files
}
