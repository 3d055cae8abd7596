//! `kith launch`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kith_core::AgentId;

use super::run::{Shown, finish};
use super::{ExperimentArgs, Failure, say};
use crate::config::{ConfigError, Loaded, ResolvedArm};
use crate::device::Device;
use crate::processes::{Launching, Split, StartedBy, Transport, cohorts, refused};
use crate::run::{self, Driver, RoundDigests, Settings, Talk};

const EXAMPLES: &str = "\
Examples:
  kith launch -n 8 experiments/quickstart.toml
  kith launch -n 2 experiments/quickstart.toml --arm codec --json > summary.json
  kith launch --agents-per-process 3 experiments/quickstart.toml --set links.deadline_ms=5000
  kith launch -n 8 experiments/quickstart.toml --resume runs/quickstart/20260131T235959Z-1a2b3c4d

Runs the experiment in processes of this machine that speak over the loopback interface, arm after arm. Parameters, accuracies and
payload bytes are those of `kith run`; the run directory is, too, with what each process left in processes/. A process that dies is named,
the others go on without its agents, and the exit code is 2. Ctrl-C ends after the round under way and writes what there is.
Links of [[faults]] are cut and mended, processes of agents that crash are killed, and started again for a restart, and
stragglers slowed, in the rounds that the file names. Simulated [links] are for `kith run`; deadline_ms counts here.";

/// What processes speak over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Over {
    /// TCP, encrypted by Noise
    Tcp,
    /// QUIC, where kith was built with it (cargo feature `quic`)
    Quic,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LaunchArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Number of processes, which share the agents evenly [default: one an agent]
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "agents_per_process")]
    processes: Option<NonZeroUsize>,
    /// Agents of a process
    #[arg(long, value_name = "N")]
    agents_per_process: Option<NonZeroUsize>,
    /// What processes speak over
    #[arg(long, value_enum, default_value_t = Over::Tcp)]
    transport: Over,
    /// Threads of all processes together, one a process at least [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Where the arithmetic runs
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Folder for run directories, instead of the file's output.dir
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on in the run directory of a launch that was cut, to the same results; FILE and its flags are those of that launch
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    resume: Option<PathBuf>,
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

pub(super) fn run(arguments: &LaunchArgs) -> Result<ExitCode, Failure> {
    let device = arguments.device.open().map_err(|error| Failure::new(&error))?;
    let loaded = arguments.experiment.load()?;
    let program = std::env::current_exe()
        .map_err(|error| Failure { text: format!("cannot find the executable of kith: {error}") })?;
    let one = NonZeroUsize::MIN;
    let split = match (arguments.processes, arguments.agents_per_process) {
        (Some(processes), _) => Split::Processes(processes),
        (None, each) => Split::AgentsEach(each.unwrap_or(one)),
    };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings {
        out: arguments.out.clone(),
        sweep: None,
        resume: arguments.resume.clone(),
        threads: arguments.threads.map_or_else(cores, usize::from),
        device,
        check: false,
        talk: if arguments.quiet { Talk::Quiet } else { Talk::Progress },
        digests: if arguments.digests { RoundDigests::Yes } else { RoundDigests::No },
        driver: Driver::Processes(Launching { program, split, transport: transport(arguments.transport)? }),
    };
    if !arguments.quiet && loaded.experiment.arms.iter().any(|arm| simulates(&arm.links)) {
        say("note: simulated links of the file are for kith run\n");
    }
    can_happen(&loaded, StartedBy::Launch, |arm| cohorts(arm, split))?;
    let report = run::run(&loaded, &settings).map_err(|error| Failure::new(&error))?;
    finish(&report, &Shown { quiet: arguments.quiet, json: arguments.json })
}

fn transport(over: Over) -> Result<Transport, Failure> {
    match over {
        Over::Tcp => Ok(Transport::Tcp),
        Over::Quic if cfg!(feature = "quic") => Ok(Transport::Quic),
        Over::Quic => Err(Failure {
            text: "--transport quic: this kith is built without QUIC; accepted: tcp, or a kith that was built with --features quic"
                .to_owned(),
        }),
    }
}

/// Refuses what the fault plan of an arm says and processes cannot do, with its line.
pub(super) fn can_happen(
    loaded: &Loaded,
    by: StartedBy,
    cohorts: impl Fn(&ResolvedArm) -> Vec<Vec<AgentId>>,
) -> Result<(), Failure> {
    let of = |arm: &ResolvedArm| {
        let problems = refused(arm, &cohorts(arm), by);
        problems.iter().map(|problem| loaded.explain(&arm.name, problem)).collect::<Vec<_>>()
    };
    let found: Vec<_> = loaded.experiment.arms.iter().flat_map(of).collect();
    if found.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(found).into()) }
}

/// Whether links are other than those of the machine.
fn simulates(links: &kith_sim::LinkSpec) -> bool {
    links.latency_ms > 0.0 || links.bandwidth_mbps.is_some() || links.loss > 0.0 || !links.rules.is_empty()
}
