//! Rates over time, as events: what schedules gave.

use kith_core::{Key, Position};
use kith_method::{ExchangeKind, Oracle};

use crate::{Observer, RoundPlan, Work, group};

/// A rate is looked at about so many times a task, so that one that moves all the time stays cheap to write.
const LOOKS: u64 = 64;

/// Reports the rates of a training round: each at a task's start, and where it has moved since it was last looked at. What is
/// reported follows from the round alone, so a run that was cut and goes on reports the same.
pub(crate) fn report(
    work: &Work<'_>,
    round: &RoundPlan,
    rounds: u64,
    position: impl Fn(u64) -> Position,
    observer: &mut dyn Observer,
) {
    let every = rounds.div_ceil(LOOKS).max(1);
    let index = round.stage.index;
    if !index.is_multiple_of(every) {
        return;
    }
    let now = rates(work, &position(index));
    let before = index.checked_sub(every).map(|index| rates(work, &position(index)));
    for (place, (key, rate)) in now.into_iter().enumerate() {
        let known = before.map(|before| before[place].1);
        if let Some(value) = rate
            && known != Some(rate)
        {
            observer.event(&group(round, key, None, value));
        }
    }
}

/// The rates that the method has.
fn rates(work: &Work<'_>, at: &Position) -> [(Key, Option<f64>); 3] {
    let averages = work.parts.exchange.kind != ExchangeKind::None;
    let radius = match &work.parts.oracle {
        Oracle::SharpnessAware { radius } => Some(radius.at(at)),
        _ => None,
    };
    [
        (Key::LearningRate, Some(work.train.learning_rate.at(at))),
        (Key::AveragingRate, averages.then(|| work.parts.exchange.averaging_rate.at(at))),
        (Key::PerturbationRadius, radius),
    ]
}
