//! The chain: what happens to a gradient between oracle and weights. Order is semantics.

use kith_core::Batches;
use kith_engine::{Point, Slot, Visit};

use crate::Link;

/// Scratch rows that [`step`] needs.
pub(crate) const SCRATCH: usize = 1;

/// Where a local step finds its rows.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    /// The trained row and its base.
    pub(crate) point: Point,
    /// The momentum row, if the chain has one.
    pub(crate) momentum: Option<Slot>,
}

/// One minibatch update: gradient, links in order, `x ← x − η g`.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn step(
    visit: &mut impl Visit,
    registers: Registers,
    chain: &[Link],
    learning_rate: f32,
    batches: &dyn Batches,
    step: u64,
) {
    let Registers { point, momentum } = registers;
    // The engine projects on the way, which costs a batch of rows instead of a weight matrix, where projection comes first.
    let projects_first = chain.first() == Some(&Link::Project);
    let rest = if projects_first { &chain[1..] } else { chain };
    let raw = rest.contains(&Link::Project);
    match (rest, momentum) {
        ([], _) => visit.accumulate_gradient(point, point.row, 1.0, -learning_rate, batches, step),
        ([Link::Momentum { beta, nesterov: false }], Some(momentum)) => {
            visit.accumulate_gradient(point, momentum, *beta as f32, 1.0, batches, step);
            visit.axpy(point.row, -learning_rate, momentum);
        }
        _ => {
            let gradient = Slot::Scratch(0);
            if raw {
                visit.accumulate_raw_gradient(point, gradient, 0.0, 1.0, batches, step);
            } else {
                visit.accumulate_gradient(point, gradient, 0.0, 1.0, batches, step);
            }
            for link in rest {
                apply(visit, *link, gradient, registers);
            }
            visit.axpy(point.row, -learning_rate, gradient);
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn apply(visit: &mut impl Visit, link: Link, gradient: Slot, registers: Registers) {
    match (link, registers.momentum) {
        (Link::Clip(max), _) => visit.clip(gradient, max as f32),
        (Link::Project, _) => visit.project(gradient),
        (Link::WeightDecay(rate), _) => visit.axpy(gradient, rate as f32, registers.point.row),
        (Link::Scale(factor), _) => visit.scale(gradient, factor as f32),
        (Link::Momentum { beta, nesterov }, Some(momentum)) => {
            visit.scale(momentum, beta as f32);
            visit.axpy(momentum, 1.0, gradient);
            if nesterov {
                visit.axpy(gradient, beta as f32, momentum);
            } else {
                visit.copy(gradient, momentum);
            }
        }
        (Link::Momentum { .. }, None) => unreachable!("a chain with momentum is given a momentum row"),
    }
}
