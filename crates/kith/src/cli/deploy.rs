//! `kith deploy`.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ExperimentArgs, Failure, print, say};
use crate::config;
use crate::deploy::{KubernetesJob, SlurmJob, SweepJob, graph_files};

const EXAMPLES: &str = "\
Examples:
  kith deploy slurm experiments/quickstart-sweep.toml --sweep --shards 8 --time 02:00:00 > sweep.sbatch
  kith deploy kubernetes experiments/quickstart-sweep.toml --sweep --image kith:0.1 --claim runs > sweep.yaml

The files go to stdout. Each task of the cluster runs one part of the sweep: kith sweep FILE --shard I/N.";

/// Parts where nobody says how many.
const SHARDS: usize = 8;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeployArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A batch script for Slurm: an array job
    Slurm(SlurmArgs),
    /// Manifests for Kubernetes: an indexed Job
    Kubernetes(KubernetesArgs),
}

/// What is deployed.
#[derive(Debug, Args)]
struct What {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Deploy the file's sweep
    #[arg(long, required = true)]
    sweep: bool,
    /// Parts of the sweep, one a task of the cluster [default: one a run, at most 8]
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroUsize>,
    /// Processor cores of a part; as many runs at a time
    #[arg(long, value_name = "N", default_value = "2")]
    cpus: NonZeroUsize,
    /// Memory of a part, e.g. 4G for Slurm, 4Gi for Kubernetes
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Only runs whose key has this value, as in kith sweep
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct SlurmArgs {
    #[command(flatten)]
    what: What,
    /// Folder for run directories, as all nodes see it
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// Time limit of a part
    #[arg(long, value_name = "HH:MM:SS")]
    time: Option<String>,
    /// Partition
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct KubernetesArgs {
    #[command(flatten)]
    what: What,
    /// Image with the kith binary
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// Claim of the volume for run directories, which all pods write to
    #[arg(long, value_name = "NAME")]
    claim: String,
    /// Claim of the volume with datasets, if they are not in the image
    #[arg(long, value_name = "NAME")]
    data_claim: Option<String>,
    /// Parts at the same time [default: all]
    #[arg(long, value_name = "N")]
    parallelism: Option<NonZeroUsize>,
}

pub(super) fn run(arguments: &DeployArgs) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::Slurm(arguments) => slurm(arguments),
        Command::Kubernetes(arguments) => kubernetes(arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Resolves the sweep, so that a mistake shows here and not in a queue.
fn sweep_job(what: &What) -> Result<SweepJob, Failure> {
    one_line("--memory", what.memory.as_deref())?;
    let overrides = what.experiment.overrides();
    let mut plan = config::load_sweep(&what.experiment.file, &overrides)?;
    config::Filter::parse(&what.filter)?.apply(&mut plan)?;
    let runs = plan.runs.len();
    let shards = what.shards.map_or(SHARDS, usize::from).min(runs);
    if what.shards.is_some_and(|asked| usize::from(asked) > runs) {
        say(&format!("note: {runs} parts, since there are no more runs\n"));
    }
    let mut flags: Vec<String> = Vec::new();
    let seed = overrides.seed.map(|seed| seed.to_string());
    let given = [("--set", &overrides.set), ("--arm", &overrides.arms), ("--filter", &what.filter)];
    for (flag, values) in given.into_iter().chain([("--seed", &seed.into_iter().collect())]) {
        flags.extend(values.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
    }
    let cpus = what.cpus.into();
    Ok(SweepJob { name: plan.name, runs, shards, cpus, memory: what.memory.clone(), flags })
}

/// What becomes a line of a script must be one word.
fn one_line(flag: &str, value: Option<&str>) -> Result<(), Failure> {
    match value.filter(|value| value.is_empty() || value.chars().any(|c| c.is_whitespace() || c.is_control())) {
        Some(value) => Err(Failure { text: format!("{flag} {value:?}: expected one word") }),
        None => Ok(()),
    }
}

fn slurm(arguments: &SlurmArgs) -> Result<(), Failure> {
    one_line("--time", arguments.time.as_deref())?;
    one_line("--partition", arguments.partition.as_deref())?;
    let job = SlurmJob {
        sweep: sweep_job(&arguments.what)?,
        file: arguments.what.experiment.file.display().to_string(),
        out: arguments.out.clone(),
        time: arguments.time.clone(),
        partition: arguments.partition.clone(),
    };
    print(&job.script())
}

fn kubernetes(arguments: &KubernetesArgs) -> Result<(), Failure> {
    let file = &arguments.what.experiment.file;
    let sweep = sweep_job(&arguments.what)?;
    let experiment = std::fs::read_to_string(file)
        .map_err(|error| Failure { text: format!("cannot read {}: {error}", file.display()) })?;
    if let Some(graph) = graph_files(&experiment).first() {
        return Err(Failure {
            text: format!(
                "{}: graph.file: {graph} would not be in the pod, which has the experiment file alone\n\
                 accepted: the graph's own keys in the experiment file, as `kith check` shows them",
                file.display()
            ),
        });
    }
    let job = KubernetesJob {
        sweep,
        experiment,
        image: arguments.image.clone(),
        claim: arguments.claim.clone(),
        data_claim: arguments.data_claim.clone(),
        parallelism: arguments.parallelism.map(usize::from),
    };
    print(&job.manifests())
}
