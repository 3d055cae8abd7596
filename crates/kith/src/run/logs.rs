//! Live logs beside `metrics.jsonl`, by choice of `output.log`: for tools that follow a run.

use std::fs::{self, File};
use std::io::{BufWriter, Result, Write};
use std::path::{Path, PathBuf};

use kith_core::{Event, Key, Round};

use super::{RunError, process};
use crate::config::LogFormat;
use crate::report::{EventLine, ReportError, quoted, walk_until};

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
    /// Opens the logs of a run directory, whose first `measured` bytes of metrics stay: nothing of a new run, and what a run
    /// goes on after.
    ///
    /// # Errors
    /// A file that cannot be made, and metrics that cannot be read.
    pub(crate) fn open(directory: &Path, formats: &[LogFormat], measured: u64) -> std::result::Result<Self, RunError> {
        let mut logs = Self { directory: directory.to_owned(), ..Self::default() };
        logs.boards = formats.contains(&LogFormat::Tensorboard);
        if formats.contains(&LogFormat::Csv) {
            let path = logs.csv_path();
            let open = || -> Result<BufWriter<File>> {
                let mut file = BufWriter::new(File::create(&path)?);
                file.write_all(b"arm,agent,task,round,key,of,value\n")?;
                Ok(file)
            };
            let mut file = open().map_err(|source| RunError::output("create", &path, source))?;
            // Written anew and not cut: after a power failure it may lack lines that metrics.jsonl has.
            if measured > 0 {
                walk_until(&directory.join("metrics.jsonl"), measured, |line| {
                    write_csv(&mut file, line).map_err(|source| ReportError::Write { path: path.clone(), source })
                })?;
            }
            logs.csv = Some(file);
        }
        Ok(logs)
    }

    fn csv_path(&self) -> PathBuf {
        self.directory.join("metrics.csv")
    }

    fn board_path(&self, arm: &str) -> PathBuf {
        self.directory.join("tensorboard").join(arm)
    }

    /// An arm begins with round `from`: what was logged of that round and later ones, before the run was cut, is taken away.
    pub(crate) fn begin(&mut self, arm: &str, from: Round) {
        if self.boards && self.failed.is_none() {
            let folder = self.board_path(arm);
            match Board::create(&folder, process::unix_seconds(), from) {
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
            && let Err(error) = write_csv(csv, &line(arm, event))
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

    /// All values of the rounds so far are in the files.
    pub(crate) fn settle(&mut self) {
        if let Some(board) = &mut self.board
            && let Err(error) = board.commit(process::unix_seconds())
        {
            self.failed.get_or_insert((self.directory.clone(), error));
        }
        self.flush();
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
        self.settle();
        self.board = None;
        match self.failed.take() {
            Some((path, source)) => Err(RunError::output("write", &path, source)),
            None => Ok(()),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }
}

fn write_csv(out: &mut impl Write, line: &EventLine<'_>) -> Result<()> {
    write!(out, "{},", quoted(&line.arm))?;
    if let Some(agent) = line.agent {
        write!(out, "{agent}")?;
    }
    write!(out, ",{},{},{},", line.task, line.round, line.key)?;
    if let Some(of) = line.of {
        write!(out, "{of}")?;
    }
    match line.value {
        Some(value) => writeln!(out, ",{value}"),
        None => out.write_all(b",\n"),
    }
}

/// What a line of `metrics.jsonl` says of an event.
fn line<'a>(arm: &'a str, event: &Event) -> EventLine<'a> {
    EventLine {
        arm: arm.into(),
        agent: event.agent.map(|agent| agent.0),
        task: event.task.0,
        round: event.round.0,
        key: name(event.key).into(),
        of: event.of,
        value: event.value.is_finite().then_some(event.value),
    }
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
    fn create(folder: &Path, now: f64, from: Round) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let earlier = earlier(folder)?;
        for path in &earlier {
            cut(path, from.0)?;
        }
        // The name is what TensorBoard looks for; it reads files in the order of their names.
        let mut seconds = now as u64;
        let path = loop {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.kith"));
            if earlier.last().is_none_or(|last| *last < path) {
                break path;
            }
            seconds += 1;
        };
        let mut board = Self { file: BufWriter::new(File::create(path)?), pending: None };
        record(&mut board.file, &version(now))?;
        if !earlier.is_empty() {
            record(&mut board.file, &start(now, from.0))?;
        }
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

/// Our event files of a folder, in the order of their names.
fn earlier(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("events.out.tfevents.") && name.ends_with(".kith") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Cuts a file before its first record of `step` or later, or the first that is not whole.
fn cut(path: &Path, step: u64) -> Result<()> {
    let bytes = fs::read(path)?;
    let mut rest = bytes.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<8>() {
        let end = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| length.checked_add(4));
        let whole = end.and_then(|end| Some((after.get(4..end)?, after.get(end.checked_add(4)?..)?)));
        let Some((data, following)) = whole else { break };
        if step_of(data).is_some_and(|at| at >= step) {
            break;
        }
        rest = following;
    }
    if rest.is_empty() {
        return Ok(());
    }
    File::options().write(true).open(path)?.set_len((bytes.len() - rest.len()) as u64)
}

/// The step of an event, which follows its time; none of the first event of a file.
fn step_of(event: &[u8]) -> Option<u64> {
    let (key, number) = event.get(9..)?.split_first()?;
    if *key != 2 << 3 {
        return None;
    }
    let mut step = 0;
    for (place, byte) in number.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
}

/// Says that a run goes on with `step`: whoever has read later ones before forgets them.
fn start(now: f64, step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    fixed64(&mut event, 1, now);
    event.push(2 << 3);
    varint(&mut event, step);
    // A session log whose status is «start».
    bytes(&mut event, 7, &[1 << 3, 1]);
    event
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
        let mut board = Board::create(folder.path(), 5.0, Round(0)).expect("it is made");
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
    fn a_run_that_goes_on_has_every_round_once_in_a_file_more() {
        let folder = tempfile::tempdir().expect("there is room");
        let mut board = Board::create(folder.path(), 5.0, Round(0)).expect("it is made");
        for round in [10, 300, 301] {
            board.event(&accuracy(0, round, 0.5), || 7.0).expect("it is written");
        }
        board.commit(7.0).expect("it is written");
        drop(board);
        let first = folder.path().join("events.out.tfevents.0000000005.kith");
        // As a power failure leaves it: the last record is not whole.
        let mut torn = fs::read(&first).expect("it is there");
        torn.extend(9_u64.to_le_bytes());
        fs::write(&first, torn).expect("it is written");
        // In the same second as before.
        let mut board = Board::create(folder.path(), 5.0, Round(301)).expect("it is made");
        board.event(&accuracy(0, 301, 0.25), || 8.0).expect("it is written");
        board.commit(8.0).expect("it is written");
        let kept = records(&fs::read(first).expect("it is there"));
        let tag = "accuracy/task_2";
        assert_eq!(kept, [version(5.0), scalar(7.0, tag, 10, 0.5), scalar(7.0, tag, 300, 0.5)]);
        let second = folder.path().join("events.out.tfevents.0000000006.kith");
        let added = records(&fs::read(second).expect("it is there"));
        assert_eq!(added, [version(5.0), start(5.0, 301), scalar(8.0, tag, 301, 0.25)]);
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
        write_csv(&mut text, &line("a", &accuracy(4, 9, 0.5))).expect("memory takes it");
        let strange = Event { agent: None, of: None, value: f64::NAN, ..accuracy(0, 9, 0.0) };
        write_csv(&mut text, &line("a", &strange)).expect("so it does");
        assert_eq!(String::from_utf8(text).expect("text"), "a,4,3,9,accuracy,2,0.5\na,,3,9,accuracy,,\n");
    }
}
