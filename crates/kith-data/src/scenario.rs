//! From a `[data]` table to the tasks of a run.

use std::path::Path;
use std::sync::Arc;

use kith_core::{Purpose, Seeds, TaskId};
use rand_chacha::rand_core::Rng;

use crate::image::{Dataset, ImageSet};
use crate::mersenne::{Mersenne, permuted_task_seeds};
use crate::view::{Frame, View, rotated};
use crate::{
    DataError, DatasetName, Scaling, SearchPath, Spec, SyntheticSpec, TaskKind, TaskSamples, draw, folder, own,
    partition, stage, synthetic,
};

/// The task order of the published permuted MNIST runs.
const PERMUTED_SEED: u32 = 2;

/// Everything that agents learn in a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Numbers in one input.
    pub inputs: usize,
    /// Channels, height, width of one input.
    pub shape: [usize; 3],
    /// Classes of one task: the width of a head.
    pub classes: usize,
    /// The tasks, in order.
    pub tasks: Vec<TaskData>,
    /// `[agent][stage]`: the task that an agent learns in a stage; empty where all learn task t in stage t.
    pub orders: Vec<Vec<TaskId>>,
}

/// The data of one task.
#[derive(Clone, Debug)]
pub struct TaskData {
    /// What it is, for reports.
    pub name: String,
    /// The training set of all agents together.
    pub train: Arc<TaskSamples>,
    /// The test set.
    pub test: Arc<TaskSamples>,
    /// Which samples of `train` each agent holds: disjoint, equally many.
    pub shards: Vec<Vec<u32>>,
}

/// Reads the data, makes the tasks and cuts them over `agents`.
///
/// # Errors
/// If a dataset is missing or damaged, or a setting does not fit the data.
pub fn load(spec: &Spec, agents: usize, seeds: &Seeds, search: &SearchPath) -> Result<Scenario, DataError> {
    if agents == 0 {
        return Err(DataError::setting("graph.agents", 0, "1 or more is accepted"));
    }
    if spec.tasks.count == 0 {
        return Err(DataError::setting("data.tasks.count", 0, "1 or more is accepted"));
    }
    let sources = sources(spec, seeds, search)?;
    let plans = match spec.tasks.kind {
        TaskKind::Single => single(spec, &sources)?,
        TaskKind::Permuted => permuted(spec, &sources),
        TaskKind::Split => split(spec, &sources)?,
        TaskKind::Rotated => rotations(spec, &sources)?,
        TaskKind::Sequence => sequence(&sources)?,
    };
    let shape = common_shape(&sources);
    let classes = plans.iter().map(|plan| plan.classes).max().unwrap_or(1);
    let tasks = plans.into_iter().enumerate().map(|(task, plan)| {
        let source = &sources[plan.source];
        let table: Arc<[f32]> = plan.scaling.choose(spec.normalise).table().into();
        let side = |images: &ImageSet, rows: &Arc<[u32]>| {
            let (rows, labels) = plan.relabel.apply(images, rows);
            TaskSamples::new(images, rows, labels, plan.view.clone(), Arc::clone(&table))
        };
        let train = side(&source.dataset.train, &source.train_rows);
        let train = Arc::new(train.augmented(spec.augment.as_ref(), shape));
        let test = Arc::new(side(&source.dataset.test, &source.test_rows));
        if test.rows().is_empty() {
            return Err(DataError::NoTestSamples { task: plan.name });
        }
        let shards = partition::cut(spec, train.labels(), agents, seeds, (TaskId::from(task), &plan.name))?;
        Ok(TaskData { name: plan.name, train, test, shards })
    });
    let tasks = tasks.collect::<Result<Vec<_>, DataError>>()?;
    let orders = stage::orders(spec.tasks.order, tasks.len(), agents, seeds);
    Ok(Scenario { inputs: shape.iter().product(), shape, classes, tasks, orders })
}

/// How far the draws of test samples stand before those of training samples.
const TEST_DRAWS: u64 = 1 << 32;

/// A dataset and the images of it that are used.
struct Source {
    dataset: Dataset,
    train_rows: Arc<[u32]>,
    test_rows: Arc<[u32]>,
}

/// One task, before its samples are cut over agents.
struct Plan {
    name: String,
    source: usize,
    view: View,
    relabel: Relabel,
    classes: usize,
    scaling: Scaling,
}

/// Which classes a task keeps, and what it calls them.
enum Relabel {
    Keep,
    /// Class `self[k]` becomes `k`; others are left out.
    Only(Vec<u32>),
}

impl Relabel {
    /// The rows that are kept, and their labels.
    fn apply(&self, images: &ImageSet, rows: &Arc<[u32]>) -> (Arc<[u32]>, Arc<[u32]>) {
        let label = |row: &u32| images.labels()[*row as usize];
        match self {
            Self::Keep => (Arc::clone(rows), rows.iter().map(label).collect()),
            Self::Only(classes) => {
                let place = |row: &u32| classes.iter().position(|&class| class == label(row));
                let kept = rows.iter().filter_map(|row| Some((*row, place(row)? as u32)));
                let (rows, labels): (Vec<u32>, Vec<u32>) = kept.unzip();
                (rows.into(), labels.into())
            }
        }
    }
}

