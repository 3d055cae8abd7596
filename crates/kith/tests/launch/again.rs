//! Runs of processes that are cut and go on from what they kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::agents::{agent, introduce};
use crate::common::{
    LONGER, Running, difference, digests, json, kith, metrics, pid, run_directory, signal, text, workplace,
};
use crate::support::content;

/// Two methods, long enough to be killed in the middle, with state kept in between.
const AGAIN: &str = r#"name = "again"
seed = 4
graph = { family = "ring", agents = 4 }
network = { hidden = [16] }
train = { rounds_per_task = 200, batch_size = 10, learning_rate = 0.05 }
links = { deadline_ms = 60000 }
checkpoint = { every_rounds = 15 }

[data]
dataset = "synthetic"
tasks = { kind = "permuted", count = 2 }
synthetic = { shape = [1, 6, 6], classes = 4, train = 400, test = 40 }

[[arm]]
name = "codec"
method = "codec"
memory = { samples = 20, consensus_rounds = 2 }

[[arm]]
name = "d-psgd"
method = "d-psgd"
"#;

/// All at once: nobody sees the others go.
fn kill_all(pids: &[u64]) {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let status = Command::new("kill").arg("-KILL").args(pids).status().expect("there is kill");
    assert!(status.success(), "all were alive");
}

/// Starts a launch, and stands where the second task of the arm begins, with the numbers of its four processes.
fn in_the_second_task(folder: &Path, arm: &str, arguments: &[&str]) -> (Running, Vec<u64>) {
    let mut launch = Running::start(folder, &[&["launch", "-n", "4", "e.toml"], arguments].concat());
    let begins = format!("{arm}: task begins");
    launch.hear(&begins);
    launch.hear(&begins);
    let directory = run_directory(&folder.join("out"));
    let pids = (0..4).map(|place| pid(&directory, arm, place)).collect();
    (launch, pids)
}

#[test]
fn processes_that_are_all_killed_go_on_to_the_bits_of_a_run_that_was_not() {
    let folder = workplace(AGAIN);
    let folder = folder.path();
    let simulated = kith(folder, &["run", "e.toml", "--digests", "-q", "--out", "simulated"]);
    assert!(simulated.status.success(), "{}", text(&simulated.stderr));
    let expected = run_directory(&folder.join("simulated"));
    let (launch, pids) = in_the_second_task(folder, "codec", &["--out", "out", "--digests"]);
    kill_all(&pids);
    let (code, words) = launch.end();
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("no process came to an end") && words.contains("add --resume out/again/"), "{words}");
    let directory = run_directory(&folder.join("out"));
    let path = directory.to_str().expect("text");
    refusals(folder, &directory);
    // The second time all of it dies, and whoever started the processes with them.
    let (launch, mut pids) = in_the_second_task(folder, "d-psgd", &["--resume", path]);
    pids.push(u64::from(launch.child.id()));
    kill_all(&pids);
    let (code, words) = launch.end();
    assert_eq!(code, None, "{words}");
    let resumed = kith(folder, &["launch", "-n", "4", "e.toml", "--resume", path, "-q"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert!(digests(&directory) == digests(&expected), "{:?}", difference(&directory, &expected));
    assert_eq!(digests(&directory).lines().count(), 4 * (2 * 400 + 2 * 2));
    let arms = |directory: &Path| json(&directory.join("summary.json"))["arms"].as_array().expect("a list").clone();
    for (one, other) in arms(&expected).iter().zip(&arms(&directory)) {
        for key in [
            "parameter_digest",
            "accuracy_matrix_per_agent",
            "average_model_matrix",
            "basis_ranks",
            "agent_steps",
            "rounds",
            "training_bytes_per_agent",
            "consensus_bytes_per_agent",
            "stopped",
        ] {
            assert_eq!(one[key], other[key], "{key} of {}", one["arm"]);
        }
    }
    let keys = ["accuracy", "average_model_accuracy", "consensus_distance", "learning_rate", "basis_rank"];
    assert_eq!(metrics(&directory, &keys), metrics(&expected, &keys));
    assert_eq!(json(&directory.join("manifest.json"))["resumed"].as_array().map(Vec::len), Some(1));
    assert!(!directory.join("processes/d-psgd/0/checkpoints").exists(), "nothing is left that is of no use");
    // A run that came to its end is read.
    let before = content(&directory);
    assert!(kith(folder, &["launch", "-n", "4", "e.toml", "--resume", path, "-q"]).status.success());
    assert!(content(&directory) == before);
}

/// What cannot be gone on with is named, and stays as it is.
fn refusals(folder: &Path, directory: &Path) {
    let path = directory.to_str().expect("text");
    let refused = |arguments: &[&str], expected: &str| {
        let before = content(directory);
        let output = kith(folder, &[arguments, &["--resume", path]].concat());
        let words = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains(expected), "{expected}: {words}");
        assert!(content(directory) == before, "{expected}: a file was changed");
    };
    let launch = ["launch", "-n", "4", "e.toml"];
    refused(&[&launch[..], &["--seed", "9"]].concat(), "it holds a run of experiment");
    refused(&["launch", "-n", "2", "e.toml"], "it holds a run of 4 processes, the first of agents 0, and this");
    refused(&["run", "e.toml"], "and this would go on with one of `kith run`");
    let states = directory.join("processes/codec/2/checkpoints/codec");
    let mut states: Vec<PathBuf> =
        states.read_dir().expect("it kept some").map(|entry| entry.expect("it is there").path()).collect();
    states.sort();
    let whole: Vec<Vec<u8>> = states.iter().map(|path| std::fs::read(path).expect("it is there")).collect();
    let place = |place: &str| directory.join(place).join("checkpoints/codec");
    let other = std::fs::read_dir(place("processes/codec/1")).expect("it kept some");
    assert!(other.count() >= 2, "more than the newest stays");
    for (path, bytes) in states.iter().zip(&whole) {
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        std::fs::write(path, damaged).expect("it can be written");
    }
    refused(&launch, "the checkpoint is damaged");
    for path in &states {
        std::fs::remove_file(path).expect("it is there");
    }
    refused(&launch, "process 2 (agent 2): none");
    for (path, bytes) in states.iter().zip(&whole) {
        std::fs::write(path, bytes).expect("it can be written");
    }
}

