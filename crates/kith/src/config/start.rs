//! `train.start_from`: the file is found and digested, so that the resolved form says what it held.

use std::path::Path;

use kith_core::Digest;
use kith_sim::StartFrom;

use super::render::Problem;

const KEY: &str = "train.start_from";

/// Makes the path absolute and fills in the digest; a digest that was given must be the file's.
pub(crate) fn resolve(start: &mut StartFrom, folder: &Path) -> Result<(), Problem> {
    let path = folder.join(&start.file);
    let failed = |error: std::io::Error| {
        Problem::new(KEY, format!("cannot read {}: {error}", path.display()))
            .accept("accepted: a safetensors file, its path relative to the experiment file")
    };
    let found = Digest::of(&std::fs::read(&path).map_err(failed)?);
    if let Some(expected) = start.sha256.filter(|expected| *expected != found) {
        let message = format!("{} is not the file that is meant: its SHA-256 is {found}", path.display());
        return Err(Problem::new(KEY, message).accept(format!("accepted: a file with SHA-256 {expected}")));
    }
    start.sha256 = Some(found);
    start.file = std::fs::canonicalize(&path).map_err(failed)?.display().to_string();
    Ok(())
}
