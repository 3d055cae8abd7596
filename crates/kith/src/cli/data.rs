//! `kith data`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use kith_core::Seeds;
use kith_data::{DatasetInfo, DatasetName, Fetched, Place, SearchPath, TaskData, available, label_histogram};
use serde::Serialize;

use super::{ExperimentArgs, Failure, print, print_json};
use crate::config::closest;
use crate::table::{Align, Table, dash};

const EXAMPLES: &str = "\
Examples:
  kith data list
  kith data inspect experiments/quickstart.toml --set data.partition=dirichlet --set data.alpha=0.1
  kith data fetch mnist
  kith data fetch mnist --mirror https://mirror.example/mnist

Datasets are looked for in $KITH_DATA, ./data, the user's data folder and where packages put them.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every dataset and where it is
    List(ListArgs),
    /// How an experiment's tasks are cut over agents: samples of each class
    Inspect(InspectArgs),
    /// Get a dataset: resumed if it broke off, and checked
    Fetch(FetchArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct InspectArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct FetchArgs {
    /// mnist, fashion-mnist, cifar-10 or cifar-100
    #[arg(value_name = "NAME")]
    name: String,
    /// Base address to fetch from, instead of the built-in ones; tried in order
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
    /// SHA-256 of the archive, for datasets whose checksum kith does not know
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Folder that the dataset's folder goes to [default: the user's data folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &DataArgs) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::List(arguments) => list(arguments),
        Command::Inspect(arguments) => inspect(arguments),
        Command::Fetch(arguments) => fetch(arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct ListRow {
    name: &'static str,
    shape: Option<[usize; 3]>,
    classes: Option<usize>,
    train: Option<usize>,
    test: Option<usize>,
    present: bool,
    place: String,
    licence: &'static str,
}

impl From<DatasetInfo> for ListRow {
    fn from(info: DatasetInfo) -> Self {
        let (present, place) = match info.place {
            Place::BuiltIn => (true, "part of kith".to_owned()),
            Place::Folder(folder) => (true, folder.display().to_string()),
            Place::Absent(how) => (false, how.to_owned()),
        };
        let DatasetInfo { name, shape, classes, train, test, licence, .. } = info;
        Self { name: name.as_str(), shape, classes, train, test, present, place, licence }
    }
}

fn list(arguments: &ListArgs) -> Result<(), Failure> {
    let rows: Vec<ListRow> = available(&SearchPath::standard()).into_iter().map(ListRow::from).collect();
    if arguments.json {
        return print_json(&rows);
    }
    let headings = [
        ("dataset", Align::Left),
        ("shape", Align::Left),
        ("classes", Align::Right),
        ("train", Align::Right),
        ("test", Align::Right),
        ("here", Align::Left),
        ("where, or how to get it", Align::Left),
        ("licence", Align::Left),
    ];
    let mut table = Table::new(&headings);
    let number = |value: Option<usize>| value.map_or_else(dash, |value| value.to_string());
    for row in rows {
        table.row([
            row.name.to_owned(),
            row.shape.map_or_else(dash, |[channels, height, width]| format!("{channels}×{height}×{width}")),
            number(row.classes),
            number(row.train),
            number(row.test),
            if row.present { "yes" } else { "no" }.to_owned(),
            row.place,
            row.licence.to_owned(),
        ]);
    }
    print(&table.render())
}

#[derive(Serialize)]
struct InspectedArm {
    arm: String,
    inputs: usize,
    shape: [usize; 3],
    classes: usize,
    tasks: Vec<InspectedTask>,
}

#[derive(Serialize)]
struct InspectedTask {
    name: String,
    train: usize,
    test: usize,
    /// `[agent][class]`.
    histogram: Vec<Vec<usize>>,
}

impl From<&TaskData> for InspectedTask {
    fn from(task: &TaskData) -> Self {
        Self {
            name: task.name.clone(),
            train: task.train.labels().len(),
            test: task.test.labels().len(),
            histogram: label_histogram(task),
        }
    }
}

fn inspect(arguments: &InspectArgs) -> Result<(), Failure> {
    let loaded = arguments.experiment.load()?;
    let search = SearchPath::standard();
    let mut arms: Vec<InspectedArm> = Vec::new();
    let mut seen = Vec::new();
    for arm in &loaded.experiment.arms {
        // Arms mostly share their data: once is enough.
        let key = (&arm.data, &arm.graph, arm.seed);
        if seen.contains(&key) {
            continue;
        }
        let graph = arm.build_graph().map_err(|error| Failure::new(&error))?;
        let scenario = kith_data::load(&arm.data, graph.agents(), &Seeds::new(arm.seed), &search)
            .map_err(|error| Failure { text: format!("arm `{}`: {error}", arm.name) })?;
        seen.push(key);
        arms.push(InspectedArm {
            arm: arm.name.clone(),
            inputs: scenario.inputs,
            shape: scenario.shape,
            classes: scenario.classes,
            tasks: scenario.tasks.iter().map(InspectedTask::from).collect(),
        });
    }
    if arguments.json {
        return print_json(&arms);
    }
    arms.iter().try_for_each(|arm| print(&render(arm)))
}

fn fetch(arguments: &FetchArgs) -> Result<(), Failure> {
    let fail = |error: kith_data::DataError| Failure::new(&error);
    let name: DatasetName = arguments.name.parse().map_err(|_| unknown(&arguments.name))?;
    let sha256 = arguments.sha256.as_deref().map(str::parse).transpose().map_err(fail)?;
    let folder = arguments.dir.clone().or_else(SearchPath::user_folder).ok_or_else(|| Failure {
        text: "there is no user's data folder: neither XDG_DATA_HOME nor HOME is set; give --dir DIR".to_owned(),
    })?;
    let plan = kith_data::plan(name, &arguments.mirror, sha256, &folder).map_err(fail)?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    let result = kith_data::fetch(&plan, |progress| {
        if bar.message() != progress.file {
            bar.set_message(progress.file.to_owned());
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    let rows: Vec<FetchedRow> = result.map_err(fail)?.into_iter().map(FetchedRow::from).collect();
    if arguments.json {
        return print_json(&rows);
    }
    rows.iter().try_for_each(|row| print(&format!("{}  {}\n", row.sha256, row.path)))
}

fn unknown(name: &str) -> Failure {
    let names = DatasetName::ALL.map(DatasetName::as_str);
    let hint = closest(name, names).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    Failure { text: format!("unknown dataset `{name}`; {hint}`kith data list` shows all") }
}

#[derive(Serialize)]
struct FetchedRow {
    path: String,
    sha256: String,
}

impl From<Fetched> for FetchedRow {
    fn from(fetched: Fetched) -> Self {
        Self { path: fetched.path.display().to_string(), sha256: fetched.checksum.to_string() }
    }
}

/// Agents whose histograms are shown one by one.
const SHOWN: usize = 64;

fn render(arm: &InspectedArm) -> String {
    let [channels, height, width] = arm.shape;
    let mut text = format!(
        "{} tasks, inputs {channels}×{height}×{width} = {}, {} classes a head\n",
        arm.tasks.len(),
        arm.inputs,
        arm.classes
    );
    for task in &arm.tasks {
        let classes = task.histogram.iter().map(Vec::len).max().unwrap_or(0);
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let mut headings = vec![("agent", Align::Right), ("samples", Align::Right)];
        headings.extend(names.iter().map(|name| (name.as_str(), Align::Right)));
        let mut table = Table::new(&headings);
        for (agent, counts) in task.histogram.iter().enumerate().take(SHOWN) {
            let sum: usize = counts.iter().sum();
            table.row([agent, sum].iter().chain(counts).map(ToString::to_string));
        }
        text += &format!("\n{}: {} training, {} test samples\n{}", task.name, task.train, task.test, table.render());
        if task.histogram.len() > SHOWN {
            text += &format!("and {} more agents: --json shows all\n", task.histogram.len() - SHOWN);
        }
    }
    text
}
