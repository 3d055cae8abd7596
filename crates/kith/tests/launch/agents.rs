//! Processes that are started one by one.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::common::{LONGER, Running, THREE, json, kith, signal, text, workplace};

/// Keys, a free port each, and the list of processes that host these agents.
pub(crate) fn introduce(folder: &Path, hosted: &[&str]) -> Vec<String> {
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

pub(crate) fn agent(folder: &Path, place: &str, agents: &str, address: &str, more: &[&str]) -> Running {
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

#[test]
fn an_agent_that_waits_for_its_neighbours_stops_when_it_is_asked_to() {
    let folder = workplace(THREE);
    let addresses = introduce(folder.path(), &["0,1,2", "3,4,5"]);
    let mut waits = agent(folder.path(), "0", "0..2", &addresses[0], &[]);
    waits.hear("listening on");
    signal("TERM", u64::from(waits.child.id()));
    let (code, words) = waits.end();
    assert_eq!(code, Some(130), "{words}");
    let arm = &json(&folder.path().join("out-0/summary.json"))["arms"][0];
    assert_eq!((arm["rounds"].as_u64(), arm["stopped"].as_bool()), (Some(0), Some(true)));
}

#[test]
fn a_process_that_was_killed_is_started_again_and_comes_to_the_end_with_the_others() {
    let folder = workplace(LONGER);
    let folder = folder.path();
    let addresses = introduce(folder, &["0,1,2", "3,4", "5,6,7"]);
    let long = ["--set", "train.rounds_per_task=1500"];
    let mut first = agent(folder, "0", "0..2", &addresses[0], &long);
    let mut second = agent(folder, "1", "3..4", &addresses[1], &long);
    let third = agent(folder, "2", "5..7", &addresses[2], &long);
    second.hear("task 2/3");
    signal("KILL", u64::from(second.child.id()));
    assert_eq!(second.end().0, None);
    first.hear("the process of agents 3, 4 is gone");
    let again =
        ["agent", "--experiment", "e.toml", "--agents", "3,4", "--identity", "1.key", "--listen", &addresses[1]];
    let again = Running::start(folder, &[&again[..], &["--peers", "peers.toml", "--out", "again"], &long].concat());
    first.hear("back again from round");
    for (code, words) in [first.end(), again.end(), third.end()] {
        assert_eq!(code, Some(0), "{words}");
    }
    let arm = &json(&folder.join("again/summary.json"))["arms"][0];
    let last = arm["accuracy_matrix_per_agent"][0].as_array().and_then(|rows| rows.last()).expect("it ended a task");
    assert!(last[2].as_f64().is_some_and(|accuracy| accuracy > 0.5), "{arm}");
    // Of the two directories of agents 3 and 4, the one that came to its end counts.
    let together = kith(folder, &["gather", ".", "--out", "gathered", "--json", "-q"]);
    assert!(together.status.success(), "{}", text(&together.stderr));
    let together: Value = serde_json::from_slice(&together.stdout).expect("it is JSON");
    let rows = together["arms"][0]["accuracy_matrix_per_agent"].as_array().expect("a list");
    assert!(rows.iter().all(|rows| rows.as_array().is_some_and(|rows| !rows.is_empty())), "{rows:?}");
    assert_eq!(together["arms"][0]["tasks"], 3);
}
