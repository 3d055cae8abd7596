//! Faults as planned: links that are cut, and a process that is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kith_core::{AgentId, Round};

/// Nothing passes between two agents for some rounds, as if the link between them were down. Each end goes by its own rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The two agents.
    pub between: [AgentId; 2],
    /// The first round, as agents count them, in which nothing passes.
    pub from: Round,
    /// The first round in which it does again; never, where there is none.
    pub until: Option<Round>,
}

impl Cut {
    pub(crate) fn holds(&self, one: AgentId, other: AgentId, round: Round) -> bool {
        let [a, b] = self.between;
        let meant = (a, b) == (one, other) || (b, a) == (one, other);
        meant && self.from <= round && self.until.is_none_or(|until| round < until)
    }
}

/// From some round on, the local work of a process takes so many times as long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Straggle {
    /// The first round, as agents count them.
    pub from: Round,
    /// How many times as long; 1 or less is its own pace.
    pub factor: f64,
}

impl Straggle {
    /// How long a process waits in a round whose work took `worked`: by the last entry of a list that has begun.
    fn wait(plan: &[Self], round: Round, worked: Duration) -> Duration {
        let factor = plan.iter().rev().find(|one| one.from <= round).map_or(1.0, |one| one.factor);
        Duration::try_from_secs_f64(worked.as_secs_f64() * (factor - 1.0)).unwrap_or_default()
    }
}

/// How fast a process computes, as planned.
pub(crate) struct Pace {
    straggles: Vec<Straggle>,
    stop: Option<Arc<AtomicBool>>,
}

impl Pace {
    pub(crate) const fn new(straggles: Vec<Straggle>, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { straggles, stop }
    }

    /// Waits for as long as a slower process would still have worked.
    pub(crate) fn keep(&self, round: Round, worked: Duration) {
        let until = Instant::now() + Straggle::wait(&self.straggles, round, worked).min(LONGEST_WAIT);
        let stops = || self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed));
        while !stops() {
            match until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                Some(left) => std::thread::sleep(left.min(Duration::from_millis(20))),
                None => break,
            }
        }
    }
}

/// No round of a straggler takes longer.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straggler_takes_as_many_times_as_long_from_its_round_on() {
        let plan = [Straggle { from: Round(2), factor: 3.0 }, Straggle { from: Round(5), factor: 1.0 }];
        let waits: Vec<u64> = [1, 2, 4, 5]
            .map(|round| Straggle::wait(&plan, Round(round), Duration::from_millis(10)).as_millis() as u64)
            .to_vec();
        assert_eq!(waits, [0, 20, 20, 0]);
    }
}
