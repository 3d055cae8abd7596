//! One schedule type for learning rate, averaging rate, perturbation radius and energy threshold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a schedule's time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// Minibatch updates within the task.
    Step,
    /// Exchanges within the task.
    Round,
    /// Local passes within the task.
    #[default]
    Epoch,
    /// Tasks of the sequence.
    Task,
}

/// Where a run stands, on every clock. All but `task` restart with each task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Minibatch updates done in this task.
    pub step: u64,
    /// Exchanges done in this task.
    pub round: u64,
    /// Local passes done in this task.
    pub epoch: u64,
    /// Tasks done.
    pub task: u64,
    /// How many of each there are in all, in the same order: steps, rounds and epochs of this task, tasks.
    pub totals: [u64; 4],
}

/// A value over time. A plain number in a file is a constant.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Schedule {
    /// The same at all times.
    Constant(f64),
    /// One that moves.
    Moving(Moving),
}

/// Schedules that move; `kind` names the shape.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Moving {
    /// `min(cap, start + slope · t)`.
    Linear {
        /// Value at t = 0.
        #[schemars(example = 0.1)]
        start: f64,
        /// Added per tick.
        #[schemars(example = 0.01)]
        slope: f64,
        /// Never above (or, with a negative slope, below) this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(example = 1.0)]
        cap: Option<f64>,
        /// What t counts.
        #[serde(default)]
        clock: Clock,
    },
    /// `min(cap, start · growth^(t + 1))`: the averaging-rate schedule of Aketi et al. 2024 with `cap = 1`.
    Exponential {
        /// Value before the first tick.
        #[schemars(example = 0.1)]
        start: f64,
        /// Factor per tick.
        #[schemars(example = 1.01)]
        growth: f64,
        /// Never above this.
        #[serde(default = "one")]
        #[schemars(example = 1.0)]
        cap: f64,
        /// What t counts.
        #[serde(default)]
        clock: Clock,
    },
    /// Half a cosine from `start` at t = 0 to `end` at the last tick.
    Cosine {
        /// Value at t = 0.
        #[schemars(example = 0.1)]
        start: f64,
        /// Value at the last tick.
        #[schemars(example = 0.001)]
        end: f64,
        /// What t counts.
        #[serde(default)]
        clock: Clock,
    },
    /// `start · factor^(milestones passed)`; milestones are shares of the whole, in \[0, 1\].
    MultiStep {
        /// Value at t = 0.
        #[schemars(example = 0.1)]
        start: f64,
        /// Factor at each milestone.
        #[schemars(example = 0.1)]
        factor: f64,
        /// Shares of the total at which the factor applies, ascending.
        #[schemars(example = vec![0.5, 0.75])]
        milestones: Vec<f64>,
        /// What t counts.
        #[serde(default)]
        clock: Clock,
    },
    /// Rises linearly over `ticks` ticks, then follows `then`.
    WarmUp {
        /// Length of the rise.
        #[schemars(example = 10)]
        ticks: u64,
        /// What follows.
        #[schemars(example = 0.05)]
        then: Box<Schedule>,
        /// What t counts.
        #[serde(default)]
        clock: Clock,
    },
}

fn one() -> f64 {
    1.0
}

/// Why a schedule cannot be used.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ScheduleError {
    /// It leaves the range that its use allows.
    #[error("the schedule reaches {value} at tick {tick}, outside {accepted}")]
    OutOfRange {
        /// The value reached.
        value: f64,
        /// When.
        tick: u64,
        /// The range allowed.
        accepted: &'static str,
    },
    /// Milestones are not ascending shares.
    #[error("milestones are ascending shares of the whole between 0 and 1, got {0:?}")]
    Milestones(Vec<f64>),
}

