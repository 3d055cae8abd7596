//! Data as a file says it: the `[data]` table of an experiment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AugmentSpec, DatasetName};

/// The `[data]` table.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// What agents learn from; `kith data list` shows what is here.
    #[schemars(with = "DatasetName")]
    pub dataset: String,
    /// Where it lies, if not on the search path: a folder, an archive of arrays, or the file of quadratic objectives. Relative to the
    /// folder that kith is started in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "my-data")]
    pub path: Option<String>,
    /// Channels, height and width of a sample, where the dataset `csv` or `numpy` holds images as rows of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = vec![1, 28, 28])]
    pub shape: Option<[usize; 3]>,
    /// Share of the training set, from its start, that is left out (for validation), in \[0, 1).
    #[schemars(example = 0.1)]
    pub holdout: f64,
    /// Use only this many training samples, drawn at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 5_000)]
    pub limit: Option<usize>,
    /// Test on only this many test samples of each dataset, drawn at random: for quick looks, where tests take longer than training.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1_000)]
    pub test_limit: Option<usize>,
    /// How pixel values become network inputs.
    pub normalise: Normalise,
    /// How training images are changed at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentSpec>,
    /// How the training samples of a task are cut over agents.
    pub partition: PartitionKind,
    /// α of the Dirichlet partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.1)]
    pub alpha: Option<f64>,
    /// Label shards an agent, for the partition `shards`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 2)]
    pub shards_per_agent: Option<usize>,
    /// The task sequence.
    pub tasks: TasksSpec,
    /// Shape of the synthetic dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticSpec>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            dataset: "digits".to_owned(),
            path: None,
            shape: None,
            holdout: 0.0,
            limit: None,
            test_limit: None,
            normalise: Normalise::default(),
            augment: None,
            partition: PartitionKind::default(),
            alpha: None,
            shards_per_agent: None,
            tasks: TasksSpec::default(),
            synthetic: None,
        }
    }
}

/// How pixel values become network inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Scaled to \[0, 1\], then the dataset's usual mean and standard deviation, a channel. Of `csv`, `numpy` and `image-folder`: mean 0
    /// and standard deviation 1 over the training samples, a column or a channel.
    #[default]
    Standard,
    /// Scaled to \[0, 1\] only.
    Unit,
    /// Mean ½, standard deviation ½: \[−1, 1\].
    Half,
}

/// How samples are cut over agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionKind {
    /// Shuffled, cut into equal parts.
    #[default]
    Iid,
    /// Class proportions drawn from Dir(α), in groups of at most ten agents (Lin et al. 2021).
    Dirichlet,
    /// Sorted by label, cut into equal parts.
    LabelSorted,
    /// Sorted by label, cut into `shards_per_agent` shards an agent, dealt at random (McMahan et al. 2017).
    Shards,
}

/// The `[data.tasks]` table.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TasksSpec {
    /// How tasks are made.
    pub kind: TaskKind,
    /// How many.
    #[schemars(example = 5)]
    pub count: usize,
    /// Permuted: task seeds as in the GPM code (`100 r + i`, r shuffled by `seed`). Other kinds: seed of class order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 2)]
    pub seed: Option<u32>,
    /// Rotated: degrees between tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 18.0)]
    pub degrees: Option<f64>,
    /// Whether all agents learn the tasks in one order.
    #[serde(skip_serializing_if = "TaskOrder::is_default")]
    pub order: TaskOrder,
    /// Sequence: the datasets, in order.
    #[schemars(with = "Option<Vec<DatasetName>>", example = vec!["mnist", "fashion-mnist"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datasets: Option<Vec<String>>,
}

impl Default for TasksSpec {
    fn default() -> Self {
        Self { kind: TaskKind::Single, count: 1, seed: None, degrees: None, order: TaskOrder::Shared, datasets: None }
    }
}

/// Whether all agents learn the tasks in one order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskOrder {
    /// Task t in stage t.
    #[default]
    Shared,
    /// Every agent in an order of its own, drawn from the run's seed.
    PerAgent,
}

impl TaskOrder {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a sequence of tasks is made from data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// One task: the dataset.
    #[default]
    Single,
    /// Every task permutes the inputs in its own way.
    Permuted,
    /// Every task has its own classes.
    Split,
    /// Every task rotates the images further.
    Rotated,
    /// Every task is a dataset.
    Sequence,
}

/// The `[data.synthetic]` table: class prototypes, a low-rank latent, a little noise.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticSpec {
    /// Image shape: channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Training samples.
    pub train: usize,
    /// Test samples.
    pub test: usize,
    /// Dimensions of the latent shared by all classes.
    pub latent: usize,
    /// Standard deviation of the noise.
    pub noise: f64,
}

impl Default for SyntheticSpec {
    fn default() -> Self {
        Self { shape: [1, 28, 28], classes: 10, train: 60_000, test: 10_000, latent: 40, noise: 0.1 }
    }
}
