//! `kith report`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{Failure, print, say};
use crate::report::{self, Format, ReportError, Request, Shape};
use crate::run::Interrupt;

const EXAMPLES: &str = "\
Examples:
  kith report runs/quickstart
  kith report runs/codec-permuted-ring runs/gpm-permuted-mnist --baseline gpm --out comparison.html
  kith report runs/quickstart --watch
  kith report runs/quickstart --format latex > table.tex
  kith report runs/quickstart --format png --out figures

RUN is a run directory, or a folder: all runs below it are read. Arms with equal settings are one line, over their seeds.
html goes to report.html, or report.html in RUN where that is a run directory; markdown and latex go to stdout; csv, parquet,
png and svg are several files and go to the folder kith-report. --out says otherwise.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One page with tables and figures; needs no network
    Html,
    /// Tables
    Markdown,
    /// Tables, for the booktabs package
    Latex,
    /// Comparison, differences, runs and accuracy matrices, a file each
    Csv,
    /// The same and all events
    Parquet,
    /// Every figure
    Png,
    /// Every figure
    Svg,
}

impl From<Form> for Format {
    fn from(form: Form) -> Self {
        match form {
            Form::Html => Self::Html,
            Form::Markdown => Self::Markdown,
            Form::Latex => Self::Latex,
            Form::Csv => Self::Csv,
            Form::Parquet => Self::Parquet,
            Form::Png => Self::Png,
            Form::Svg => Self::Svg,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReportArgs {
    /// Run directories, or folders above them
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Form::Html)]
    format: Form,
    /// File, or for csv, parquet, png and svg folder, to write to
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// The arm that others are compared with [default: the first]
    #[arg(long, value_name = "ARM")]
    baseline: Option<String>,
    /// Write again whenever runs have gone on, until Ctrl-C; a browser follows by itself
    #[arg(long)]
    watch: bool,
    /// Seconds between looks of --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

pub(super) fn run(arguments: &ReportArgs) -> Result<ExitCode, Failure> {
    let every = Duration::from_secs(arguments.every);
    let request = Request {
        runs: arguments.runs.clone(),
        format: arguments.format.into(),
        baseline: arguments.baseline.clone(),
        refresh: arguments.watch.then_some(every),
    };
    if !arguments.watch {
        write(arguments, &request).map_err(|error| Failure::new(&error))?;
        return Ok(ExitCode::SUCCESS);
    }
    if request.format.shape() == Shape::Text && target(arguments, &request).is_none() {
        return Err(Failure {
            text: "--watch writes a file again and again\naccepted: --out FILE, or --format html".to_owned(),
        });
    }
    watch(arguments, &request, every)
}

/// Where a text goes; none is stdout.
fn target(arguments: &ReportArgs, request: &Request) -> Option<PathBuf> {
    match (&arguments.out, request.format) {
        (Some(path), _) => Some(path.clone()),
        (None, Format::Html) => match arguments.runs.as_slice() {
            [run] if run.join("manifest.json").is_file() => Some(run.join("report.html")),
            _ => Some(PathBuf::from("report.html")),
        },
        (None, _) => None,
    }
}

fn write(arguments: &ReportArgs, request: &Request) -> Result<(), ReportError> {
    if request.format.shape() == Shape::Folder {
        let folder = arguments.out.clone().unwrap_or_else(|| PathBuf::from("kith-report"));
        for path in report::folder(request, &folder)? {
            say(&format!("{}\n", path.display()));
        }
        return Ok(());
    }
    let text = report::text(request)?;
    match target(arguments, request) {
        Some(path) => {
            let path = report::save(path, text.as_bytes())?;
            say(&format!("{}\n", path.display()));
        }
        // A closed pipe is no error of the report.
        None => print(&text).unwrap_or_else(|failure| say(&format!("{}\n", failure.text))),
    }
    Ok(())
}

/// Sizes of what runs have written: they change when a run goes on.
fn state_of(paths: &[PathBuf]) -> Vec<(PathBuf, u64, Option<std::time::SystemTime>)> {
    let of = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((path.to_owned(), metadata.len(), metadata.modified().ok()))
    };
    let runs = report::find(paths).unwrap_or_default();
    let files = ["metrics.jsonl", "summary.json", "manifest.json"];
    runs.iter().flat_map(|run| files.iter().filter_map(move |name| of(&run.join(name)))).collect()
}

fn watch(arguments: &ReportArgs, request: &Request, every: Duration) -> Result<ExitCode, Failure> {
    let interrupt = Interrupt::catch();
    let mut before = Vec::new();
    while !interrupt.is_asked() {
        let now = state_of(&request.runs);
        if now != before {
            match write(arguments, request) {
                // A run that has just begun has nothing yet: it will have.
                Err(ReportError::Empty { .. }) => {}
                result => result.map_err(|error| Failure::new(&error))?,
            }
            before = now;
        }
        let due = Instant::now() + every;
        while Instant::now() < due && !interrupt.is_asked() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    // The last page no longer reads itself again.
    let last = Request { refresh: None, ..request.clone() };
    write(arguments, &last).map_err(|error| Failure::new(&error))?;
    Ok(ExitCode::SUCCESS)
}
