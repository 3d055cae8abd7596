//! Runs that are killed, and what comes of them: the binary as a user meets it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

mod support;

use support::content;

/// What a clock or the system says, and so differs from run to run.
const CLOCKED: [&str; 6] = [
    "wall_seconds",
    "train_seconds",
    "evaluate_seconds",
    "agent_steps_per_second",
    "rounds_per_second",
    "peak_rss_bytes",
];

/// The quickstart, small, with checkpoints at ends of tasks and between.
const SMALL: [&str; 10] = [
    "--set",
    "data.tasks.count=3",
    "--set",
    "train.epochs_per_task=15",
    "--set",
    "train.evaluate_every=5",
    "--set",
    "checkpoint.every_rounds=40",
    "--set",
    "output.log=[\"csv\", \"tensorboard\"]",
];

fn command(arguments: &[&str]) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/quickstart.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.arg("run").arg(file).args(SMALL).args(arguments).env("NO_COLOR", "1");
    command
}

fn kith(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(arguments).env("NO_COLOR", "1").output().expect("the binary starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The only run directory below `out`.
fn run_directory(out: &Path) -> PathBuf {
    let below = |folder: &Path| {
        let mut entries = folder.read_dir().expect("it can be listed");
        entries.next().expect("there is one").expect("it is there").path()
    };
    below(&below(out))
}

/// The results: every arm of the summary less what a clock said, and the metrics, their log, and what the arms were made of.
fn results(directory: &Path) -> (Vec<Value>, [String; 3]) {
    let read = |name| std::fs::read_to_string(directory.join(name)).expect("it is there");
    let mut summary: Value = serde_json::from_str(&read("summary.json")).expect("it is JSON");
    let mut arms = summary["arms"].take().as_array().cloned().expect("arms are a list");
    for arm in &mut arms {
        let fields = arm.as_object_mut().expect("an arm is a table");
        CLOCKED.iter().for_each(|key| {
            fields.remove(*key).unwrap_or_else(|| panic!("the summary has {key}"));
        });
    }
    (arms, ["metrics.jsonl", "metrics.csv", "setup.json"].map(read))
}

/// Starts a run and kills it when it says for the `time`-th time that a task begins; whether that was soon enough.
fn killed_at(time: usize, arguments: &[&str]) -> bool {
    let mut child = command(arguments).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let begins = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.contains("task begins"));
    assert_eq!(lines.filter(begins).take(time).count(), time, "it says when a task begins");
    child.kill().expect("it was started");
    !child.wait().expect("it ends").success()
}

fn checkpoints(directory: &Path) -> Vec<PathBuf> {
    content(&directory.join("checkpoints")).into_keys().collect()
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_results_of_one_that_is_not() {
    let out = TempDir::new().expect("there is room");
    let whole = run(&["--quiet", "--out", text(out.path())]);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let whole = results(&run_directory(out.path()));
    assert_eq!(whole.0.len(), 2);
    // In the first arm before and after its first task, at the second arm's start, and in its middle; the last twice.
    let mut cut = 0;
    for (times, threads) in [(vec![1], "1"), (vec![2], "2"), (vec![4], "1"), (vec![5, 1], "2")] {
        let out = TempDir::new().expect("there is room");
        cut += usize::from(killed_at(times[0], &["--threads", threads, "--out", text(out.path())]));
        let directory = run_directory(out.path());
        for &time in &times[1..] {
            killed_at(time, &["--threads", threads, "--resume", text(&directory)]);
        }
        let resumed = run(&["--quiet", "--resume", text(&directory)]);
        assert!(resumed.status.success(), "{times:?}: {}", stderr(&resumed));
        let (arms, metrics) = results(&directory);
        for (metrics, whole) in metrics.iter().zip(&whole.1) {
            assert_eq!(metrics, whole, "killed at {times:?}");
        }
        assert_eq!(arms, whole.0, "killed at {times:?}: summary");
        let names: Vec<_> =
            checkpoints(&directory).iter().map(|path| path.file_name().map(ToOwned::to_owned)).collect();
        assert_eq!(names, [Some("final.kith".into()), Some("final.kith".into())], "one an arm stays");
    }
    assert!(cut >= 3, "{cut} of 4 runs were killed before their end");
}

#[test]
fn a_finished_run_is_read_and_not_run_again() {
    let out = TempDir::new().expect("there is room");
    assert!(run(&["--quiet", "--arm", "codec", "--out", text(out.path())]).status.success());
    let directory = run_directory(out.path());
    let before = content(&directory);
    let again = run(&["--json", "--quiet", "--arm", "codec", "--resume", text(&directory)]);
    assert!(again.status.success(), "{}", stderr(&again));
    let summary: Value = serde_json::from_slice(&again.stdout).expect("it is JSON");
    assert_eq!(summary["arms"][0]["arm"], "codec");
    assert_eq!(content(&directory), before);
}

#[test]
fn a_checkpoint_that_is_not_of_this_run_is_refused_and_nothing_is_overwritten() {
    let out = TempDir::new().expect("there is room");
    assert!(run(&["--quiet", "--set", "checkpoint.keep=2", "--out", text(out.path())]).status.success());
    let directory = run_directory(out.path());
    // As if it had been killed when all but the last words of its second arm were on the disk.
    let path = directory.join("summary.json");
    let mut summary: Value = serde_json::from_slice(&std::fs::read(&path).expect("it is there")).expect("it is JSON");
    summary["arms"].as_array_mut().expect("arms are a list").truncate(1);
    std::fs::write(&path, summary.to_string()).expect("it can be written");
    let state =
        checkpoints(&directory).into_iter().find(|path| text(path).contains("d-psgd/round-")).expect("it was kept");
    let bytes = std::fs::read(&state).expect("it is there");
    let other = std::fs::read(directory.join("checkpoints/codec/final.kith")).expect("the first arm ended");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    let mut format = bytes.clone();
    format[8] = 99;
    let refused = |written: &[u8], more: &[&str], expected: &str| {
        std::fs::write(&state, written).expect("it can be written");
        let before = content(&directory);
        let output = run(&[&["--quiet", "--resume", text(&directory)], more].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{expected}: {}", stderr(&output));
        assert!(content(&directory) == before, "{expected}: a file was changed");
    };
    refused(&damaged, &[], "the checkpoint is damaged");
    refused(&bytes[..bytes.len() - 5], &[], "the checkpoint is cut short");
    refused(&format, &[], "the checkpoint has format 99; this version of kith reads format 4");
    refused(b"something else", &[], "this is no checkpoint of kith");
    refused(&other, &[], "the checkpoint is of arm codec; this run is of arm d-psgd");
    refused(&bytes, &["--seed", "9"], "it holds a run of experiment");
    let metrics = std::fs::File::open(directory.join("metrics.jsonl")).expect("it is there");
    metrics.lock().expect("nobody else holds it");
    refused(&bytes, &[], "another process is running in");
    metrics.unlock().expect("it was locked");
    let nowhere = TempDir::new().expect("there is room");
    let output = run(&["--resume", text(nowhere.path())]);
    assert!(stderr(&output).contains("it is no run directory"), "{}", stderr(&output));
    std::fs::write(&state, &bytes).expect("it can be written");
    assert!(run(&["--quiet", "--resume", text(&directory)]).status.success());
}

#[test]
fn exported_weights_are_what_another_run_starts_from() {
    let out = TempDir::new().expect("there is room");
    assert!(run(&["--quiet", "--arm", "codec", "--out", text(out.path())]).status.success());
    let directory = run_directory(out.path());
    let file = out.path().join("three.safetensors");
    let exported = kith(&["export", text(&directory), "--agent", "3", "--out", text(&file)]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    assert_eq!(String::from_utf8_lossy(&exported.stdout).trim(), text(&file));
    let bytes = std::fs::read(&file).expect("it was written");
    let tensors = |bytes: &[u8]| -> Vec<(String, Vec<usize>, Vec<u8>)> {
        let file = safetensors::SafeTensors::deserialize(bytes).expect("it is safetensors");
        let tensors = file.tensors().into_iter();
        let mut all: Vec<_> = tensors.map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec())).collect();
        all.sort();
        all
    };
    let weights = tensors(&bytes);
    assert_eq!(weights[0].0, "fc1.weight");
    assert_eq!(weights[0].1[1], 64, "inputs of the digits");

    let start = format!("train.start_from={}", text(&file));
    let still = TempDir::new().expect("there is room");
    let sets = ["--quiet", "--arm", "d-psgd", "--set", &start, "--set", "train.learning_rate=0.0"];
    let output = run(&[&sets[..], &["--out", text(still.path())]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let still = run_directory(still.path());
    let exported = kith(&["export", text(&still), "--agent", "5"]);
    let again = PathBuf::from(String::from_utf8_lossy(&exported.stdout).trim());
    // Mixing equal rows rounds.
    for (one, other) in weights.iter().zip(tensors(&std::fs::read(&again).expect("it was written"))) {
        assert_eq!((&one.0, &one.1), (&other.0, &other.1));
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
        };
        for (one, other) in numbers(&one.2).into_iter().zip(numbers(&other.2)) {
            assert!((one - other).abs() <= 1e-5 * one.abs().max(1e-3), "{one} {other}");
        }
    }
    let manifest = std::fs::read_to_string(still.join("manifest.json")).expect("it is there");
    let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
    assert_eq!(manifest["start_weights"][0], kith_core::Digest::of(&bytes).to_string());

    let narrow = run(&["--quiet", "--set", &start, "--set", "network.hidden=[50, 50]", "--out", text(out.path())]);
    assert_eq!(narrow.status.code(), Some(2));
    assert!(stderr(&narrow).contains("tensor `fc1.weight` has shape"), "{}", stderr(&narrow));
    let twice = kith(&["export", text(&directory), "--agent", "3", "--out", text(&file)]);
    assert!(stderr(&twice).contains("is there already"), "{}", stderr(&twice));
    let nobody = kith(&["export", text(&directory), "--agent", "8"]);
    assert!(stderr(&nobody).contains("there is no agent 8; accepted: 0 to 7"), "{}", stderr(&nobody));
    let no_arm = kith(&["export", text(&directory), "--agent", "1", "--arm", "gpm"]);
    assert!(stderr(&no_arm).contains("there is no finished arm `gpm`"), "{}", stderr(&no_arm));
}

/// A file that may not grow stands for a disk that is full: the system's limit on the size of files, smaller than a checkpoint.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_stops_a_run_with_its_reason_and_it_goes_on_when_there_is_room() {
    let folder = TempDir::new().expect("there is room");
    let (uncut, cut) = (folder.path().join("uncut"), folder.path().join("cut"));
    assert!(run(&["--quiet", "--arm", "codec", "--out", text(&uncut)]).status.success());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/quickstart.toml");
    let mut bash = Command::new("bash");
    // Without the trap, the system would end the process by a signal, which no disk does.
    bash.args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kith"), "run"]);
    let full = bash.arg(file).args(SMALL).args(["--quiet", "--arm", "codec", "--out", text(&cut)]).output();
    let full = full.expect("bash starts");
    assert_eq!(full.status.code(), Some(2), "{}", stderr(&full));
    let said = stderr(&full);
    assert!(
        said.contains("round-000000000040.kith: cannot write the checkpoint") && said.contains("too large"),
        "{said}"
    );
    let directory = run_directory(&cut);
    assert!(content(&directory.join("checkpoints")).is_empty(), "nothing torn is left");
    let resumed = run(&["--quiet", "--arm", "codec", "--resume", text(&directory)]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(results(&directory), results(&run_directory(&uncut)));
}
