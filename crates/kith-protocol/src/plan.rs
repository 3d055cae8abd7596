//! What a run consists of: tasks, rounds of training, rounds of consensus, updates of the memory.

use kith_core::{Leg, Round, TaskId};

/// What a round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundKind {
    /// Local steps, then exchange.
    Train,
    /// Exchange only, so that agents agree before a basis is computed.
    Consensus,
}

/// Where a round stands in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The task under way.
    pub task: TaskId,
    /// What the round is for.
    pub kind: RoundKind,
    /// Which round of its kind within the task, from 0; all legs of a training round have the same.
    pub index: u64,
    /// What agents do.
    pub leg: Leg,
    /// Whether this is the last leg of its round.
    pub closes: bool,
    /// Whether the task ends with this round.
    pub last: bool,
}

/// The rounds of a run: for each task, training, then consensus. A training round has one leg or more, each of which agents
/// go through as a round of its own, with its own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Training rounds of each task.
    pub train_rounds: Vec<u64>,
    /// What a training round consists of; at least one leg.
    pub legs: Vec<Leg>,
    /// Consensus rounds at the end of each task.
    pub consensus_rounds: u64,
    /// Whether agents agree on a basis between tasks.
    pub shared_memory: bool,
}

impl Plan {
    /// Numbered rounds of one task: legs, not training rounds.
    #[must_use]
    pub fn rounds_of(&self, task: TaskId) -> u64 {
        let legs = self.legs.len() as u64;
        self.train_rounds.get(task.index()).map_or(0, |rounds| rounds * legs + self.consensus_rounds)
    }

    /// Rounds of the whole run, all legs of a training round counted as one.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.train_rounds.iter().map(|rounds| rounds + self.consensus_rounds).sum()
    }

    /// The round with which a task begins; for tasks beyond the last, the one after all.
    #[must_use]
    pub fn first_round(&self, task: TaskId) -> Round {
        let before = (0..self.train_rounds.len().min(task.index())).map(TaskId::from);
        Round(before.map(|earlier| self.rounds_of(earlier)).sum())
    }

    /// Where a round stands; nothing for rounds after the last.
    #[must_use]
    pub fn stage(&self, round: Round) -> Option<Stage> {
        let mut left = round.0;
        let legs = self.legs.len() as u64;
        for (task, &train) in self.train_rounds.iter().enumerate() {
            let task = TaskId::from(task);
            let here = self.rounds_of(task);
            if left < here {
                let last = left + 1 == here;
                let train = train * legs;
                let (kind, index, part) = if left < train {
                    (RoundKind::Train, left / legs, left % legs)
                } else {
                    (RoundKind::Consensus, left - train, 0)
                };
                let of_train = usize::try_from(part).ok().and_then(|part| self.legs.get(part)).copied();
                let (leg, closes) = match kind {
                    RoundKind::Train => (of_train.unwrap_or(Leg::Both), part + 1 == legs),
                    RoundKind::Consensus => (Leg::Exchange, true),
                };
                return Some(Stage { task, kind, index, leg, closes, last });
            }
            left -= here;
        }
        None
    }

    /// How many rounds lie before this one, all legs of a training round counted as one: the number that a
    /// [`kith_core::Calendar`] goes by.
    #[must_use]
    pub fn ordinal(&self, round: Round) -> u64 {
        let Some(Stage { task, kind, index, .. }) = self.stage(round) else { return self.rounds() };
        let before: u64 = self.train_rounds[..task.index()].iter().map(|rounds| rounds + self.consensus_rounds).sum();
        before + index + if kind == RoundKind::Consensus { self.train_rounds[task.index()] } else { 0 }
    }

    /// Whether a basis is agreed on after this task: the last task's is of no use to anyone.
    #[must_use]
    pub fn agrees_after(&self, task: TaskId) -> bool {
        self.shared_memory && task.index() + 1 < self.train_rounds.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_fall_into_tasks_and_kinds() {
        let legs = vec![Leg::Both];
        let plan = Plan { train_rounds: vec![3, 2], legs, consensus_rounds: 1, shared_memory: true };
        assert_eq!(plan.rounds(), 7);
        assert_eq!([0, 1, 2].map(|task| plan.first_round(TaskId(task)).0), [0, 4, 7]);
        let stage = |round| plan.stage(Round(round)).expect("within the plan");
        let of = |task, kind, index, leg, last| Stage { task: TaskId(task), kind, index, leg, closes: true, last };
        assert_eq!(stage(2), of(0, RoundKind::Train, 2, Leg::Both, false));
        assert_eq!(stage(3), of(0, RoundKind::Consensus, 0, Leg::Exchange, true));
        assert_eq!(stage(4), of(1, RoundKind::Train, 0, Leg::Both, false));
        assert_eq!(plan.stage(Round(7)), None);
        assert!(plan.agrees_after(TaskId(0)) && !plan.agrees_after(TaskId(1)));
    }

    #[test]
    fn legs_of_a_training_round_have_numbers_of_their_own_and_one_index() {
        let legs = vec![Leg::Exchange, Leg::Compute];
        let plan = Plan { train_rounds: vec![2, 1], legs, consensus_rounds: 1, shared_memory: false };
        assert_eq!((plan.rounds(), plan.rounds_of(TaskId(0))), (5, 5));
        let seen: Vec<(u32, u64, Leg, bool, bool)> = (0..8)
            .map(|round| plan.stage(Round(round)).expect("within the plan"))
            .map(|stage| (stage.task.0, stage.index, stage.leg, stage.closes, stage.last))
            .collect();
        let ordinals: Vec<u64> = (0..9).map(|round| plan.ordinal(Round(round))).collect();
        assert_eq!(ordinals, [0, 0, 1, 1, 2, 3, 3, 4, 5]);
        assert_eq!(seen[0], (0, 0, Leg::Exchange, false, false));
        assert_eq!(seen[1], (0, 0, Leg::Compute, true, false));
        assert_eq!(seen[3], (0, 1, Leg::Compute, true, false));
        assert_eq!(seen[4], (0, 0, Leg::Exchange, true, true));
        assert_eq!(seen[6], (1, 0, Leg::Compute, true, false));
        assert_eq!(plan.stage(Round(8)), None);
    }
}
