//! Rules of the `[data]` table, and those that need the data's size.

use kith_data::{PartitionKind, TaskKind};
use kith_method::PerLayer;
use thiserror::Error;

use super::{Range, Subject, at_least_one, number};
use crate::config::render::{Problem, closest};
use crate::config::resolved::ResolvedArm;

/// The widest border of a random crop, in pixels: more than any image's side that the readers take.
const MOST_PADDING: usize = 4096;

pub(super) fn check(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let data = &subject.arm.data;
    known_dataset("data.dataset", &data.dataset, problems);
    number("data.holdout", data.holdout, Range::Loss, problems);
    for (key, limit) in [("data.limit", data.limit), ("data.test_limit", data.test_limit)] {
        if let Some(limit) = limit {
            at_least_one(key, limit as u64, problems);
        }
    }
    match (data.partition, data.alpha) {
        (PartitionKind::Dirichlet, None) => problems.push(
            Problem::new("data.partition", "the Dirichlet partition needs its α").accept("accepted: data.alpha = 0.1"),
        ),
        (PartitionKind::Dirichlet, Some(alpha)) => number("data.alpha", alpha, Range::Positive, problems),
        (_, Some(_)) => problems.push(
            Problem::new("data.alpha", "only the Dirichlet partition has an α")
                .accept("accepted: partition = \"dirichlet\", or no alpha"),
        ),
        (_, None) => {}
    }
    match (data.partition, data.shards_per_agent) {
        (_, Some(shards)) if data.partition == PartitionKind::Shards => {
            at_least_one("data.shards_per_agent", shards as u64, problems);
        }
        (_, Some(_)) => problems.push(
            Problem::new("data.shards_per_agent", "only the partition `shards` has shards")
                .accept("accepted: partition = \"shards\", or no shards_per_agent"),
        ),
        (_, None) => {}
    }
    if data.synthetic.is_some() && data.dataset != "synthetic" {
        problems.push(
            Problem::new(
                "data.synthetic",
                format!("the shape of synthetic data, but the dataset is `{}`", data.dataset),
            )
            .accept("accepted: dataset = \"synthetic\", or no [data.synthetic]"),
        );
    }
    if data.shape.is_some() && !["csv", "numpy"].contains(&data.dataset.as_str()) {
        problems.push(
            Problem::new("data.shape", format!("the dataset `{}` has a shape of its own", data.dataset))
                .accept("accepted: dataset = \"csv\" or \"numpy\", or no shape"),
        );
    }
    augment(subject, problems);
    tasks(subject, problems);
}

fn augment(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let data = &subject.arm.data;
    let Some(augment) = &data.augment else { return };
    if augment.crop_padding > MOST_PADDING {
        problems.push(
            Problem::new("data.augment.crop_padding", format!("{} pixels of border", augment.crop_padding))
                .accept(format!("accepted: 0 to {MOST_PADDING}")),
        );
    }
    if data.tasks.kind == TaskKind::Permuted {
        problems.push(
            Problem::new("data.augment", "permuted inputs have no neighbours to crop or mirror")
                .accept("accepted: another data.tasks.kind, or no [data.augment]"),
        );
    }
}

fn known_dataset(path: &str, name: &str, problems: &mut Vec<Problem>) {
    let names = crate::config::datasets();
    if names.contains(&name) {
        return;
    }
    let mut problem = Problem::new(path, format!("unknown dataset `{name}`"));
    if let Some(near) = closest(name, names.iter().copied()) {
        problem = problem.accept(format!("did you mean `{near}`?"));
    }
    problems.push(problem.accept(format!("accepted: {}", names.join(", "))));
}

