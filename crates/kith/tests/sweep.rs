//! Sweeps as a user meets them: processes that are killed, fail, and work side by side.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Two arms, two settings and, for the one with a memory, two more: of each, four seeds.
const SWEEP: &str = r#"name = "small"
graph = { family = "ring", agents = 4 }
network = { hidden = [16] }
memory = { samples = 20 }
train = { rounds_per_task = 60, batch_size = 10 }

[data]
dataset = "synthetic"
tasks = { kind = "permuted", count = 2 }
synthetic = { shape = [1, 6, 6], classes = 4, train = 400, test = 80 }

[[arm]]
name = "codec"
method = "codec"

[[arm]]
name = "d-psgd"
method = "d-psgd"

[sweep]
seeds = [1, 2, 3, 4]

[[sweep.grid]]
"train.learning_rate" = [0.02, 0.1]

[[sweep.grid]]
when = { arm = "codec" }
"memory.energy_threshold" = [0.9, 0.97]
"#;
const RUNS: usize = 24;

/// A folder with the experiment file.
fn workplace(text: &str) -> TempDir {
    let folder = TempDir::new().expect("there is room");
    std::fs::write(folder.path().join("small.toml"), text).expect("it can be written");
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn kith(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("the binary starts")
}

fn sweep(folder: &Path, out: &str, more: &[&str]) -> Output {
    kith(folder, &[&["sweep", "small.toml", "--out", out], more].concat())
}

fn start(folder: &Path, out: &str, more: &[&str]) -> Child {
    let arguments = [&["sweep", "small.toml", "--out", out], more].concat();
    let mut command = command(folder, &arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("it is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// When each run that is done began: a run that is run again begins anew.
fn done(out: &Path) -> BTreeMap<PathBuf, String> {
    let read = |path: PathBuf| -> Value {
        std::fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    };
    let entries = out.join("small").read_dir().map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let paths = entries.into_iter().map(|entry| entry.path());
    let runs = paths.filter_map(|path| {
        let manifest = read(path.join("manifest.json"));
        let whole = read(path.join("summary.json"))["stopped"] == Value::Bool(false) && manifest["ended"].is_string();
        let started =
            format!("{} {:?}", manifest["started"], std::fs::metadata(path.join("metrics.jsonl")).ok()?.modified());
        whole.then_some((path, started))
    });
    runs.collect()
}

/// Reads lines until so many runs have ended; the lines.
fn wait_for_ends(child: &mut Child, ends: usize) -> usize {
    let stderr = child.stderr.take().expect("it is piped");
    let mut seen = 0;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        seen += usize::from(line.starts_with('[') && line.contains("accuracy"));
        if seen >= ends {
            break;
        }
    }
    seen
}

#[test]
fn a_sweep_that_is_killed_three_times_gives_the_table_of_an_uncut_one() {
    // Long enough that a kill comes before the end.
    let folder = workplace(&SWEEP.replace("rounds_per_task = 60", "rounds_per_task = 300"));
    let uncut = sweep(folder.path(), "uncut", &["--jobs", "2"]);
    let expected = stdout(&uncut);
    assert_eq!(expected.lines().count(), 2 + 6, "{expected}");
    assert_eq!(done(&folder.path().join("uncut")).len(), RUNS);

    let cut = folder.path().join("cut");
    for ends in [3, 5, 4] {
        let before = done(&cut);
        let mut child = start(folder.path(), "cut", &["--jobs", "1", "--threads", "2"]);
        assert_eq!(wait_for_ends(&mut child, ends), ends);
        // SIGKILL: no handler runs, and the runs under way learn it from their stdin.
        child.kill().expect("it is there");
        child.wait().expect("it ends");
        let after = done(&cut);
        assert!(after.len() >= before.len() + ends && after.len() < RUNS, "{} runs are done", after.len());
        assert!(before.iter().all(|(path, started)| after.get(path) == Some(started)), "what is done stays");
    }
    let before = done(&cut);
    let output = sweep(folder.path(), "cut", &["--jobs", "2"]);
    assert_eq!(stdout(&output), expected);
    let after = done(&cut);
    assert_eq!(after.len(), RUNS);
    assert!(before.iter().all(|(path, started)| after.get(path) == Some(started)), "what is done stays");

    let numbers = |out: &str| json(&sweep(folder.path(), out, &["--json", "--quiet"]))["comparison"].clone();
    assert_eq!(numbers("cut"), numbers("uncut"), "to the last digit");
    let digests = |out: &str| -> Vec<Value> {
        let runs = json(&sweep(folder.path(), out, &["--json", "--dry-run"]))["runs"].clone();
        let runs = runs.as_array().expect("a list").clone();
        runs.iter().map(|run| run["summary"]["parameter_digest"].clone()).collect()
    };
    assert_eq!(digests("cut"), digests("uncut"), "to the last bit");
    assert!(digests("cut").iter().all(Value::is_string));
}

/// The run that was under way when its sweep was killed goes on from its checkpoint: what it had measured stays, byte by byte.
#[cfg(unix)]
#[test]
fn a_run_that_is_cut_inside_a_sweep_goes_on_from_its_checkpoint() {
    let text = SWEEP
        .replace("rounds_per_task = 60", "rounds_per_task = 3000")
        .replace("[1, 2, 3, 4]", "[1]")
        .replace("[data]", "[checkpoint]\nevery_rounds = 100\n\n[data]");
    let folder = workplace(&text);
    let only = ["--filter", "arm=d-psgd", "--filter", "train.learning_rate=0.1"];
    let mut child = start(folder.path(), "cut", &only);
    let small = folder.path().join("cut/small");
    let checkpoint = |run: &Path| {
        let saved = run.join("checkpoints/d-psgd").read_dir().into_iter().flatten().flatten();
        saved
            .map(|file| file.file_name().to_string_lossy().into_owned())
            .find(|name| name.starts_with("round-") && name.ends_with(".kith"))
    };
    let run = loop {
        let mut runs = small.read_dir().into_iter().flatten().flatten().map(|run| run.path());
        if let Some(run) = runs.find(|run| checkpoint(run).is_some()) {
            break run;
        }
        assert!(matches!(child.try_wait(), Ok(None)), "the sweep ended before a checkpoint");
        std::thread::yield_now();
    };
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    assert!(done(&folder.path().join("cut")).is_empty(), "it was cut before its end");
    let saved = checkpoint(&run).expect("one stays");
    let rounds: u64 = saved.trim_start_matches("round-").trim_end_matches(".kith").parse().expect("a round");
    assert!((100..6000).contains(&rounds), "{saved}");

    assert!(sweep(folder.path(), "cut", &only).status.success());
    let log = std::fs::read_to_string(run.join("attempts.log")).expect("it says when it began");
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(sweep(folder.path(), "uncut", &only).status.success());
    let other = folder.path().join("uncut/small").join(run.file_name().expect("a name"));
    let read = |run: &Path| std::fs::read_to_string(run.join("metrics.jsonl")).expect("it is there");
    assert_eq!(read(&run), read(&other), "no event is lost, none comes twice");
    let manifest = std::fs::read_to_string(run.join("manifest.json")).expect("it is there");
    let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
    assert_eq!(manifest["resumed"].as_array().map(Vec::len), Some(1), "{manifest}");
}

#[test]
fn two_processes_in_one_folder_run_every_run_once() {
    let folder = workplace(SWEEP);
    let children = [0, 1].map(|_| start(folder.path(), "runs", &["--jobs", "2", "--threads", "2"]));
    let outputs = children.map(|child| child.wait_with_output().expect("it ends"));
    assert_eq!(stdout(&outputs[0]), stdout(&outputs[1]));
    assert_eq!(done(&folder.path().join("runs")).len(), RUNS);
    assert_eq!(begun(&folder.path().join("runs/small")), RUNS);
}

/// How often runs of a folder began: each begin writes a line.
fn begun(folder: &Path) -> usize {
    let runs = folder.read_dir().expect("it is there").flatten();
    runs.map(|run| std::fs::read_to_string(run.path().join("attempts.log")).unwrap_or_default().lines().count()).sum()
}

#[test]
fn shards_share_the_runs_and_each_ends_with_the_table_of_what_is_done() {
    let folder = workplace(SWEEP);
    let mut last = String::new();
    for (place, shard) in ["1/3", "2/3", "3/3"].iter().enumerate() {
        let output = sweep(folder.path(), "runs", &["--shard", shard, "--jobs", "2"]);
        last = stdout(&output);
        assert!(stderr(&output).contains("8 of 8 runs are done"), "{}", stderr(&output));
        assert_eq!(done(&folder.path().join("runs")).len(), 8 * (place + 1));
    }
    assert_eq!(stdout(&sweep(folder.path(), "runs", &["--quiet"])), last);
    assert!(!last.contains(" of 4"), "{last}");
}

#[test]
fn what_fails_is_listed_with_its_reason_and_runs_again_only_when_asked() {
    let text = SWEEP.replace("[0.02, 0.1]", "[0.02, 1e30]").replace("[1, 2, 3, 4]", "[1]");
    let folder = workplace(&text);
    let output = sweep(folder.path(), "runs", &["--arm", "d-psgd"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(text.contains("failed: d-psgd train.learning_rate=1e+30 seed 1"), "{text}");
    assert!(text.contains("1 of 2 runs are done, 1 failed (--retry runs them again)"), "{text}");
    let reason = json(&sweep(folder.path(), "runs", &["--arm", "d-psgd", "--dry-run", "--json"]))["runs"][1].clone();
    assert_eq!(reason["state"], "failed");
    assert!(reason["reason"].as_str().expect("a reason").contains("diverge"), "{reason}");
    let runs = folder.path().join("runs/small");
    assert_eq!(begun(&runs), 2);
    assert_eq!(sweep(folder.path(), "runs", &["--arm", "d-psgd"]).status.code(), Some(1));
    assert_eq!(begun(&runs), 2, "a failed run waits for --retry");
    assert_eq!(sweep(folder.path(), "runs", &["--arm", "d-psgd", "--retry"]).status.code(), Some(1));
    assert_eq!(begun(&runs), 3);
}

/// A run whose process dies takes neither the sweep nor the other runs with it.
#[cfg(unix)]
#[test]
fn a_run_whose_process_is_killed_is_a_failure_with_the_signal_as_its_reason() {
    let text = SWEEP.replace("[1, 2, 3, 4]", "[1]").replace("rounds_per_task = 60", "rounds_per_task = 50000000");
    let folder = workplace(&text);
    let mut child = start(folder.path(), "runs", &["--jobs", "2", "--filter", "train.learning_rate=0.1"]);
    let small = folder.path().join("runs/small");
    // A run says in its lock which process it is, as soon as it works.
    let victim = loop {
        let locks = small.read_dir().into_iter().flatten().flatten().map(|run| run.path());
        let mut working = locks.filter(|run| run.join("metrics.jsonl").is_file());
        if let Some(run) = working.next() {
            let owner = std::fs::read_to_string(run.join(".lock")).expect("it is there");
            let owner: Value = serde_json::from_str(&owner).expect("it says who");
            break owner["pid"].to_string();
        }
        assert!(matches!(child.try_wait(), Ok(None)), "the sweep ended before a run began");
        std::thread::yield_now();
    };
    let kill = |signal: &str, pid: &str| {
        assert!(Command::new("kill").args([signal, pid]).status().expect("kill is there").success());
    };
    kill("-KILL", &victim);
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("FAILED")).expect("the failure is told at once");
    assert!(line.contains("signal: 9"), "{line}");
    kill("-TERM", &child.id().to_string());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("the same command goes on from here")), "{rest:?}");
    let runs = json(&sweep(folder.path(), "runs", &["--filter", "train.learning_rate=0.1", "--dry-run", "--json"]));
    let states: Vec<&str> =
        runs["runs"].as_array().expect("a list").iter().filter_map(|run| run["state"].as_str()).collect();
    assert_eq!(states.iter().filter(|state| **state == "failed").count(), 1, "{states:?}");
    assert!(states.iter().all(|state| ["failed", "cut", "new"].contains(state)), "{states:?}");
}

#[test]
fn a_missed_expectation_is_status_1_and_said() {
    let text =
        SWEEP.replace("[[sweep.grid]]\n\"train.learning_rate\" = [0.02, 0.1]\n", "").replace("[1, 2, 3, 4]", "[1]");
    let folder = workplace(&(text + "\n[expect.d-psgd]\naverage_accuracy = { min = 1.5 }\n"));
    let output = sweep(folder.path(), "runs", &["--arm", "d-psgd"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("missed: d-psgd seed 1: average_accuracy is 0."), "{}", stderr(&output));
}

#[test]
fn runs_are_listed_shown_compared_and_removed() {
    let text = SWEEP.replace("[1, 2, 3, 4]", "[1, 2]");
    let folder = workplace(&text);
    let only = ["--filter", "arm=d-psgd", "--filter", "train.learning_rate=0.1"];
    stdout(&sweep(folder.path(), "runs", &only));
    assert!(kith(folder.path(), &["run", "small.toml", "--arm", "codec", "--quiet"]).status.success());
    let listed = json(&kith(folder.path(), &["runs", "list", "--json"]));
    let listed = listed.as_array().expect("a list");
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|run| run["state"] == "done" && run["experiment"] == "small"), "{listed:?}");
    let of_sweep: Vec<&Value> = listed.iter().filter(|run| run["setting"]["train.learning_rate"] == 0.1).collect();
    let ids: Vec<&str> = of_sweep.iter().filter_map(|run| run["run"].as_str()).collect();
    assert_eq!(ids.len(), 2);

    let shown = stdout(&kith(folder.path(), &["runs", "show", &ids[0][..8]]));
    assert!(shown.contains("setting        train.learning_rate=0.1") && shown.contains("accuracy %"), "{shown}");
    let difference = json(&kith(folder.path(), &["runs", "diff", ids[0], ids[1], "--json"]));
    assert_eq!(difference["versions"], Value::Array(Vec::new()));
    let settings = difference["settings"].as_array().expect("a list");
    assert_eq!(settings.len(), 1, "{settings:?}");
    assert_eq!(settings[0]["key"], "arm.seed");
    let results = difference["results"].as_array().expect("a list");
    assert!(results.iter().any(|result| result["key"] == "parameter_digest"), "{results:?}");

    let count = || json(&kith(folder.path(), &["runs", "list", "--json"])).as_array().map(Vec::len);
    assert!(kith(folder.path(), &["runs", "rm", ids[0], "--dry-run"]).status.success());
    assert_eq!(count(), Some(3));
    assert!(kith(folder.path(), &["runs", "rm", ids[0]]).status.success());
    assert_eq!(count(), Some(2));
    assert!(kith(folder.path(), &["runs", "rm", "--state", "failed"]).status.success());
    assert_eq!(count(), Some(2));
    let unknown = kith(folder.path(), &["runs", "rm", ids[0]]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("no run is called"), "{}", stderr(&unknown));
    assert!(folder.path().join("small.toml").is_file());
    assert_eq!(kith(folder.path(), &["runs", "rm", "."]).status.code(), Some(2), "what is no run stays");
}

#[test]
fn the_slurm_script_runs_every_part() {
    let folder = workplace(&SWEEP.replace("[1, 2, 3, 4]", "[1]"));
    let script =
        kith(folder.path(), &["deploy", "slurm", "small.toml", "--sweep", "--shards", "3", "--out", "the runs"]);
    std::fs::write(folder.path().join("job.sh"), stdout(&script)).expect("it can be written");
    let binary = Path::new(env!("CARGO_BIN_EXE_kith")).parent().expect("it lies somewhere");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    for part in ["1", "2", "3"] {
        let mut bash = Command::new("bash");
        bash.arg("job.sh").current_dir(folder.path()).env("PATH", &path).env("SLURM_CPUS_PER_TASK", "2");
        let output = bash.env("SLURM_ARRAY_TASK_ID", part).output().expect("bash is there");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("2 of 2 runs are done"), "{}", stderr(&output));
    }
    assert_eq!(done(&folder.path().join("the runs")).len(), 6);
}

