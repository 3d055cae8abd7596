//! Fault plans of experiment files in real processes.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

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

/// An experiment that was simulated and launched, with the same digests after every round.
struct Both {
    expected: PathBuf,
    directory: PathBuf,
    /// What the launch said.
    words: String,
    folder: TempDir,
}

fn simulated_and_launched(experiment: &str) -> Both {
    let folder = workplace(experiment);
    let at = folder.path();
    let simulated = kith(at, &["run", "e.toml", "--digests", "-q", "--out", "simulated"]);
    assert!(simulated.status.success(), "{}", text(&simulated.stderr));
    let launched = kith(at, &["launch", "e.toml", "--digests", "--out", "out"]);
    let words = text(&launched.stderr);
    assert!(launched.status.success(), "{words}");
    let [expected, directory] = ["simulated", "out"].map(|name| run_directory(&at.join(name)));
    assert!(digests(&directory) == digests(&expected), "{:?}\n{words}", difference(&directory, &expected));
    Both { expected, directory, words, folder }
}

/// Faults of these kinds that a run reports, in one order.
fn struck(directory: &Path, kinds: &[&str]) -> Vec<[Value; 4]> {
    let lines = metrics(directory, kinds).into_iter();
    let mut all: Vec<[Value; 4]> =
        lines.map(|line| ["arm", "round", "key", "agent"].map(|key| line[key].clone())).collect();
    all.sort_by_key(|line| format!("{line:?}"));
    all
}

/// The arms of a run's summary.
fn arms(directory: &Path) -> Value {
    json(&directory.join("summary.json"))["arms"].clone()
}

#[test]
fn a_partition_that_heals_and_a_death_as_planned_have_the_bits_of_the_simulator() {
    let Both { expected, directory, words, folder: _folder } = simulated_and_launched(PLANNED);
    assert!(words.contains("process 1 (agent 1) was killed before round 5, as planned"), "{words}");
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
    let kinds = ["crash", "link_down", "link_up", "straggler"];
    assert_eq!(struck(&directory, &kinds), struck(&expected, &kinds));
    assert_eq!(struck(&directory, &kinds).len(), 9);
    for place in 0..3 {
        let (one, other) = (&arms(&expected)[place], &arms(&directory)[place]);
        for key in ["accuracy_matrix_per_agent", "stopped"] {
            assert_eq!(one[key], other[key], "{key} of {}", one["arm"]);
        }
        // Whoever waits for a process that dies has missed it; in the simulator they hear of it before they wait.
        assert!(other["missed_exchanges"].as_u64() <= Some([0, 2, 0][place]), "{other}");
    }
}

/// Agents that fall and come back: twice the same one, two at once, and one that is away when a basis is agreed on.
const RETURNING: &str = r#"name = "returning"
seed = 6
graph = { family = "ring", agents = 6 }
network = { hidden = [16] }
train = { rounds_per_task = 12, batch_size = 10, learning_rate = 0.05 }
links = { deadline_ms = 20000 }

[data]
dataset = "synthetic"
tasks = { kind = "permuted", count = 2 }
synthetic = { shape = [1, 6, 6], classes = 4, train = 600, test = 80 }

[[arm]]
name = "d-psgd"
method = "d-psgd"
faults = [
  { kind = "crash", round = 4, agent = 1 },
  { kind = "restart", round = 7, agent = 1 },
  { kind = "crash", round = 4, agent = 3 },
  { kind = "restart", round = 6, agent = 3 },
  { kind = "crash", round = 9, agent = 1 },
  { kind = "restart", round = 14, agent = 1 },
]

[[arm]]
name = "codec"
method = "codec"
memory = { samples = 20, consensus_rounds = 2 }
faults = [
  { kind = "crash", round = 3, agent = 1 },
  { kind = "restart", round = 5, agent = 1 },
  { kind = "crash", round = 11, agent = 2 },
  { kind = "restart", round = 13, agent = 2 },
]

[[arm]]
name = "whole"
method = "d-psgd"
"#;

#[test]
fn agents_that_fall_and_come_back_as_planned_have_the_bits_of_the_simulator() {
    let Both { expected, directory, words, folder: _folder } = simulated_and_launched(RETURNING);
    assert!(words.contains("process 3 (agent 3) was killed before round 4, as planned, and starts again"), "{words}");
    let lines = |arm: &str| digests(&expected).lines().filter(|line| line.contains(&format!("\"{arm}\""))).count();
    // Rounds without them: 4 to 7, 4 to 6 and 9 to 14; 3 to 5, and 11 to 14, which is the first of the second task: nobody comes back
    // while a basis is agreed on.
    assert_eq!([lines("d-psgd"), lines("codec"), lines("whole")], [144 - 13, 168 - 7, 144]);
    let kinds = ["crash", "restart"];
    assert_eq!(struck(&directory, &kinds), struck(&expected, &kinds));
    assert_eq!(struck(&directory, &kinds).len(), 10);
    for place in 0..3 {
        let (one, other) = (&arms(&expected)[place], &arms(&directory)[place]);
        for key in ["accuracy_matrix_per_agent", "agent_steps", "rounds", "missed_exchanges", "parameter_digest"] {
            assert_eq!(one[key], other[key], "{key} of {}", one["arm"]);
        }
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
    let falls = |kind: &str, round: u64, agent: u64| format!("{{kind = \"{kind}\", round = {round}, agent = {agent}}}");
    let (crash, restart) = (|round, agent| falls("crash", round, agent), |round, agent| falls("restart", round, agent));
    for (processes, faults, words) in [
        ("4", vec![crash(2, 0), crash(2, 1), restart(4, 0), restart(4, 1)], "the rows of a neighbour of its own"),
        ("8", vec![crash(2, 1), restart(4, 1), crash(5, 1)], "an agent that is away cannot crash"),
        ("8", vec![crash(2, 1), crash(3, 1), restart(4, 1)], "an agent that is away cannot crash"),
        ("8", vec![crash(2, 1), restart(4, 1), restart(6, 1)], "an agent that is there cannot come back"),
        ("8", vec![crash(2, 1), restart(4, 1), crash(5, 2)], "a neighbour that falls or comes back in this round"),
        ("8", vec![crash(2, 1), restart(4, 1), crash(2, 5), restart(4, 5)], "one agent comes back at a time"),
    ] {
        let plan = format!("faults=[{}]", faults.join(", "));
        refused(&["launch", "-n", processes, "e.toml", "--arm", "whole", "--set", &plan], words);
    }
    let plan = "faults=[{kind = \"straggler\", round = 2, agent = 1, factor = 0.5}]";
    refused(&["launch", "e.toml", "--arm", "whole", "--set", plan], "a process cannot compute faster than it does");
    let alone = ["agent", "--experiment", "e.toml", "--arm", "killed", "--agents", "1", "--identity", "none.key"];
    let rest = ["--listen", "/ip4/127.0.0.1/tcp/0", "--peers", "none.toml"];
    refused(&[&alone[..], &rest].concat(), "a process does not kill itself");
}
