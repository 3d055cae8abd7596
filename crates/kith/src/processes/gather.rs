//! One run of what processes left.

use std::path::PathBuf;

use kith_core::{AgentId, Event, Network};
use kith_method::{Agreement, Curriculum};
use kith_sim::Outcome;

use super::files::{Ended, ProcessFile};
use super::means::{self, Means, MeansError};
use super::merge::{self, Known};
use crate::compose::{self, Parts, RunOptions};
use crate::config::ResolvedArm;
use crate::run::{DigestFile, RunError};
use crate::summary::Measured;

/// What a process left.
pub(super) struct Left {
    pub(super) folder: PathBuf,
    /// The agents that it hosted, ascending.
    pub(super) agents: Vec<AgentId>,
    /// None: it did not come to an end of its own.
    pub(super) ended: Option<Ended>,
}

impl Left {
    /// Reads a process's folder.
    pub(super) fn read(folder: PathBuf, agents: Vec<AgentId>) -> Result<Self, RunError> {
        let file = ProcessFile::read(&folder).map_err(|source| RunError::output("read", &folder, source))?;
        Ok(Self { folder, agents, ended: file.and_then(|file| file.ended) })
    }
}

/// What all processes left together.
pub(crate) struct Gathered {
    pub(crate) outcome: Outcome,
    pub(crate) measured: Measured,
    pub(crate) network: Network,
    /// The last row of every agent; none where some agent left none.
    pub(crate) rows: Option<Vec<Vec<f32>>>,
    /// Processes that did not end well.
    pub(crate) lost: Vec<String>,
}

/// Puts an arm together; events are handed on in the order of rounds, digests written where wanted. `left` is in the order of agents.
pub(super) fn gather(
    arm: &ResolvedArm,
    parts: &Parts,
    options: &RunOptions,
    left: &[Left],
    digests: Option<&mut DigestFile>,
    emit: &mut dyn FnMut(&Event),
) -> Result<Gathered, RunError> {
    let means = means::measure(arm, parts, options, left).map_err(|error| match error {
        MeansError::Files(error) => error,
        MeansError::Engine(source) => RunError::Arm { arm: arm.name.clone(), source },
    })?;
    let folders: Vec<_> = left.iter().map(|left| (left.folder.as_path(), left.agents.len())).collect();
    let memory = memory_of(arm, left);
    let first_tested = |task| means::tested(arm, parts, task).start;
    merge::events(&folders, &Known { together: &means.after, first_tested: &first_tested, memory }, emit)?;
    if let Some(digests) = digests {
        merge::digests(&folders, digests)?;
    }
    let mut outcome = sum(parts.graph.agents(), left);
    if let Some(Ended { outcome: one, .. }) = memory.and_then(|place| left[place].ended.as_ref()) {
        outcome.basis_ranks.clone_from(&one.basis_ranks);
        outcome.capacity_used.clone_from(&one.capacity_used);
        outcome.memory_bytes.clone_from(&one.memory_bytes);
    }
    for left in left.iter().filter(|left| left.ended.is_none()) {
        let rows = merge::accuracies(&left.folder, &left.agents)?;
        for (agent, rows) in left.agents.iter().zip(rows) {
            if let Some(place) = outcome.accuracy_per_agent.get_mut(agent.index()) {
                *place = rows;
            }
        }
    }
    let separate = arm.continual.curriculum == Curriculum::Separate;
    for together in means.after.values() {
        let mut row = match outcome.average_model.last() {
            Some(before) if separate => before.clone(),
            _ => Vec::new(),
        };
        row.extend(&together.accuracy);
        outcome.average_model.push(row);
        outcome.consensus_distance.push(together.distance);
    }
    let Means { mean, digest, rows, .. } = means;
    (outcome.mean_parameters, outcome.parameter_digest) = (mean, digest);
    let network = parts.network.clone();
    Ok(Gathered { outcome, measured: measured(left), network, rows, lost: Vec::new() })
}

/// The process whose memory is everyone's: the one that hosts the leader, or who came to its end in its place. After the last task nobody
/// else is told what the memory gained.
fn memory_of(arm: &ResolvedArm, left: &[Left]) -> Option<usize> {
    let memory = arm.memory.as_ref().filter(|memory| memory.agreement == Agreement::Leader)?;
    let ended = || left.iter().enumerate().filter(|(_, left)| left.ended.is_some());
    let leads = ended().find(|(_, left)| left.agents.contains(&AgentId(memory.leader)));
    leads.or_else(|| ended().next()).map(|(place, _)| place)
}

