//! Runs in processes as a user meets them: the simulator's numbers, and what happens when processes die, stall or are strangers.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes longer, however busy the machine is.
const LONG: Duration = Duration::from_secs(120);

/// Three methods, small.
const THREE: &str = r#"name = "three"
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
const LONGER: &str = r#"name = "longer"
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

fn workplace(text: &str) -> TempDir {
    let folder = TempDir::new().expect("there is room");
    std::fs::write(folder.path().join("e.toml"), text).expect("it can be written");
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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

/// A `kith launch` or `kith agent` under way.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    heard: String,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, arguments).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        Self { child, stderr, heard: String::new() }
    }

    /// Reads stderr up to a line with these words.
    fn hear(&mut self, words: &str) {
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
    fn end(mut self) -> (Option<i32>, String) {
        self.stderr.read_to_string(&mut self.heard).expect("stderr can be read");
        let status = self.child.wait().expect("it can be waited for");
        (status.code(), self.heard)
    }
}

fn signal(name: &str, pid: u64) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("there is kill");
    assert!(status.success(), "kill -{name} {pid}");
}

/// The process of a launched run that hosts agent `place`.
fn pid(directory: &Path, place: usize) -> u64 {
    let status = json(&directory.join(format!("processes/d-psgd/{place}/status.json")));
    status["pid"].as_u64().expect("a process has a number")
}

/// Lines of `metrics.jsonl` of these keys, in order.
fn metrics(directory: &Path, keys: &[&str]) -> Vec<Value> {
    let text = std::fs::read_to_string(directory.join("metrics.jsonl")).expect("it is there");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"));
    lines.filter(|line| keys.contains(&line["key"].as_str().unwrap_or_default())).collect()
}

#[test]
fn processes_on_loopback_have_the_bits_and_bytes_of_the_simulator() {
    let folder = workplace(THREE);
    let simulated = kith(folder.path(), &["run", "e.toml", "--digests", "--json", "-q", "--out", "simulated"]);
    assert!(simulated.status.success(), "{}", text(&simulated.stderr));
    let simulated: Value = serde_json::from_slice(&simulated.stdout).expect("it is JSON");
    let expected = run_directory(&folder.path().join("simulated"));
    for (out, each) in [("alone", "1"), ("by-three", "3")] {
        let arguments = ["launch", "e.toml", "--agents-per-process", each, "--digests", "--json", "-q", "--out", out];
        let launched = kith(folder.path(), &arguments);
        assert!(launched.status.success(), "{}", text(&launched.stderr));
        let launched: Value = serde_json::from_slice(&launched.stdout).expect("it is JSON");
        let directory = run_directory(&folder.path().join(out));
        assert_eq!(launched, json(&directory.join("summary.json")));
        let digests = |directory: &Path| std::fs::read_to_string(directory.join("digests.jsonl")).expect("it is there");
        assert_eq!(digests(&directory), digests(&expected), "{each} agents a process");
        // Two tasks of 12 rounds, six agents, three arms; consensus rounds of the one with a memory.
        assert_eq!(digests(&directory).lines().count(), 6 * (3 * 24 + 2 * 2));
        let arms = |summary: &Value| summary["arms"].as_array().expect("arms are a list").clone();
        for (one, other) in arms(&simulated).iter().zip(&arms(&launched)) {
            for key in [
                "parameter_digest",
                "accuracy_matrix_per_agent",
                "average_model_matrix",
                "consensus_distance_per_task",
                "basis_ranks",
                "memory_bytes",
                "agent_steps",
                "rounds",
                "missed_exchanges",
                "parameter_difference",
            ] {
                assert_eq!(one[key], other[key], "{key} of {} with {each} agents a process", one["arm"]);
            }
            // Agents of one process need no bytes to hear each other.
            if each == "1" {
                assert_eq!(one["training_bytes_per_agent"], other["training_bytes_per_agent"]);
                assert_eq!(one["consensus_bytes_per_agent"], other["consensus_bytes_per_agent"]);
            }
        }
        let keys = ["accuracy", "average_model_accuracy", "consensus_distance", "learning_rate", "basis_rank"];
        assert_eq!(metrics(&directory, &keys), metrics(&expected, &keys));
        let manifest = json(&directory.join("manifest.json"));
        assert_eq!(manifest["grade"], "D1");
        assert_eq!(manifest["processes"].as_array().map(Vec::len), Some(if each == "1" { 6 } else { 2 }));
        // The weights of the arm's end are there, and nothing that was needed only on the way.
        let export = ["export", directory.to_str().expect("text"), "--arm", "codec", "--agent", "5"];
        assert!(kith(folder.path(), &export).status.success());
        assert!(!directory.join("processes/codec/0/rows").exists());
        assert!(!directory.join("processes/codec/0/identity.key").exists());
    }
}

