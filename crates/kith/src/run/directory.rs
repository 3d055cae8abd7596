//! The run directory and its manifest.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use kith_core::Digest;
use serde::{Deserialize, Serialize};

use super::{RunError, process};

/// A new directory `<dir>/<name>/<time>-<hash>/`.
#[derive(Clone, Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
}

/// `manifest.json`: what ran, where and when. Nothing here is needed to repeat the run but the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Determinism grade of the run: D0, bit-identical on this binary for any thread count.
    pub grade: String,
    /// Device.
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
}

impl Manifest {
    pub(crate) fn new(experiment: &crate::config::Experiment, hash: Digest, threads: usize) -> Self {
        Self {
            kith_version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("KITH_COMMIT").map(str::to_owned),
            rustc: option_env!("KITH_RUSTC").map(str::to_owned),
            experiment: experiment.name.clone(),
            experiment_hash: hash,
            seeds: experiment.arms.iter().map(|arm| arm.seed).collect(),
            grade: "D0".to_owned(),
            device: "cpu".to_owned(),
            threads,
            host_cores: std::thread::available_parallelism().map_or(1, usize::from),
            host_os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            started: process::now().1,
            ended: None,
            argv: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
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
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < 1000 => {}
                Err(source) => return Err(RunError::output("create", &path, source)),
            }
        }
        Ok(Self { path: parent })
    }

    /// Takes the directory away again: for runs that failed before anything was measured.
    pub(crate) fn discard(self) {
        let _ = fs::remove_dir_all(&self.path);
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
        let path = self.path.join("metrics.jsonl");
        let file = File::create(&path).map_err(|source| RunError::output("create", &path, source))?;
        Ok(Metrics { path, file: BufWriter::with_capacity(1 << 16, file), failed: None, lines: 0 })
    }
}

/// `metrics.jsonl`, an event a line. A failed write is kept until somebody asks: observers cannot fail.
pub(crate) struct Metrics {
    path: PathBuf,
    file: BufWriter<File>,
    failed: Option<std::io::Error>,
    lines: u64,
}

impl Metrics {
    pub(crate) fn line(&mut self, value: &impl Serialize) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.file, value)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"));
        self.failed = written.err();
        self.lines += 1;
    }

    /// Whether nothing was measured yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
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
