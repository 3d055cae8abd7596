//! `kith check`.

use std::process::ExitCode;

use clap::Args;
use kith_core::{Layout, Network, Role};
use kith_data::SearchPath;
use kith_graph::Inspection;
use serde::Serialize;

use super::{ExperimentArgs, Failure, print, print_json};
use crate::compose::{Parts, RunError};
use crate::config::{Experiment, Loaded, ResolvedArm};
use crate::table::{Align, Table, dash, grouped};

const EXAMPLES: &str = "\
Examples:
  kith check experiments/quickstart.toml
  kith check experiments/codec-permuted-ring.toml --arm codec --set memory.energy_threshold=0.97
  kith check experiments/quickstart.toml --json

Shows every value after presets, arms and flags, the layers, the graph and how many steps and rounds there will be.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `check --json` prints.
#[derive(Serialize)]
struct Checked<'a> {
    experiment: &'a Experiment,
    experiment_hash: String,
    arms: Vec<CheckedArm>,
}

#[derive(Serialize)]
struct CheckedArm {
    arm: String,
    parameters: usize,
    layers: Vec<LayerRow>,
    graph: Inspection,
    tasks: Vec<TaskRow>,
    rounds: u64,
    steps_per_agent: u64,
}

#[derive(Serialize)]
struct LayerRow {
    name: String,
    shape: Vec<usize>,
    rows: usize,
    columns: usize,
    parameters: usize,
    projected: bool,
}

#[derive(Serialize)]
struct TaskRow {
    name: String,
    train_samples: usize,
    test_samples: usize,
    smallest_shard: usize,
    largest_shard: usize,
    steps_per_epoch: u64,
    steps: u64,
    training_rounds: u64,
    consensus_rounds: u64,
}