fn sources(spec: &Spec, seeds: &Seeds, search: &SearchPath) -> Result<Vec<Source>, DataError> {
    let names: Vec<&str> = match (spec.tasks.kind, &spec.tasks.datasets) {
        (TaskKind::Sequence, Some(names)) if !names.is_empty() => names.iter().map(String::as_str).collect(),
        (TaskKind::Sequence, _) => {
            let accepted = "a list of dataset names is accepted, such as [\"digits\", \"mnist\"]";
            return Err(DataError::setting("data.tasks.datasets", "(not set)", accepted));
        }
        (_, Some(_)) => {
            let accepted = "a list of datasets needs data.tasks.kind = \"sequence\"";
            return Err(DataError::setting("data.tasks.datasets", "(a list)", accepted));
        }
        (_, None) => vec![&spec.dataset],
    };
    let count = spec.tasks.count;
    if spec.tasks.kind == TaskKind::Sequence && count != 1 && count != names.len() {
        let accepted = format!("{}, the number of datasets, is accepted", names.len());
        return Err(DataError::setting("data.tasks.count", count, accepted));
    }
    names.iter().zip(0..).map(|(name, position)| source(spec, name, position, seeds, search)).collect()
}

fn source(spec: &Spec, name: &str, position: u64, seeds: &Seeds, search: &SearchPath) -> Result<Source, DataError> {
    let path = spec.path.as_deref().map(Path::new);
    // For several datasets the path is a folder of folders: files of MNIST and Fashion-MNIST have the same names.
    let several = SearchPath { folders: path.iter().map(|path| path.to_path_buf()).collect() };
    let (inside, search) = match (spec.tasks.kind, path) {
        (TaskKind::Sequence, Some(_)) => (None, &several),
        _ => (path, search),
    };
    let dataset = match name.parse::<DatasetName>()? {
        DatasetName::Digits => crate::digits::load()?,
        DatasetName::Synthetic => {
            synthetic::generate(spec.synthetic.as_ref().unwrap_or(&SyntheticSpec::default()), seeds)?
        }
        DatasetName::ImageFolder => folder::load(
            path.ok_or_else(|| DataError::setting("data.path", "(not set)", DatasetName::ImageFolder.how_to_get()))?,
        )?,
        DatasetName::Csv => own::load_csv(spec)?,
        DatasetName::Numpy => own::load_numpy(spec)?,
        DatasetName::Quadratic => {
            let accepted = "quadratic objectives hold no samples; accepted here is any other dataset";
            return Err(DataError::setting("data.dataset", "\"quadratic\"", accepted));
        }
        known => known.read(inside, search)?,
    };
    let train_rows = training_rows(spec, dataset.train.len(), position, seeds)?.into();
    // Counted from the end: the low indices of this purpose belong to tasks.
    let mut rng = seeds.shared(Purpose::Tasks, u64::MAX - TEST_DRAWS - position);
    let test_rows = limited(draw::range(dataset.test.len()), ("data.test_limit", spec.test_limit), &mut rng)?.into();
    Ok(Source { dataset, train_rows, test_rows })
}

/// The training images that `holdout` and `limit` leave, in their order.
fn training_rows(spec: &Spec, images: usize, position: u64, seeds: &Seeds) -> Result<Vec<u32>, DataError> {
    if !(0.0..1.0).contains(&spec.holdout) {
        return Err(DataError::setting("data.holdout", spec.holdout, "a share from 0 to below 1 is accepted"));
    }
    let held_out = (spec.holdout * images as f64).round() as usize;
    let rows = draw::range(images).split_off(held_out.min(images));
    limited(rows, ("data.limit", spec.limit), &mut seeds.shared(Purpose::Tasks, u64::MAX - position))
}

