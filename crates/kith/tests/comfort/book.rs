//! The book in `docs/`: its commands run, its links lead somewhere, its notebook draws.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::repository;

/// The pages that `docs/SUMMARY.md` names, in its order.
fn pages() -> Vec<PathBuf> {
    let summary = fs::read_to_string(repository().join("docs/SUMMARY.md")).expect("the book has a summary");
    links(&summary).into_iter().map(PathBuf::from).collect()
}

/// Targets of the links and pictures of a page, outside of blocks of code.
fn links(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        }
        let parts = line.split("](").skip(1).filter(|_| !inside);
        found.extend(parts.filter_map(|part| part.split_once(')')).map(|(target, _)| target.to_owned()));
    }
    found
}

/// The names of a page's headings as mdBook and GitHub make them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let plain = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(plain).collect()
}

#[test]
fn every_page_is_in_the_book_and_every_link_leads_somewhere() {
    let docs = repository().join("docs");
    let pages = pages();
    for folder in ["", "tutorial", "reference", "adr"] {
        for entry in fs::read_dir(docs.join(folder)).expect("it is there") {
            let path = entry.expect("it can be listed").path();
            let name = path.strip_prefix(&docs).expect("it lies there").to_owned();
            let page = path.extension().is_some_and(|extension| extension == "md");
            let apart = name == Path::new("SUMMARY.md") || name == Path::new("adr/template.md");
            assert!(!page || apart || pages.contains(&name), "{} is not in docs/SUMMARY.md", name.display());
        }
    }
    let mut broken = Vec::new();
    let outside = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| PathBuf::from("..").join(name));
    for page in pages.iter().chain(&outside) {
        let path = docs.join(page);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().expect("a folder").join(file) };
            let there = target.exists();
            let named = || anchors(&fs::read_to_string(&target).unwrap_or_default()).iter().any(|name| name == anchor);
            if !there || (!anchor.is_empty() && !named()) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

/// A command of a session, and what the page says of it.
struct Step {
    command: String,
    code: i32,
    size: Size,
}

#[derive(PartialEq)]
enum Size {
    AsItIs,
    /// `# long`: with less training.
    Small,
}

/// The commands of a page's `console` blocks: lines after `$ `. Lines without are what a command prints.
fn steps(page: &str) -> Vec<Step> {
    let mut console = false;
    let mut steps = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            console = line == "```console";
        } else if let Some(line) = line.strip_prefix("$ ").filter(|_| console) {
            let (command, note) = line.split_once(" # ").unwrap_or((line, ""));
            let code = note.trim().strip_prefix("exit ").map_or(0, |code| code.parse().expect("a number"));
            let size = if note.trim().starts_with("long") { Size::Small } else { Size::AsItIs };
            steps.push(Step { command: command.trim().to_owned(), code, size });
        }
    }
    steps
}

/// A folder that a page's commands run in: `experiments/` and `topologies/`, and nothing else.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("there is room");
    for name in ["experiments", "topologies"] {
        let folder = desk.path().join(name);
        fs::create_dir(&folder).expect("it can be made");
        for entry in fs::read_dir(repository().join(name)).expect("it is there") {
            let path = entry.expect("it can be listed").path();
            fs::copy(&path, folder.join(path.file_name().expect("a file"))).expect("it can be copied");
        }
    }
    desk
}

/// Less training, for commands that train.
const LITTLE: &str = " --set train.epochs_per_task=1 --set data.tasks.count=2";

#[cfg(unix)]
#[test]
fn every_command_of_the_book_does_what_its_page_says() {
    let binaries = Path::new(env!("CARGO_BIN_EXE_kith")).parent().expect("a folder");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    let mut desks: BTreeMap<PathBuf, tempfile::TempDir> = BTreeMap::new();
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(repository().join("docs").join(&page)).expect("the page is there");
        // Commands of the crates' own developers build what the tests are built from.
        let developers =
            |step: &Step| ["cargo ", "python ", "time "].iter().any(|first| step.command.starts_with(first));
        let steps: Vec<Step> = steps(&text).into_iter().filter(|step| !developers(step)).collect();
        if steps.is_empty() {
            continue;
        }
        // The chapters of the tutorial go on where the one before ended.
        let chapter = page.starts_with("tutorial");
        let desk = desks.entry(if chapter { PathBuf::from("tutorial") } else { page.clone() }).or_insert_with(desk);
        for step in steps {
            let trains = step.size == Size::Small;
            let command = if trains { format!("{}{LITTLE}", step.command) } else { step.command };
            let mut bash = Command::new("bash");
            bash.args(["-c", &command]).current_dir(desk.path()).env("PATH", &path).env_remove("KITH_DATA");
            let output = bash.output().expect("bash starts");
            // A shell that became its last command dies of the signal itself.
            let killed = std::os::unix::process::ExitStatusExt::signal(&output.status).map(|signal| 128 + signal);
            if output.status.code().or(killed) != Some(step.code) {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                wrong.push(format!(
                    "{}: {command}\n{:?}, expected {}\n{said}",
                    page.display(),
                    output.status,
                    step.code
                ));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 35, "{count} commands");
    let tutorial = desks[Path::new("tutorial")].path();
    let table = fs::read_to_string(tutorial.join("table.tex")).expect("the tutorial ends with a table");
    assert!(
        table.contains(r"\begin{tabular}") && table.contains("codec & 3 &") && table.contains("d-psgd & 3 &"),
        "{table}"
    );
    let page = fs::read_to_string(tutorial.join("report.html")).expect("and with a page");
    assert!(page.contains("<svg") && page.contains("codec"));
}

/// Python with what the notebook wants: `KITH_PYTHON`, or the system's.
fn python() -> Option<String> {
    let python = std::env::var("KITH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import pandas, matplotlib"]).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn the_notebooks_cells_read_a_run_and_draw_its_figure() {
    let text = fs::read_to_string(repository().join("docs/notebooks/read-a-run.ipynb")).expect("it is there");
    let notebook: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let cells = notebook["cells"].as_array().expect("it has cells");
    let code: Vec<String> = cells
        .iter()
        .filter(|cell| cell["cell_type"] == "code")
        .map(|cell| cell["source"].as_array().into_iter().flatten().filter_map(|line| line.as_str()).collect())
        .collect();
    assert_eq!(code.len(), 5);
    let Some(python) = python() else {
        println!("skipped: no Python with pandas and matplotlib (KITH_PYTHON names another python)");
        return;
    };
    let folder = tempfile::tempdir().expect("there is room");
    let file = repository().join("experiments/quickstart.toml");
    let little = ["--set", "train.epochs_per_task=2", "--set", "data.tasks.count=2", "--quiet", "--out", "out"];
    let file = file.display().to_string();
    let run = super::kith(&[&["run", &file], &little[..]].concat(), folder.path());
    assert!(run.status.success(), "{}", super::stderr(&run));
    let named = fs::read_dir(folder.path().join("out/quickstart")).expect("it ran").next().expect("a run");
    let mut command = Command::new(python);
    command.args(["-c", &code.join("\n")]).current_dir(folder.path()).env("MPLBACKEND", "Agg");
    command.env("KITH_RUN", named.expect("a folder").path()).env("KITH_FIGURE", "figure.png");
    let output = command.output().expect("python starts");
    assert!(output.status.success(), "{}", super::stderr(&output));
    let figure = fs::read(folder.path().join("figure.png")).expect("it was drawn");
    assert!(figure.starts_with(b"\x89PNG") && figure.len() > 5000);
}
