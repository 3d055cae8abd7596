//! `kith gather`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::run::{Shown, finish};
use crate::config::{self, Overrides};
use crate::device::OpenDevice;
use crate::processes::Leavings;
use crate::run::{self, Driver, RoundDigests, Settings, Talk};

const EXAMPLES: &str = "\
Examples:
  kith gather runs/slurm-4711
  kith gather collected/ --out runs --json > summary.json

Puts the directories of kith agent processes together: a run directory with the files, the table and the numbers that kith run has. The
directories lie below DIR, copied there from wherever the processes ran; they must be of one experiment and arm. Processes that did not
come to an end are named, and the exit code is 2.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GatherArgs {
    /// Folder with the processes' directories
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Folder for run directories, instead of the experiment's output.dir
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print summary.json to stdout
    #[arg(long)]
    json: bool,
    /// Show no tables
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(arguments: &GatherArgs) -> Result<ExitCode, Failure> {
    let left = Leavings::find(&arguments.folder).map_err(|error| Failure::new(&error))?;
    let loaded = config::load(left.experiment(), &Overrides::default())?;
    let settings = Settings {
        out: arguments.out.clone(),
        sweep: None,
        resume: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        device: OpenDevice::Cpu,
        check: false,
        talk: Talk::Quiet,
        digests: if left.has_digests() { RoundDigests::Yes } else { RoundDigests::No },
        driver: Driver::Left(left),
    };
    let report = run::run(&loaded, &settings).map_err(|error| Failure::new(&error))?;
    finish(&report, &Shown { quiet: arguments.quiet, json: arguments.json })
}
