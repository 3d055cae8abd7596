//! Where the processes of an arm that was cut go on: from states of one round, so that the rest is as if nobody had cut it.
//!
//! Processes are at most a few rounds apart, and each keeps its newest states. So there is a round of which all kept one, unless some
//! went on for long after others had died.

use std::fs;
use std::path::{Path, PathBuf};

use kith_core::Digest;
use kith_method::ExchangeKind;

use super::faults::dies;
use super::files::ProcessFile;
use super::gather::LaunchError;
use super::launch::{Launch, Place, ProcessError, title};
use crate::config::{CheckpointSpec, Experiment, ResolvedArm};
use crate::run::{Checkpoints, Header, RunError, holder, state};

/// What is left to do of an arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Everything: nobody kept anything.
    Anew,
    /// What comes after so many rounds, for each process.
    After(Vec<u64>),
    /// Nothing but to put it together.
    Ended,
}

/// How many states a process keeps while an arm runs, so that all have one of the same round. Neighbours are a round apart at most; where
/// edges change, as many as there are agents. One more is written when it is asked to stop, and one where a task ends.
pub(crate) fn states_of(arm: &ResolvedArm, spec: &CheckpointSpec) -> usize {
    let Ok(graph) = arm.build_graph() else { return spec.keep };
    let meets_all = arm.graph.sequence.is_none() && arm.graph.rounds.is_none() && arm.train.participation >= 1.0;
    let apart = if meets_all { graph.diameter() } else { graph.agents() } as u64;
    let every = spec.every_rounds.unwrap_or(u64::MAX).max(1);
    usize::try_from(3 + apart.div_ceil(every)).unwrap_or(usize::MAX)
}

/// Whether a process of a run kept state that it can go on from.
pub(crate) fn kept_state(run: &Path) -> bool {
    let folders = below(&run.join("processes")).into_iter().flat_map(|arm| below(&arm));
    folders.into_iter().any(|folder| Checkpoints::any_state(&folder))
}

/// What is in a folder; nothing, if it is none.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

impl Launch<'_> {
    /// Looks into the folders of an arm's processes. Changes nothing in them.
    pub(super) fn again(&self, places: &[Place]) -> Result<Again, LaunchError> {
        if let Some((folder, _)) = places.iter().find(|(folder, _)| holder(folder).is_some()) {
            return Err(RunError::Busy { directory: folder.clone() }.into());
        }
        let ended = |(folder, agents): &Place| {
            let file = ProcessFile::read(folder).map_err(|source| RunError::output("read", folder, source))?;
            let ended = file.and_then(|file| file.ended).is_some_and(|ended| !ended.outcome.stopped);
            // One that is to die does not come to its end.
            Ok::<_, RunError>(ended || dies(&self.arm.faults, agents))
        };
        let ended: Vec<bool> = places.iter().map(ended).collect::<Result<_, _>>()?;
        if ended.iter().all(|ended| *ended) {
            return Ok(Again::Ended);
        }
        let kept =
            |(folder, _): &(PathBuf, _)| Checkpoints::new(folder, &self.arm.name, &self.experiment.checkpoint).rounds();
        let kept: Vec<Vec<u64>> = places.iter().map(kept).collect::<Result<_, _>>()?;
        if kept.iter().all(Vec::is_empty) {
            return Ok(Again::Anew);
        }
        let alone = Experiment { arms: vec![self.arm.clone()], ..self.experiment.clone() };
        let hash = alone.hash().map_err(RunError::from)?;
        if self.arm.exchange.kind == ExchangeKind::None && kept.iter().all(|kept| !kept.is_empty()) {
            let newest: Vec<u64> = kept.iter().filter_map(|kept| kept.last().copied()).collect();
            self.headers(places, &newest, &hash)?;
            return Ok(Again::After(newest));
        }
        for rounds in common(&kept) {
            let after = vec![rounds; places.len()];
            let headers = self.headers(places, &after, &hash)?;
            // A process that was asked to stop may have done a part of a round.
            if headers.windows(2).all(|pair| pair[0].round == pair[1].round) {
                return Ok(Again::After(after));
            }
        }
        let told = places.iter().zip(&kept).enumerate().map(|(place, ((_, agents), kept))| {
            let kept = kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let kept = if kept.is_empty() { "none".to_owned() } else { kept };
            format!("{}: {kept}", title(place, agents))
        });
        Err(ProcessError::Apart(told.collect()).into())
    }

    /// What stands at the head of these states. All of each is read, so that one that is no good is found before anybody starts.
    fn headers(&self, places: &[Place], after: &[u64], hash: &Digest) -> Result<Vec<Header>, RunError> {
        let mut headers = Vec::new();
        for ((folder, _), rounds) in places.iter().zip(after) {
            let opened = state(folder, &self.arm.name, &self.experiment.checkpoint, hash, Some(*rounds))?;
            headers.extend(opened.map(|(_, opened)| opened.header));
        }
        Ok(headers)
    }
}

/// Rounds of which all kept state, newest first.
fn common(kept: &[Vec<u64>]) -> impl Iterator<Item = u64> {
    let first = kept.first().map_or(&[][..], Vec::as_slice);
    first.iter().rev().copied().filter(|rounds| kept.iter().all(|kept| kept.contains(rounds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_go_on_from_rounds_of_which_all_kept_state_newest_first() {
        let kept = [vec![20, 40, 60], vec![20, 40], vec![20, 40, 47]];
        assert_eq!(common(&kept).collect::<Vec<_>>(), [40, 20]);
        assert_eq!(common(&[vec![20, 40], vec![60]]).next(), None);
        assert_eq!(common(&[vec![20], vec![]]).next(), None);
    }
}
