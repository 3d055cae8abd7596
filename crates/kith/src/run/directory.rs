//! The run directory and its manifest.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use kith_core::Digest;
use serde::{Deserialize, Serialize};

use super::lock::{self, Lock};
use super::{Driver, RunError, process};
use crate::config::{ResolvedArm, Setting};
use crate::device::OpenDevice;

/// A directory that this process works in: `<dir>/<name>/<time>-<hash>/`, or where a sweep has it.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    origin: Origin,
    /// Held while the process works; none where the caller holds it, or the file system has no locks.
    _lock: Option<Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Made for this run.
    New,
    /// There before.
    There,
}

/// `manifest.json`: what ran, where and when. Nothing here is needed to repeat the run but the version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of kith.
    pub kith_version: String,
    /// Commit it was built from, if it was built in a checkout.
    pub commit: Option<String>,
    /// Compiler.
    pub rustc: Option<String>,
    /// Experiment name.
    pub experiment: String,
    /// SHA-256 of the resolved experiment.
    pub experiment_hash: Digest,
    /// Seeds of the arms, in order.
    pub seeds: Vec<u64>,
    /// Determinism grade of the run: D0, bit-identical on this binary for any thread count; D1, processes in lock-step with the bits
    /// of the simulator; D3, alike up to rounding.
    pub grade: String,
    /// Device: `cpu`, or how it is reached and the adapter's name.
    pub device: String,
    /// Threads of the engine.
    pub threads: usize,
    /// Processor cores of the host.
    pub host_cores: usize,
    /// Operating system and architecture of the host.
    pub host_os: String,
    /// Start, UTC.
    pub started: String,
    /// End, UTC; none while it runs.
    pub ended: Option<String>,
    /// The command line.
    pub argv: Vec<String>,
    /// What a sweep set, by dotted key; empty for other runs.
    #[serde(default, skip_serializing_if = "Setting::is_empty")]
    pub setting: Setting,
    /// SHA-256 of the weights that each arm started with, in order; none where they were drawn. Absent where all were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_weights: Vec<Option<Digest>>,
    /// When the run went on after it was cut, UTC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<String>,
    /// The agents of each process, where the run is one of processes: all of them, or the one whose directory this is. Absent in the
    /// simulator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Vec<u32>>,
}

impl Manifest {
    pub(crate) fn new(
        experiment: &crate::config::Experiment,
        hash: Digest,
        threads: usize,
        device: &OpenDevice,
    ) -> Self {
        let start = |arm: &ResolvedArm| arm.train.start_from.as_ref().and_then(|start| start.sha256);
        let start_weights: Vec<_> = experiment.arms.iter().map(start).collect();
        Self {
            kith_version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("KITH_COMMIT").map(str::to_owned),
            rustc: option_env!("KITH_RUSTC").map(str::to_owned),
            experiment: experiment.name.clone(),
            experiment_hash: hash,
            seeds: experiment.arms.iter().map(|arm| arm.seed).collect(),
            grade: device.grade().to_owned(),
            device: device.label(),
            threads,
            host_cores: std::thread::available_parallelism().map_or(1, usize::from),
            host_os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            started: process::now().1,
            ended: None,
            argv: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            setting: Setting::new(),
            start_weights: if start_weights.iter().any(Option::is_some) { start_weights } else { Vec::new() },
            resumed: Vec::new(),
            processes: Vec::new(),
        }
    }

    /// Notes that processes do the rounds. Lost frames and processes aside, they come to the simulator's bits.
    pub(crate) fn note_driver(&mut self, driver: &Driver, arm: Option<&ResolvedArm>) {
        self.processes = driver.processes(arm);
        if self.processes.is_empty() {
            return;
        }
        if self.grade == "D0" {
            self.grade = "D1".to_owned();
        }
    }

    /// Notes that the run goes on, maybe elsewhere.
    pub(crate) fn go_on(&mut self, device: &OpenDevice) {
        let label = device.label();
        if self.device != label {
            self.device = format!("{}, then {label}", self.device);
            // Before or after, some of it ran where bits are not the CPU's.
            self.grade = "D3".to_owned();
        }
    }
}

impl RunDirectory {
    /// Makes the directory; where one of this second and hash is there already, a number is added.
    pub(crate) fn create(base: &Path, name: &str, hash: &Digest) -> Result<Self, RunError> {
        let parent = base.join(name);
        fs::create_dir_all(&parent).map_err(|source| RunError::output("create", &parent, source))?;
        let leaf = format!("{}-{}", process::now().0, &hash.to_string()[..8]);
        for attempt in 1.. {
            let path = parent.join(if attempt == 1 { leaf.clone() } else { format!("{leaf}-{attempt}") });
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self::new(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < 1000 => {}
                Err(source) => return Err(RunError::output("create", &path, source)),
            }
        }
        Ok(Self::new(parent))
    }

