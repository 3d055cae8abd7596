//! Runs in processes as a user meets them: the simulator's numbers, and what happens when processes die, stall or are strangers.

#![cfg(unix)]

mod again;
mod agents;
mod clusters;
mod common;
mod planned;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::Value;

use common::{LONG, LONGER, Running, THREE, digests, json, kith, metrics, pid, run_directory, signal, text, workplace};

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

/// D1 over QUIC, where it is built in: `cargo test --release -p kith --features quic --test launch quic`.
#[cfg(feature = "quic")]
#[test]
fn processes_over_quic_have_the_bits_of_the_simulator_and_outlive_one_that_is_killed() {
    let folder = workplace(THREE);
    let folder = folder.path();
    let simulated = kith(folder, &["run", "e.toml", "--digests", "-q", "--out", "simulated"]);
    assert!(simulated.status.success(), "{}", text(&simulated.stderr));
    let over = ["launch", "e.toml", "--transport", "quic"];
    let launched = kith(folder, &[&over[..], &["--digests", "-q", "--out", "out"]].concat());
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    let (directory, expected) = (run_directory(&folder.join("out")), run_directory(&folder.join("simulated")));
    assert_eq!(digests(&directory), digests(&expected));
    let listed = std::fs::read_to_string(directory.join("processes/codec/peers.toml")).expect("it is there");
    assert_eq!(listed.matches("/quic-v1").count(), 6, "{listed}");
    let falls = ["--arm", "d-psgd", "--set", "faults=[{kind = \"crash\", round = 5, agent = 1}]"];
    let killed = kith(folder, &[&over[..], &falls, &["--out", "killed"]].concat());
    assert!(killed.status.success(), "{}", text(&killed.stderr));
    let arms = json(&run_directory(&folder.join("killed")).join("summary.json"))["arms"].clone();
    assert_eq!((&arms[0]["rounds"], &arms[0]["stopped"]), (&Value::from(24), &Value::from(false)));
}

#[cfg(not(feature = "quic"))]
#[test]
fn quic_is_refused_with_what_it_takes_where_it_is_not_built_in() {
    let folder = workplace(THREE);
    let output = kith(folder.path(), &["launch", "e.toml", "--transport", "quic", "--out", "out"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("built with --features quic"), "{}", text(&output.stderr));
    assert!(!folder.path().join("out").exists(), "nothing was begun");
}

#[test]
fn others_go_on_when_a_process_is_killed() {
    let folder = workplace(LONGER);
    let mut launch = Running::start(folder.path(), &["launch", "-n", "8", "e.toml", "--out", "out"]);
    launch.hear("task 2/3");
    let directory = run_directory(&folder.path().join("out"));
    let killed = Instant::now();
    signal("KILL", pid(&directory, "d-psgd", 3));
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
    let stopped = pid(&directory, "d-psgd", 2);
    signal("STOP", stopped);
    let status = || json(&directory.join("processes/d-psgd/0/status.json"));
    let round = || status()["round"].as_u64().expect("a number");
    let began = Instant::now();
    let wait_until = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(began.elapsed() < LONG, "the others stand still, too");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // What is written a second later is of rounds that somebody waits in: rounds go on, each after its deadline.
    for _ in 0..2 {
        let before = status()["updated"].clone();
        wait_until(&|| status()["updated"] != before);
    }
    let before = round();
    wait_until(&|| round() >= before + 3);
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
        // It may say `starting` yet: the file is written now and then.
        while json(&status)["stage"] != "stopped" {
            assert!(began.elapsed() < LONG, "process {place} goes on alone: {}", json(&status)["stage"]);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_launch_whose_data_do_not_fit_says_so_once_and_leaves_nothing() {
    let folder = workplace(THREE);
    let launch = kith(folder.path(), &["launch", "-n", "3", "e.toml", "--out", "out", "--set", "train.batch_size=500"]);
    assert_eq!(launch.status.code(), Some(2));
    let words = text(&launch.stderr);
    assert_eq!(words.matches("error: ").count(), 1, "{words}");
    assert!(words.contains("train.batch_size"), "{words}");
    let left: Vec<_> = folder.path().join("out/three").read_dir().expect("it can be listed").collect();
    assert!(left.is_empty(), "{left:?}");
}
