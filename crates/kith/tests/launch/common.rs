//! What tests of processes share: experiments, the binary, files.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes longer, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Three methods, small.
pub(crate) const THREE: &str = r#"name = "three"
seed = 3
graph = { family = "ring", agents = 6 }
network = { hidden = [16] }
train = { rounds_per_task = 12, batch_size = 10, learning_rate = 0.05 }

[data]
dataset = "synthetic"
tasks = { kind = "permuted", count = 2 }
synthetic = { shape = [1, 6, 6], classes = 4, train = 600, test = 80 }

[[arm]]
name = "codec"
method = "codec"
memory = { samples = 20, consensus_rounds = 2 }

[[arm]]
name = "d-psgd"
method = "d-psgd"

[[arm]]
name = "q-saddle"
method = "q-saddle"
"#;

/// One method, long enough to be disturbed.
pub(crate) const LONGER: &str = r#"name = "longer"
seed = 3
method = "d-psgd"
graph = { family = "ring", agents = 8 }
network = { hidden = [16] }
train = { rounds_per_task = 400, batch_size = 10, learning_rate = 0.05 }
links = { deadline_ms = 60000 }

[data]
dataset = "synthetic"
tasks = { kind = "permuted", count = 3 }
synthetic = { shape = [1, 6, 6], classes = 4, train = 800, test = 80 }
"#;

pub(crate) fn workplace(text: &str) -> TempDir {
    let folder = TempDir::new().expect("there is room");
    std::fs::write(folder.path().join("e.toml"), text).expect("it can be written");
    folder
}

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

pub(crate) fn kith(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("the binary starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The only run directory below `out`.
pub(crate) fn run_directory(out: &Path) -> PathBuf {
    let below = |folder: &Path| {
        let mut entries: Vec<PathBuf> =
            folder.read_dir().expect("it can be listed").map(|entry| entry.expect("it is there").path()).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    };
    below(&below(out))
}

/// A `kith launch` or `kith agent` under way.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stderr: BufReader<ChildStderr>,
    pub(crate) heard: String,
}

impl Running {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, arguments).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        Self { child, stderr, heard: String::new() }
    }

    /// Reads stderr up to a line with these words.
    pub(crate) fn hear(&mut self, words: &str) {
        loop {
            let before = self.heard.len();
            let count = self.stderr.read_line(&mut self.heard).expect("stderr can be read");
            assert!(count > 0, "stderr ended without `{words}`:\n{}", self.heard);
            if self.heard[before..].contains(words) {
                return;
            }
        }
    }

    /// Waits for the end: its exit code and all of stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.stderr.read_to_string(&mut self.heard).expect("stderr can be read");
        let status = self.child.wait().expect("it can be waited for");
        (status.code(), self.heard)
    }
}

pub(crate) fn signal(name: &str, pid: u64) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("there is kill");
    assert!(status.success(), "kill -{name} {pid}");
}

/// What `--digests` left.
pub(crate) fn digests(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("digests.jsonl")).expect("it is there")
}

/// The first line in which two runs' digests differ.
pub(crate) fn difference(one: &Path, other: &Path) -> Option<(String, String)> {
    let (one, other) = (digests(one), digests(other));
    let found = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    found.map(|(one, other)| (one.to_owned(), other.to_owned()))
}

/// A process of an arm of a launched run.
pub(crate) fn pid(directory: &Path, arm: &str, place: usize) -> u64 {
    let status = json(&directory.join(format!("processes/{arm}/{place}/status.json")));
    status["pid"].as_u64().expect("a process has a number")
}

/// Lines of `metrics.jsonl` of these keys, in order.
pub(crate) fn metrics(directory: &Path, keys: &[&str]) -> Vec<Value> {
    let text = std::fs::read_to_string(directory.join("metrics.jsonl")).expect("it is there");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"));
    lines.filter(|line| keys.contains(&line["key"].as_str().unwrap_or_default())).collect()
}
