//! Live logs beside `metrics.jsonl`, by choice of `output.log`: for tools that follow a run.

use std::fs::{self, File};
use std::io::{BufWriter, Result, Write};
use std::path::{Path, PathBuf};

use kith_core::{Event, Key};

use super::{RunError, process};
use crate::config::LogFormat;
use crate::report::quoted;

/// The logs of a run. A failed write is kept until somebody asks: observers cannot fail.
#[derive(Default)]
pub(crate) struct Logs {
    directory: PathBuf,
    csv: Option<BufWriter<File>>,
    boards: bool,
    board: Option<Board>,
    failed: Option<(PathBuf, std::io::Error)>,
}

impl Logs {
    /// Opens the logs of a run directory.
    ///
    /// # Errors
    /// A file that cannot be made.
    pub(crate) fn open(directory: &Path, formats: &[LogFormat]) -> std::result::Result<Self, RunError> {
        let mut logs = Self { directory: directory.to_owned(), ..Self::default() };
        logs.boards = formats.contains(&LogFormat::Tensorboard);
        if formats.contains(&LogFormat::Csv) {
            let path = logs.csv_path();
            let open = || -> Result<BufWriter<File>> {
                let mut file = BufWriter::new(File::create(&path)?);
                file.write_all(b"arm,agent,task,round,key,of,value\n")?;
                Ok(file)
            };
            logs.csv = Some(open().map_err(|source| RunError::output("create", &path, source))?);
        }
        Ok(logs)
    }

    fn csv_path(&self) -> PathBuf {
        self.directory.join("metrics.csv")
    }

    fn board_path(&self, arm: &str) -> PathBuf {
        self.directory.join("tensorboard").join(arm)
    }

    /// An arm begins.
    pub(crate) fn begin(&mut self, arm: &str) {
        if self.boards && self.failed.is_none() {
            let folder = self.board_path(arm);
            match Board::create(&folder, process::unix_seconds()) {
                Ok(board) => self.board = Some(board),
                Err(error) => self.failed = Some((folder, error)),
            }
        }
    }

    /// A value was measured.
    pub(crate) fn event(&mut self, arm: &str, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        if let Some(csv) = &mut self.csv
            && let Err(error) = write_csv(csv, arm, event)
        {
            self.failed = Some((self.csv_path(), error));
            return;
        }
        if let Some(board) = &mut self.board
            && let Err(error) = board.event(event, process::unix_seconds)
        {
            self.failed = Some((self.board_path(arm), error));
        }
    }

    /// What was written so far is in the files.
    pub(crate) fn flush(&mut self) {
        let csv = self.csv.as_mut().map_or(Ok(()), BufWriter::flush);
        let board = self.board.as_mut().map_or(Ok(()), |board| board.file.flush());
        if let Err(error) = csv.and(board) {
            self.failed.get_or_insert((self.directory.clone(), error));
        }
    }

