//! What a resolved arm must satisfy before it can run.

mod data;
mod decentralized;
mod method;
mod run;

use kith_core::{Clock, Moving, Schedule};
use kith_graph::Graph;

use super::render::Problem;
use super::resolved::{CheckpointSpec, ResolvedArm};

pub use data::{DataProblem, DataShape, check_against_data};

/// What the rules look at.
pub(crate) struct Subject<'a> {
    pub(crate) arm: &'a ResolvedArm,
    pub(crate) graph: &'a Graph,
}

/// All broken rules of one arm, in the order of the file's tables.
pub(crate) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    method::check(subject, &mut problems);
    data::check(subject, &mut problems);
    run::check(subject, &mut problems);
    problems
}

/// All broken rules of the file's `[checkpoint]`.
pub(crate) fn check_checkpoint(checkpoint: &CheckpointSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(every) = checkpoint.every_rounds {
        at_least_one("checkpoint.every_rounds", every, &mut problems);
    }
    problems
}

impl Subject<'_> {
    fn agents(&self) -> usize {
        self.graph.agents()
    }

    /// How far a schedule's clock runs, as far as the file alone says: at least 1.
    fn ticks(&self, clock: Clock) -> u64 {
        let train = &self.arm.train;
        let rounds = train.rounds_per_task.unwrap_or(1);
        match clock {
            Clock::Task => self.arm.data.tasks.count as u64,
            Clock::Epoch => train.epochs_per_task.unwrap_or(1),
            Clock::Round => rounds,
            Clock::Step => rounds.saturating_mul(train.local_steps),
        }
        // A schedule is looked at tick by tick; one that is still inside after so many stays there or crawls out.
        .clamp(1, 1_000_000)
    }

    /// Checks every value that a schedule takes.
    fn schedule(&self, path: &str, schedule: &Schedule, range: Range, problems: &mut Vec<Problem>) {
        let ticks = match schedule {
            Schedule::Constant(value) => {
                if !range.holds(*value) {
                    problems.push(Problem::new(path, format!("{value} is outside {}", range.name())));
                }
                return;
            }
            Schedule::Moving(moving) => self.ticks(clock(moving)),
        };
        if let Err(error) = schedule.check(ticks, range.name(), |value| range.holds(value)) {
            problems.push(Problem::new(path, error.to_string()));
        }
    }
}

const fn clock(moving: &Moving) -> Clock {
    match moving {
        Moving::Linear { clock, .. }
        | Moving::Exponential { clock, .. }
        | Moving::Cosine { clock, .. }
        | Moving::MultiStep { clock, .. }
        | Moving::WarmUp { clock, .. } => *clock,
    }
}

/// Ranges that numbers of a file lie in.
#[derive(Clone, Copy)]
enum Range {
    /// (0, 1]
    Share,
    /// [0, 1)
    Loss,
    /// [0, 1]
    Closed,
    /// [0, ∞)
    NotNegative,
    /// (0, ∞)
    Positive,
}

impl Range {
    const fn name(self) -> &'static str {
        match self {
            Self::Share => "(0, 1]",
            Self::Loss => "[0, 1)",
            Self::Closed => "[0, 1]",
            Self::NotNegative => "[0, ∞)",
            Self::Positive => "(0, ∞)",
        }
    }

    fn holds(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Share => value > 0.0 && value <= 1.0,
                Self::Loss => (0.0..1.0).contains(&value),
                Self::Closed => (0.0..=1.0).contains(&value),
                Self::NotNegative => value >= 0.0,
                Self::Positive => value > 0.0,
            }
    }
}

fn number(path: impl Into<String>, value: f64, range: Range, problems: &mut Vec<Problem>) {
    if !range.holds(value) {
        problems.push(Problem::new(path, format!("{value} is outside {}", range.name())));
    }
}

fn at_least_one(path: &str, value: u64, problems: &mut Vec<Problem>) {
    if value == 0 {
        problems.push(Problem::new(path, "0 is too few").accept("accepted: 1 or more"));
    }
}
