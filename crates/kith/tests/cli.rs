//! The binary as a user meets it: streams, exit codes, run directories.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The quickstart, small: two tasks of one epoch.
const SMALL: [&str; 4] = ["--set", "data.tasks.count=2", "--set", "train.epochs_per_task=1"];

fn experiment(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments").join(name)
}

fn kith(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(arguments).env("NO_COLOR", "1").output().expect("the binary starts")
}

/// Runs the small quickstart into `out`, with more arguments.
fn small(out: &Path, more: &[&str]) -> Output {
    let file = experiment("quickstart.toml");
    let out = out.to_str().expect("the path is text");
    kith(&[&["run", file.to_str().expect("the path is text"), "--out", out], &SMALL[..], more].concat())
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout is JSON and nothing else")
}

/// The only run directory below `out`.
fn run_directory(out: &Path) -> PathBuf {
    let below = |folder: &Path| {
        let mut entries: Vec<PathBuf> =
            folder.read_dir().expect("it can be listed").map(|entry| entry.expect("it is there").path()).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    };
    below(&below(out))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_run_prints_its_summary_and_leaves_the_same_in_its_directory() {
    let out = TempDir::new().expect("there is room");
    let summary = json(&small(out.path(), &["--json", "--quiet"]));
    let directory = run_directory(out.path());
    let written: Value = serde_json::from_str(&read(&directory.join("summary.json"))).expect("it is JSON");
    assert_eq!(written, summary);
    let arms = summary["arms"].as_array().expect("arms are a list");
    assert_eq!(arms.len(), 2);
    for arm in arms {
        assert_eq!((arm["agents"].as_u64(), arm["tasks"].as_u64()), (Some(8), Some(2)));
        assert_eq!(arm["accuracy_matrix"][1].as_array().map(Vec::len), Some(2));
        assert_eq!(arm["stopped"], Value::Bool(false));
    }
    assert!(arms[0]["compression_ratio"].as_f64().expect("a number") > 1.0);
    assert_eq!(arms[1]["compression_ratio"].as_f64(), Some(1.0));
    for line in read(&directory.join("metrics.jsonl")).lines() {
        let event: Value = serde_json::from_str(line).expect("every line is JSON");
        assert!(event["key"].is_string() && event["round"].is_u64() && event["value"].is_number(), "{line}");
    }
    for figure in ["accuracy-over-time.svg", "accuracy-against-bytes.svg"] {
        assert!(read(&directory.join(figure)).contains("<polyline"), "{figure} has no line");
    }
    let manifest: Value = serde_json::from_str(&read(&directory.join("manifest.json"))).expect("it is JSON");
    assert_eq!(manifest["grade"], "D0");
    assert!(manifest["ended"].is_string());
}

#[test]
fn the_resolved_experiment_runs_to_the_same_parameters_on_any_number_of_threads() {
    let (first, second) = (TempDir::new().expect("there is room"), TempDir::new().expect("there is room"));
    let digests = |summary: &Value| -> Vec<String> {
        let arms = summary["arms"].as_array().expect("arms are a list");
        arms.iter().map(|arm| format!("{} {}", arm["parameter_digest"], arm["trace_digest"])).collect()
    };
    let original = json(&small(first.path(), &["--json", "--quiet", "--threads", "1"]));
    let resolved = run_directory(first.path()).join("experiment.resolved.toml");
    let (resolved, out) = (resolved.to_str().expect("text"), second.path().to_str().expect("text"));
    let again = json(&kith(&["run", resolved, "--out", out, "--json", "--quiet", "--threads", "3"]));
    assert_eq!(digests(&again), digests(&original));
    let hash = |directory: &Path| {
        let manifest: Value = serde_json::from_str(&read(&directory.join("manifest.json"))).expect("it is JSON");
        manifest["experiment_hash"].clone()
    };
    assert_eq!(hash(&run_directory(second.path())), hash(&run_directory(first.path())));
}

#[test]
fn a_failed_expectation_is_status_1_and_says_what_was_measured() {
    let out = TempDir::new().expect("there is room");
    let only = ["--arm", "codec", "--set", "expect.codec.average_accuracy={min=0.999}"];
    let output = small(out.path(), &only);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("FAILS  codec  average_accuracy ≥ 0.999"), "{stderr}");
    assert!(output.stdout.is_empty());
    let output = small(out.path(), &["--arm", "codec", "--set", "expect.codec.average_accuracy={min=0.0}"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_a_file_expects_is_not_judged_when_a_flag_changed_the_experiment() {
    let out = TempDir::new().expect("there is room");
    let output = small(out.path(), &["--arm", "codec"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("expectations are not judged: --set changed the experiment"), "{stderr}");
}

#[test]
fn mistakes_are_status_2_before_anything_is_trained() {
    let out = TempDir::new().expect("there is room");
    let taken = out.path().join("file");
    std::fs::write(&taken, "").expect("it can be written");
    let stderr = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let cases = [
        (small(&taken, &[]), "choose another place with --out DIR"),
        (
            small(out.path(), &["--device", "cuda"]),
            "device cuda is not in this build; build kith with `--features cuda`",
        ),
        (
            small(out.path(), &["--set", "train.batch_size=180"]),
            "--set train.batch_size=180: train.batch_size: a batch of 180",
        ),
        (small(out.path(), &["--set", "memory.energy_threshold=2"]), "2 is outside (0, 1]"),
        (kith(&["run", "no-such-file.toml"]), "cannot read no-such-file.toml"),
        (kith(&["walk"]), "unrecognized subcommand"),
    ];
    for (output, expected) in cases {
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let left: Vec<_> = out.path().join("quickstart").read_dir().map(Iterator::collect).unwrap_or_default();
    assert!(left.is_empty(), "a run in which nothing was measured leaves no directory: {left:?}");
}

#[test]
fn every_experiment_that_needs_no_download_passes_its_check() {
    for name in ["quickstart.toml", "bench-ring-mlp.toml"] {
        let checked = json(&kith(&["check", experiment(name).to_str().expect("text"), "--json"]));
        for arm in checked["arms"].as_array().expect("arms are a list") {
            let layers = arm["layers"].as_array().expect("layers are a list");
            let sum: u64 = layers.iter().filter_map(|layer| layer["parameters"].as_u64()).sum();
            assert_eq!(arm["parameters"].as_u64(), Some(sum));
        }
    }
}

#[test]
fn every_experiment_file_resolves() {
    let folder = experiment("");
    let mut files = 0;
    for entry in folder.read_dir().expect("it can be listed") {
        let path = entry.expect("it is there").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let loaded = kith::config::load(&path, &kith::config::Overrides::default());
            assert!(loaded.is_ok(), "{}", loaded.err().map(|error| error.to_string()).unwrap_or_default());
            files += 1;
        }
    }
    assert!(files >= 5, "{files} files");
}

#[test]
fn topology_and_data_answer_on_stdout() {
    let inspection = json(&kith(&["topology", "inspect", "torus:4x4", "--json"]));
    assert_eq!((inspection["vertices"].as_u64(), inspection["edges"].as_u64()), (Some(16), Some(32)));
    let list = json(&kith(&["data", "list", "--json"]));
    let digits = list.as_array().expect("a list").iter().find(|row| row["name"] == "digits").expect("digits are there");
    assert_eq!(digits["present"], Value::Bool(true));
    let inspected = json(&kith(&["data", "inspect", experiment("quickstart.toml").to_str().expect("text"), "--json"]));
    assert_eq!(inspected.as_array().map(Vec::len), Some(1), "arms that share their data are shown once");
    assert_eq!(inspected[0]["tasks"][0]["histogram"].as_array().map(Vec::len), Some(8));
    assert_eq!(kith(&["data", "fetch", "minst"]).status.code(), Some(2));
}

#[test]
fn schedules_are_shown_epoch_by_epoch_before_anything_is_trained() {
    let out = TempDir::new().expect("there is room");
    let svg = out.path().join("rates.svg");
    let file = experiment("quickstart.toml");
    let rising = "exchange.averaging_rate={kind=\"exponential\", start=0.5, growth=2.0}";
    let arguments = ["schedule", "preview", file.to_str().expect("text"), "--set", rising, "--arm", "codec"];
    let shorter = ["--set", "train.epochs_per_task=3", "--set", "data.tasks.count=2"];
    let drawn = ["--svg", svg.to_str().expect("text")];
    let preview = json(&kith(&[&arguments[..], &shorter, &drawn, &["--json"]].concat()));
    let epochs = preview["arms"][0]["epochs"].as_array().expect("a list");
    let read = |key: &str| epochs.iter().map(|epoch| epoch[key].as_f64()).collect::<Vec<_>>();
    assert_eq!(read("task"), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0].map(Some));
    assert_eq!(
        read("averaging_rate"),
        [1.0; 6].map(Some),
        "a half, doubled before the first epoch, and no more than one"
    );
    assert_eq!(read("radius"), [None; 6]);
    assert_eq!(read("step")[1], read("step")[4]);
    assert_eq!(epochs[0]["energy_threshold"].as_array().map(Vec::len), Some(3), "a threshold a layer");
    let drawing = std::fs::read_to_string(&svg).expect("it was drawn");
    assert!(drawing.starts_with("<svg") && drawing.contains("averaging rate"), "{drawing}");
    let text = kith(&[&arguments[..], &shorter].concat());
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(text.contains("── arm codec ──") && text.contains("averaging rate    ██████  1"), "{text}");
    assert_eq!(kith(&["schedule", "preview", "no-such-file.toml"]).status.code(), Some(2));
}

/// The first Ctrl-C stops after the round, and what was measured is kept.
#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_what_it_has_and_says_so() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;

    let out = TempDir::new().expect("there is room");
    let mut child = Command::new(env!("CARGO_BIN_EXE_kith"))
        .arg("run")
        .arg(experiment("quickstart.toml"))
        .args(["--set", "train.epochs_per_task=100000", "--set", "train.evaluate_every=100000", "--out"])
        .arg(out.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("the first line comes when the first task begins");
    assert!(line.contains("task 1/5"), "{line}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("it is text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{rest}");
    assert!(rest.contains("stopped before the end"), "{rest}");
    let summary = read(&run_directory(out.path()).join("summary.json"));
    let summary: Value = serde_json::from_str(&summary).expect("it is JSON");
    assert_eq!(summary["stopped"], Value::Bool(true));
    assert_eq!(summary["arms"].as_array().map(Vec::len), Some(1));
}
