//! The fault plan of a file in a run of processes: what one of them does of it, and what none can do.
//!
//! Decisions are the simulator's: who hears whom in which round. Links are cut and mended by both ends, each when it begins the round; a
//! process whose agents crash is killed before it begins theirs, and started again at once where the plan has a restart: it then stands ready until its
//! round; a straggler's process computes as much slower.

use std::collections::{BTreeMap, BTreeSet};

use kith_core::{AgentId, Round};
use kith_method::Agreement;
use kith_net::{Absence, Cut, Straggle};
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

/// Where a process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// With this round.
    With(Round),
    /// Where the plan has it back: it was killed before this round.
    BackFrom(Round),
}

impl Begins {
    /// Faults of rounds before this one have struck.
    pub(super) const fn first(self) -> Round {
        match self {
            Self::With(round) => round,
            Self::BackFrom(round) => round.next(),
        }
    }
}

/// What a process does of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Planned {
    /// Links, of all agents: whose they are, the driver knows.
    pub(super) cuts: Vec<Cut>,
    /// How fast the process computes.
    pub(super) straggles: Vec<Straggle>,
    /// Agents that are away for some rounds, all of them.
    pub(super) absences: Vec<Absence>,
    /// The process's own next absence: it is killed before that begins.
    pub(super) crash: Option<Absence>,
    /// The round before which the process was killed, if it is the one that comes back.
    pub(super) back_from: Option<Round>,
}

impl Planned {
    pub(super) fn new(faults: &[Fault], hosted: &[AgentId], begins: Begins) -> Self {
        let absences = absences(faults);
        let own = absences.iter().filter(|away| hosted.contains(&away.agent) && away.from >= begins.first());
        Self {
            cuts: cuts(faults),
            straggles: straggles(faults, hosted),
            crash: own.min_by_key(|away| away.from).copied(),
            absences,
            back_from: match begins {
                Begins::With(_) => None,
                Begins::BackFrom(round) => Some(round),
            },
        }
    }
}

/// Faults in the order in which they strike.
fn by_round<'a>(faults: &'a [Fault], kinds: &'a [FaultKind]) -> impl Iterator<Item = &'a Fault> {
    let mut sorted: Vec<&Fault> = faults.iter().filter(|fault| kinds.contains(&fault.kind)).collect();
    sorted.sort_by_key(|fault| fault.round);
    sorted.into_iter()
}

/// When agents are away. A crash of one that is away already, and a restart of one that is there, are refused before.
pub(super) fn absences(faults: &[Fault]) -> Vec<Absence> {
    let mut all: Vec<Absence> = Vec::new();
    for fault in by_round(faults, &[FaultKind::Crash, FaultKind::Restart]) {
        let (agent, round) = (AgentId(fault.agent), Round(fault.round));
        let open = all.iter_mut().find(|away| away.agent == agent && away.restart.is_none());
        match (fault.kind, open) {
            (FaultKind::Crash, None) => all.push(Absence { agent, from: round, restart: None }),
            (FaultKind::Restart, Some(away)) => away.restart = Some(round),
            _ => {}
        }
    }
    all
}

/// Whether a process of these agents that is killed before this round comes back.
pub(super) fn comes_back(faults: &[Fault], hosted: &[AgentId], killed: Round) -> bool {
    let own = |away: &Absence| hosted.contains(&away.agent) && away.from == killed;
    absences(faults).iter().any(|away| own(away) && away.restart.is_some())
}