pub(super) fn run(arguments: &CheckArgs) -> Result<ExitCode, Failure> {
    let loaded = arguments.experiment.load()?;
    let experiment = &loaded.experiment;
    let hash = experiment.hash()?.to_string();
    let search = SearchPath::standard();
    let arms: Result<Vec<_>, Failure> = experiment.arms.iter().map(|arm| check(&loaded, arm, &search)).collect();
    if arguments.json {
        print_json(&Checked { experiment, experiment_hash: hash, arms: arms? })?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("# experiment hash {hash}\n{}", experiment.to_toml()?))?;
    for arm in &arms? {
        print(&render(arm))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything of an arm that follows from the file and the data.
fn check(loaded: &Loaded, arm: &ResolvedArm, search: &SearchPath) -> Result<CheckedArm, Failure> {
    let parts = Parts::of(arm, search).map_err(|error| match error {
        RunError::Shape(problem) => Failure::new(&loaded.explain(&arm.name, &problem)),
        error => Failure { text: format!("arm `{}`: {error}", arm.name) },
    })?;
    let layout = parts.network.layout().map_err(|error| Failure::new(&error))?;
    let tasks: Vec<TaskRow> = parts.scenario.tasks.iter().map(|task| task_row(arm, task)).collect();
    Ok(CheckedArm {
        arm: arm.name.clone(),
        parameters: layout.len(),
        layers: layers(arm, &parts.network, &layout),
        graph: Inspection::new(&parts.graph, &parts.mixing),
        rounds: tasks.iter().map(|task| task.training_rounds + task.consensus_rounds).sum(),
        steps_per_agent: tasks.iter().map(|task| task.steps).sum(),
        tasks,
    })
}

fn layers(arm: &ResolvedArm, network: &Network, layout: &Layout) -> Vec<LayerRow> {
    let row = |(tensor, shape): (&kith_core::Tensor, Vec<usize>)| LayerRow {
        name: tensor.name.clone(),
        shape,
        rows: tensor.rows,
        columns: tensor.cols,
        parameters: tensor.len(),
        projected: arm.memory.is_some() && matches!(tensor.role, Role::Projected(_)),
    };
    layout.tensors.iter().zip(network.tensor_shapes(layout)).map(row).collect()
}

/// How long a task is trained.
pub(super) struct Length {
    /// Steps that go once through the smallest shard.
    pub(super) per_epoch: u64,
    /// Exchanges, those of the consensus rounds left out.
    pub(super) rounds: u64,
    /// Minibatch updates of an agent.
    pub(super) steps: u64,
}

impl Length {
    pub(super) fn of(arm: &ResolvedArm, task: &kith_data::TaskData) -> Self {
        let smallest = task.shards.iter().map(Vec::len).min().unwrap_or(0);
        let per_epoch = (smallest / arm.train.batch_size.max(1)) as u64;
        let (rounds, steps) = match arm.train.rounds_per_task {
            Some(rounds) => (rounds, rounds.saturating_mul(arm.train.local_steps)),
            None => {
                let steps = arm.train.epochs_per_task.unwrap_or(1).saturating_mul(per_epoch);
                (steps.div_ceil(arm.train.local_steps.max(1)), steps)
            }
        };
        Self { per_epoch, rounds, steps }
    }
}

fn task_row(arm: &ResolvedArm, task: &kith_data::TaskData) -> TaskRow {
    let sizes = || task.shards.iter().map(Vec::len);
    let smallest = sizes().min().unwrap_or(0);
    let Length { per_epoch: steps_per_epoch, rounds: training_rounds, steps } = Length::of(arm, task);
    TaskRow {
        name: task.name.clone(),
        train_samples: task.train.labels().len(),
        test_samples: task.test.labels().len(),
        smallest_shard: smallest,
        largest_shard: sizes().max().unwrap_or(0),
        steps_per_epoch,
        steps,
        training_rounds,
        consensus_rounds: arm.parts().consensus_rounds(),
    }
}

fn render(arm: &CheckedArm) -> String {
    let headings = [
        ("layer", Align::Left),
        ("shape", Align::Right),
        ("matrix view", Align::Right),
        ("parameters", Align::Right),
        ("projected", Align::Left),
    ];
    let mut layers = Table::new(&headings);
    for layer in &arm.layers {
        let projected = if layer.projected { "yes".to_owned() } else { dash() };
        let view = format!("{} × {}", layer.rows, layer.columns);
        let shape = layer.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
        layers.row([layer.name.clone(), shape, view, grouped(layer.parameters as f64), projected]);
    }
    let headings = [
        ("task", Align::Left),
        ("train", Align::Right),
        ("test", Align::Right),
        ("shards", Align::Right),
        ("steps/epoch", Align::Right),
        ("steps", Align::Right),
        ("rounds", Align::Right),
        ("consensus", Align::Right),
    ];
    let mut tasks = Table::new(&headings);
    for task in &arm.tasks {
        let shards = if task.smallest_shard == task.largest_shard {
            task.smallest_shard.to_string()
        } else {
            format!("{}–{}", task.smallest_shard, task.largest_shard)
        };
        let numbers = [task.steps_per_epoch, task.steps, task.training_rounds, task.consensus_rounds];
        let cells = [task.name.clone(), task.train_samples.to_string(), task.test_samples.to_string(), shards];
        tasks.row(cells.into_iter().chain(numbers.map(|number| number.to_string())));
    }
    let graph = &arm.graph;
    format!(
        "\n── arm {} ──\n{}{} parameters an agent\n\n{}: {} edges, degree {} to {}, diameter {}, spectral gap {:.4}\n\n{}\
         {} rounds and {} steps an agent in all\n",
        arm.arm,
        layers.render(),
        grouped(arm.parameters as f64),
        graph.label,
        graph.edges,
        graph.degree.min,
        graph.degree.max,
        graph.diameter,
        graph.spectral_gap,
        tasks.render(),
        grouped(arm.rounds as f64),
        grouped(arm.steps_per_agent as f64),
    )
}