#[test]
fn a_stopped_launch_goes_on_to_the_results_of_one_that_was_not() {
    let folder = workplace(AGAIN);
    let folder = folder.path();
    let arm = ["--arm", "d-psgd"];
    let simulated = kith(folder, &[&["run", "e.toml", "-q", "--json"], &arm[..]].concat());
    let simulated: Value = serde_json::from_slice(&simulated.stdout).expect("it is JSON");
    let (launch, _) = in_the_second_task(folder, "d-psgd", &[&arm[..], &["--out", "out"]].concat());
    signal("INT", u64::from(launch.child.id()));
    let (code, words) = launch.end();
    assert_eq!(code, Some(130), "{words}");
    assert!(words.contains("to go on, add --resume"), "{words}");
    let directory = run_directory(&folder.join("out"));
    let path = directory.to_str().expect("text");
    let again = [&["launch", "-n", "4", "e.toml", "--resume", path, "-q", "--json"], &arm[..]].concat();
    let resumed = kith(folder, &again);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    let resumed: Value = serde_json::from_slice(&resumed.stdout).expect("it is JSON");
    for key in ["parameter_digest", "accuracy_matrix_per_agent", "agent_steps", "stopped", "missed_exchanges"] {
        assert_eq!(simulated["arms"][0][key], resumed["arms"][0][key], "{key}");
    }
}

#[test]
fn a_process_that_was_killed_comes_back_from_its_own_checkpoint_and_has_all_that_it_measured() {
    let folder = workplace(LONGER);
    let folder = folder.path();
    let hosted: Vec<String> = (0..8).map(|agent| agent.to_string()).collect();
    let hosted: Vec<&str> = hosted.iter().map(String::as_str).collect();
    let addresses = introduce(folder, &hosted);
    let long = ["--set", "train.rounds_per_task=1200", "--set", "checkpoint.every_rounds=50"];
    let start = |place: usize| agent(folder, hosted[place], hosted[place], &addresses[place], &long);
    let mut all: Vec<Running> = (0..8).map(start).collect();
    all[3].hear("task 2/3");
    let mut killed = all.remove(3);
    signal("KILL", u64::from(killed.child.id()));
    assert_eq!(killed.child.wait().expect("it was started").code(), None);
    all[2].hear("the process of agent 3 is gone");
    let again = |agents: &str, more: &[&str]| {
        let common = ["agent", "--experiment", "e.toml", "--arm", "d-psgd", "--agents", agents, "--identity", "3.key"];
        let rest = ["--listen", &addresses[3], "--peers", "peers.toml", "--resume", "out-3"];
        Running::start(folder, &[&common[..], &rest, &long, more].concat())
    };
    let (code, words) = again("4", &[]).end();
    assert_eq!(code, Some(2));
    assert!(words.contains("it holds a run of the process of agents 3, and this would go on with one of"), "{words}");
    let (code, words) = again("3", &["--after", "7"]).end();
    assert_eq!(code, Some(2));
    assert!(words.contains("round-000000000007.kith"), "{words}");
    let mut back = again("3", &[]);
    back.hear("back again from round");
    all[2].hear("back again from round");
    for (code, words) in all.into_iter().chain([back]).map(Running::end) {
        assert_eq!(code, Some(0), "{words}");
    }
    let arm = &json(&folder.join("out-3/summary.json"))["arms"][0];
    let rows = arm["accuracy_matrix_per_agent"][0].as_array().expect("a list");
    assert_eq!(rows.len(), 3, "the test before it was killed is there, too: {arm}");
    assert!(rows[2][2].as_f64().is_some_and(|accuracy| accuracy > 0.5), "{arm}");
    // What it did before counts, but for what came after its checkpoint, and what it missed.
    let steps = arm["agent_steps"].as_u64().expect("a number");
    assert!((1200..3600).contains(&steps), "{steps}");
    let together = kith(folder, &["gather", ".", "--out", "gathered", "--json", "-q"]);
    assert!(together.status.success(), "{}", text(&together.stderr));
}
