//! Quadratic objectives, on which the laws of decentralized methods can be checked to rounding.

use kith_core::{Layout, Matrix, Role, Tensor};

use super::buffer::Buffer;
use super::pass::Target;
use super::registers::Registers;
use crate::error::EngineError;
use crate::kernel::{Shape, Update, dot, times_transposed, transposed_times};
use crate::port::Slot;

/// The objective ½‖a x − b‖² of one agent; its row is x.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadratic {
    /// `[m, n]`, n being the same for all agents.
    pub a: Matrix,
    /// `m` numbers.
    pub b: Vec<f32>,
}

impl Quadratic {
    /// Computes `a x − b` into `residual`; returns the objective.
    pub(crate) fn residual(&self, x: &[f32], residual: &mut Buffer) -> f64 {
        let (m, n) = (self.a.rows(), self.a.cols());
        residual.ensure(m);
        let residual = &mut residual.as_mut()[..m];
        residual.copy_from_slice(&self.b);
        let update = Update { keep: -1.0, alpha: 1.0 };
        times_transposed(Shape::new(m, 1, n), update, residual, self.a.as_slice(), x);
        0.5 * dot(residual, residual)
    }

    /// `into ← beta · into + alpha · aᵀ(a x − b)`; returns the objective at x.
    pub(crate) fn accumulate(
        &self,
        registers: &mut Registers<'_>,
        at: Slot,
        into: Slot,
        target: Target,
        residual: &mut Buffer,
    ) -> f64 {
        let (m, n) = (self.a.rows(), self.a.cols());
        let loss = self.residual(registers.get(at), residual);
        let update = Update { keep: target.beta, alpha: target.alpha };
        let residual = &residual.as_ref()[..m];
        transposed_times(Shape::new(n, 1, m), update, registers.get_mut(into), self.a.as_slice(), residual);
        loss
    }
}

/// Checks the objectives and gives the layout of their rows: one free tensor.
pub(crate) fn layout(quadratics: &[Quadratic]) -> Result<Layout, EngineError> {
    let first = quadratics.first().ok_or(EngineError::NoQuadratics)?;
    let n = first.a.cols();
    for (agent, quadratic) in quadratics.iter().enumerate() {
        let (rows, cols) = (quadratic.a.rows(), quadratic.a.cols());
        for (what, actual, expected) in [("columns of a", cols, n), ("length of b", quadratic.b.len(), rows)] {
            if actual != expected {
                return Err(EngineError::Quadratic { agent, what, actual, expected });
            }
        }
    }
    Ok(Layout { tensors: vec![Tensor { name: "x".into(), offset: 0, rows: n, cols: 1, role: Role::Free }] })
}