    /// An arm ends.
    ///
    /// # Errors
    /// Whatever failed since the last time.
    pub(crate) fn end(&mut self) -> std::result::Result<(), RunError> {
        if let Some(mut board) = self.board.take()
            && let Err(error) = board.commit(process::unix_seconds())
        {
            self.failed.get_or_insert((self.directory.clone(), error));
        } else {
            self.flush();
        }
        match self.failed.take() {
            Some((path, source)) => Err(RunError::output("write", &path, source)),
            None => Ok(()),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }
}

fn write_csv(out: &mut impl Write, arm: &str, event: &Event) -> Result<()> {
    write!(out, "{},", quoted(arm))?;
    if let Some(agent) = event.agent {
        write!(out, "{}", agent.0)?;
    }
    write!(out, ",{},{},{},", event.task.0, event.round.0, name(event.key))?;
    if let Some(of) = event.of {
        write!(out, "{of}")?;
    }
    if event.value.is_finite() { writeln!(out, ",{}", event.value) } else { out.write_all(b",\n") }
}

/// The key as `metrics.jsonl` writes it.
fn name(key: Key) -> String {
    serde_json::to_value(key).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A TensorBoard event file: records of protocol buffers, of which five fields are needed, each with its checksums.
struct Board {
    file: BufWriter<File>,
    /// Values of agents are logged as their mean: when the next value has another name or round, the mean is known.
    pending: Option<(Event, f64, f64)>,
}

impl Board {
    fn create(folder: &Path, now: f64) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // The name is what TensorBoard looks for.
        let file = File::create(folder.join(format!("events.out.tfevents.{now:010.0}.kith")))?;
        let mut board = Self { file: BufWriter::new(file), pending: None };
        record(&mut board.file, &version(now))?;
        board.file.flush()?;
        Ok(board)
    }

    fn event(&mut self, event: &Event, now: fn() -> f64) -> Result<()> {
        if event.key.is_fault() {
            return Ok(());
        }
        let place = |event: &Event| (event.key, event.of, event.round);
        match &mut self.pending {
            Some((known, sum, count)) if place(known) == place(event) => {
                *sum += event.value;
                *count += 1.0;
            }
            _ => {
                self.commit(now())?;
                self.pending = Some((*event, event.value, 1.0));
            }
        }
        Ok(())
    }

    fn commit(&mut self, now: f64) -> Result<()> {
        if let Some((event, sum, count)) = self.pending.take() {
            record(&mut self.file, &scalar(now, &tag(&event), event.round.0, (sum / count) as f32))?;
        }
        self.file.flush()
    }
}

/// `accuracy/task_0`, `basis_rank/layer_1`, `train_loss`.
fn tag(event: &Event) -> String {
    let key = name(event.key);
    match (event.of, event.key) {
        (None, _) => key,
        (Some(of), Key::BasisRank) => format!("{key}/layer_{of}"),
        (Some(of), _) => format!("{key}/task_{of}"),
    }
}

/// The first event of a file.
fn version(now: f64) -> Vec<u8> {
    let mut event = Vec::new();
    fixed64(&mut event, 1, now);
    bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// An event with one scalar: wall time, step and a summary of one value.
fn scalar(now: f64, tag: &str, step: u64, value: f32) -> Vec<u8> {
    let mut one = Vec::new();
    bytes(&mut one, 1, tag.as_bytes());
    one.push(2 << 3 | 5);
    one.extend(value.to_le_bytes());
    let mut summary = Vec::new();
    bytes(&mut summary, 1, &one);
    let mut event = Vec::new();
    fixed64(&mut event, 1, now);
    event.push(2 << 3);
    varint(&mut event, step);
    bytes(&mut event, 5, &summary);
    event
}

fn fixed64(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length, its checksum, the bytes, theirs.
fn record(out: &mut impl Write, data: &[u8]) -> Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked(data).to_le_bytes())
}

/// The checksum of a record: rotated and shifted, so that a checksum of checksums is not a constant.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use kith_core::{AgentId, Round, TaskId};

    use super::*;

    fn accuracy(agent: u32, round: u64, value: f64) -> Event {
        let (agent, of) = (Some(AgentId(agent)), Some(2));
        Event { agent, task: TaskId(3), round: Round(round), key: Key::Accuracy, of, value }
    }

    /// The records of a file, their checksums held against the bytes.
    fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
            let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four bytes"));
            let end = 12 + length as usize;
            assert_eq!(number(8), masked(&rest[..8]));
            assert_eq!(number(end), masked(&rest[12..end]));
            records.push(rest[12..end].to_vec());
            rest = &rest[end + 4..];
        }
        records
    }

    #[test]
    fn agents_are_one_scalar_a_round_and_every_record_has_its_checksums() {
        let folder = tempfile::tempdir().expect("there is room");
        let mut board = Board::create(folder.path(), 5.0).expect("it is made");
        for event in [accuracy(0, 300, 0.5), accuracy(1, 300, 1.0), accuracy(0, 301, 0.25)] {
            board.event(&event, || 7.0).expect("it is written");
        }
        board.commit(7.0).expect("it is written");
        let file = folder.path().join("events.out.tfevents.0000000005.kith");
        let records = records(&fs::read(file).expect("it is there"));
        assert_eq!(records.len(), 3);
        assert_eq!(records[0], version(5.0));
        assert_eq!(records[1], scalar(7.0, "accuracy/task_2", 300, 0.75));
        assert_eq!(records[2], scalar(7.0, "accuracy/task_2", 301, 0.25));
        // 300 is two bytes, seven bits each, the low ones first.
        assert!(records[1].windows(3).any(|bytes| bytes == [2 << 3, 0xac, 0x02]));
    }

    #[test]
    fn the_checksum_is_that_of_the_published_example() {
        // RFC 3720, appendix B.4: CRC-32C of 32 zero bytes.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_line_of_csv_has_a_field_a_column() {
        let mut text = Vec::new();
        write_csv(&mut text, "a", &accuracy(4, 9, 0.5)).expect("memory takes it");
        write_csv(&mut text, "a", &Event { agent: None, of: None, value: f64::NAN, ..accuracy(0, 9, 0.0) })
            .expect("so it does");
        assert_eq!(String::from_utf8(text).expect("text"), "a,4,3,9,accuracy,2,0.5\na,,3,9,accuracy,,\n");
    }
}
