//! `kith report` and live logs as a user meets them. Tests that need a browser, LaTeX or TensorBoard print why they are skipped
//! where there is none.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_kith");

fn kith(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).env("NO_COLOR", "1").output().expect("the binary starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// Two seeds of the two arms of the quickstart, small, with faults and both live logs; made once.
fn runs() -> &'static Path {
    static RUNS: OnceLock<TempDir> = OnceLock::new();
    RUNS.get_or_init(|| {
        let out = TempDir::new().expect("there is room");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/quickstart.toml");
        for seed in ["1", "2"] {
            let ran = kith(&[
                "run",
                text(&file),
                "--quiet",
                "--seed",
                seed,
                "--out",
                text(out.path()),
                "--set",
                "data.tasks.count=2",
                "--set",
                "train.epochs_per_task=2",
                "--set",
                "train.evaluate_every=1",
                "--set",
                "output.log=[\"csv\", \"tensorboard\"]",
                "--set",
                "faults=[{kind=\"crash\", agent=3, round=5}, {kind=\"restart\", agent=3, round=9}]",
            ]);
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        }
        out
    })
    .path()
}

/// The run directories, in order.
fn directories() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = runs()
        .join("quickstart")
        .read_dir()
        .expect("it can be listed")
        .map(|entry| entry.expect("it is there").path())
        .collect();
    found.sort();
    found
}

