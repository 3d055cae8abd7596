//! `kith sweep`, and the process of one of its runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{ExperimentArgs, Failure, print, print_json, say};
use crate::config::{self, Filter, SweepPlan, describe};
use crate::run::Talk;
use crate::runs::State;
use crate::sweep::worker::{self, Task};
use crate::sweep::{self, Failed, Options, Outcome, Row, RunState, RunStatus, Shard};
use crate::table::{Align, Table};

const EXAMPLES: &str = "\
Examples:
  kith sweep experiments/quickstart.toml --set sweep.seeds=[1,2,3]
  kith sweep experiments/quickstart-sweep.toml --dry-run
  kith sweep experiments/quickstart-sweep.toml --jobs 2 --filter arm=codec --filter seed=[1,2]
  kith sweep experiments/quickstart-sweep.toml --shard 1/4

The [sweep] table of the file says which runs there are. The same command goes on where it was cut: what is done is not run
again. Several processes, on several machines too, may work in one folder.

Exit codes: 0 all runs are done, 1 a run failed or missed its expectations, 2 the sweep cannot be run, 130 stopped by Ctrl-C.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Runs at the same time [default: one a core]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Threads of all runs together [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Only every n-th run, from the i-th: for several machines
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    shard: Shard,
    /// Only runs whose key has this value, or one of [A,B]; several keys must all fit
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Run again what failed
    #[arg(long)]
    retry: bool,
    /// List the runs and how they stand; run nothing
    #[arg(long)]
    dry_run: bool,
    /// Folder for run directories, instead of the file's output.dir
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Let checkers watch the runs: slower
    #[arg(long)]
    check: bool,
    /// Print runs and comparison as JSON
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// What `sweep --json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    experiment: &'a str,
    folder: &'a PathBuf,
    stopped: bool,
    runs: &'a [RunStatus],
    comparison: &'a [Row],
}

pub(super) fn run(arguments: &SweepArgs) -> Result<ExitCode, Failure> {
    let mut plan = config::load_sweep(&arguments.experiment.file, &arguments.experiment.overrides())?;
    Filter::parse(&arguments.filter)?.apply(&mut plan)?;
    let base = arguments.out.clone().unwrap_or_else(|| PathBuf::from(&plan.output.dir));
    let folder = base.join(&plan.name);
    if arguments.dry_run {
        let outcome = sweep::look(&plan, &folder, arguments.shard).map_err(|error| Failure::new(&error))?;
        return show_plan(arguments, &plan, &folder, &outcome);
    }
    let options = options(arguments, &plan, folder)?;
    let outcome = sweep::sweep(&plan, &options).map_err(|error| Failure::new(&error))?;
    let rows = sweep::rows(&outcome);
    if arguments.json {
        print_all(&plan, &options.folder, &outcome, &rows)?;
    } else {
        print(&sweep::render(&rows))?;
    }
    say(&remarks(&outcome, &options.folder));
    let failed = |run: &RunStatus| run.state != RunState::Stored(State::Done) || !run.missed.is_empty();
    Ok(match (outcome.stopped, outcome.own().any(failed)) {
        (true, _) => ExitCode::from(130),
        (false, true) => ExitCode::from(1),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn options(arguments: &SweepArgs, plan: &SweepPlan, folder: PathBuf) -> Result<Options, Failure> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let program = std::env::current_exe()
        .map_err(|error| Failure { text: format!("cannot tell where kith itself lies, to start runs: {error}") })?;
    let most = NonZeroUsize::new(plan.runs.len()).unwrap_or(NonZeroUsize::MIN);
    Ok(Options {
        program,
        folder,
        jobs: arguments.jobs.unwrap_or(cores).min(most),
        threads: arguments.threads.unwrap_or(cores),
        check: arguments.check,
        failed: if arguments.retry { Failed::Retry } else { Failed::Keep },
        shard: arguments.shard,
        talk: if arguments.quiet { Talk::Quiet } else { Talk::Progress },
    })
}

fn print_all(plan: &SweepPlan, folder: &PathBuf, outcome: &Outcome, rows: &[Row]) -> Result<(), Failure> {
    let (experiment, runs) = (plan.name.as_str(), outcome.runs.as_slice());
    print_json(&Printed { experiment, folder, stopped: outcome.stopped, runs, comparison: rows })
}

/// The runs and how they stand.
fn show_plan(
    arguments: &SweepArgs,
    plan: &SweepPlan,
    folder: &PathBuf,
    outcome: &Outcome,
) -> Result<ExitCode, Failure> {
    if arguments.json {
        print_all(plan, folder, outcome, &sweep::rows(outcome))?;
        return Ok(ExitCode::SUCCESS);
    }
    let headings = [
        ("run", Align::Left),
        ("state", Align::Left),
        ("arm", Align::Left),
        ("seed", Align::Right),
        ("setting", Align::Left),
    ];
    let mut table = Table::new(&headings);
    for run in outcome.own() {
        let id = run.hash[..16].to_owned();
        table.row([id, run.state.word().to_owned(), run.arm.clone(), run.seed.to_string(), describe(&run.setting)]);
    }
    print(&table.render())?;
    let to_do = outcome.own().filter(|run| run.state != RunState::Stored(State::Done)).count();
    say(&format!("{} runs, {to_do} of them to do, in {}\n", outcome.own().count(), folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// What a person should know besides the table.
fn remarks(outcome: &Outcome, folder: &std::path::Path) -> String {
    let mut text = String::new();
    for run in outcome.own() {
        let name = || format!("{} {} seed {}", run.arm, describe(&run.setting), run.seed).replace("  ", " ");
        if let RunState::Stored(State::Failed { reason }) = &run.state {
            text +=
                &format!("\nfailed: {}\n  {}\n  {}\n", name(), reason.replace('\n', "\n  "), run.directory.display());
        }
        for verdict in &run.missed {
            let measured = verdict.actual.map_or_else(|| "nothing".to_owned(), |actual| format!("{actual:.6}"));
            text += &format!("\nmissed: {}: {} is {measured}\n  {}\n", name(), verdict.key, run.directory.display());
        }
    }
    let is = |wanted: &str| outcome.own().filter(|run| run.state.word() == wanted).count();
    let all = outcome.own().count();
    let (done, failed) = (is("done"), is("failed"));
    text += &format!("\n{done} of {all} runs are done");
    if failed > 0 {
        text += &format!(", {failed} failed (--retry runs them again)");
    }
    if outcome.stopped {
        text += "; stopped, and the same command goes on from here";
    } else if done + failed < all {
        text += "; the others were cut, and the same command goes on from here";
    }
    text + &format!("\n{}\n", folder.display())
}

/// One run of a sweep, started by `kith sweep`.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// The run directory
    directory: PathBuf,
    /// Threads of the engine
    #[arg(long)]
    threads: NonZeroUsize,
    /// Let checkers watch the run
    #[arg(long)]
    check: bool,
    /// Run it again if it failed
    #[arg(long)]
    retry: bool,
}

pub(super) fn work(arguments: &WorkerArgs) -> Result<ExitCode, Failure> {
    let failed = if arguments.retry { Failed::Retry } else { Failed::Keep };
    let task = Task { threads: arguments.threads.into(), check: arguments.check, failed };
    let end = worker::work(&arguments.directory, &task).map_err(|error| Failure::new(&error))?;
    Ok(ExitCode::from(end.code()))
}
