//! The file of a checkpoint: a checked envelope around a tape.
//!
//! `kithckpt`, the format as `u32`, the file's length as `u64`, the header's length as `u32`, the header as JSON, what the
//! tape holds, and SHA-256 of header and tape. Numbers are little-endian. The file is written beside its place, brought to the
//! disk and then renamed: a reader sees a whole checkpoint or none.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Take, Write};
use std::path::Path;

use kith_core::{AgentId, Digest, Digester, Network, Round, Tape, TapeError, TaskId};
use serde::{Deserialize, Serialize};

use super::CheckpointError;

const MAGIC: &[u8; 8] = b"kithckpt";
/// Changes with everything that a tape holds.
pub(crate) const FORMAT: u32 = 4;
/// Magic, format, file length, header length.
const PREFIX: u64 = 8 + 4 + 8 + 4;
const CHECKSUM: u64 = 32;
/// Headers are a few hundred bytes; a network of many layers takes more.
const LONGEST_HEADER: u32 = 1 << 22;
const BUFFER: usize = 1 << 20;

/// What a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Holds {
    /// Everything, so that the arm can go on.
    State,
    /// The mean of all agents' weights, and each agent's, at the arm's end.
    Weights,
}

/// What stands before the numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) kith_version: String,
    pub(crate) experiment: String,
    pub(crate) experiment_hash: Digest,
    pub(crate) arm: String,
    pub(crate) holds: Holds,
    pub(crate) task: TaskId,
    /// The round that comes next, as agents count them.
    pub(crate) round: Round,
    /// Rounds done.
    pub(crate) rounds: u64,
    pub(crate) agents: usize,
    pub(crate) network: Network,
    /// Length of `metrics.jsonl` until then.
    pub(crate) metrics_bytes: u64,
    /// Seconds that the arm took so far: in all, and by phase.
    pub(crate) wall_seconds: f64,
    pub(crate) phase_seconds: [f64; 4],
    /// UTC.
    pub(crate) saved: String,
}

/// Digests what passes.
struct Digesting<T> {
    inner: T,
    digester: Digester,
    bytes: u64,
}

impl<T> Digesting<T> {
    fn new(inner: T) -> Self {
        Self { inner, digester: Digester::default(), bytes: 0 }
    }
}

