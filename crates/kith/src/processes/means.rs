//! What no process knows alone: distances from the mean of all agents, and tests of that mean.

use std::collections::BTreeMap;

use kith_core::{AgentId, Digest, Digester, TaskId};
use kith_method::Curriculum;

use super::files::{Taken, read_rows};
use super::gather::Left;
use crate::compose::{self, Parts, RunOptions, Together};
use crate::config::ResolvedArm;
use crate::run::RunError;

/// Rows by agent.
type Rows = BTreeMap<AgentId, Vec<f32>>;

/// What rows of all processes say.
pub(super) struct Means {
    /// After each task.
    pub(super) after: BTreeMap<TaskId, Together>,
    /// The mean at the end.
    pub(super) mean: Vec<f32>,
    /// Digest of the rows that agents ended with.
    pub(super) digest: Digest,
    /// The last row of every agent; none where some agent left none.
    pub(super) rows: Option<Vec<Vec<f32>>>,
}

/// The tasks that the mean is tested on after `task`.
pub(super) fn tested(arm: &ResolvedArm, parts: &Parts, task: TaskId) -> std::ops::Range<usize> {
    let first = if arm.continual.curriculum == Curriculum::Separate { task.index() } else { 0 };
    // In orders of their own, some agent has seen each task from the start.
    let end = if parts.scenario.orders.is_empty() { task.index() + 1 } else { parts.scenario.tasks.len() };
    first..end
}

/// Measures what the processes left.
pub(super) fn measure(
    arm: &ResolvedArm,
    parts: &Parts,
    options: &RunOptions,
    left: &[Left],
) -> Result<Means, MeansError> {
    let length = parts.network.layout().map_err(compose::RunError::from)?.len();
    let (mut after, mut last) = (BTreeMap::new(), Rows::new());
    for task in (0..parts.scenario.tasks.len()).map(TaskId::from) {
        let rows = read(left, Taken::After(task), length)?;
        if rows.is_empty() {
            break;
        }
        after.insert(task, together(arm, parts, options, &rows, tested(arm, parts, task))?);
        last.extend(rows);
    }
    let ended = read(left, Taken::AtEnd, length)?;
    let mean = together(arm, parts, options, &ended, 0..0)?.mean;
    let mut digester = Digester::default();
    ended.values().for_each(|row| digester.floats(row));
    last.extend(ended);
    let everyone = parts.graph.agents();
    let rows = (last.len() == everyone).then(|| last.into_values().collect());
    Ok(Means { after, mean, digest: digester.finish(), rows })
}

fn together(
    arm: &ResolvedArm,
    parts: &Parts,
    options: &RunOptions,
    rows: &Rows,
    tasks: std::ops::Range<usize>,
) -> Result<Together, MeansError> {
    if rows.is_empty() {
        return Ok(Together { mean: Vec::new(), distance: 0.0, accuracy: Vec::new() });
    }
    let rows: Vec<(AgentId, &[f32])> = rows.iter().map(|(agent, row)| (*agent, row.as_slice())).collect();
    Ok(compose::measure_together(parts, arm, options, &rows, tasks)?)
}

/// Rows of all processes that have come so far.
fn read(left: &[Left], taken: Taken, length: usize) -> Result<Rows, RunError> {
    let mut all = Rows::new();
    for process in left {
        let rows = read_rows(&process.folder, taken, process.agents.len(), length)?;
        all.extend(process.agents.iter().copied().zip(rows.unwrap_or_default()));
    }
    Ok(all)
}

/// Why rows cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeansError {
    /// A file.
    #[error(transparent)]
    Files(#[from] RunError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] compose::RunError),
}
