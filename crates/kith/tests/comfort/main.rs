//! What makes a day with kith easier: templates, explanations, the schema, completions, reference pages.

mod book;
mod validate;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use kith::config::json_schema;
use kith::reference::{keys, pages};
use serde_json::Value;

fn kith(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.args(arguments).current_dir(folder).env_remove("KITH_DATA");
    command.output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it is UTF-8")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const TEMPLATES: [&str; 5] = ["codec", "saddle", "ars", "own-data", "own-network"];

fn problem(text: &str) -> Option<String> {
    let value: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let schema = json_schema();
    validate::problem(&schema, &schema, &value, "")
}

#[test]
fn every_template_passes_check_and_the_schema_and_nothing_is_overwritten() {
    for template in TEMPLATES {
        let folder = tempfile::tempdir().expect("there is room");
        let made = kith(&["init", "--template", template], folder.path());
        assert!(made.status.success(), "{}", stderr(&made));
        let file = format!("{template}.toml");
        let text = std::fs::read_to_string(folder.path().join(&file)).expect("it was written");
        assert!(text.starts_with("#:schema kith.schema.json\n"));
        assert!(folder.path().join("kith.schema.json").is_file());
        assert_eq!(problem(&text), None, "{template}");
        let checked = kith(&["check", &file], folder.path());
        assert!(checked.status.success(), "{template}: {}", stderr(&checked));
        let again = kith(&["init", "--template", template], folder.path());
        assert_eq!(again.status.code(), Some(2));
        assert!(stderr(&again).contains("--force overwrites it"));
        assert!(kith(&["init", "--template", template, "--force"], folder.path()).status.success());
    }
}

#[test]
fn the_template_for_own_data_names_its_data_from_where_kith_is_started_and_runs() {
    let folder = tempfile::tempdir().expect("there is room");
    let made = kith(&["init", "--template", "own-data", "inner/mine.toml"], folder.path());
    assert!(made.status.success(), "{}", stderr(&made));
    let quick = ["--set", "train.epochs_per_task=8", "--quiet", "--json"];
    let run = kith(&[&["run", "inner/mine.toml"], &quick[..]].concat(), folder.path());
    assert!(run.status.success(), "{}", stderr(&run));
    let summary: Value = serde_json::from_str(&stdout(&run)).expect("it is JSON");
    let accuracy = summary["arms"][0]["average_accuracy"].as_f64().expect("it is a number");
    assert!(accuracy > 0.9, "three flowers are easy to tell apart: {accuracy}");
}

#[test]
fn every_experiment_file_fits_the_schema() {
    let mut count = 0;
    for entry in std::fs::read_dir(repository().join("experiments")).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            assert_eq!(problem(&text), None, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 9, "{count} files");
}

#[test]
fn what_is_wrong_does_not_fit_the_schema() {
    let good = "name = \"x\"\nmethod = \"d-psgd\"\n";
    assert_eq!(problem(good), None);
    for (wrong, word) in [
        ("method = \"d-psgd\"", "required"),
        ("name = \"x\"\nmethod = \"d-psdg\"", "oneOf"),
        ("name = \"x\"\ntrian = {}", "additionalProperties"),
        ("name = \"x\"\ntrain = { batch_size = \"ten\" }", "type"),
        ("name = \"x\"\ntrain = { batch_size = -1 }", "minimum"),
        ("name = \"x\"\ntrain = { learning_rate = { kind = \"linear\", start = 0.1, slop = 1 } }", "anyOf"),
        ("name = \"x\"\ndata = { dataset = \"mnits\" }", "oneOf"),
        ("name = \"x\"\nchain = [\"projekt\"]", "oneOf"),
        ("name = \"x\"\nfaults = [{ kind = \"crash\", agent = 1 }]", "required"),
        ("name = \"x\"\n[[arm]]\nmethod = \"codec\"", "required"),
        ("name = \"x\"\n[expect.codec]\naverage_acuracy = { min = 0.5 }", "enum"),
        ("name = \"x\"\n[[network.layers]]\nkind = \"conv\"\nkernel = 3", "oneOf"),
    ] {
        let problem = problem(wrong).unwrap_or_else(|| panic!("accepted:\n{wrong}"));
        let refused = problem.contains(word) || problem.contains("nothing is accepted");
        assert!(refused, "{wrong}\nis refused by {problem}");
    }
}

#[test]
fn what_is_laid_over_a_method_may_leave_keys_out() {
    for over in [
        "memory = { energy_threshold = 0.9 }",
        "exchange = { averaging_rate = 0.5 }",
        "train = { learning_rate = { start = 0.1 } }",
        "continual = { consolidation = { strength = 3.0 } }",
    ] {
        assert_eq!(problem(&format!("name = \"x\"\n[[arm]]\nname = \"a\"\nmethod = \"codec\"\n{over}")), None);
    }
}

#[test]
fn every_keys_example_fits_the_schema() {
    for key in keys() {
        let example = key.example.expect("every key has one");
        let named = if key.path == "name" { String::new() } else { "name = \"x\"\n".to_owned() };
        let text = format!("{named}{example}\n");
        assert_eq!(problem(&text), None, "{}\n{text}", key.path);
    }
}

#[test]
fn the_reference_pages_are_current() {
    let folder = repository().join("docs/reference");
    for (name, text) in pages(&kith::cli::command()) {
        let path = folder.join(name);
        if std::env::var_os("KITH_UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &text).expect("it can be written");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "docs/reference/{name} is old: KITH_UPDATE_REFERENCE=1 makes it anew");
    }
}

#[test]
fn explain_says_type_default_choices_meaning_and_example() {
    let folder = tempfile::tempdir().expect("there is room");
    let text = stdout(&kith(&["explain", "data.partition"], folder.path()));
    for part in [
        "How the training samples",
        "takes     a name",
        "default   \"iid\"",
        "label-sorted",
        "[data]",
        "partition = \"iid\"",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let all = stdout(&kith(&["explain"], folder.path()));
    assert!(all.lines().count() > 150);
    let wrong = kith(&["explain", "train.batchsize"], folder.path());
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean `train.batch_size`?"), "{}", stderr(&wrong));
    let method = stdout(&kith(&["explain", "method.q-saddle"], folder.path()));
    assert!(method.contains("kind = \"sharpness-aware\"") && method.contains("radius"), "{method}");
    let json: Value = serde_json::from_str(&stdout(&kith(&["explain", "--json"], folder.path()))).expect("it is JSON");
    assert!(json.as_array().is_some_and(|keys| keys.len() > 150));
}

#[test]
fn completions_know_the_commands_and_man_pages_are_one_a_command() {
    let folder = tempfile::tempdir().expect("there is room");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&kith(&["completions", shell], folder.path()));
        assert!(script.contains("sweep") && script.contains("resume"), "{shell}");
    }
    let made = kith(&["man", "man1"], folder.path());
    assert!(made.status.success(), "{}", stderr(&made));
    let page = std::fs::read_to_string(folder.path().join("man1/kith-run.1")).expect("it was written");
    assert!(page.contains(".TH") && page.contains("resume"));
    assert!(folder.path().join("man1/kith.1").is_file());
}

#[test]
fn doctor_ends_with_0_where_runs_can_be_written_and_with_1_where_not() {
    let folder = tempfile::tempdir().expect("there is room");
    let well = kith(&["doctor", "--json"], folder.path());
    let health: Value = serde_json::from_str(&stdout(&well)).expect("it is JSON");
    assert_eq!(well.status.code(), Some(0), "{health}");
    assert_eq!(health["devices"][0]["name"], "cpu");
    assert_eq!(health["devices"][0]["usable"], true);
    assert!(health["machine"]["cores"].as_u64().is_some_and(|cores| cores >= 1));
    assert_eq!(health["datasets"][0]["present"], true);
    assert!(stdout(&kith(&["doctor"], folder.path())).ends_with("all is well\n"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("it is there").collect();
    assert!(left.is_empty(), "it leaves nothing behind: {left:?}");
    // A place where nobody can make a file, not even the superuser.
    #[cfg(target_os = "linux")]
    {
        let ill = kith(&["doctor", "--out", "/proc/kith/runs"], folder.path());
        assert_eq!(ill.status.code(), Some(1), "{}", stdout(&ill));
        assert!(stdout(&ill).contains("problem: /proc/kith/runs cannot be written"));
    }
}

/// The figure is in docs/performance.md; this bound is for machines that do much else.
#[test]
fn help_answers_at_once() {
    let folder = tempfile::tempdir().expect("there is room");
    let fastest = (0..7).map(|_| {
        let start = Instant::now();
        assert!(kith(&["--help"], folder.path()).status.success());
        start.elapsed().as_millis()
    });
    let fastest = fastest.min().expect("it ran");
    assert!(fastest < 500, "{fastest} ms");
}

/// Runs a command on a terminal of its own; none where the machine has no `script`.
#[cfg(target_os = "linux")]
fn on_terminal(command: &str, no_colour: Option<&str>) -> Option<String> {
    let mut script = Command::new("script");
    script.args(["-qec", command, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm-256color");
    if let Some(value) = no_colour {
        script.env("NO_COLOR", value);
    }
    script.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_colour_unless_no_color_is_set() {
    let command = format!("{} run missing.toml", env!("CARGO_BIN_EXE_kith"));
    let Some(coloured) = on_terminal(&command, None) else { return };
    assert!(coloured.contains("\u{1b}[1;31merror"), "{coloured:?}");
    assert!(
        on_terminal(&command, Some("")).is_some_and(|text| text.contains("\u{1b}[")),
        "an empty value sets nothing"
    );
    let plain = on_terminal(&command, Some("1")).expect("it ran before");
    assert!(plain.contains("error: cannot read missing.toml") && !plain.contains('\u{1b}'), "{plain:?}");
}
