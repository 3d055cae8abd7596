//! What a run consists of: tasks, rounds of training, rounds of consensus, updates of the memory.

use kith_core::{Round, TaskId};

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
    /// Which round of its kind within the task, from 0.
    pub index: u64,
    /// Whether the task ends with this round.
    pub last: bool,
}

/// The rounds of a run: for each task, training, then consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Training rounds of each task.
    pub train_rounds: Vec<u64>,
    /// Consensus rounds at the end of each task.
    pub consensus_rounds: u64,
    /// Whether agents agree on a basis between tasks.
    pub shared_memory: bool,
}

impl Plan {
    /// Rounds of one task.
    #[must_use]
    pub fn rounds_of(&self, task: TaskId) -> u64 {
        self.train_rounds.get(task.index()).map_or(0, |rounds| rounds + self.consensus_rounds)
    }

    /// Rounds of the whole run.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        (0..self.train_rounds.len()).map(|task| self.rounds_of(TaskId::from(task))).sum()
    }

    /// Where a round stands; nothing for rounds after the last.
    #[must_use]
    pub fn stage(&self, round: Round) -> Option<Stage> {
        let mut left = round.0;
        for (task, &train) in self.train_rounds.iter().enumerate() {
            let task = TaskId::from(task);
            let here = self.rounds_of(task);
            if left < here {
                let last = left + 1 == here;
                return Some(if left < train {
                    Stage { task, kind: RoundKind::Train, index: left, last }
                } else {
                    Stage { task, kind: RoundKind::Consensus, index: left - train, last }
                });
            }
            left -= here;
        }
        None
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
        let plan = Plan { train_rounds: vec![3, 2], consensus_rounds: 1, shared_memory: true };
        assert_eq!(plan.rounds(), 7);
        let stage = |round| plan.stage(Round(round)).expect("within the plan");
        assert_eq!(stage(2), Stage { task: TaskId(0), kind: RoundKind::Train, index: 2, last: false });
        assert_eq!(stage(3), Stage { task: TaskId(0), kind: RoundKind::Consensus, index: 0, last: true });
        assert_eq!(stage(4), Stage { task: TaskId(1), kind: RoundKind::Train, index: 0, last: false });
        assert_eq!(plan.stage(Round(7)), None);
        assert!(plan.agrees_after(TaskId(0)) && !plan.agrees_after(TaskId(1)));
    }
}