/// At most so many of the rows, drawn at random, in their order.
fn limited(
    mut rows: Vec<u32>,
    (key, limit): (&'static str, Option<usize>),
    rng: &mut impl Rng,
) -> Result<Vec<u32>, DataError> {
    match limit {
        Some(0) => Err(DataError::setting(key, 0, "1 or more is accepted")),
        Some(limit) if limit < rows.len() => {
            rows = draw::choose(rng, rows, limit);
            rows.sort_unstable();
            Ok(rows)
        }
        _ => Ok(rows),
    }
}

impl Source {
    fn plan(&self, name: String, view: View) -> Plan {
        let Dataset { classes, scaling, .. } = &self.dataset;
        Plan { name, source: 0, view, relabel: Relabel::Keep, classes: *classes, scaling: scaling.clone() }
    }
}

fn single(spec: &Spec, sources: &[Source]) -> Result<Vec<Plan>, DataError> {
    if spec.tasks.count != 1 {
        let accepted = "1 is accepted for data.tasks.kind = \"single\"; other kinds make more tasks";
        return Err(DataError::setting("data.tasks.count", spec.tasks.count, accepted));
    }
    Ok(sources.iter().map(|source| source.plan(source.dataset.name.clone(), View::Plain)).collect())
}

/// Every task, the first too, permutes all inputs (over all channels) of training and test images alike.
fn permuted(spec: &Spec, sources: &[Source]) -> Vec<Plan> {
    let seeds = permuted_task_seeds(spec.tasks.seed.unwrap_or(PERMUTED_SEED), spec.tasks.count);
    let plan = |(source, seed): (&Source, u32)| {
        let order = Mersenne::permutation(seed, source.dataset.train.image_len());
        source.plan(format!("{} permuted {seed}", source.dataset.name), View::Permuted(order.into()))
    };
    sources.iter().flat_map(|source| seeds.iter().map(move |&seed| (source, seed))).map(plan).collect()
}

/// Task `t` has the classes from `t · classes / count`; their order is the dataset's, or `RandomState(seed).permutation`.
fn split(spec: &Spec, sources: &[Source]) -> Result<Vec<Plan>, DataError> {
    let mut plans = Vec::new();
    for source in sources {
        let (classes, count) = (source.dataset.classes, spec.tasks.count);
        if classes % count != 0 {
            let divisors: Vec<String> = (1..=classes).filter(|d| classes % d == 0).map(|d| d.to_string()).collect();
            let accepted = format!("{classes} classes split evenly into {} tasks", divisors.join(", "));
            return Err(DataError::setting("data.tasks.count", count, accepted));
        }
        let order = spec.tasks.seed.map_or_else(|| draw::range(classes), |seed| Mersenne::permutation(seed, classes));
        for own in order.chunks_exact(classes / count) {
            let list: Vec<String> = own.iter().map(u32::to_string).collect();
            let mut plan = source.plan(format!("{} classes {}", source.dataset.name, list.join(",")), View::Plain);
            plan.classes = own.len();
            plan.relabel = Relabel::Only(own.to_vec());
            plans.push(plan);
        }
    }
    Ok(plans)
}

/// Task `t` is turned counter-clockwise by `degrees · t`.
fn rotations(spec: &Spec, sources: &[Source]) -> Result<Vec<Plan>, DataError> {
    let degrees = spec.tasks.degrees.filter(|degrees| degrees.is_finite()).ok_or_else(|| {
        let found = spec.tasks.degrees.map_or_else(|| "(not set)".to_owned(), |degrees| degrees.to_string());
        DataError::setting("data.tasks.degrees", found, "the angle between two tasks is accepted, such as 18.0")
    })?;
    let plan = |(source, task): (&Source, usize)| {
        let angle = degrees * task as f64;
        source.plan(format!("{} rotated {angle}", source.dataset.name), rotated(source.dataset.shape, angle))
    };
    Ok(sources.iter().flat_map(|source| (0..spec.tasks.count).map(move |task| (source, task))).map(plan).collect())
}

/// Every task is a dataset, in the middle of the largest shape, with black around it; grey is repeated over channels.
fn sequence(sources: &[Source]) -> Result<Vec<Plan>, DataError> {
    let outer = common_shape(sources);
    let area = |shape: [usize; 3]| (shape[1] * shape[2]) as f64;
    let plan = |(position, source): (usize, &Source)| {
        let inner = source.dataset.shape;
        let name = source.dataset.name.clone();
        if inner == outer {
            return Ok(Plan { source: position, ..source.plan(name, View::Plain) });
        }
        let frame = Frame::new(inner, outer).ok_or_else(|| {
            let accepted = format!("images of {inner:?} do not fit {outer:?}: channels must be 1 or all equal");
            DataError::setting("data.tasks.datasets", format!("{name:?}"), accepted)
        })?;
        let scaling = source.dataset.scaling.padded(area(inner) / area(outer));
        Ok(Plan { source: position, scaling, ..source.plan(name, View::Framed(frame)) })
    };
    sources.iter().enumerate().map(plan).collect()
}

/// The smallest shape that holds all images.
fn common_shape(sources: &[Source]) -> [usize; 3] {
    sources.iter().fold([1; 3], |shape, source| std::array::from_fn(|side| shape[side].max(source.dataset.shape[side])))
}

/// How many training samples of each class each agent holds: `[agent][class]`.
#[must_use]
pub fn label_histogram(task: &TaskData) -> Vec<Vec<usize>> {
    let labels = task.train.labels();
    let classes = labels.iter().max().map_or(0, |&most| most as usize + 1);
    let histogram = |shard: &Vec<u32>| {
        let mut counts = vec![0; classes];
        for &sample in shard {
            counts[labels[sample as usize] as usize] += 1;
        }
        counts
    };
    task.shards.iter().map(histogram).collect()
}
