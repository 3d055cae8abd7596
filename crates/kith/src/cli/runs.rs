//! `kith runs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Failure, print, print_json, say};
use crate::config::{Setting, describe};
use crate::runs::{self, Difference, RunsError, State, StoredRun};
use crate::table::{Align, Table, dash, grouped, megabytes, percent, seconds};

const EXAMPLES: &str = "\
Examples:
  kith runs list
  kith runs list runs/quickstart --json
  kith runs show 1a2b3c4d
  kith runs diff runs/quickstart/20260131T235959Z-1a2b3c4d 5e6f
  kith runs rm --state failed --state cut --dry-run

RUN is a run directory, or the start of its name or hash below --dir.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every run below a folder and how it stands
    List(ListArgs),
    /// One run: what ran, where, and what came out
    Show(ShowArgs),
    /// What tells two runs apart: versions, settings, results
    Diff(DiffArgs),
    /// Remove run directories
    Rm(RmArgs),
}

#[derive(Debug, Args)]
struct Root {
    /// Folder of run directories
    #[arg(long, value_name = "DIR", default_value = "runs")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct ListArgs {
    /// Folders to look in
    #[arg(value_name = "DIR", default_value = "runs")]
    folders: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct ShowArgs {
    /// The run
    #[arg(value_name = "RUN")]
    run: String,
    #[command(flatten)]
    root: Root,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct DiffArgs {
    /// The one run
    #[arg(value_name = "RUN")]
    one: String,
    /// The other run
    #[arg(value_name = "RUN")]
    other: String,
    #[command(flatten)]
    root: Root,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct RmArgs {
    /// The runs
    #[arg(value_name = "RUN", required_unless_present = "state")]
    runs: Vec<String>,
    /// Every run below --dir that stands so
    #[arg(long, value_enum, value_name = "STATE", conflicts_with = "runs")]
    state: Vec<Kind>,
    #[command(flatten)]
    root: Root,
    /// Say what would be removed; remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// States that a run may be removed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Done,
    Failed,
    Cut,
}

impl From<RunsError> for Failure {
    fn from(error: RunsError) -> Self {
        Self::new(&error)
    }
}

pub(super) fn run(arguments: &RunsArgs) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::List(arguments) => list(arguments),
        Command::Show(arguments) => show(arguments),
        Command::Diff(arguments) => diff(arguments),
        Command::Rm(arguments) => rm(arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// A run in a list.
#[derive(Serialize)]
struct Listed {
    run: String,
    directory: PathBuf,
    #[serde(flatten)]
    state: State,
    experiment: Option<String>,
    started: Option<String>,
    arms: Vec<String>,
    seeds: Vec<u64>,
    setting: Setting,
    average_accuracy: Vec<Option<f64>>,
    wall_seconds: Option<f64>,
    bytes: u64,
}

impl Listed {
    fn new(run: &StoredRun) -> Result<Self, RunsError> {
        let manifest = run.manifest.as_ref();
        let arms = || run.summary.iter().flat_map(|summary| &summary.arms);
        Ok(Self {
            run: run.id(),
            directory: run.directory.clone(),
            state: run.state.clone(),
            experiment: manifest.map(|manifest| manifest.experiment.clone()),
            started: manifest.map(|manifest| manifest.started.clone()),
            arms: arms().map(|arm| arm.arm.clone()).collect(),
            seeds: manifest.map(|manifest| manifest.seeds.clone()).unwrap_or_default(),
            setting: manifest.map(|manifest| manifest.setting.clone()).unwrap_or_default(),
            average_accuracy: arms().map(|arm| arm.average_accuracy).collect(),
            wall_seconds: run.summary.as_ref().map(|_| arms().fold(0.0, |sum, arm| sum + arm.wall_seconds)),
            bytes: run.bytes()?,
        })
    }
}

fn list(arguments: &ListArgs) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for folder in &arguments.folders {
        for directory in runs::below(folder)? {
            match StoredRun::read(&directory).and_then(|run| Listed::new(&run)) {
                Ok(listed) => rows.push(listed),
                // One broken run must not hide the others.
                Err(error) => say(&format!("left out: {error}\n")),
            }
        }
    }
    if arguments.json {
        return print_json(&rows);
    }
    let headings = [
        ("run", Align::Left),
        ("experiment", Align::Left),
        ("state", Align::Left),
        ("started (UTC)", Align::Left),
        ("arms: accuracy", Align::Left),
        ("seed", Align::Right),
        ("time", Align::Right),
        ("MB", Align::Right),
    ];
    let mut table = Table::new(&headings);
    for row in &rows {
        let accuracies = row.arms.iter().zip(&row.average_accuracy);
        let mut results: Vec<String> = accuracies.map(|(arm, value)| format!("{arm} {}", percent(*value))).collect();
        results.extend((!row.setting.is_empty()).then(|| describe(&row.setting)));
        let mut seeds: Vec<String> = row.seeds.iter().map(ToString::to_string).collect();
        seeds.dedup();
        table.row([
            row.run.clone(),
            row.experiment.clone().unwrap_or_else(dash),
            row.state.word().to_owned(),
            row.started.clone().map_or_else(dash, |time| time.replace('T', " ").replace('Z', "")),
            results.join(", "),
            seeds.join(" "),
            row.wall_seconds.map_or_else(dash, seconds),
            megabytes(row.bytes as f64),
        ]);
    }
    print(&table.render())
}

fn read(word: &str, root: &Path) -> Result<StoredRun, RunsError> {
    StoredRun::read(&runs::named(word, root)?)
}

#[derive(Serialize)]
struct Shown<'a> {
    directory: &'a Path,
    #[serde(flatten)]
    state: &'a State,
    manifest: &'a Option<crate::run::Manifest>,
    summary: &'a Option<crate::summary::Summary>,
}

fn show(arguments: &ShowArgs) -> Result<(), Failure> {
    let run = read(&arguments.run, &arguments.root.dir)?;
    let StoredRun { directory, state, manifest, summary } = &run;
    if arguments.json {
        return print_json(&Shown { directory, state, manifest, summary });
    }
    let mut lines: Vec<(&str, String)> = vec![("directory", directory.display().to_string())];
    lines.push(("state", state.word().to_owned()));
    match state {
        State::Failed { reason } => lines.push(("reason", reason.replace('\n', "\n               "))),
        State::UnderWay { owner: Some(owner) } => {
            lines.push(("process", format!("{} on {} since {}", owner.pid, owner.host, owner.since)));
        }
        _ => {}
    }
    if let Some(manifest) = manifest {
        let commit = manifest.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
        lines.push(("experiment", manifest.experiment.clone()));
        lines.push(("hash", manifest.experiment_hash.to_string()));
        if !manifest.setting.is_empty() {
            lines.push(("setting", describe(&manifest.setting)));
        }
        lines.push(("seeds", manifest.seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
        lines.push(("kith", manifest.kith_version.clone() + &commit));
        lines.push(("device", format!("{}, {} threads, grade {}", manifest.device, manifest.threads, manifest.grade)));
        lines.push(("host", format!("{}, {} cores", manifest.host_os, manifest.host_cores)));
        lines.push(("started", manifest.started.clone()));
        lines.push(("ended", manifest.ended.clone().unwrap_or_else(dash)));
        lines.push(("command", manifest.argv.join(" ")));
    }
    lines.push(("size", format!("{} MB", megabytes(run.bytes()? as f64))));
    let text: String = lines.iter().map(|(name, value)| format!("{name:<13}  {value}\n")).collect();
    print(&text)?;
    summary.as_ref().map_or(Ok(()), |summary| print(&format!("\n{}", crate::run::overview(&summary.arms))))
}

#[derive(Serialize)]
struct Compared<'a> {
    one: &'a Path,
    other: &'a Path,
    versions: &'a [Difference],
    settings: &'a [Difference],
    results: &'a [Difference],
}

fn diff(arguments: &DiffArgs) -> Result<(), Failure> {
    let root = &arguments.root.dir;
    let (one, other) = (read(&arguments.one, root)?, read(&arguments.other, root)?);
    let [versions, settings, results] = runs::diff(&one, &other)?;
    if arguments.json {
        let (one, other) = (one.directory.as_path(), other.directory.as_path());
        return print_json(&Compared { one, other, versions: &versions, settings: &settings, results: &results });
    }
    print(&format!("one    {}\nother  {}\n", one.directory.display(), other.directory.display()))?;
    for (title, differences) in [("versions", versions), ("settings", settings), ("results", results)] {
        if differences.is_empty() {
            print(&format!("\n{title}: the same\n"))?;
            continue;
        }
        let mut table = Table::new(&[(title, Align::Left), ("one", Align::Left), ("other", Align::Left)]);
        for Difference { key, one, other } in differences {
            table.row([key, cell(one.as_ref()), cell(other.as_ref())]);
        }
        print(&format!("\n{}", table.render()))?;
    }
    Ok(())
}

fn cell(value: Option<&serde_json::Value>) -> String {
    let text = match value {
        None | Some(serde_json::Value::Null) => return dash(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    if text.chars().count() <= 48 { text } else { text.chars().take(47).chain(['…']).collect() }
}

fn rm(arguments: &RmArgs) -> Result<(), Failure> {
    let root = &arguments.root.dir;
    let mut chosen = Vec::new();
    if arguments.state.is_empty() {
        for word in &arguments.runs {
            let directory = runs::named(word, root)?;
            chosen.push(StoredRun::read(&directory).unwrap_or_else(|_| StoredRun::unreadable(&directory)));
        }
    } else {
        let wanted = |state: &State| match state {
            State::Done => arguments.state.contains(&Kind::Done),
            State::Failed { .. } => arguments.state.contains(&Kind::Failed),
            State::Cut => arguments.state.contains(&Kind::Cut),
            State::UnderWay { .. } => false,
        };
        let all = runs::below(root)?.into_iter().filter_map(|directory| StoredRun::read(&directory).ok());
        chosen.extend(all.filter(|run| wanted(&run.state)));
    }
    // Refused as a whole, before anything is gone.
    chosen.iter().try_for_each(StoredRun::may_be_removed)?;
    let (mut bytes, count) = (0, chosen.len());
    for run in chosen {
        bytes += run.bytes()?;
        print(&format!("{}\n", run.directory.display()))?;
        if !arguments.dry_run {
            run.remove()?;
        }
    }
    let done = if arguments.dry_run { "would be removed" } else { "removed" };
    say(&format!("{} runs, {} MB {done}\n", grouped(count as f64), megabytes(bytes as f64)));
    Ok(())
}