#[test]
fn others_go_on_when_a_process_is_killed() {
    let folder = workplace(LONGER);
    let mut launch = Running::start(folder.path(), &["launch", "-n", "8", "e.toml", "--out", "out"]);
    launch.hear("task 2/3");
    let directory = run_directory(&folder.path().join("out"));
    let killed = Instant::now();
    signal("KILL", pid(&directory, 3));
    launch.hear("process 3 (agent 3) ended with signal: 9");
    let (code, words) = launch.end();
    // A connection that breaks is seen at once: nobody waited for the deadline of a minute.
    assert!(killed.elapsed() < Duration::from_secs(60), "{:?}", killed.elapsed());
    assert_eq!(code, Some(2), "{words}");
    let arm = &json(&directory.join("summary.json"))["arms"][0];
    assert_eq!((arm["stopped"].as_bool(), arm["tasks"].as_u64()), (Some(false), Some(3)));
    let rows = arm["accuracy_matrix_per_agent"].as_array().expect("a list");
    let ended: Vec<usize> = rows.iter().map(|rows| rows.as_array().map_or(0, Vec::len)).collect();
    assert_eq!(ended[3], 1, "{ended:?}");
    assert!(ended.iter().enumerate().all(|(agent, tasks)| agent == 3 || *tasks == 3), "{ended:?}");
    // Each has just learned the third task.
    for (agent, rows) in rows.iter().enumerate().filter(|(agent, _)| *agent != 3) {
        assert!(rows[2][2].as_f64().is_some_and(|accuracy| accuracy > 0.5), "agent {agent}: {rows}");
    }
}

#[test]
fn others_go_on_while_a_process_stands_still_and_it_comes_to_the_end_too() {
    let folder = workplace(LONGER);
    let arguments = ["launch", "-n", "4", "e.toml", "--set", "links.deadline_ms=300", "--out", "out"];
    let mut launch = Running::start(folder.path(), &arguments);
    launch.hear("task 2/3");
    let directory = run_directory(&folder.path().join("out"));
    let stopped = pid(&directory, 2);
    signal("STOP", stopped);
    let round = |place: usize| {
        let status = json(&directory.join(format!("processes/d-psgd/{place}/status.json")));
        status["round"].as_u64().expect("a number")
    };
    // Rounds go on without it: each waits for the deadline, so a few take seconds.
    let (before, began) = (round(0), Instant::now());
    while round(0) < before + 3 {
        assert!(began.elapsed() < LONG, "the others stand still, too");
        std::thread::sleep(Duration::from_millis(50));
    }
    signal("CONT", stopped);
    let (code, words) = launch.end();
    assert_eq!(code, Some(0), "{words}");
    let arm = &json(&directory.join("summary.json"))["arms"][0];
    assert!(arm["missed_exchanges"].as_u64().is_some_and(|missed| missed > 0), "{arm}");
    let rows = arm["accuracy_matrix_per_agent"].as_array().expect("a list");
    assert!(rows.iter().all(|rows| rows.as_array().map(Vec::len) == Some(3)), "{rows:?}");
    assert!(arm["accuracy_matrix"][2][2].as_f64().is_some_and(|accuracy| accuracy > 0.5), "{arm}");
}

