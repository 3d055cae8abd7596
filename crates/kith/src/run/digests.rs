//! `digests.jsonl`: the digest of every agent's parameters after every round. Two runs are the same where these files are.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
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
    /// Where lines end that stay, until the next one is written.
    end: Option<u64>,
}

impl DigestFile {
    /// A new file, where digests are wanted.
    pub(crate) fn create(directory: &Path, wanted: RoundDigests) -> Result<Option<Self>, RunError> {
        if wanted == RoundDigests::No {
            return Ok(None);
        }
        let path = directory.join(DIGESTS);
        let file = File::create(&path).map_err(|source| RunError::output("create", &path, source))?;
        Ok(Some(Self { path, file: BufWriter::new(file), end: None }))
    }

    /// The file of a run that goes on, if it wrote one: lines of `finished` arms stay, and of the arm that was `cut` those before the
    /// round at which it goes on. Others go when the next line is written.
    pub(super) fn go_on(
        directory: &Path,
        finished: &[&str],
        cut: Option<(&str, Round)>,
    ) -> Result<Option<Self>, RunError> {
        let path = directory.join(DIGESTS);
        let failed = |source| RunError::output("read", &path, source);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let stays = |line: &DigestLine| {
            finished.contains(&line.arm.as_str())
                || cut.is_some_and(|(arm, round)| arm == line.arm && line.round < round)
        };
        let mut lines = BufReader::with_capacity(1 << 20, &file);
        let (mut end, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let bytes = lines.read_until(b'\n', &mut line).map_err(failed)?;
            let whole = line.ends_with(b"\n").then(|| serde_json::from_slice::<DigestLine>(&line).ok()).flatten();
            if !whole.is_some_and(|line| stays(&line)) {
                break;
            }
            end += bytes as u64;
        }
        Ok(Some(Self { file: BufWriter::new(file), path, end: Some(end) }))
    }

    pub(crate) fn line(&mut self, arm: &str, round: Round, agent: AgentId, digest: Digest) -> Result<(), RunError> {
        let line = DigestLine { arm: arm.to_owned(), round, agent, digest };
        self.try_line(&line).map_err(|source| RunError::output("write", &self.path, source))
    }

    fn try_line(&mut self, line: &DigestLine) -> std::io::Result<()> {
        if let Some(end) = self.end.take() {
            self.file.get_ref().set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
        }
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    /// Brings all lines so far to the disk.
    pub(super) fn sync(&mut self) -> Result<(), RunError> {
        self.flush()?;
        self.file.get_ref().sync_data().map_err(|source| RunError::output("write", &self.path, source))
    }

    pub(crate) fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush().map_err(|source| RunError::output("write", &self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_goes_on_has_each_round_once_and_is_cut_with_its_next_line_only() {
        let folder = tempfile::tempdir().expect("there is room");
        let read = || std::fs::read_to_string(folder.path().join(DIGESTS)).expect("it is there");
        let write = |file: &mut DigestFile, arm: &str, rounds: std::ops::Range<u64>| {
            for round in rounds {
                file.line(arm, Round(round), AgentId(2), Digest::of(&[7])).expect("it is written");
            }
            file.sync().expect("it is written");
        };
        let mut file = DigestFile::create(folder.path(), RoundDigests::Yes).expect("it is made").expect("it is wanted");
        write(&mut file, "one", 0..3);
        write(&mut file, "two", 0..5);
        let whole = read();
        std::fs::write(folder.path().join(DIGESTS), format!("{whole}{{\"arm\":\"tw")).expect("it is written");
        let mut again = DigestFile::go_on(folder.path(), &["one"], Some(("two", Round(2))))
            .expect("it is read")
            .expect("it is there");
        assert!(read().len() > whole.len(), "nothing is cut yet");
        write(&mut again, "two", 2..5);
        assert_eq!(read(), whole);
        drop(DigestFile::go_on(folder.path(), &["one"], None).expect("it is read").expect("it is there"));
        assert_eq!(read(), whole);
        let nothing = tempfile::tempdir().expect("there is room");
        assert!(DigestFile::go_on(nothing.path(), &[], None).expect("nothing is there").is_none());
    }
}
