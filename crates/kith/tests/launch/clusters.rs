//! Processes that ran elsewhere: what starts them on clusters, and what puts together what they left.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::agents::{agent, introduce};
use crate::common::{Running, THREE, json, kith, run_directory, text, workplace};

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