#[test]
fn sigterm_ends_all_processes_and_leaves_whole_files() {
    let folder = workplace(LONGER);
    let mut launch = Running::start(folder.path(), &["launch", "-n", "4", "e.toml", "--out", "out"]);
    launch.hear("task 2/3");
    let directory = run_directory(&folder.path().join("out"));
    signal("TERM", u64::from(launch.child.id()));
    let (code, words) = launch.end();
    assert_eq!(code, Some(130), "{words}");
    let arm = &json(&directory.join("summary.json"))["arms"][0];
    assert_eq!((arm["stopped"].as_bool(), arm["tasks"].as_u64()), (Some(true), Some(1)), "{words}");
    assert!(json(&directory.join("manifest.json"))["ended"].is_string());
    assert_eq!(metrics(&directory, &["accuracy"]).len(), 8);
    for place in 0..4 {
        let folder = directory.join(format!("processes/d-psgd/{place}"));
        assert_eq!(json(&folder.join("process.json"))["ended"]["outcome"]["stopped"], Value::Bool(true));
        assert_eq!(json(&folder.join("status.json"))["stage"], "stopped");
    }
}

#[test]
fn processes_end_when_the_one_that_started_them_is_killed() {
    let folder = workplace(LONGER);
    let mut launch = Running::start(folder.path(), &["launch", "-n", "4", "e.toml", "--out", "out"]);
    launch.hear("task 2/3");
    let directory = run_directory(&folder.path().join("out"));
    signal("KILL", u64::from(launch.child.id()));
    assert_eq!(launch.end().0, None);
    let began = Instant::now();
    for place in 0..4 {
        let status = directory.join(format!("processes/d-psgd/{place}/status.json"));
        while json(&status)["stage"] == "running" {
            assert!(began.elapsed() < LONG, "process {place} goes on alone");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(json(&status)["stage"], "stopped");
    }
}

/// Keys, a free port each, and the list of processes that host these agents.
fn introduce(folder: &Path, hosted: &[&str]) -> Vec<String> {
    let (mut list, mut addresses) = (String::new(), Vec::new());
    let sockets: Vec<_> =
        hosted.iter().map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("there are ports")).collect();
    for (place, (agents, socket)) in hosted.iter().zip(&sockets).enumerate() {
        let made = kith(folder, &["identity", "new", &format!("{place}.key")]);
        let id = text(&made.stdout);
        assert_eq!(text(&kith(folder, &["identity", "show", &format!("{place}.key")]).stdout), id);
        let address = format!("/ip4/127.0.0.1/tcp/{}", socket.local_addr().expect("it is bound").port());
        list += &format!("[[peer]]\nagents = [{agents}]\nid = \"{}\"\naddress = \"{address}\"\n", id.trim());
        addresses.push(address);
    }
    std::fs::write(folder.join("peers.toml"), list).expect("it can be written");
    addresses
}

fn agent(folder: &Path, place: &str, agents: &str, address: &str, more: &[&str]) -> Running {
    let (key, out) = (format!("{place}.key"), format!("out-{place}"));
    let arguments = ["agent", "--experiment", "e.toml", "--arm", "d-psgd", "--agents", agents, "--identity", &key];
    let rest = ["--listen", address, "--peers", "peers.toml", "--out", &out];
    Running::start(folder, &[&arguments[..], &rest, more].concat())
}

