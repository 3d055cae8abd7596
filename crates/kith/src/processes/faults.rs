//! The fault plan of a file in a run of processes: what one of them does of it, and what none can do.
//!
//! Decisions are the simulator's: who hears whom in which round. Links are cut and mended by both ends, each when it begins the round; a
//! process whose agents crash is killed before it begins theirs; a straggler's process computes as much slower.

use std::collections::{BTreeMap, BTreeSet};

use kith_core::{AgentId, Round};
use kith_net::{Cut, Straggle};
use kith_sim::{Fault, FaultKind};

use crate::config::{DataProblem, ResolvedArm};

/// Who starts the processes of a run, and watches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartedBy {
    /// `kith launch`, which can kill what it started.
    Launch,
    /// Whoever called `kith agent`.
    Somebody,
}

/// What a process does of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Planned {
    /// Links, of all agents: whose they are, the driver knows.
    pub(super) cuts: Vec<Cut>,
    /// How fast the process computes.
    pub(super) straggles: Vec<Straggle>,
    /// The round before which it is killed.
    pub(super) crash: Option<Round>,
}

impl Planned {
    pub(super) fn new(faults: &[Fault], hosted: &[AgentId]) -> Self {
        let here = |fault: &&Fault| hosted.contains(&AgentId(fault.agent));
        let crashes = faults.iter().filter(|fault| fault.kind == FaultKind::Crash).filter(here);
        Self {
            cuts: cuts(faults),
            straggles: straggles(faults, hosted),
            crash: crashes.map(|fault| Round(fault.round)).min(),
        }
    }
}

/// Faults in the order in which they strike.
fn by_round<'a>(faults: &'a [Fault], kinds: &'a [FaultKind]) -> impl Iterator<Item = &'a Fault> {
    let mut sorted: Vec<&Fault> = faults.iter().filter(|fault| kinds.contains(&fault.kind)).collect();
    sorted.sort_by_key(|fault| fault.round);
    sorted.into_iter()
}

fn cuts(faults: &[Fault]) -> Vec<Cut> {
    let mut all: Vec<Cut> = Vec::new();
    for fault in by_round(faults, &[FaultKind::LinkDown, FaultKind::LinkUp]) {
        let Some(peer) = fault.peer else { continue };
        let between = [AgentId(fault.agent.min(peer)), AgentId(fault.agent.max(peer))];
        let open = all.iter_mut().find(|cut| cut.between == between && cut.until.is_none());
        match (fault.kind, open) {
            (FaultKind::LinkDown, None) => all.push(Cut { between, from: Round(fault.round), until: None }),
            (FaultKind::LinkUp, Some(cut)) => cut.until = Some(Round(fault.round)),
            _ => {}
        }
    }
    all
}

/// A process computes the rows of its agents together: it is as slow as the slowest.
fn straggles(faults: &[Fault], hosted: &[AgentId]) -> Vec<Straggle> {
    let mut slow: BTreeMap<u32, f64> = BTreeMap::new();
    let mut all: Vec<Straggle> = Vec::new();
    for fault in by_round(faults, &[FaultKind::Straggler]).filter(|fault| hosted.contains(&AgentId(fault.agent))) {
        slow.insert(fault.agent, fault.factor.unwrap_or(1.0));
        let factor = slow.values().copied().fold(1.0, f64::max);
        all.push(Straggle { from: Round(fault.round), factor });
    }
    all
}

/// What of an arm's plan processes that host these agents cannot do, and why.
pub(crate) fn refused(arm: &ResolvedArm, cohorts: &[Vec<AgentId>], by: StartedBy) -> Vec<DataProblem> {
    let fallen = |agents: &[AgentId]| -> BTreeSet<Option<u64>> {
        let crash = |agent: &AgentId| {
            let own =
                arm.faults.iter().filter(|fault| fault.kind == FaultKind::Crash && AgentId(fault.agent) == *agent);
            own.map(|fault| fault.round).min()
        };
        agents.iter().map(crash).collect()
    };
    let why = |fault: &Fault| -> Option<(&'static str, &'static str, &'static str)> {
        let own = cohorts.iter().find(|agents| agents.contains(&AgentId(fault.agent)))?;
        match fault.kind {
            FaultKind::Restart => Some((
                "",
                "a process takes its time to start, so that the round in which it is back would not be the plan's",
                "accepted: kith run, or no restart here and kith agent --resume by hand",
            )),
            FaultKind::Crash if by == StartedBy::Somebody => {
                Some(("", "a process does not kill itself", "accepted: kith launch, which kills it, or kith run"))
            }
            FaultKind::Crash if fallen(own).len() > 1 => Some((
                "",
                "other agents of the same process would die with it",
                "accepted: one agent a process, or a crash of all agents of the process in the same round",
            )),
            FaultKind::Straggler if fault.factor.is_some_and(|factor| factor < 1.0) => {
                Some((".factor", "a process cannot compute faster than it does", "accepted: 1 or more, or kith run"))
            }
            _ => None,
        }
    };
    let problem = |(place, fault): (usize, &Fault)| {
        let (key, message, accepted) = why(fault)?;
        let path = format!("faults.{place}{key}");
        Some(DataProblem { path, message: format!("in real processes, {message}"), accepted: accepted.to_owned() })
    };
    arm.faults.iter().enumerate().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, round: u64, agent: u32, peer: Option<u32>, factor: Option<f64>) -> Fault {
        Fault { kind, round, agent, peer, factor }
    }

    #[test]
    fn a_link_is_cut_from_the_round_in_which_it_falls_to_that_in_which_it_is_up() {
        let link = |kind, round, one, other| fault(kind, round, one, Some(other), None);
        let plan = [
            link(FaultKind::LinkUp, 7, 3, 4),
            link(FaultKind::LinkDown, 3, 4, 3),
            link(FaultKind::LinkDown, 5, 3, 4),
            link(FaultKind::LinkDown, 9, 3, 4),
            link(FaultKind::LinkDown, 3, 0, 7),
            link(FaultKind::LinkUp, 1, 0, 7),
        ];
        let cut = |one, other, from, until: Option<u64>| Cut {
            between: [AgentId(one), AgentId(other)],
            from: Round(from),
            until: until.map(Round),
        };
        assert_eq!(cuts(&plan), [cut(3, 4, 3, Some(7)), cut(0, 7, 3, None), cut(3, 4, 9, None)]);
    }

    #[test]
    fn a_process_is_as_slow_as_its_slowest_agent_and_dies_with_the_first_that_crashes() {
        let slow = |round, agent, factor| fault(FaultKind::Straggler, round, agent, None, Some(factor));
        let crash = |round, agent| fault(FaultKind::Crash, round, agent, None, None);
        let plan = [slow(0, 1, 3.0), slow(4, 2, 5.0), slow(6, 2, 1.0), slow(0, 9, 50.0), crash(8, 2), crash(2, 5)];
        let planned = Planned::new(&plan, &[AgentId(1), AgentId(2)]);
        let straggle = |from, factor| Straggle { from: Round(from), factor };
        assert_eq!(planned.straggles, [straggle(0, 3.0), straggle(4, 5.0), straggle(6, 3.0)]);
        assert_eq!(planned.crash, Some(Round(8)));
    }
}
