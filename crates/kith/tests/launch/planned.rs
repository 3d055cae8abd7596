//! Fault plans of experiment files in real processes.

use std::path::Path;

use serde_json::Value;

use crate::common::{difference, digests, json, kith, metrics, run_directory, text, workplace};

/// A partition 4 | 4 that heals, and an agent that dies. In the simulator a link falls for both ends when the lower one begins the round, and what is
/// on its way is lost: so the higher ends are slower, and those who see another die. Then both ends are in that round, as processes are.
const PLANNED: &str = r#"name = "planned"
seed = 6
method = "d-psgd"
graph = { family = "ring", agents = 8 }
network = { hidden = [16] }
train = { rounds_per_task = 14, batch_size = 10, learning_rate = 0.05 }
links = { deadline_ms = 6000, retransmit_ms = 500 }

[data]
dataset = "synthetic"
tasks = { kind = "permuted", count = 1 }
synthetic = { shape = [1, 6, 6], classes = 4, train = 800, test = 80 }

[[arm]]
name = "healed"
faults = [
  { kind = "straggler", round = 0, agent = 4, factor = 3.0 },
  { kind = "straggler", round = 0, agent = 7, factor = 3.0 },
  { kind = "link-down", round = 3, agent = 3, peer = 4 },
  { kind = "link-down", round = 3, agent = 0, peer = 7 },
  { kind = "link-up", round = 7, agent = 3, peer = 4 },
  { kind = "link-up", round = 7, agent = 0, peer = 7 },
]

[[arm]]
name = "killed"
faults = [
  { kind = "straggler", round = 0, agent = 0, factor = 3.0 },
  { kind = "straggler", round = 0, agent = 2, factor = 3.0 },
  { kind = "crash", round = 5, agent = 1 },
]

[[arm]]
name = "whole"
"#;

#[test]
fn a_partition_that_heals_and_a_death_as_planned_have_the_bits_of_the_simulator() {
    let folder = workplace(PLANNED);
    let folder = folder.path();
    let simulated = kith(folder, &["run", "e.toml", "--digests", "-q", "--out", "simulated"]);
    assert!(simulated.status.success(), "{}", text(&simulated.stderr));
    let expected = run_directory(&folder.join("simulated"));
    let launched = kith(folder, &["launch", "e.toml", "--digests", "--out", "out"]);
    let words = text(&launched.stderr);
    assert!(launched.status.success(), "{words}");
    assert!(words.contains("process 1 (agent 1) was killed before round 5, as planned"), "{words}");
    let directory = run_directory(&folder.join("out"));
    assert!(digests(&directory) == digests(&expected), "{:?}", difference(&directory, &expected));
    // Faults make a difference, and all of them.
    let of = |arm: &str| -> Vec<String> {
        let all = digests(&expected);
        let lines = all.lines().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"));
        lines.filter(|line| line["arm"] == arm).map(|line| line["digest"].to_string()).collect()
    };
    let (healed, killed, whole) = (of("healed"), of("killed"), of("whole"));
    assert_eq!((healed.len(), killed.len(), whole.len()), (8 * 14, 7 * 14 + 5, 8 * 14));
    assert!(healed[..8 * 3] == whole[..8 * 3] && healed[8 * 3..8 * 4] != whole[8 * 3..8 * 4]);
    assert!(killed[..8 * 5] == whole[..8 * 5] && killed[8 * 5] != whole[8 * 5]);
    let struck = |directory: &Path| -> Vec<[Value; 4]> {
        let lines = metrics(directory, &["crash", "link_down", "link_up", "straggler"]).into_iter();
        let mut all: Vec<[Value; 4]> =
            lines.map(|line| ["arm", "round", "key", "agent"].map(|key| line[key].clone())).collect();
        all.sort_by_key(|line| format!("{line:?}"));
        all
    };
    assert_eq!(struck(&directory), struck(&expected));
    assert_eq!(struck(&directory).len(), 9);
    let arms = |directory: &Path| json(&directory.join("summary.json"))["arms"].clone();
    for place in 0..3 {
        let (one, other) = (&arms(&expected)[place], &arms(&directory)[place]);
        for key in ["accuracy_matrix_per_agent", "stopped"] {
            assert_eq!(one[key], other[key], "{key} of {}", one["arm"]);
        }
        // Whoever waits for a process that dies has missed it; in the simulator they hear of it before they wait.
        assert!(other["missed_exchanges"].as_u64() <= Some([0, 2, 0][place]), "{other}");
    }
}

#[test]
fn what_real_processes_cannot_do_of_a_plan_is_refused_at_its_line_before_anything_starts() {
    let folder = workplace(PLANNED);
    let folder = folder.path();
    let refused = |arguments: &[&str], expected: &str| {
        let output = kith(folder, &[arguments, &["--out", "out"]].concat());
        let words = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains(expected), "{expected}: {words}");
        assert!(!folder.join("out").exists(), "nothing was begun");
    };
    refused(&["launch", "-n", "4", "e.toml"], "e.toml:30:3: faults.2");
    let words = "other agents of the same process would die with it";
    refused(&["launch", "-n", "4", "e.toml", "--arm", "killed"], words);
    let plan = "faults=[{kind = \"crash\", round = 2, agent = 1}, {kind = \"restart\", round = 4, agent = 1}]";
    refused(
        &["launch", "e.toml", "--arm", "whole", "--set", plan],
        "the round in which it is back would not be the plan's",
    );
    let plan = "faults=[{kind = \"straggler\", round = 2, agent = 1, factor = 0.5}]";
    refused(&["launch", "e.toml", "--arm", "whole", "--set", plan], "a process cannot compute faster than it does");
    let alone = ["agent", "--experiment", "e.toml", "--arm", "killed", "--agents", "1", "--identity", "none.key"];
    let rest = ["--listen", "/ip4/127.0.0.1/tcp/0", "--peers", "none.toml"];
    refused(&[&alone[..], &rest].concat(), "a process does not kill itself");
}
