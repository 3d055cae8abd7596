//! `kith deploy`.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ExperimentArgs, Failure, print, say};
use crate::config::{self, Loaded};
use crate::deploy::{AgentsJob, KubernetesAgents, KubernetesJob, SlurmAgents, SlurmJob, SweepJob, graph_files};
use crate::processes::{Split, cohorts};

const EXAMPLES: &str = "\
Examples:
  kith deploy slurm experiments/quickstart-sweep.toml --sweep --shards 8 --time 02:00:00 > sweep.sbatch
  kith deploy kubernetes experiments/quickstart-sweep.toml --sweep --image kith:0.1 --claim runs > sweep.yaml
  kith deploy slurm experiments/quickstart.toml --arm codec --processes 4 --time 00:30:00 > agents.sbatch
  kith deploy kubernetes experiments/quickstart.toml --arm codec --processes 4 --image kith:0.1 --claim runs > agents.yaml

The files go to stdout. With --sweep, each task of the cluster runs one part of the sweep: kith sweep FILE --shard I/N. Without, each
task is a process that hosts some agents of one arm, kith agent, and kith gather puts together what they leave.";

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
    /// A batch script for Slurm: a job of agents, or an array job of a sweep's parts
    Slurm(SlurmArgs),
    /// Manifests for Kubernetes: a StatefulSet of agents, or an indexed Job of a sweep's parts
    Kubernetes(KubernetesArgs),
}

/// What is deployed.
#[derive(Debug, Args)]
struct What {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Deploy the file's sweep, and not the agents of one arm
    #[arg(long)]
    sweep: bool,
    /// Processes that share the agents [default: one an agent]
    #[arg(long, value_name = "N", conflicts_with = "sweep")]
    processes: Option<NonZeroUsize>,
    /// Port of the first process; on one host, the others take those after it
    #[arg(long, value_name = "PORT", default_value_t = 4001, conflicts_with = "sweep")]
    port: u16,
    /// Parts of the sweep, one a task of the cluster [default: one a run, at most 8]
    #[arg(long, value_name = "N", requires = "sweep")]
    shards: Option<NonZeroUsize>,
    /// Processor cores of a part, or of a process; a part has as many runs at a time
    #[arg(long, value_name = "N", default_value = "2")]
    cpus: NonZeroUsize,
    /// Memory of a part (a node of a job of agents), e.g. 4G for Slurm; of a pod, e.g. 4Gi for Kubernetes
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Only runs whose key has this value, as in kith sweep
    #[arg(long, value_name = "KEY=VALUE", requires = "sweep")]
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
    #[arg(long, value_name = "N", requires = "sweep")]
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

/// Resolves the one arm whose agents are deployed.
fn agents_job(what: &What) -> Result<(AgentsJob, Loaded), Failure> {
    one_line("--memory", what.memory.as_deref())?;
    let (overrides, loaded) = (what.experiment.overrides(), what.experiment.load()?);
    let [arm] = loaded.experiment.arms.as_slice() else {
        let names: Vec<&str> = loaded.experiment.arms.iter().map(|arm| arm.name.as_str()).collect();
        let file = what.experiment.file.display();
        return Err(Failure { text: format!("{file} has several arms; choose one with --arm: {}", names.join(", ")) });
    };
    let split = what.processes.map_or(Split::AgentsEach(NonZeroUsize::MIN), Split::Processes);
    let all = cohorts(arm, split);
    let cohorts: Vec<_> = all.iter().filter_map(|agents| Some(agents.first()?.0..=agents.last()?.0)).collect();
    if cohorts.len() != all.len() {
        let agents: usize = all.iter().map(Vec::len).sum();
        return Err(Failure {
            text: format!("--processes {}; accepted: 1 to {agents}, the number of agents", all.len()),
        });
    }
    if usize::from(what.port) + cohorts.len() > usize::from(u16::MAX) {
        return Err(Failure { text: format!("--port {}: there are not {} ports after it", what.port, cohorts.len()) });
    }
    let mut flags: Vec<String> = overrides.set.iter().flat_map(|set| ["--set".to_owned(), set.clone()]).collect();
    flags.extend(overrides.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
    let job = AgentsJob {
        name: loaded.experiment.name.clone(),
        arm: arm.name.clone(),
        cohorts,
        port: what.port,
        cpus: what.cpus.into(),
        memory: what.memory.clone(),
        flags,
    };
    Ok((job, loaded))
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
    if !arguments.what.sweep {
        let (job, loaded) = agents_job(&arguments.what)?;
        let job = SlurmAgents {
            job,
            file: arguments.what.experiment.file.display().to_string(),
            out: arguments.out.clone().unwrap_or(loaded.experiment.output.dir),
            time: arguments.time.clone(),
            partition: arguments.partition.clone(),
        };
        return print(&job.script());
    }
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
    if !arguments.what.sweep {
        let job = KubernetesAgents {
            job: agents_job(&arguments.what)?.0,
            experiment,
            image: arguments.image.clone(),
            claim: arguments.claim.clone(),
            data_claim: arguments.data_claim.clone(),
        };
        return print(&job.manifests());
    }
    let job = KubernetesJob {
        sweep: sweep_job(&arguments.what)?,
        experiment,
        image: arguments.image.clone(),
        claim: arguments.claim.clone(),
        data_claim: arguments.data_claim.clone(),
        parallelism: arguments.parallelism.map(usize::from),
    };
    print(&job.manifests())
}
