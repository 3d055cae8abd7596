//! One agent's rows under work, on one thread.

use std::collections::BTreeMap;
use std::ops::Range;

use kith_core::{AgentId, Batches};

use super::buffer::Buffer;
use super::pass::{Constraint, Pass, Target};
use super::quadratic::Quadratic;
use super::registers::Registers;
use crate::kernel::{self, Shape, Update};
use crate::plan::{Hold, Plan};
use crate::port::{Draw, Point, Slot, Visit};

/// What a visit's gradients are of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal<'v> {
    Network(&'v Plan<'v>),
    Quadratics(&'v [Quadratic]),
}

impl Goal<'_> {
    /// Agent `agent`'s quadratic.
    pub(crate) fn quadratic(quadratics: &[Quadratic], agent: AgentId) -> &Quadratic {
        assert!(agent.index() < quadratics.len(), "agent {agent}, but only {} quadratics", quadratics.len());
        &quadratics[agent.index()]
    }
}

/// One agent's rows under work: every method acts on this agent alone, on the calling thread.
#[derive(Debug)]
pub struct NativeVisit<'v> {
    agent: [AgentId; 1],
    loss: [f64; 1],
    goal: Goal<'v>,
    registers: Registers<'v>,
    pass: &'v mut Pass,
    product: &'v mut Buffer,
}

impl<'v> NativeVisit<'v> {
    pub(crate) fn new(
        agent: AgentId,
        goal: Goal<'v>,
        registers: Registers<'v>,
        pass: &'v mut Pass,
        product: &'v mut Buffer,
    ) -> Self {
        Self { agent: [agent], loss: [0.0], goal, registers, pass, product }
    }

    fn gradient(
        &mut self,
        at: Point,
        into: Slot,
        (target, constraint): (Target, Constraint),
        batches: &dyn Batches,
        step: u64,
        draw: Option<&Draw>,
    ) {
        let agent = self.agent[0];
        self.loss[0] += match self.goal {
            Goal::Network(plan) => {
                self.pass.load_batch(plan, batches, agent, step);
                let base = at.base.map(|base| self.registers.get(base));
                self.pass.forward(plan, self.registers.get(at.row), base);
                let loss = self.pass.loss_gradient(plan);
                self.pass.backward(plan, &mut self.registers, at, into, (target, constraint), draw);
                loss
            }
            Goal::Quadratics(quadratics) => {
                let quadratic = Goal::quadratic(quadratics, agent);
                quadratic.accumulate(&mut self.registers, at.row, into, target, self.product)
            }
        };
    }
}

impl Visit for NativeVisit<'_> {
    fn agents(&self) -> &[AgentId] {
        &self.agent
    }

    fn accumulate_gradient(&mut self, at: Point, into: Slot, beta: f32, alpha: f32, batches: &dyn Batches, step: u64) {
        self.gradient(at, into, (Target { beta, alpha }, Constraint::Charts), batches, step, None);
    }

    fn accumulate_raw_gradient(
        &mut self,
        at: Point,
        into: Slot,
        beta: f32,
        alpha: f32,
        batches: &dyn Batches,
        step: u64,
    ) {
        self.gradient(at, into, (Target { beta, alpha }, Constraint::Raw), batches, step, None);
    }

    fn drawn_gradient(
        &mut self,
        at: Point,
        into: Slot,
        draws: &BTreeMap<AgentId, Draw>,
        batches: &dyn Batches,
        step: u64,
    ) {
        let target = Target { beta: 0.0, alpha: 1.0 };
        self.gradient(at, into, (target, Constraint::Raw), batches, step, draws.get(&self.agent[0]));
    }

    fn project(&mut self, gradient: Slot) {
        let Goal::Network(plan) = self.goal else { return };
        let row = self.registers.get_mut(gradient);
        for (_, stage) in plan.weights() {
            let weight = &mut row[stage.weight_range()];
            match stage.hold {
                Hold::Whole | Hold::Coordinates { .. } => {}
                Hold::Fixed => weight.fill(0.0),
                Hold::Confined { span } => {
                    let k = span.cols();
                    self.product.ensure(stage.outputs * k);
                    let free = &mut self.product.as_mut()[..stage.outputs * k];
                    let shape = Shape::new(stage.outputs, k, stage.inputs);
                    kernel::times(shape, Update::SET, free, weight, span.as_slice());
                    let shape = Shape::new(stage.outputs, stage.inputs, k);
                    kernel::times_transposed(shape, Update::SET, weight, free, span.as_slice());
                }
                Hold::Projected { basis, importance } => {
                    let r = basis.cols();
                    self.product.ensure(stage.outputs * r);
                    let core = &mut self.product.as_mut()[..stage.outputs * r];
                    let shape = Shape::new(stage.outputs, r, stage.inputs);
                    kernel::times(shape, Update::SET, core, weight, basis.as_slice());
                    if let Some(importance) = importance {
                        kernel::scale_columns(core, importance);
                    }
                    let shape = Shape::new(stage.outputs, stage.inputs, r);
                    kernel::times_transposed(shape, Update::SUBTRACT, weight, core, basis.as_slice());
                }
            }
        }
    }

    fn axpy(&mut self, y: Slot, a: f32, x: Slot) {
        if x == y {
            return kernel::scale(self.registers.get_mut(y), 1.0 + a);
        }
        let (y, x) = self.registers.pair(y, x);
        kernel::axpy(y, a, x);
    }

    fn scale(&mut self, y: Slot, a: f32) {
        kernel::scale(self.registers.get_mut(y), a);
    }

    fn copy(&mut self, y: Slot, x: Slot) {
        if x != y {
            let (y, x) = self.registers.pair(y, x);
            y.copy_from_slice(x);
        }
    }

    fn clear(&mut self, y: Slot) {
        self.registers.get_mut(y).fill(0.0);
    }

    fn axpy_normalised(&mut self, y: Slot, a: f32, x: Slot, tiny: f32, parts: &[Range<usize>]) {
        let (y, x) = self.registers.pair(y, x);
        for part in parts {
            let x = &x[part.clone()];
            let factor = (f64::from(a) / (kernel::squared_norm(x).sqrt() + f64::from(tiny))) as f32;
            kernel::axpy(&mut y[part.clone()], factor, x);
        }
    }

    fn clip(&mut self, x: Slot, max: f32) {
        let norm = kernel::squared_norm(self.registers.get(x)).sqrt();
        if norm > f64::from(max) {
            kernel::scale(self.registers.get_mut(x), (f64::from(max) / norm) as f32);
        }
    }

    fn multiply_add(&mut self, y: Slot, a: f32, x: Slot, z: Slot) {
        assert!(y != x && y != z, "a product is added to a third row");
        self.registers.apart(y, |y, others| kernel::multiply_add(y, a, others.get(x), others.get(z)));
    }

    fn deflect(&mut self, y: Slot, x: Slot) {
        let (row, against) = self.registers.pair(y, x);
        let (along, length) = (kernel::dot(row, against), kernel::squared_norm(against));
        if along < 0.0 && length > 0.0 {
            kernel::axpy(row, (-along / length) as f32, against);
        }
    }

    fn losses(&self) -> &[f64] {
        &self.loss
    }
}