/// Whether a process of these agents does not come to its end.
pub(super) fn dies(faults: &[Fault], hosted: &[AgentId]) -> bool {
    absences(faults).iter().any(|away| hosted.contains(&away.agent) && away.restart.is_none())
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

/// Why something of a plan cannot be: where in the fault, why, and what could.
type Why = (&'static str, &'static str, &'static str);

/// What of an arm's plan processes that host these agents cannot do, and why.
pub(crate) fn refused(arm: &ResolvedArm, cohorts: &[Vec<AgentId>], by: StartedBy) -> Vec<DataProblem> {
    let why = |fault: &Fault| -> Option<Why> {
        let own = cohorts.iter().find(|agents| agents.contains(&AgentId(fault.agent)))?;
        match fault.kind {
            FaultKind::Crash => why_not_crash(arm, fault, own, by),
            FaultKind::Restart => why_not_restart(arm, fault, own, by),
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

fn why_not_crash(arm: &ResolvedArm, fault: &Fault, own: &[AgentId], by: StartedBy) -> Option<Why> {
    let crashes = |agent: &AgentId| -> BTreeSet<u64> {
        let of = arm.faults.iter().filter(|fault| fault.kind == FaultKind::Crash && AgentId(fault.agent) == *agent);
        of.map(|fault| fault.round).collect()
    };
    let away = absences(&arm.faults);
    let of_agent = || away.iter().filter(|away| away.agent == AgentId(fault.agent));
    // It is back in the round after its restart at the earliest.
    let is_back = |before: &&Absence| before.restart.is_some_and(|restart| restart.next() < Round(fault.round));
    let earlier = |away: &&Absence| away.from < Round(fault.round);
    if by == StartedBy::Somebody {
        Some(("", "a process does not kill itself", "accepted: kith launch, which kills it, or kith run"))
    } else if own.iter().map(crashes).collect::<BTreeSet<_>>().len() > 1 {
        Some((
            "",
            "other agents of the same process would die with it",
            "accepted: one agent a process, or a crash of all agents of the process in the same round",
        ))
    } else if !of_agent().filter(earlier).all(|away| is_back(&away))
        || !of_agent().any(|away| away.from == Round(fault.round))
    {
        Some((
            ".round",
            "an agent that is away cannot crash",
            "accepted: a crash two rounds after the restart before it, or later; or kith run",
        ))
    } else {
        None
    }
}

fn why_not_restart(arm: &ResolvedArm, fault: &Fault, own: &[AgentId], by: StartedBy) -> Option<Why> {
    let agent = AgentId(fault.agent);
    let restarts =
        absences(&arm.faults).iter().any(|away| (away.agent, away.restart) == (agent, Some(Round(fault.round))));
    let neighbours = arm.build_graph().map(|graph| graph.neighbours_out(agent).to_vec()).unwrap_or_default();
    // It comes back between this round and the next one, with the rows of a neighbour that is there.
    let meanwhile = |other: &Fault| {
        let moves = matches!(other.kind, FaultKind::Crash | FaultKind::Restart);
        moves && neighbours.contains(&AgentId(other.agent)) && (fault.round..=fault.round + 1).contains(&other.round)
    };
    if by == StartedBy::Somebody {
        Some(("", "a process does not start itself", "accepted: kith launch, which starts it, or kith run"))
    } else if own.len() > 1 {
        Some((
            "",
            "each agent of a process would need the rows of a neighbour of its own",
            "accepted: one agent a process, or kith run",
        ))
    } else if arm.memory.as_ref().is_some_and(|memory| memory.agreement == Agreement::Own) {
        Some((
            "",
            "a process that is killed loses the memory that an agent has for itself",
            "accepted: a memory that all share, or kith run",
        ))
    } else if !restarts {
        Some((".round", "an agent that is there cannot come back", "accepted: one restart for each crash, or kith run"))
    } else if arm.faults.iter().filter(|other| other.kind == FaultKind::Restart && other.round == fault.round).count()
        > 1
    {
        Some((".round", "one agent comes back at a time", "accepted: restarts of different rounds, or kith run"))
    } else if arm.faults.iter().any(meanwhile) {
        Some((
            ".round",
            "a neighbour that falls or comes back in this round or the next cannot say what it knows",
            "accepted: crashes and restarts of neighbours two rounds apart, or kith run",
        ))
    } else {
        None
    }
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
        let planned = Planned::new(&plan, &[AgentId(1), AgentId(2)], Begins::With(Round(0)));
        let straggle = |from, factor| Straggle { from: Round(from), factor };
        assert_eq!(planned.straggles, [straggle(0, 3.0), straggle(4, 5.0), straggle(6, 3.0)]);
        assert_eq!(planned.crash, Some(Absence { agent: AgentId(2), from: Round(8), restart: None }));
    }

    #[test]
    fn a_process_that_comes_back_dies_next_in_the_crash_after_the_one_that_it_comes_back_from() {
        let of = |kind, round| fault(kind, round, 2, None, None);
        let plan = [
            of(FaultKind::Restart, 7),
            of(FaultKind::Crash, 4),
            of(FaultKind::Crash, 12),
            fault(FaultKind::Crash, 6, 5, None, None),
        ];
        let (agent, other) = (AgentId(2), AgentId(5));
        let away =
            |agent, from, restart: Option<u64>| Absence { agent, from: Round(from), restart: restart.map(Round) };
        let all = [away(agent, 4, Some(7)), away(other, 6, None), away(agent, 12, None)];
        assert_eq!(absences(&plan), all);
        let crash = |begins| Planned::new(&plan, &[agent], begins).crash.map(|crash| crash.from.0);
        assert_eq!(crash(Begins::With(Round(4))), Some(4));
        assert_eq!(crash(Begins::BackFrom(Round(4))), Some(12));
        assert_eq!(crash(Begins::With(Round(13))), None);
        assert!(comes_back(&plan, &[agent], Round(4)) && !comes_back(&plan, &[agent], Round(12)));
        assert!(dies(&plan, &[agent]) && dies(&plan, &[other]) && !dies(&plan[..2], &[agent]));
    }
}
