//! An experiment with every value final.

use std::collections::BTreeMap;

use kith_core::{Digest, Seeds};
use kith_method::{Continual, Exchange, Link, Memory, Oracle, Parts, Preset};
use kith_sim::{Fault, LinkSpec, TrainSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expect::Expectations;
use super::network::NetworkSpec;
use super::{ConfigError, hash};

/// An experiment file after `--set`, arms and presets are worked in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Experiment {
    /// Its name, part of the run directory's path.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where run directories go.
    pub output: OutputSpec,
    /// When a run's state is written, so that it can go on after it was cut.
    pub checkpoint: CheckpointSpec,
    /// What must hold of each arm's summary.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub expect: BTreeMap<String, Expectations>,
    /// The runs, in file order; at least one.
    #[serde(rename = "arm")]
    pub arms: Vec<ResolvedArm>,
}

/// One run with every value final.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedArm {
    /// What the arm is called in tables.
    #[schemars(example = &"codec")]
    pub name: String,
    /// Seed of every random stream.
    #[serde(default)]
    #[schemars(example = 1)]
    pub seed: u64,
    /// The preset that the parts started from.
    pub method: Preset,
    /// What happens to a gradient, in order.
    pub chain: Vec<Link>,
    /// Where gradients come from.
    pub oracle: Oracle,
    /// What is sent and how it is mixed.
    pub exchange: Exchange,
    /// Gradient projection memory, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// What else is done against forgetting, if anything.
    #[serde(default)]
    pub continual: Continual,
    /// The graph; a `file` is already read in.
    #[serde(default)]
    pub graph: kith_graph::Spec,
    /// Dataset, tasks and partition.
    #[serde(default)]
    pub data: kith_data::Spec,
    /// The network.
    #[serde(default)]
    pub network: NetworkSpec,
    /// Epochs, batches and learning rate; exactly one of epochs and rounds is given.
    #[serde(default)]
    pub train: TrainSpec,
    /// What lies between agents.
    #[serde(default)]
    pub links: LinkSpec,
    /// What checkers watch.
    #[serde(default)]
    pub checks: ChecksSpec,
    /// What goes wrong, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// The `[checks]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChecksSpec {
    /// Whether the simulator's checkers watch the run, as with `--check`.
    pub invariants: bool,
}

/// The `[output]` table.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSpec {
    /// Folder that run directories go to; `<name>/<time>-<hash>` is added.
    pub dir: String,
    /// Logs beside `metrics.jsonl`, for tools that follow a run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogFormat>,
}

/// A form of live log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// `metrics.csv`: the events of `metrics.jsonl`.
    Csv,
    /// `tensorboard/ARM/`: event files; values of agents as their mean.
    Tensorboard,
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self { dir: "runs".to_owned(), log: Vec::new() }
    }
}

/// The `[checkpoint]` table: when a run's state is written. It changes no result.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSpec {
    /// Also after every so many rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 500)]
    pub every_rounds: Option<u64>,
    /// Whether at the end of every task.
    pub task_ends: bool,
    /// How many checkpoints of an arm stay, the newest; with its end, the weights that it ended with are one of them. With 0,
    /// nothing is written: the run can be neither resumed within an arm nor exported.
    pub keep: usize,
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self { every_rounds: None, task_ends: true, keep: 1 }
    }
}

impl Experiment {
    /// SHA-256 of everything that determines the results: name and arms, but neither expectations, checkpoints nor output
    /// folder.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn hash(&self) -> Result<Digest, ConfigError> {
        let mut arms = self.arms.clone();
        // What a file of weights holds counts, not where it lies.
        arms.iter_mut().filter_map(|arm| arm.train.start_from.as_mut()).for_each(|start| start.file.clear());
        hash::digest(&(&self.name, &arms)).map_err(ConfigError::Hash)
    }

    /// The resolved form as an experiment file that resolves to itself.
    ///
    /// # Errors
    /// A value that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(ConfigError::Write)
    }
}

impl ResolvedArm {
    /// The method's parts.
    #[must_use]
    pub fn parts(&self) -> Parts {
        Parts {
            oracle: self.oracle.clone(),
            chain: self.chain.clone(),
            exchange: self.exchange.clone(),
            memory: self.memory.clone(),
            continual: self.continual.clone(),
        }
    }

    /// Builds the graph that the arm's agents sit on.
    ///
    /// # Errors
    /// A specification that no graph follows from; a resolved arm has none such.
    pub fn build_graph(&self) -> Result<kith_graph::Graph, kith_graph::GraphError> {
        self.graph.build(&Seeds::new(self.seed))
    }
}