/// The outcome of a run of `everyone` agents from those of processes, but for what no process knows.
fn sum(everyone: usize, left: &[Left]) -> Outcome {
    let mut all = Outcome { agents: everyone, accuracy_per_agent: vec![Vec::new(); everyone], ..Outcome::default() };
    let ended: Vec<(&Left, &Outcome)> =
        left.iter().filter_map(|left| Some((left, &left.ended.as_ref()?.outcome))).collect();
    all.stopped = ended.iter().all(|(_, outcome)| outcome.stopped);
    for (left, one) in &ended {
        let at = left.agents.iter().map(|agent| agent.index());
        place(&mut all.accuracy_per_agent, &one.accuracy_per_agent, everyone, at.clone());
        place(&mut all.ahead_per_agent, &one.ahead_per_agent, everyone, at.clone());
        place(&mut all.untrained_per_agent, &one.untrained_per_agent, everyone, at);
        // Whoever went on longest knows how far the run came.
        if one.tasks > all.tasks {
            (all.basis_ranks, all.capacity_used) = (one.basis_ranks.clone(), one.capacity_used.clone());
        }
        all.tasks = all.tasks.max(one.tasks);
        all.rounds = all.rounds.max(one.rounds);
        // Means over everyone, of what the agents of one process did.
        for (sum, part) in [
            (&mut all.bytes_training, &one.bytes_training),
            (&mut all.bytes_training_full, &one.bytes_training_full),
            (&mut all.bytes_consensus, &one.bytes_consensus),
            (&mut all.bytes_basis, &one.bytes_basis),
            (&mut all.bytes_control, &one.bytes_control),
        ] {
            sum.resize(sum.len().max(part.len()), 0.0);
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        all.bytes_sent_per_agent.resize(everyone, 0);
        all.bytes_sent_per_agent.iter_mut().zip(&one.bytes_sent_per_agent).for_each(|(sum, part)| *sum += part);
        all.agent_steps += one.agent_steps;
        all.missed_exchanges += one.missed_exchanges;
    }
    let agents = |task: usize| ended.iter().filter(move |(_, one)| one.memory_bytes.len() > task);
    all.memory_bytes = (0..all.tasks)
        .map_while(|task| {
            let (bytes, count) = agents(task).fold((0.0, 0), |(sum, count), (left, one)| {
                (sum + one.memory_bytes[task] * left.agents.len() as f64, count + left.agents.len())
            });
            (count > 0).then(|| bytes / count as f64)
        })
        .collect();
    all
}

/// Puts the entries of some agents in their places; nothing where nothing was measured.
fn place<T: Clone + Default>(all: &mut Vec<T>, one: &[T], everyone: usize, at: impl Iterator<Item = usize>) {
    if one.is_empty() {
        return;
    }
    all.resize(everyone, T::default());
    for agent in at.filter(|agent| *agent < one.len().min(everyone)) {
        all[agent] = one[agent].clone();
    }
}

/// The longest of each time, and the memory of all.
fn measured(left: &[Left]) -> Measured {
    let ended: Vec<&Measured> = left.iter().filter_map(|left| Some(&left.ended.as_ref()?.measured)).collect();
    let most = |pick: fn(&Measured) -> f64| ended.iter().map(|measured| pick(measured)).fold(0.0, f64::max);
    Measured {
        wall_seconds: most(|measured| measured.wall_seconds),
        train_seconds: most(|measured| measured.train_seconds),
        consensus_seconds: most(|measured| measured.consensus_seconds),
        evaluate_seconds: most(|measured| measured.evaluate_seconds),
        peak_rss_bytes: ended.iter().map(|measured| measured.peak_rss_bytes).sum(),
    }
}

/// Why an arm's processes left nothing to gather.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The arm cannot be made.
    #[error(transparent)]
    Parts(#[from] compose::RunError),
    /// A file cannot be written or read.
    #[error(transparent)]
    Files(#[from] Box<RunError>),
    /// A process.
    #[error(transparent)]
    Processes(#[from] super::ProcessError),
}

impl From<RunError> for LaunchError {
    fn from(error: RunError) -> Self {
        Self::Files(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(agents: &[u32], outcome: Outcome) -> Left {
        let ended = Ended { outcome, measured: Measured { train_seconds: 2.0, ..Measured::default() } };
        Left { folder: PathBuf::new(), agents: agents.iter().copied().map(AgentId).collect(), ended: Some(ended) }
    }

    #[test]
    fn bytes_of_processes_add_up_and_accuracies_stand_at_their_agents() {
        let one = Outcome {
            agents: 3,
            tasks: 1,
            rounds: 9,
            accuracy_per_agent: vec![vec![vec![0.5]], Vec::new(), Vec::new()],
            memory_bytes: vec![8.0],
            bytes_training: vec![10.0],
            bytes_sent_per_agent: vec![30, 0, 0],
            agent_steps: 9,
            ..Outcome::default()
        };
        let other = Outcome {
            accuracy_per_agent: vec![Vec::new(), vec![vec![0.6]], vec![vec![0.7]]],
            memory_bytes: vec![2.0],
            bytes_training: vec![30.0],
            bytes_sent_per_agent: vec![0, 40, 50],
            agent_steps: 18,
            stopped: true,
            ..one.clone()
        };
        let all = [left(&[0], one), left(&[1, 2], other)];
        let sum = sum(3, &all);
        assert_eq!(sum.accuracy_per_agent, [vec![vec![0.5]], vec![vec![0.6]], vec![vec![0.7]]]);
        assert_eq!((sum.bytes_training, sum.bytes_sent_per_agent), (vec![40.0], vec![30, 40, 50]));
        assert_eq!((sum.agent_steps, sum.memory_bytes, sum.stopped), (27, vec![4.0], false));
        assert!((measured(&all).train_seconds - 2.0).abs() < 1e-12);
    }
}