impl<T: Write> Write for Digesting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digester.bytes(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a checkpoint; `record` writes its tape.
pub(crate) fn write(
    path: &Path,
    header: &Header,
    record: &mut dyn FnMut(&mut Tape<'_>) -> Result<(), TapeError>,
) -> Result<(), CheckpointError> {
    let partial = path.with_extension("partial");
    let written = write_whole(&partial, header, record).and_then(|()| {
        fs::rename(&partial, path).map_err(CheckpointError::io("put the checkpoint in its place"))?;
        // So that the name outlives a power cut too; systems that cannot do this with folders do without.
        let folder = path.parent().and_then(|folder| File::open(folder).ok());
        folder.map_or(Ok(()), |folder| folder.sync_all().or(Ok(())))
    });
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

fn write_whole(
    path: &Path,
    header: &Header,
    record: &mut dyn FnMut(&mut Tape<'_>) -> Result<(), TapeError>,
) -> Result<(), CheckpointError> {
    let failed = || CheckpointError::io("write the checkpoint");
    let header = serde_json::to_vec(header).map_err(|error| failed()(error.into()))?;
    let mut file = File::create(path).map_err(failed())?;
    let prefix = |length: u64| -> Vec<u8> {
        let lengths = (length.to_le_bytes(), (header.len() as u32).to_le_bytes());
        [&MAGIC[..], &FORMAT.to_le_bytes(), &lengths.0, &lengths.1].concat()
    };
    file.write_all(&prefix(0)).map_err(failed())?;
    // The digest is taken of large pieces, and the file sees no small ones.
    let mut to = BufWriter::with_capacity(BUFFER, Digesting::new(&mut file));
    to.write_all(&header).map_err(failed())?;
    // A disk that is full shows here first.
    record(&mut Tape::recording(&mut to)).map_err(|error| match error {
        TapeError::Io(source) => failed()(source),
        error => error.into(),
    })?;
    let Digesting { digester, bytes, .. } = to.into_inner().map_err(|error| failed()(error.into_error()))?;
    file.write_all(&digester.finish().0).map_err(failed())?;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    file.write_all(&prefix(PREFIX + bytes + CHECKSUM)).map_err(failed())?;
    file.sync_all().map_err(failed())
}

/// A checkpoint whose checksum holds, before its tape is played.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) header: Header,
    tape: Take<BufReader<File>>,
}

impl Opened {
    /// Reads the header and checks every byte.
    pub(crate) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let failed = || CheckpointError::io("read the checkpoint");
        let mut file = File::open(path).map_err(failed())?;
        let length = file.metadata().map_err(failed())?.len();
        let mut prefix = [0; PREFIX as usize];
        match file.read_exact(&mut prefix) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(CheckpointError::Foreign),
            result => result.map_err(failed())?,
        }
        let word = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        if &prefix[..8] != MAGIC {
            return Err(CheckpointError::Foreign);
        }
        if word(8) != FORMAT {
            return Err(CheckpointError::Format { found: word(8), accepted: FORMAT });
        }
        let expected = u64::from(word(12)) | u64::from(word(16)) << 32;
        let header_len = word(20);
        if length != expected {
            return Err(CheckpointError::Length { expected, found: length });
        }
        let Some(content) = length.checked_sub(PREFIX + CHECKSUM).filter(|content| u64::from(header_len) <= *content)
        else {
            return Err(CheckpointError::Damaged);
        };
        if header_len > LONGEST_HEADER {
            return Err(CheckpointError::Damaged);
        }
        checked(&mut file, content)?;
        file.seek(SeekFrom::Start(PREFIX)).map_err(failed())?;
        let mut header = vec![0; header_len as usize];
        file.read_exact(&mut header).map_err(failed())?;
        let header = serde_json::from_slice(&header).map_err(|_| CheckpointError::Damaged)?;
        let tape = BufReader::with_capacity(BUFFER, file).take(content - u64::from(header_len));
        Ok(Self { header, tape })
    }

    /// The mean of all agents' weights, of a checkpoint that holds weights.
    pub(crate) fn mean(self) -> Result<Vec<f32>, CheckpointError> {
        self.row(0)
    }

    /// The weights of one agent, of a checkpoint that holds weights.
    pub(crate) fn weights(self, agent: AgentId) -> Result<Vec<f32>, CheckpointError> {
        self.row(1 + agent.index() as u64)
    }

    fn row(mut self, place: u64) -> Result<Vec<f32>, CheckpointError> {
        let numbers = self.header.network.layout().map_err(|_| CheckpointError::Damaged)?.len();
        let before = 4 * numbers as u64 * place;
        let skipped = io::copy(&mut self.tape.by_ref().take(before), &mut io::sink());
        skipped.map_err(CheckpointError::io("read the checkpoint"))?;
        let mut row = vec![0.0; numbers];
        Tape::playing(&mut self.tape).row(&mut row)?;
        Ok(row)
    }
}

impl Read for Opened {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.tape.read(bytes)
    }
}

/// Whether the next `content` bytes have the digest that stands behind them.
fn checked(file: &mut File, mut content: u64) -> Result<(), CheckpointError> {
    let mut digester = Digester::default();
    let mut buffer = vec![0; BUFFER];
    while content > 0 {
        let piece = content.min(BUFFER as u64) as usize;
        file.read_exact(&mut buffer[..piece]).map_err(CheckpointError::io("read the checkpoint"))?;
        digester.bytes(&buffer[..piece]);
        content -= piece as u64;
    }
    let mut checksum = [0; CHECKSUM as usize];
    file.read_exact(&mut checksum).map_err(CheckpointError::io("read the checkpoint"))?;
    if digester.finish() == Digest(checksum) { Ok(()) } else { Err(CheckpointError::Damaged) }
}