    fn new(path: PathBuf) -> Self {
        // The directory is new, so the lock only tells others; a file system without locks is no reason not to run.
        let lock = lock::claim(&path).ok().flatten();
        Self { path, origin: Origin::New, _lock: lock }
    }

    /// A directory that is made where it is not there yet, and holds no run.
    pub(crate) fn empty(path: &Path) -> Result<Self, RunError> {
        fs::create_dir_all(path).map_err(|source| RunError::output("create", path, source))?;
        if path.join("manifest.json").exists() {
            return Err(RunError::Taken { directory: path.to_owned() });
        }
        Ok(Self::existing(path))
    }

    /// A directory whose lock the caller holds.
    pub(crate) fn given(path: &Path) -> Self {
        Self { path: path.to_owned(), origin: Origin::There, _lock: None }
    }

    /// A directory that is there already. Whether another process is at it shows when its metrics are opened.
    pub(crate) fn existing(path: &Path) -> Self {
        let lock = lock::claim(path).ok().flatten();
        Self { path: path.to_owned(), origin: Origin::There, _lock: lock }
    }

    /// Takes the directory away again: for runs that failed before anything was measured.
    pub(crate) fn discard(&self) {
        if self.origin == Origin::New {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file whole: a reader sees the old one or the new one.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), RunError> {
        let (path, partial) = (self.path.join(name), self.path.join(format!(".{name}.partial")));
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(|source| RunError::output("write", &path, source))
    }

    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), RunError> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|source| RunError::output("write", &self.path.join(name), source.into()))?;
        text.push('\n');
        self.write(name, &text)
    }

    /// As [`write_json`](Self::write_json), on one line: for what only programs read.
    pub(crate) fn write_compact(&self, name: &str, value: &impl Serialize) -> Result<(), RunError> {
        let text = serde_json::to_string(value)
            .map_err(|source| RunError::output("write", &self.path.join(name), source.into()))?;
        self.write(name, &text)
    }

    /// Opens `metrics.jsonl`.
    pub(crate) fn metrics(&self) -> Result<Metrics, RunError> {
        let path = self.metrics_path();
        let file = File::create(&path).map_err(|source| RunError::output("create", &path, source))?;
        Metrics::over(path, file)
    }

    /// Opens `metrics.jsonl` as it is, to go on with it.
    pub(crate) fn metrics_again(&self) -> Result<Metrics, RunError> {
        let path = self.metrics_path();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        Metrics::over(path.clone(), file.map_err(|source| RunError::output("open", &path, source))?)
    }

    pub(crate) fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }
}

/// `metrics.jsonl`, an event a line. A failed write is kept until somebody asks: observers cannot fail.
pub(crate) struct Metrics {
    path: PathBuf,
    file: BufWriter<File>,
    failed: Option<std::io::Error>,
    /// Bytes of all lines so far.
    bytes: u64,
    /// Whether the file may have more than these.
    to_cut: bool,
    /// The line under work.
    line: Vec<u8>,
}

impl Metrics {
    /// The file is locked until the process ends, however it ends.
    fn over(path: PathBuf, file: File) -> Result<Self, RunError> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(RunError::Busy { directory: path.with_file_name("") }),
            // A file system without locks: go on without.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(Self { path, file, failed: None, bytes: 0, to_cut: false, line: Vec::new() })
    }

    /// What follows the first `bytes` is of no use; it is cut off only when the next line is written.
    pub(crate) fn go_on_after(&mut self, bytes: u64) {
        (self.bytes, self.to_cut) = (bytes, true);
    }

    pub(crate) fn line(&mut self, value: &impl Serialize) {
        if self.failed.is_none() {
            self.failed = self.try_line(value).err();
        }
    }

    fn try_line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        if std::mem::take(&mut self.to_cut) {
            self.file.get_ref().set_len(self.bytes)?;
            self.file.seek(SeekFrom::End(0))?;
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.bytes += self.line.len() as u64;
        self.file.write_all(&self.line)
    }

    /// Whether a file that was there already is still as it was.
    pub(crate) fn is_untouched(&self) -> bool {
        self.to_cut
    }

    /// Bytes of all lines so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was measured yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Brings all lines so far to the disk; how many bytes they are.
    pub(crate) fn sync(&mut self) -> Result<u64, RunError> {
        self.flush()?;
        self.file.get_ref().sync_data().map_err(|source| RunError::output("write", &self.path, source))?;
        Ok(self.bytes)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// What was written so far is in the file; a failure is kept.
    pub(crate) fn make_visible(&mut self) {
        if self.failed.is_none() {
            self.failed = self.file.flush().err();
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), RunError> {
        let result = self.failed.take().map_or_else(|| self.file.flush(), Err);
        result.map_err(|source| RunError::output("write", &self.path, source))
    }
}
