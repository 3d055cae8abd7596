//! The chain: what happens to a gradient between oracle and weights. Order is semantics.

use std::ops::Range;

use kith_core::{Batches, Layout, Tensor};
use kith_engine::{Point, Slot, Visit};

use crate::{Buffer, Climb, ClimbNorm, Link, Oracle as Spec, Parts};

/// The gradient under work.
pub(crate) const GRADIENT: Slot = Slot::Scratch(0);
/// Where a sharpness-aware gradient is asked for a second time.
const PERTURBED: Slot = Slot::Scratch(1);
/// Free for one link.
pub(crate) const SPARE: Slot = Slot::Scratch(2);
/// The gradient before any link, where the way of weights is recorded.
const RAW: Slot = Slot::Scratch(3);
/// Keeps a perturbation finite where the gradient is zero.
const TINY: f32 = 1e-12;

/// Where a local step finds its rows.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    /// The trained row and its base.
    pub(crate) point: Point,
    /// The momentum row, if the chain has one.
    pub(crate) momentum: Option<Slot>,
    /// The tracker y and the gradient that it took in last, if the chain has them.
    pub(crate) tracker: Option<(Slot, Slot)>,
    /// What is kept against forgetting.
    pub(crate) pull: Pull,
}

/// Rows that are kept against forgetting, and how hard they pull.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pull {
    pub(crate) importance: Option<Slot>,
    pub(crate) anchor: Option<Slot>,
    pub(crate) path: Option<Slot>,
    /// The gradient on samples of earlier tasks.
    pub(crate) reference: Option<Slot>,
    /// What `F ⊙ (x − x*)` is multiplied by; 0 during the first task.
    pub(crate) factor: f32,
}

/// What a step goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// η.
    pub learning_rate: f64,
    /// ρ of a sharpness-aware oracle.
    pub radius: f64,
}

impl From<f64> for Rates {
    fn from(learning_rate: f64) -> Self {
        Self { learning_rate, radius: 0.0 }
    }
}

/// Scratch rows that [`step`] needs.
pub(crate) fn scratch(chain: &[Link], sharp: bool) -> usize {
    if chain.contains(&Link::Consolidate) {
        4
    } else if sharp || chain.iter().any(|link| matches!(link, Link::QuasiGlobal { .. })) {
        3
    } else {
        1
    }
}

/// How a sharpness-aware oracle climbs.
pub(crate) struct Ascent {
    /// The parts of a row that have a norm each.
    pub(crate) parts: Vec<Range<usize>>,
    /// Weight decay that the perturbation climbs too; 0 for none.
    pub(crate) decay: f32,
}

impl Ascent {
    /// As the method's oracle says, on rows of this layout.
    pub(crate) fn new(parts: &Parts, layout: &Layout) -> Self {
        let whole = || std::iter::once(0..layout.len()).collect();
        let Spec::SharpnessAware { norm, climbs, .. } = &parts.oracle else {
            return Self { parts: whole(), decay: 0.0 };
        };
        let rate = |link: &Link| if let Link::WeightDecay(rate) = link { *rate } else { 0.0 };
        let decay: f64 = parts.chain.iter().map(rate).sum();
        Self {
            parts: match norm {
                ClimbNorm::Global => whole(),
                ClimbNorm::PerLayer => layout.tensors.iter().map(Tensor::range).collect(),
            },
            decay: if *climbs == Climb::LossAndDecay { decay as f32 } else { 0.0 },
        }
    }

    /// Asks for a gradient at `at`, and if `radius` is above 0, again where that gradient leads so far up. Where the perturbation climbs
    /// weight decay too, the first gradient has it and the second has not: it joins as a link of the chain.
    pub(crate) fn climb<V: Visit>(
        &self,
        visit: &mut V,
        radius: f32,
        at: Point,
        gradient: Slot,
        ask: impl Fn(&mut V, Point),
    ) {
        ask(visit, at);
        if radius > 0.0 {
            if self.decay > 0.0 {
                visit.axpy(gradient, self.decay, at.row);
            }
            visit.copy(PERTURBED, at.row);
            visit.axpy_normalised(PERTURBED, radius, gradient, TINY, &self.parts);
            ask(visit, Point { row: PERTURBED, ..at });
        }
    }
}

/// Asks for gradients: where, how far from there, with which constraint, on which minibatch.
#[derive(Clone, Copy)]
pub(crate) struct Oracle<'a> {
    pub(crate) radius: f32,
    pub(crate) ascent: &'a Ascent,
    /// Whether a later link projects, so that the gradient is wanted as it is.
    pub(crate) raw: bool,
    pub(crate) batches: &'a dyn Batches,
    pub(crate) step: u64,
}

