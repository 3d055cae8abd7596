//! A run's state over a tape, and the moments at which it can be kept.

use kith_core::{Network, Round, Tape, TapeError, TaskId};
use kith_engine::Engine;

use crate::{Outcome, Run};

/// A moment between rounds, or after the last, at which what a run knows can be kept.
pub struct Moment<'a> {
    /// The task under way.
    pub task: TaskId,
    /// The round that comes next, as agents count them.
    pub round: Round,
    /// Rounds done.
    pub rounds_done: u64,
    /// Whether the next round is the first of its task.
    pub begins_task: bool,
    /// Agents of the run.
    pub agents: usize,
    /// What they learn.
    pub network: &'a Network,
    /// Puts it on a tape.
    pub record: &'a mut dyn FnMut(&mut Tape<'_>) -> Result<(), TapeError>,
}

impl<E: Engine> Run<'_, E> {
    /// Writes to a tape what rounds and tasks so far left, or reads it back into a run of the same work. The task under way
    /// has begun ([`Run::begin`]), on the tape and here.
    ///
    /// # Errors
    /// What the tape says, and state of other work. The run is then of no use.
    pub fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        let Self {
            work: _,
            cohort,
            plan: _,
            outcome,
            // These follow from the task.
            task: _,
            batches: _,
            steps_per_epoch: _,
            // Whoever holds a clock times the rest anew.
            phase: _,
            // Asked within a round only.
            tested: _,
            losses: (loss, steps),
            accuracy,
        } = self;
        cohort.carry(tape)?;
        outcome.carry(tape)?;
        tape.float(loss)?;
        tape.number(steps)?;
        tape.option("accuracy", accuracy, Tape::float)
    }
}

/// Tasks and layers are far fewer.
const MOST: usize = 1 << 24;

impl Outcome {
    fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        let Self {
            agents,
            tasks,
            rounds,
            accuracy_per_agent,
            consensus_distance,
            basis_ranks,
            agent_steps,
            // Known at the end only.
            stopped: _,
            bytes_training: _,
            bytes_training_full: _,
            bytes_consensus: _,
            bytes_basis: _,
            bytes_control: _,
            bytes_sent_per_agent: _,
            simulated_seconds: _,
            communication_share: _,
            missed_exchanges: _,
            mean_parameters: _,
            parameter_digest: _,
            trace_digest: _,
        } = self;
        tape.count("tasks done", tasks, MOST)?;
        tape.number(rounds)?;
        tape.number(agent_steps)?;
        tape.list("agents with accuracies", accuracy_per_agent, *agents, |tape, rows| {
            tape.list("rows of accuracies", rows, MOST, |tape, row| tape.floats("accuracies", row, MOST))
        })?;
        tape.floats("consensus distances", consensus_distance, MOST)?;
        tape.list("tasks with a memory", basis_ranks, MOST, |tape, ranks| {
            tape.list("layers", ranks, MOST, |tape, rank| tape.count("rank", rank, usize::MAX))
        })
    }
}