#[test]
fn a_stranger_and_a_wrong_secret_get_nothing_and_the_others_do_not_notice() {
    let folder = workplace(THREE);
    let folder = folder.path();
    let addresses = introduce(folder, &["0,1,2", "3,4,5"]);
    for (name, digit) in [("secret", "a"), ("wrong", "b")] {
        std::fs::write(folder.join(name), digit.repeat(64)).expect("it can be written");
    }
    let secret = ["--pre-shared-key", "secret"];
    let mut first = agent(folder, "0", "0..2", &addresses[0], &secret);
    first.hear("listening on");
    // It says that it is the second process, but its key is another one.
    assert!(kith(folder, &["identity", "new", "stranger.key"]).status.success());
    let stranger = agent(folder, "stranger", "3..5", "/ip4/127.0.0.1/tcp/0", &[&secret[..], &["--wait", "3"]].concat());
    let (code, words) = stranger.end();
    assert_eq!(code, Some(2));
    assert!(words.contains("after 3 s no connection to the peers of agents [0, 1, 2]"), "{words}");
    // The right key, but not the secret.
    let wrong = ["--pre-shared-key", "wrong", "--wait", "3"];
    let (code, words) = agent(folder, "1", "3..5", &addresses[1], &wrong).end();
    assert_eq!(code, Some(2));
    assert!(words.contains("after 3 s no connection"), "{words}");
    std::fs::remove_dir_all(folder.join("out-1")).expect("it is there");
    let second = agent(folder, "1", "3..5", &addresses[1], &secret);
    let ends = [first.end(), second.end()];
    assert!(ends.iter().all(|(code, _)| *code == Some(0)), "{ends:?}");
    assert_eq!(ends[0].1.matches("connected to").count(), 1, "{}", ends[0].1);
    // Together they have what one process computes.
    let simulated = kith(folder, &["run", "e.toml", "--arm", "d-psgd", "--json", "-q"]);
    let simulated: Value = serde_json::from_slice(&simulated.stdout).expect("it is JSON");
    let all = simulated["arms"][0]["accuracy_matrix_per_agent"].as_array().expect("a list").clone();
    for (place, expected) in [(0, &all[..3]), (1, &all[3..])] {
        let arm = &json(&folder.join(format!("out-{place}/summary.json")))["arms"][0];
        assert_eq!(arm["accuracy_matrix_per_agent"].as_array().expect("a list"), expected);
        assert_eq!(arm["agents"], 3);
    }
}

