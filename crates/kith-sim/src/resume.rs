//! State of a simulated run over a tape.
//!
//! The timeline holds no numbers, so it is not kept: a resumed run goes through all earlier rounds without their arithmetic.
//! All that the arithmetic ever told it, how many bytes payloads and bases take, is on the tape.

use kith_core::{Digest, Round, Tape, TapeError, TaskId};
use kith_engine::Engine;
use kith_run::RoundPlan;

use crate::run::{SimError, Simulation};
use crate::timeline::{BodySizes, Step, Timeline};

/// What the arithmetic told the timeline so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// `[t]`: how long payloads of task t are.
    payloads: Vec<BodySizes>,
    /// Bytes of each basis that was spread, in order.
    bases: Vec<u64>,
}

impl Told {
    pub(crate) fn sizes(&mut self, timeline: &mut Timeline, sizes: BodySizes) {
        self.payloads.push(sizes);
        timeline.set_sizes(sizes);
    }

    pub(crate) fn basis(&mut self, bytes: u64) {
        self.bases.push(bytes);
    }

    fn carry(&mut self, tape: &mut Tape<'_>, tasks: usize) -> Result<(), TapeError> {
        let Self { payloads, bases } = self;
        tape.list("tasks begun", payloads, tasks, |tape, sizes| sizes.carry(tape))?;
        tape.list("bases spread", bases, usize::MAX, Tape::number)
    }

    /// Takes a timeline from its beginning to a round, telling it the same again.
    fn replay(&self, timeline: &mut Timeline, until: Round) -> Option<RoundPlan> {
        let tell = |timeline: &mut Timeline, task: TaskId| {
            timeline.set_sizes(*self.payloads.get(task.index())?);
            Some(())
        };
        let mut bases = self.bases.iter();
        tell(timeline, TaskId(0))?;
        loop {
            match timeline.step() {
                Step::Round(plan) => {
                    tell(timeline, plan.stage.task)?;
                    if plan.round >= until {
                        return (plan.round == until).then_some(plan);
                    }
                }
                Step::Basis(task, leader) => {
                    tell(timeline, TaskId(task.0 + 1))?;
                    timeline.basis_ready(task, leader, *bases.next()?);
                }
                Step::Done => return None,
            }
        }
    }
}

impl<E: Engine> Simulation<'_, E> {
    /// Writes the state before `round` to a tape.
    pub(crate) fn record(&mut self, mut round: Round, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        let tasks = self.run.plan().train_rounds.len();
        tape.number(&mut round.0)?;
        self.told.carry(tape, tasks)?;
        tape.agree_digest("decisions until then", self.timeline.trace_digest())?;
        self.run.carry(tape)
    }

    /// Reads back what [`Simulation::record`] wrote, into a simulation at its start; returns the round that comes next.
    pub(crate) fn play(&mut self, tape: &mut Tape<'_>) -> Result<RoundPlan, SimError> {
        let tasks = self.run.plan().train_rounds.len();
        let mut round = Round(0);
        tape.number(&mut round.0)?;
        self.told.carry(tape, tasks)?;
        let plan = self.told.replay(&mut self.timeline, round);
        let digest = plan.as_ref().map_or(Digest::default(), |_| self.timeline.trace_digest());
        tape.agree_digest("decisions until then", digest)?;
        let Some(plan) = plan else { return Err(SimError::Replay { round }) };
        self.run.begin(plan.stage.task)?;
        self.run.carry(tape)?;
        if let Some(checks) = &mut self.checks {
            checks.resume(self.run.cohort());
        }
        Ok(plan)
    }
}
