//! Agents that are away for some rounds, as planned: their process is killed, and started again. Everybody knows the plan, so that
//! whom an agent exchanges with in a round does not depend on how long a process takes to die or to start.

use kith_core::{AgentId, Round};
use kith_protocol::Plan;

/// An agent is away from some round on, as an experiment plans it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Who.
    pub agent: AgentId,
    /// The first round, as agents count them, that it is away in: its process is killed before it begins it.
    pub from: Round,
    /// The round in which a neighbour takes it back, so that it is there from the next one on. None: it stays away.
    pub restart: Option<Round>,
}

/// An absence, with what follows from the rounds of the run and from its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Away {
    pub(crate) agent: AgentId,
    pub(crate) from: Round,
    pub(crate) back: Option<Back>,
}

/// How an agent comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Back {
    /// The first round in which it takes part again.
    pub(crate) round: Round,
    /// Whose rows it takes over, as they are before that round.
    pub(crate) source: AgentId,
}

impl Away {
    /// Whether the agent is expected back at this round, or at a later one.
    pub(crate) fn is_expected(&self, round: Round) -> bool {
        self.from <= round && self.back.is_some_and(|back| round <= back.round)
    }
}

/// What follows from a plan of absences, by the rule of the simulator: a neighbour takes the agent back in the first round from the
/// planned one on that is not the last before a basis is agreed on, and hands over its rows before the next round. Of its
/// neighbours it is the first, by id, that is not away itself.
pub(crate) fn work_out(absences: &[Absence], plan: &Plan, neighbours: impl Fn(AgentId) -> Vec<AgentId>) -> Vec<Away> {
    let joins_after = |round: &Round| {
        let (now, then) = (plan.stage(*round)?, plan.stage(round.next())?);
        Some(now.task == then.task || !plan.agrees_after(now.task))
    };
    let returns = |absence: &Absence| {
        let rounds = (absence.restart?.0..).map(Round).map_while(|round| Some((round, joins_after(&round)?)));
        rounds.into_iter().find(|(_, joins)| *joins).map(|(round, _)| round.next())
    };
    let back = |absence: &Absence| {
        let round = returns(absence)?;
        let there = |agent: &AgentId| {
            let own = absences.iter().filter(|other| other.agent == *agent);
            own.into_iter().all(|other| other.from > round || returns(other).is_some_and(|back| back < round))
        };
        let source = neighbours(absence.agent).into_iter().find(there)?;
        Some(Back { round, source })
    };
    let away = |absence: &Absence| Away { agent: absence.agent, from: absence.from, back: back(absence) };
    absences.iter().map(away).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::Leg;

    fn ring(agent: AgentId) -> Vec<AgentId> {
        let mut both = vec![AgentId((agent.0 + 1) % 8), AgentId((agent.0 + 7) % 8)];
        both.sort_unstable();
        both
    }

    fn plan(shared_memory: bool) -> Plan {
        Plan { train_rounds: vec![5, 5], legs: vec![Leg::Both], consensus_rounds: 1, shared_memory }
    }

    fn absent(agent: u32, from: u64, restart: Option<u64>) -> Absence {
        Absence { agent: AgentId(agent), from: Round(from), restart: restart.map(Round) }
    }

    fn back(shared_memory: bool, absences: &[Absence]) -> Vec<Option<(u64, u32)>> {
        let all = work_out(absences, &plan(shared_memory), ring);
        all.into_iter().map(|away| away.back.map(|back| (back.round.0, back.source.0))).collect()
    }

    #[test]
    fn an_agent_is_back_one_round_after_its_restart_with_the_rows_of_its_first_neighbour_that_is_there() {
        assert_eq!(back(true, &[absent(2, 1, Some(3))]), [Some((4, 1))]);
        assert_eq!(back(true, &[absent(2, 1, Some(3)), absent(1, 0, None)]), [Some((4, 3)), None]);
        // Both neighbours are away for good: nobody can take it back.
        assert_eq!(back(true, &[absent(2, 1, Some(3)), absent(1, 0, None), absent(3, 0, None)])[0], None);
        assert_eq!(back(true, &[absent(2, 1, Some(3)), absent(1, 0, Some(1))]), [Some((4, 1)), Some((2, 0))]);
    }

    #[test]
    fn nobody_comes_back_across_an_agreement_on_a_basis_or_after_the_end() {
        // Rounds 0 to 5 are the first task's, 6 to 11 the second's.
        assert_eq!(back(true, &[absent(2, 1, Some(5))]), [Some((7, 1))]);
        assert_eq!(back(false, &[absent(2, 1, Some(5))]), [Some((6, 1))]);
        assert_eq!(back(true, &[absent(2, 1, Some(10))]), [Some((11, 1))]);
        assert_eq!(back(true, &[absent(2, 1, Some(11))]), [None]);
    }

    #[test]
    fn an_agent_is_expected_while_it_is_away_and_in_the_round_in_which_it_is_back() {
        let away = work_out(&[absent(2, 1, Some(3))], &plan(true), ring)[0];
        let expected: Vec<u64> = (0..8).filter(|round| away.is_expected(Round(*round))).collect();
        assert_eq!(expected, [1, 2, 3, 4]);
    }
}
