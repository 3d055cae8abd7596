//! `digests.jsonl`: the digest of every agent's parameters after every round. Two runs are the same where these files are.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use kith_core::{AgentId, Digest, Round};
use serde::{Deserialize, Serialize};

use super::RunError;

pub(crate) const DIGESTS: &str = "digests.jsonl";

/// Whether digests are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoundDigests {
    /// After every round: slower.
    Yes,
    /// Not at all.
    #[default]
    No,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DigestLine {
    pub(crate) arm: String,
    pub(crate) round: Round,
    pub(crate) agent: AgentId,
    pub(crate) digest: Digest,
}

/// The file: lines ascend by round and agent within an arm.
pub(crate) struct DigestFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl DigestFile {
    /// A new file, where digests are wanted.
    pub(crate) fn create(directory: &Path, wanted: RoundDigests) -> Result<Option<Self>, RunError> {
        if wanted == RoundDigests::No {
            return Ok(None);
        }
        let path = directory.join(DIGESTS);
        let file = File::create(&path).map_err(|source| RunError::output("create", &path, source))?;
        Ok(Some(Self { path, file: BufWriter::new(file) }))
    }

    pub(crate) fn line(&mut self, arm: &str, round: Round, agent: AgentId, digest: Digest) -> Result<(), RunError> {
        let line = DigestLine { arm: arm.to_owned(), round, agent, digest };
        let written = serde_json::to_writer(&mut self.file, &line).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|source| RunError::output("write", &self.path, source))
    }

    pub(crate) fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush().map_err(|source| RunError::output("write", &self.path, source))
    }
}
