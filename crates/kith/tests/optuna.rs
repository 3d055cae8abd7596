//! The search of `docs/optuna.md`, run as it stands there.

use std::path::Path;
use std::process::Command;

/// The page's Python block.
fn script() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/optuna.md");
    let text = std::fs::read_to_string(page).expect("the page is there");
    let begin = text.find("```python\n").expect("it has a script") + "```python\n".len();
    let length = text[begin..].find("```").expect("the script ends");
    text[begin..begin + length].to_owned()
}

/// Python with Optuna: `KITH_PYTHON`, or the system's.
fn python() -> Option<String> {
    let python = std::env::var("KITH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import optuna"]).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn the_documented_search_finds_a_setting_and_tells_what_failed() {
    let Some(python) = python() else {
        println!("skipped: no Python with optuna (pip install optuna; KITH_PYTHON names another python)");
        return;
    };
    let folder = tempfile::tempdir().expect("there is room");
    std::fs::write(folder.path().join("search.py"), script()).expect("it can be written");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/quickstart.toml");
    let search = |trials: &str, more: &[&str]| {
        let mut command = Command::new(&python);
        command.args([
            "search.py",
            "--trials",
            trials,
            "--set",
            "data.tasks.count=2",
            "--set",
            "train.epochs_per_task=1",
        ]);
        command.args(more).arg(&file).current_dir(folder.path()).env("KITH", env!("CARGO_BIN_EXE_kith"));
        command.output().expect("python starts")
    };
    let output = search("3", &[]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(found["trials"], 3, "{stderr}");
    let rate = found["learning_rate"].as_f64().expect("a number");
    let best = found["best"].as_f64().expect("a number");
    assert!((0.005..=0.2).contains(&rate) && best > 0.0 && best <= 1.0, "{found}");
    let output = search("1", &["--set", "train.batch_size=0"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(stderr.contains("0 is too few"), "{stderr}");
}