fn tasks(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let tasks = &subject.arm.data.tasks;
    at_least_one("data.tasks.count", tasks.count as u64, problems);
    if tasks.kind == TaskKind::Single && tasks.count > 1 {
        problems.push(
            Problem::new("data.tasks.count", format!("{} tasks, but kind = \"single\" has one", tasks.count))
                .accept("accepted: kind = \"permuted\", \"split\", \"rotated\" or \"sequence\""),
        );
    }
    match (tasks.kind, tasks.degrees) {
        (TaskKind::Rotated, Some(degrees)) if !degrees.is_finite() => {
            problems.push(Problem::new("data.tasks.degrees", format!("{degrees} is no angle")));
        }
        (TaskKind::Rotated, _) | (_, None) => {}
        (_, Some(_)) => problems.push(
            Problem::new("data.tasks.degrees", "only rotated tasks have degrees")
                .accept("accepted: kind = \"rotated\""),
        ),
    }
    match (tasks.kind, &tasks.datasets) {
        (TaskKind::Sequence, None) => problems.push(
            Problem::new("data.tasks", "a sequence of datasets needs their names")
                .accept("accepted: datasets = [\"mnist\", \"fashion-mnist\"]"),
        ),
        (TaskKind::Sequence, Some(names)) => {
            for (place, name) in names.iter().enumerate() {
                known_dataset(&format!("data.tasks.datasets.{place}"), name, problems);
            }
            if names.len() != tasks.count {
                problems.push(
                    Problem::new("data.tasks.count", format!("{} tasks of {} datasets", tasks.count, names.len()))
                        .accept(format!("accepted: count = {}", names.len())),
                );
            }
        }
        (_, Some(_)) => problems.push(
            Problem::new("data.tasks.datasets", "only a sequence has datasets").accept("accepted: kind = \"sequence\""),
        ),
        (_, None) => {}
    }
}

/// Sizes of the data that an arm would train on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataShape {
    /// `[task][agent]`: training samples.
    pub shards: Vec<Vec<usize>>,
}

/// Why an arm cannot train on its data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {message}; {accepted}")]
pub struct DataProblem {
    /// Key path of the value to change.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub accepted: String,
}

/// Checks the rules that need the sizes of shards: every agent has samples, a batch is no larger than a shard, and the
/// memory asks for no more samples than its agent has.
///
/// # Errors
/// The first rule that does not hold.
pub fn check_against_data(arm: &ResolvedArm, shape: &DataShape) -> Result<(), DataProblem> {
    for (task, shards) in shape.shards.iter().enumerate() {
        let (agent, smallest) =
            shards.iter().copied().enumerate().min_by_key(|(agent, size)| (*size, *agent)).unwrap_or((0, 0));
        let total: usize = shards.iter().sum();
        if total < shards.len() {
            return Err(DataProblem {
                path: "graph.agents".to_owned(),
                message: format!("task {task} has {total} training samples for {} agents", shards.len()),
                accepted: format!("accepted: {total} agents or fewer, or a larger dataset"),
            });
        }
        if smallest == 0 {
            return Err(DataProblem {
                path: "data.partition".to_owned(),
                message: format!("agent {agent} gets no sample of task {task}"),
                accepted: "accepted: fewer agents, a larger data.alpha, or partition = \"iid\"".to_owned(),
            });
        }
        if arm.train.batch_size > smallest {
            return Err(DataProblem {
                path: "train.batch_size".to_owned(),
                message: format!(
                    "a batch of {} is larger than the shard of agent {agent} in task {task}, {smallest} samples",
                    arm.train.batch_size
                ),
                accepted: format!("accepted: 1 to {smallest}"),
            });
        }
        memory_samples(arm, task, shards)?;
    }
    Ok(())
}

fn memory_samples(arm: &ResolvedArm, task: usize, shards: &[usize]) -> Result<(), DataProblem> {
    let Some(memory) = &arm.memory else { return Ok(()) };
    let wanted = match &memory.samples {
        PerLayer::All(samples) => *samples,
        PerLayer::Each(samples) => samples.iter().copied().max().unwrap_or(0),
    };
    let size = match memory.agreement {
        kith_method::Agreement::Leader => shards.get(memory.leader as usize).copied(),
        kith_method::Agreement::Own => shards.iter().copied().min(),
    }
    .unwrap_or(0);
    if wanted <= size {
        return Ok(());
    }
    Err(DataProblem {
        path: "memory.samples".to_owned(),
        message: format!("{wanted} samples are wanted, but the shard in task {task} has {size}"),
        accepted: format!("accepted: 1 to {size}"),
    })
}