#[test]
fn a_process_that_cannot_write_says_so_and_its_neighbours_go_on() {
    let folder = workplace(THREE);
    let folder = folder.path();
    let addresses = introduce(folder, &["0,1", "2,3", "4,5"]);
    // Where rows of the first task should go.
    std::fs::create_dir(folder.join("out-1")).expect("it can be made");
    std::fs::write(folder.join("out-1/rows"), "").expect("it can be written");
    let all = [("0", "0..1"), ("1", "2..3"), ("2", "4..5")];
    let processes =
        all.iter().zip(&addresses).map(|((place, agents), address)| agent(folder, place, agents, address, &[]));
    let processes: Vec<Running> = processes.collect();
    let ends: BTreeMap<usize, _> = processes.into_iter().map(Running::end).enumerate().collect();
    assert_eq!(ends.values().map(|(code, _)| *code).collect::<Vec<_>>(), [Some(0), Some(2), Some(0)], "{ends:?}");
    assert!(ends[&1].1.contains("cannot write out-1/rows/task-0.f32"), "{}", ends[&1].1);
    for place in [0, 2] {
        let arm = &json(&folder.join(format!("out-{place}/summary.json")))["arms"][0];
        assert_eq!((arm["tasks"].as_u64(), arm["stopped"].as_bool()), (Some(2), Some(false)));
    }
    // A directory that holds a run is not written over, and one that cannot be made is named.
    let again = agent(folder, "0", "0..1", &addresses[0], &[]).end();
    assert_eq!(again.0, Some(2));
    assert!(again.1.contains("out-0 holds a run already"), "{}", again.1);
    std::fs::write(folder.join("out-3"), "").expect("it can be written");
    std::fs::copy(folder.join("0.key"), folder.join("3.key")).expect("it can be copied");
    let nowhere = agent(folder, "3", "0..1", &addresses[0], &[]).end();
    assert!(nowhere.0 == Some(2) && nowhere.1.contains("cannot create out-3"), "{}", nowhere.1);
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let folder = workplace(THREE);
    let folder = folder.path();
    introduce(folder, &["0,1,2", "3,4,5"]);
    let common = ["agent", "--experiment", "e.toml", "--identity", "0.key", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let wrong = |more: &[&str], words: &str| {
        let output = kith(folder, &[&common[..], more].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    };
    wrong(&["--agents", "0", "--peers", "peers.toml"], "several arms; choose one with --arm: codec, d-psgd, q-saddle");
    let arm = ["--arm", "codec", "--agents"];
    wrong(&[&arm[..], &["6", "--peers", "peers.toml"]].concat(), "there is no agent 6; accepted: 0 to 5");
    wrong(&[&arm[..], &["0..2", "--peers", "0.key"]].concat(), "cannot read 0.key");
    std::fs::write(folder.join("half.toml"), "[[peer]]\nagents = [0, 1, 2]\nid = \"x\"\n").expect("it is written");
    wrong(&[&arm[..], &["0..2", "--peers", "half.toml"]].concat(), "peer id `x`");
    std::fs::write(folder.join("none.toml"), "").expect("it is written");
    wrong(&[&arm[..], &["0..2", "--peers", "none.toml"]].concat(), "no peer is listed that hosts it");
    std::fs::write(folder.join("secret"), "abc").expect("it is written");
    let secret = ["0..2", "--peers", "peers.toml", "--pre-shared-key", "secret"];
    wrong(&[&arm[..], &secret].concat(), "secret holds no secret; accepted: 64 hexadecimal digits");
    let many = kith(folder, &["launch", "-n", "7", "e.toml"]);
    assert_eq!(many.status.code(), Some(2));
    assert!(text(&many.stderr).contains("7 processes, but the graph has 6 agents"), "{}", text(&many.stderr));
    let again = kith(folder, &["identity", "new", "0.key"]);
    assert_eq!(again.status.code(), Some(2), "a key is not written over");
}

#[test]
fn a_process_shows_how_it_stands_while_it_waits_and_when_it_is_done() {
    let folder = workplace(THREE);
    let folder = folder.path();
    let addresses = introduce(folder, &["0,1,2", "3,4,5"]);
    let mut first = agent(folder, "0", "0..2", &addresses[0], &["--metrics-addr", "127.0.0.1:0"]);
    first.hear("status and metrics at http://");
    let said = first.heard.lines().find_map(|line| line.strip_prefix("status and metrics at http://"));
    let endpoint = said.expect("it was heard").to_owned();
    let asked = kith(folder, &["status", "--connect", &endpoint, "--json"]);
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    let asked: Value = serde_json::from_slice(&asked.stdout).expect("it is JSON");
    assert_eq!((asked[0]["stage"].as_str(), asked[0]["arm"].as_str()), (Some("starting"), Some("d-psgd")));
    assert_eq!(asked[0]["agents"], serde_json::json!([0, 1, 2]));
    let second = agent(folder, "1", "3..5", &addresses[1], &[]);
    for (code, words) in [first.end(), second.end()] {
        assert_eq!(code, Some(0), "{words}");
    }
    let stored = kith(folder, &["status", ".", "--json"]);
    let stored: Value = serde_json::from_slice(&stored.stdout).expect("it is JSON");
    assert_eq!(stored.as_array().map(Vec::len), Some(2));
    for one in stored.as_array().expect("a list") {
        assert_eq!(
            (one["stage"].as_str(), one["round"].as_u64(), one["tasks"].as_u64()),
            (Some("ended"), Some(24), Some(2))
        );
        // 24 rounds over two edges, at least four bytes a weight.
        let neighbour = &one["neighbours"][0];
        assert!(neighbour["bytes_sent"].as_u64().is_some_and(|bytes| bytes > 24 * 2 * 4 * 36 * 16), "{one}");
        assert_eq!(neighbour["faults"], Value::Null, "nothing was bad");
    }
    let shown = text(&kith(folder, &["status", "out-1"]).stdout);
    assert!(shown.contains("3 to 5") && shown.contains("ended") && shown.contains("0 to 2"), "{shown}");
    assert!(kith(folder, &["run", "e.toml", "--arm", "d-psgd", "-q", "--out", "simulated"]).status.success());
    let none = kith(folder, &["status", "simulated"]);
    assert!(none.status.code() == Some(2) && text(&none.stderr).contains("holds no process"), "{}", text(&none.stderr));
    let nobody = kith(folder, &["status", "--connect", &endpoint]);
    assert!(nobody.status.code() == Some(2) && text(&nobody.stderr).contains("cannot ask"), "{}", text(&nobody.stderr));
}

/// The run directory that kith gather made in a job's folder.
fn gathered(job: &Path) -> PathBuf {
    let mut runs: Vec<PathBuf> = job
        .join("three")
        .read_dir()
        .expect("it can be listed")
        .map(|entry| entry.expect("it is there").path())
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

/// Starts as many processes as Slurm would, on this host.
const SRUN: &str = r#"#!/usr/bin/env bash
while [[ $1 == --* ]]; do case $1 in --ntasks=*) tasks=${1#*=} ;; esac; shift; done
started=()
for ((p = 0; p < tasks; p++)); do SLURM_PROCID=$p "$@" & started+=($!); done
code=0
for one in "${started[@]}"; do wait "$one" || code=$?; done
exit "$code"
"#;

/// The first of so many free ports in a row.
fn free_ports(count: u16) -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (20_000..30_000).step_by(7).find(|first| (*first..first + count).all(free)).expect("there are free ports")
}

#[test]
fn a_slurm_job_of_agents_leaves_one_run_with_the_numbers_of_the_simulator() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = workplace(THREE);
    let folder = folder.path();
    let port = free_ports(3).to_string();
    let deploy = ["deploy", "slurm", "e.toml", "--arm", "codec", "--processes", "3", "--port", &port];
    let script =
        kith(folder, &[&deploy[..], &["--out", "all runs", "--cpus", "1", "--set", "data.synthetic.test=40"]].concat());
    assert!(script.status.success(), "{}", text(&script.stderr));
    std::fs::write(folder.join("agents.sbatch"), &script.stdout).expect("it can be written");
    std::fs::create_dir(folder.join("bin")).expect("it can be made");
    for (name, body) in [("srun", SRUN), ("hostname", "#!/bin/sh\necho localhost\n")] {
        let file = folder.join("bin").join(name);
        std::fs::write(&file, body).expect("it can be written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let kith_folder = Path::new(env!("CARGO_BIN_EXE_kith")).parent().expect("it is in a folder");
    let path = format!(
        "{}:{}:{}",
        folder.join("bin").display(),
        kith_folder.display(),
        std::env::var("PATH").expect("there is a PATH")
    );
    let job = Command::new("bash")
        .arg("agents.sbatch")
        .current_dir(folder)
        .envs([("PATH", path.as_str()), ("SLURM_JOB_ID", "7"), ("SLURM_CPUS_PER_TASK", "1"), ("NO_COLOR", "1")])
        .output()
        .expect("there is bash");
    assert!(job.status.success(), "{}", text(&job.stderr));
    let run = folder.join("all runs/three/slurm-7");
    let key = run.join("keys/0.key").metadata().expect("every process has a key");
    assert_eq!(key.permissions().mode() & 0o077, 0, "and nobody else reads it");
    let arm = &json(&gathered(&run).join("summary.json"))["arms"][0];
    let same = ["run", "e.toml", "--arm", "codec", "--set", "data.synthetic.test=40", "--json", "-q"];
    let simulated: Value = serde_json::from_slice(&kith(folder, &same).stdout).expect("it is JSON");
    for key in ["parameter_digest", "accuracy_matrix_per_agent", "average_model_matrix", "basis_ranks"] {
        assert_eq!(arm[key], simulated["arms"][0][key], "{key}");
    }
}

#[test]
fn processes_of_other_runs_are_not_put_together_and_missing_ones_are_named() {
    let folder = workplace(THREE);
    let folder = folder.path();
    let addresses = introduce(folder, &["0,1,2", "3,4,5"]);
    let both = [("0", "0..2", 0), ("1", "3..5", 1)]
        .map(|(place, agents, at)| agent(folder, place, agents, &addresses[at], &[]));
    for (code, words) in both.map(Running::end) {
        assert_eq!(code, Some(0), "{words}");
    }
    std::fs::create_dir(folder.join("half")).expect("it can be made");
    let copied = Command::new("cp").args(["-r", "out-0", "half/0"]).current_dir(folder).status().expect("there is cp");
    assert!(copied.success());
    let half = kith(folder, &["gather", "half", "--out", "gathered", "-q"]);
    assert_eq!(half.status.code(), Some(2));
    assert!(text(&half.stderr).contains("nothing is there of the process of agents 3 to 5"), "{}", text(&half.stderr));
    let arm = &json(&run_directory(&folder.join("gathered")).join("summary.json"))["arms"][0];
    let own = &json(&folder.join("out-0/summary.json"))["arms"][0];
    assert_eq!(arm["accuracy_matrix"], own["accuracy_matrix"], "of the agents that are there");
    let twice = Command::new("cp").args(["-r", "out-0", "half/1"]).current_dir(folder).status().expect("there is cp");
    assert!(twice.success());
    let twice = kith(folder, &["gather", "half"]);
    assert!(text(&twice.stderr).contains("both host agent 0"), "{}", text(&twice.stderr));
    let file = folder.join("half/1/process.json");
    let other =
        std::fs::read_to_string(&file).expect("it is there").replace("\"arm\": \"d-psgd\"", "\"arm\": \"codec\"");
    std::fs::write(&file, other).expect("it can be written");
    let other = kith(folder, &["gather", "half"]);
    assert!(text(&other.stderr).contains("is of arm"), "{}", text(&other.stderr));
}

#[test]
fn agents_on_kubernetes_are_a_stateful_set_behind_a_headless_service() {
    let folder = workplace(THREE);
    let arguments = ["deploy", "kubernetes", "e.toml", "--processes", "2", "--image", "kith:0.1", "--claim", "runs"];
    let several = kith(folder.path(), &arguments);
    assert!(
        text(&several.stderr).contains("choose one with --arm: codec, d-psgd, q-saddle"),
        "{}",
        text(&several.stderr)
    );
    let more = ["--arm", "codec", "--memory", "1Gi", "--data-claim", "data", "--set", "seed=4"];
    let manifests = kith(folder.path(), &[&arguments[..], &more].concat());
    assert!(manifests.status.success(), "{}", text(&manifests.stderr));
    let manifests = text(&manifests.stdout);
    let kinds: Vec<&str> = manifests.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(kinds, ["ConfigMap", "Service", "StatefulSet"]);
    // What a pod does is a script that a shell takes.
    let indented = manifests.split("agent.sh: |2\n").nth(1).and_then(|rest| rest.split("---\n").next());
    let script: String =
        indented.expect("it is there").lines().map(|line| format!("{}\n", line.trim_start_matches("    "))).collect();
    std::fs::write(folder.path().join("agent.sh"), script).expect("it can be written");
    let checked = Command::new("sh").args(["-n", "agent.sh"]).current_dir(folder.path()).output().expect("there is sh");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    insta::assert_snapshot!(manifests);
    let many = kith(folder.path(), &["deploy", "slurm", "e.toml", "--arm", "codec", "--processes", "7"]);
    assert!(text(&many.stderr).contains("accepted: 1 to 6"), "{}", text(&many.stderr));
}