impl Oracle<'_> {
    /// `into ← ∇F(at + ρ g/(‖g‖ + tiny))` with `g = ∇F(at)`, on the same minibatch; `∇F(at)` at ρ = 0.
    pub(crate) fn gradient(self, visit: &mut impl Visit, at: Point, into: Slot) {
        self.ascent.climb(visit, self.radius, at, into, |visit, at| self.ask(visit, at, into));
    }

    fn ask(self, visit: &mut impl Visit, at: Point, into: Slot) {
        if self.raw {
            visit.accumulate_raw_gradient(at, into, 0.0, 1.0, self.batches, self.step);
        } else {
            visit.accumulate_gradient(at, into, 0.0, 1.0, self.batches, self.step);
        }
    }
}

/// The links that are left to do when the engine projects on the way, which costs a batch of rows instead of a weight
/// matrix, where projection comes first.
pub(crate) fn rest(chain: &[Link]) -> &[Link] {
    if chain.first() == Some(&Link::Project) { &chain[1..] } else { chain }
}

/// One minibatch update: gradient, links in order, `x ← x − η g`.
pub(crate) fn step(
    visit: &mut impl Visit,
    registers: Registers,
    chain: &[Link],
    rates: Rates,
    ascent: &Ascent,
    batches: &dyn Batches,
    step: u64,
) {
    let Registers { point, momentum, .. } = registers;
    let (learning_rate, radius) = (rates.learning_rate as f32, rates.radius as f32);
    match (rest(chain), momentum) {
        ([], _) if radius == 0.0 => visit.accumulate_gradient(point, point.row, 1.0, -learning_rate, batches, step),
        ([Link::Momentum { beta, nesterov: false }], Some(momentum)) if radius == 0.0 => {
            visit.accumulate_gradient(point, momentum, *beta as f32, 1.0, batches, step);
            visit.axpy(point.row, -learning_rate, momentum);
        }
        (links, _) => {
            let oracle = Oracle { radius, ascent, raw: links.contains(&Link::Project), batches, step };
            oracle.gradient(visit, point, GRADIENT);
            if registers.pull.path.is_some() {
                visit.copy(RAW, GRADIENT);
            }
            follow(visit, links, GRADIENT, registers, learning_rate);
            if let Some(path) = registers.pull.path {
                // The step was −η times what the links left of the gradient: ω ← ω − g ⊙ Δx.
                visit.multiply_add(path, learning_rate, RAW, GRADIENT);
            }
        }
    }
}

/// Links in order on a gradient, then `x ← x − η g`.
pub(crate) fn follow(visit: &mut impl Visit, links: &[Link], gradient: Slot, registers: Registers, learning_rate: f32) {
    for link in links {
        apply(visit, *link, gradient, registers);
    }
    visit.axpy(registers.point.row, -learning_rate, gradient);
}

fn apply(visit: &mut impl Visit, link: Link, gradient: Slot, registers: Registers) {
    match (link, registers.momentum) {
        (Link::Clip(max), _) => visit.clip(gradient, max as f32),
        (Link::Project, _) => visit.project(gradient),
        (Link::WeightDecay(rate), _) => visit.axpy(gradient, rate as f32, registers.point.row),
        (Link::Scale(factor), _) => visit.scale(gradient, factor as f32),
        (Link::Consolidate, _) => {
            let Pull { importance: Some(importance), anchor: Some(anchor), factor, .. } = registers.pull else {
                return;
            };
            if factor != 0.0 {
                visit.copy(SPARE, registers.point.row);
                visit.axpy(SPARE, -1.0, anchor);
                visit.multiply_add(gradient, factor, importance, SPARE);
            }
        }
        (Link::Replay(share), _) => {
            let Some(reference) = registers.pull.reference else { return };
            visit.scale(gradient, (1.0 - share) as f32);
            visit.axpy(gradient, share as f32, reference);
        }
        (Link::AGem, _) => {
            let Some(reference) = registers.pull.reference else { return };
            visit.deflect(gradient, reference);
        }
        (Link::Track, _) => {
            let Some((tracker, previous)) = registers.tracker else { return };
            visit.axpy(tracker, 1.0, gradient);
            visit.axpy(tracker, -1.0, previous);
            visit.copy(previous, gradient);
            visit.copy(gradient, tracker);
        }
        (
            Link::Momentum { beta, nesterov } | Link::QuasiGlobal { beta, nesterov, buffer: Buffer::Corrected },
            Some(m),
        ) => {
            visit.scale(m, beta as f32);
            visit.axpy(m, 1.0, gradient);
            look_ahead(visit, gradient, m, beta, nesterov);
        }
        (Link::QuasiGlobal { beta, nesterov, buffer: Buffer::Smoothed }, Some(m)) => {
            visit.copy(SPARE, m);
            visit.scale(SPARE, beta as f32);
            visit.axpy(SPARE, 1.0, gradient);
            look_ahead(visit, gradient, SPARE, beta, nesterov);
        }
        (Link::Momentum { .. } | Link::QuasiGlobal { .. }, None) => {
            unreachable!("a chain with momentum is given a momentum row")
        }
    }
}

fn look_ahead(visit: &mut impl Visit, gradient: Slot, momentum: Slot, beta: f64, nesterov: bool) {
    if nesterov {
        visit.axpy(gradient, beta as f32, momentum);
    } else {
        visit.copy(gradient, momentum);
    }
}
