//! `kith run`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{ExperimentArgs, Failure, print_json, say};
use crate::device::{Device, OpenDevice};
use crate::run::{self, Driver, Report, RoundDigests, Settings, Talk};

const EXAMPLES: &str = "\
Examples:
  kith run experiments/quickstart.toml
  kith run experiments/quickstart.toml --arm codec --seed 2 --out elsewhere
  kith run experiments/bench-ring-mlp.toml --set graph.agents=256 --threads 1
  kith run experiments/gpm-permuted-mnist.toml --set data.dataset=fashion-mnist --json > summary.json
  kith run experiments/quickstart.toml --resume runs/quickstart/20260131T235959Z-1a2b3c4d
  kith run experiments/codec-permuted-ring.toml --set arm.codec.memory.energy_threshold=0.99

The run directory holds manifest.json, experiment.resolved.toml, setup.json, metrics.jsonl, summary.json, two figures and
checkpoints; `kith report` makes more of it.
Ctrl-C stops after the round under way and writes what there is; a second Ctrl-C stops at once. --resume goes on from there, or
from the last checkpoint ([checkpoint] in the file says when one is written), to the same bits as a run that was not cut. A run that
wrote digests goes on writing them.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Threads of the engine; results do not depend on them [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    /// Where the arithmetic runs
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Folder for run directories, instead of the file's output.dir
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on in the run directory of a run that was cut, to the same results; FILE and its flags are those of that run
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Let checkers watch the run: slower
    #[arg(long)]
    check: bool,
    /// Write the digest of each agent's parameters after every round to digests.jsonl: slower
    #[arg(long, conflicts_with = "resume")]
    digests: bool,
    /// Print summary.json to stdout
    #[arg(long)]
    json: bool,
    /// Show no progress and no tables
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(arguments: &RunArgs) -> Result<ExitCode, Failure> {
    let device = arguments.device.open().map_err(|error| Failure::new(&error))?;
    let loaded = arguments.experiment.load()?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings {
        out: arguments.out.clone(),
        sweep: None,
        resume: arguments.resume.clone(),
        threads: arguments.threads.map_or_else(cores, usize::from),
        device,
        check: arguments.check,
        talk: if arguments.quiet { Talk::Quiet } else { Talk::Progress },
        digests: if arguments.digests { RoundDigests::Yes } else { RoundDigests::No },
        driver: Driver::Simulator,
    };
    if let (false, OpenDevice::Gpu(_)) = (arguments.quiet, &settings.device) {
        say(&format!("device {}\n", settings.device.label()));
    }
    if loaded.has_sweep() && !arguments.quiet {
        say("note: the file's [sweep] is for kith sweep; this runs the file as it stands\n");
    }
    let report = run::run(&loaded, &settings).map_err(|error| Failure::new(&error))?;
    finish(&report, &Shown { quiet: arguments.quiet, json: arguments.json })
}

/// What of a report is shown, and where.
pub(super) struct Shown {
    /// No tables.
    pub(super) quiet: bool,
    /// The summary on stdout.
    pub(super) json: bool,
}

/// Shows what a run left, and says by the exit code how it ended.
pub(super) fn finish(report: &Report, shown: &Shown) -> Result<ExitCode, Failure> {
    if shown.quiet {
        say(&format!("{}\n", report.directory.display()));
    } else {
        say(&format!("\n{}", report.render()));
    }
    if shown.json {
        print_json(&report.summary)?;
    }
    if !report.lost.is_empty() {
        return Err(Failure { text: report.lost.join("\n") });
    }
    Ok(match (report.summary.stopped, report.holds()) {
        (true, _) => ExitCode::from(130),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => {
            if shown.quiet {
                say(&report.render());
            }
            ExitCode::from(1)
        }
    })
}