#[test]
fn deployed_files_are_these() {
    let folder = workplace(
        &SWEEP[..SWEEP.find("[[arm]]").expect("it is there")]
            .replace("memory = { samples = 20 }", "method = \"d-psgd\"\nsweep = { seeds = [1, 2, 3] }"),
    );
    let slurm = ["--time", "02:00:00", "--partition", "cpu", "--memory", "4G", "--set", "train.batch_size=5"];
    let slurm = kith(folder.path(), &[&["deploy", "slurm", "small.toml", "--sweep"], &slurm[..]].concat());
    let kubernetes =
        ["--image", "kith:0.1", "--claim", "runs", "--data-claim", "data", "--cpus", "4", "--filter", "seed=[1,2]"];
    let kubernetes =
        kith(folder.path(), &[&["deploy", "kubernetes", "small.toml", "--sweep"], &kubernetes[..]].concat());
    insta::assert_snapshot!(format!("{}\n=====\n{}", stdout(&slurm), stdout(&kubernetes)));
    let refused = kith(folder.path(), &["deploy", "slurm", "small.toml", "--sweep", "--time", "1 h"]);
    assert_eq!(refused.status.code(), Some(2));
    let shards = kith(folder.path(), &["deploy", "slurm", "small.toml", "--shards", "2"]);
    assert_eq!(shards.status.code(), Some(2), "--sweep is asked for");
}