impl From<f64> for Schedule {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

impl Schedule {
    /// The value at this position.
    #[must_use]
    pub fn at(&self, position: &Position) -> f64 {
        let Self::Moving(moving) = self else {
            let Self::Constant(value) = self else { unreachable!() };
            return *value;
        };
        let (tick, total) = position.on(moving.clock());
        match moving {
            Moving::Linear { start, slope, cap, .. } => {
                let value = start + slope * tick as f64;
                match cap {
                    Some(cap) if *slope < 0.0 => value.max(*cap),
                    Some(cap) => value.min(*cap),
                    None => value,
                }
            }
            Moving::Exponential { start, growth, cap, .. } => (start * growth.powf(tick as f64 + 1.0)).min(*cap),
            Moving::Cosine { start, end, .. } => {
                let share = tick as f64 / total.saturating_sub(1).max(1) as f64;
                start + (end - start) * 0.5 * (1.0 - (std::f64::consts::PI * share.min(1.0)).cos())
            }
            Moving::MultiStep { start, factor, milestones, .. } => {
                let passed = milestones.iter().filter(|&&share| tick as f64 >= share * total as f64).count();
                start * factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Moving::WarmUp { ticks, then, .. } => {
                let rise = (tick as f64 + 1.0) / (*ticks).max(1) as f64;
                then.at(position) * rise.min(1.0)
            }
        }
    }

    /// Checks every value of ticks `0..ticks` against a range.
    ///
    /// # Errors
    /// The first value outside, and milestones that are not ascending shares.
    pub fn check(&self, ticks: u64, accepted: &'static str, inside: impl Fn(f64) -> bool) -> Result<(), ScheduleError> {
        if let Self::Moving(Moving::MultiStep { milestones, .. }) = self {
            let ascending = milestones.windows(2).all(|pair| pair[0] <= pair[1]);
            if !ascending || milestones.iter().any(|share| !(0.0..=1.0).contains(share)) {
                return Err(ScheduleError::Milestones(milestones.clone()));
            }
        }
        for tick in 0..ticks.max(1) {
            let position = Position { step: tick, round: tick, epoch: tick, task: tick, totals: [ticks; 4] };
            let value = self.at(&position);
            if !inside(value) {
                return Err(ScheduleError::OutOfRange { value, tick, accepted });
            }
        }
        Ok(())
    }
}

impl Moving {
    const fn clock(&self) -> Clock {
        match self {
            Self::Linear { clock, .. }
            | Self::Exponential { clock, .. }
            | Self::Cosine { clock, .. }
            | Self::MultiStep { clock, .. }
            | Self::WarmUp { clock, .. } => *clock,
        }
    }
}

impl Position {
    const fn on(&self, clock: Clock) -> (u64, u64) {
        match clock {
            Clock::Step => (self.step, self.totals[0]),
            Clock::Round => (self.round, self.totals[1]),
            Clock::Epoch => (self.epoch, self.totals[2]),
            Clock::Task => (self.task, self.totals[3]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: u64, total: u64) -> Position {
        Position { epoch, totals: [0, 0, total, 0], ..Position::default() }
    }

    #[test]
    fn the_exponential_averaging_rate_reaches_one_near_epoch_242() {
        let schedule =
            Schedule::Moving(Moving::Exponential { start: 0.09, growth: 1.01, cap: 1.0, clock: Clock::Epoch });
        assert!((schedule.at(&epoch(0, 300)) - 0.0909).abs() < 1e-12);
        assert!(schedule.at(&epoch(240, 300)) < 1.0);
        assert_eq!(schedule.at(&epoch(242, 300)), 1.0);
    }

    #[test]
    fn the_cosine_averaging_rate_runs_from_start_to_end() {
        let schedule = Schedule::Moving(Moving::Cosine { start: 0.08, end: 1.0, clock: Clock::Epoch });
        assert!((schedule.at(&epoch(0, 300)) - 0.08).abs() < 1e-12);
        assert!((schedule.at(&epoch(299, 300)) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn multi_step_applies_the_factor_at_half_and_three_quarters() {
        let schedule = Schedule::Moving(Moving::MultiStep {
            start: 0.1,
            factor: 0.1,
            milestones: vec![0.5, 0.75],
            clock: Clock::Epoch,
        });
        assert_eq!(schedule.at(&epoch(3, 8)), 0.1);
        assert!((schedule.at(&epoch(4, 8)) - 0.01).abs() < 1e-12);
        assert!((schedule.at(&epoch(6, 8)) - 0.001).abs() < 1e-12);
    }

    #[test]
    fn a_schedule_that_leaves_its_range_says_when() {
        let schedule = Schedule::Moving(Moving::Linear { start: 0.97, slope: 0.01, cap: None, clock: Clock::Task });
        let error = schedule.check(10, "(0, 1]", |value| value > 0.0 && value <= 1.0);
        assert!(matches!(error, Err(ScheduleError::OutOfRange { tick: 4, .. })), "{error:?}");
    }
}