fn report(arguments: &[&str]) -> Output {
    let output = kith(&[&["report", text(runs())], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("there is room");
    let path = folder.path().join("page.html");
    report(&["--out", text(&path)]);
    (folder, path)
}

/// The first of these programs that answers `--version`.
fn program(names: &[&str]) -> Option<String> {
    let answers = |name: &&&str| {
        let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    names.iter().find(answers).map(|name| (*name).to_owned())
}

const SECTIONS: [&str; 16] = [
    "comparison",
    "differences",
    "accuracy-over-tasks",
    "accuracy-against-bytes",
    "accuracy-matrix",
    "accuracy-over-time",
    "training-loss",
    "consensus-distance",
    "basis-ranks",
    "schedules",
    "simulated-time",
    "faults",
    "graph",
    "labels",
    "settings",
    "runs",
];

#[test]
fn a_page_has_every_table_and_figure_and_needs_no_network() {
    let (_folder, path) = page();
    let html = read(&path);
    for section in SECTIONS {
        assert!(html.contains(&format!("<section id=\"{section}\"")), "no {section}");
        assert!(html.contains(&format!("<a href=\"#{section}\">")), "no link to {section}");
    }
    assert!(!html.contains("http") && !html.contains("<script") && !html.contains("NaN"), "{}", path.display());
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("@media print"));
    assert!(!html.contains("http-equiv"), "only a watched page reads itself again");
}

#[test]
fn a_browser_shows_every_figure_without_an_error() {
    let Some(browser) = program(&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) else {
        println!("skipped: no chromium or chrome on this machine");
        return;
    };
    let (folder, path) = page();
    let profile = folder.path().join("profile");
    // The page counts its own pictures that have a size, after they are laid out.
    let probe = "<script>addEventListener('load', () => { const shown = [...document.querySelectorAll('section .tiles svg')]\
                 .filter(svg => svg.getBoundingClientRect().height > 20).length; document.title = 'shown ' + shown + ' wide ' + \
                 (document.documentElement.scrollWidth > innerWidth) })</script>";
    let probed = folder.path().join("probed.html");
    std::fs::write(&probed, read(&path).replace("</body>", &format!("{probe}</body>"))).expect("there is room");
    for width in ["1280", "390"] {
        let output = Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
            .arg(format!("--user-data-dir={}", text(&profile)))
            .arg(format!("--window-size={width},900"))
            .arg(format!("file://{}", text(&probed)))
            .output()
            .expect("the browser starts");
        let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{log}");
        assert!(!log.contains("CONSOLE"), "{log}");
        let pictures = read(&path).matches("<svg role=\"img\"").count();
        assert!(pictures >= 14, "{pictures}");
        assert!(
            dom.contains(&format!("<title>shown {pictures} wide false</title>")),
            "{width}: of {pictures} pictures"
        );
    }
}

#[test]
fn markdown_shows_the_mean_and_deviation_of_the_summaries() {
    let accuracies: Vec<f64> = directories()
        .iter()
        .map(|run| {
            let summary: Value = serde_json::from_str(&read(&run.join("summary.json"))).expect("it is JSON");
            summary["arms"][0]["average_accuracy"].as_f64().expect("a number") * 100.0
        })
        .collect();
    let [one, other] = accuracies[..] else { panic!("two runs, not {}", accuracies.len()) };
    // Of two values the sample deviation is their distance over the square root of two.
    let cell = format!("{:.2} ± {:.2}", f64::midpoint(one, other), (one - other).abs() / 2.0_f64.sqrt());
    let output = report(&["--format", "markdown"]);
    let markdown = String::from_utf8(output.stdout).expect("text");
    let line = markdown.lines().find(|line| line.starts_with("| codec | 2 |")).expect("a line of the arm");
    assert!(line.contains(&cell), "{cell} in {line}");
    assert!(markdown.contains("| d-psgd | average accuracy (%) | 2 |"), "{markdown}");
    assert!(output.stderr.is_empty());
}

#[test]
fn latex_compiles() {
    let Some(latex) = program(&["pdflatex", "tectonic"]) else {
        println!("skipped: neither pdflatex nor tectonic on this machine");
        return;
    };
    let folder = TempDir::new().expect("there is room");
    let tables = String::from_utf8(report(&["--format", "latex"]).stdout).expect("text");
    let document = format!(
        "\\documentclass{{article}}\\usepackage{{booktabs}}\\usepackage[landscape]{{geometry}}\\begin{{document}}\\tiny\n\
         {tables}\\end{{document}}\n"
    );
    std::fs::write(folder.path().join("t.tex"), document).expect("there is room");
    let options: &[&str] = if latex == "pdflatex" { &["-interaction=nonstopmode", "-halt-on-error"] } else { &[] };
    let output =
        Command::new(&latex).args(options).arg("t.tex").current_dir(folder.path()).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(folder.path().join("t.pdf").is_file());
}

#[test]
fn csv_and_parquet_hold_the_numbers_and_every_event() {
    let folder = TempDir::new().expect("there is room");
    report(&["--format", "csv", "--out", text(folder.path())]);
    let runs = read(&folder.path().join("runs.csv"));
    assert_eq!(runs.lines().count(), 5, "a heading, two arms of two runs");
    let column = runs.lines().next().and_then(|heading| heading.split(',').position(|name| name == "average_accuracy"));
    let first: f64 = runs
        .lines()
        .nth(1)
        .expect("a run")
        .split(',')
        .nth(column.expect("a column"))
        .expect("a field")
        .parse()
        .expect("a number");
    let summary: Value = serde_json::from_str(&read(&directories()[0].join("summary.json"))).expect("it is JSON");
    assert_eq!(Some(first), summary["arms"][0]["average_accuracy"].as_f64(), "to the last digit");
    assert_eq!(read(&folder.path().join("accuracy.csv")).lines().count(), 1 + 4 * 3);
    report(&["--format", "parquet", "--out", text(folder.path())]);
    let bytes = std::fs::read(folder.path().join("events.parquet")).expect("it is there");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[test]
fn pictures_are_written_a_file_a_figure() {
    let folder = TempDir::new().expect("there is room");
    for format in ["svg", "png"] {
        report(&["--format", format, "--out", text(folder.path())]);
        for figure in SECTIONS[2..14].iter() {
            let bytes = std::fs::read(folder.path().join(format!("{figure}.{format}"))).expect("it is there");
            let start: &[u8] = if format == "svg" { b"<svg " } else { b"\x89PNG" };
            assert!(bytes.starts_with(start) && bytes.len() > 1000, "{figure}.{format}");
        }
    }
}

#[test]
fn mistakes_say_what_would_be_accepted() {
    let empty = TempDir::new().expect("there is room");
    let said = |arguments: &[&str]| {
        let output = kith(arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("text")
    };
    let error = said(&["report", text(empty.path())]);
    assert!(error.contains("holds no run") && error.contains("accepted: a run directory"), "{error}");
    let error = said(&["report", text(runs()), "--baseline", "nobody"]);
    assert!(error.contains("no arm is called `nobody`") && error.contains("accepted: codec, d-psgd"), "{error}");
    let error = said(&["report", text(runs()), "--format", "markdown", "--watch"]);
    assert!(error.contains("accepted: --out FILE"), "{error}");
}

#[test]
fn a_damaged_run_is_named_in_the_report_and_stops_nothing() {
    let folder = TempDir::new().expect("there is room");
    for run in directories() {
        let copy = folder.path().join(run.file_name().expect("a name"));
        std::fs::create_dir(&copy).expect("there is room");
        for file in ["manifest.json", "experiment.resolved.toml", "metrics.jsonl", "summary.json", "setup.json"] {
            std::fs::copy(run.join(file), copy.join(file)).expect("there is room");
        }
    }
    let damaged = folder.path().join(directories()[1].file_name().expect("a name"));
    std::fs::write(damaged.join("summary.json"), "{\"arms\": [").expect("there is room");
    std::fs::write(
        damaged.join("metrics.jsonl"),
        "what?\n{\"arm\":\"codec\",\"task\":0,\"round\":1,\"key\":\"train_loss\",\"value\":1}\n",
    )
    .expect("there is room");
    let path = folder.path().join("page.html");
    let output = kith(&["report", text(folder.path()), "--out", text(&path)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let html = read(&path);
    assert!(
        html.contains("summary.json cannot be understood") && html.contains("1 lines of metrics.jsonl are no events")
    );
}

#[cfg(unix)]
#[test]
fn a_watched_page_reads_itself_again_until_the_watch_ends() {
    let folder = TempDir::new().expect("there is room");
    let path = folder.path().join("page.html");
    let mut child = Command::new(BINARY)
        .args(["report", text(runs()), "--watch", "--every", "1", "--out", text(&path)])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), text(&path));
    assert!(read(&path).contains("<meta http-equiv=\"refresh\" content=\"1\">"));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(killed.success());
    assert!(child.wait().expect("it ends").success());
    assert!(!read(&path).contains("http-equiv"), "the last page stands still");
}

#[test]
fn the_csv_log_has_a_line_an_event() {
    let run = &directories()[0];
    let (events, log) = (read(&run.join("metrics.jsonl")), read(&run.join("metrics.csv")));
    assert_eq!(log.lines().count(), 1 + events.lines().count());
    for (event, line) in events.lines().zip(log.lines().skip(1)) {
        let event: Value = serde_json::from_str(event).expect("it is JSON");
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(
            (fields[0], fields[4]),
            (event["arm"].as_str().expect("text"), event["key"].as_str().expect("text"))
        );
        assert_eq!(fields[6].parse::<f64>().ok(), event["value"].as_f64());
    }
}

#[test]
fn tensorboard_reads_what_was_logged() {
    let python = std::env::var("KITH_TENSORBOARD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imports = Command::new(&python).args(["-c", "import tensorboard"]).stderr(Stdio::null()).status();
    if !imports.is_ok_and(|status| status.success()) {
        println!("skipped: {python} has no tensorboard; KITH_TENSORBOARD_PYTHON names one that has");
        return;
    }
    let script = "import json, sys\n\
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n\
        log = EventAccumulator(sys.argv[1]); log.Reload()\n\
        print(json.dumps({tag: [[e.step, e.value] for e in log.Scalars(tag)] for tag in log.Tags()['scalars']}))";
    let run = &directories()[0];
    let folder = run.join("tensorboard/codec");
    let output = Command::new(&python).args(["-c", script, text(&folder)]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read_back: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let events = read(&run.join("metrics.jsonl"));
    let losses: Vec<(u64, f64)> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"))
        .filter(|event| event["arm"] == "codec" && event["key"] == "train_loss")
        .map(|event| (event["round"].as_u64().expect("a round"), event["value"].as_f64().expect("a number")))
        .collect();
    let read_losses = read_back["train_loss"].as_array().expect("scalars");
    assert_eq!(read_losses.len(), losses.len());
    for (read, (step, value)) in read_losses.iter().zip(losses) {
        assert_eq!(read[0].as_u64(), Some(step));
        assert!((read[1].as_f64().expect("a number") - value).abs() < 1e-6 * value.abs());
    }
    assert_eq!(read_back["accuracy/task_0"].as_array().map(Vec::len), Some(4), "two tests in each of two tasks");
}
