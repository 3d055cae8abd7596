//! A network and a geometry, worked out into the steps that a visit runs: what every engine follows.
//!
//! An engine decides how a step is computed, never which steps there are, how values lie, what is frozen or which numbers
//! dropout draws.

mod dropout;
mod step;
mod window;

use std::ops::Range;

use kith_core::{Layout, Matrix, Network, Role, Seeds, TaskId};

use crate::port::{Chart, Geometry};

pub use dropout::draw_mask;
pub use step::{Form, Op, Places, Response, Step, Trained, Value};
pub use window::Window;

use step::Builder;

/// Added to variances by normalisation layers.
pub const NORM_TINY: f64 = 1e-5;

/// Samples whose layer inputs are taken together: all of them in the published settings, so that statistics of batch
/// normalisation are those of all.
pub const REPRESENTED: usize = 256;

/// How a stage's weights are held and its gradient constrained.
#[derive(Clone, Copy, Debug)]
pub enum Hold<'g> {
    /// Weights as they are.
    Whole,
    /// No direction is free: the constrained gradient is zero.
    Fixed,
    /// Weights as they are, gradient projected.
    Projected {
        /// `[d, r]`.
        basis: &'g Matrix,
        /// λ, one where absent.
        importance: Option<&'g [f32]>,
    },
    /// Weights as they are, gradient confined to a space.
    Confined {
        /// `[d, k]`.
        span: &'g Matrix,
    },
    /// Coordinates; the base lies at `base` in the whole layout.
    Coordinates {
        /// `[d, k]`.
        span: &'g Matrix,
        /// What columns of the gradient are multiplied by, one where absent.
        gain: Option<&'g [f32]>,
        /// Where the base lies.
        base: usize,
    },
}

/// A layer with a weight matrix: linear, or a convolution whose rows of patches the matrix multiplies.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'g> {
    /// Columns of the matrix, d.
    pub inputs: usize,
    /// Rows of the matrix, C_out.
    pub outputs: usize,
    /// Where the weight lies in a row.
    pub weight: usize,
    /// Numbers of the weight in a row.
    pub weight_len: usize,
    /// Where the bias lies in a row.
    pub bias: Option<usize>,
    /// How the weight is held.
    pub hold: Hold<'g>,
    /// Whether the weight is one of the projected tensors.
    pub projected: bool,
}

/// Whether a ReLU follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relu {
    /// It does.
    Follows,
    /// It does not.
    Absent,
}

impl Stage<'_> {
    /// Where the weight lies in a row.
    #[must_use]
    pub fn weight_range(&self) -> Range<usize> {
        self.weight..self.weight + self.weight_len
    }

    /// Where the bias lies in a row.
    #[must_use]
    pub fn bias_range(&self) -> Option<Range<usize>> {
        self.bias.map(|start| start..start + self.outputs)
    }

    /// Columns of the smaller factor: r of a projection, k of coordinates.
    #[must_use]
    pub fn narrow(&self) -> usize {
        match self.hold {
            Hold::Whole | Hold::Fixed => 0,
            Hold::Projected { basis, .. } => basis.cols(),
            Hold::Confined { span } | Hold::Coordinates { span, .. } => span.cols(),
        }
    }
}

/// The steps of a network as one task uses it.
#[derive(Debug)]
pub struct Plan<'g> {
    /// In order.
    pub steps: Vec<Step<'g>>,
    /// What lies between steps: the input first, the scores last.
    pub values: Vec<Value>,
    /// What gets no gradient: heads of other tasks; numbers of normalisation layers after the first task under a memory.
    pub frozen: Vec<Range<usize>>,
    /// Blocks within blocks.
    pub depth: usize,
    /// Whose head is used.
    pub task: TaskId,
    /// Where dropout draws from; nothing is dropped without.
    pub seeds: Option<Seeds>,
}

impl<'g> Plan<'g> {
    /// The steps on whole rows without constraint or dropout.
    #[must_use]
    pub fn whole(network: &Network, layout: &Layout, task: TaskId) -> Self {
        Builder::new(network, layout, layout, task, |_| None).build(network)
    }

    /// The steps in a geometry; `whole` is the network's own layout.
    ///
    /// # Panics
    /// If the geometry does not belong to the network: a chart count or shape that does not fit, or a layout that is not
    /// the whole one narrowed to the coordinates.
    #[must_use]
    pub fn new(network: &Network, whole: &Layout, geometry: &'g Geometry, seeds: Seeds) -> Self {
        check(whole, geometry);
        let builder =
            Builder::new(network, whole, &geometry.layout, geometry.task, |layer| Some(&geometry.charts[layer]));
        let mut plan = builder.build(network);
        plan.seeds = Some(seeds);
        if geometry.freezes_affine() {
            for step in &mut plan.steps {
                if let Some(freeze) = step.op.freeze() {
                    *freeze = Trained::No;
                }
            }
            let affine = geometry.layout.tensors.iter().filter(|tensor| matches!(tensor.role, Role::Affine(_)));
            plan.frozen.extend(affine.map(kith_core::Tensor::range));
        }
        plan
    }

    /// Classes of the head.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.scores().len()
    }

    /// The last value.
    #[must_use]
    pub fn scores(&self) -> &Value {
        &self.values[self.values.len() - 1]
    }

    /// The steps that have a weight matrix.
    pub fn weights(&self) -> impl Iterator<Item = (usize, &Stage<'g>)> {
        self.steps.iter().enumerate().filter_map(|(index, step)| step.op.stage().map(|stage| (index, stage)))
    }

    /// Samples that go through the network together when nothing is trained. Statistics of batch normalisation are theirs:
    /// with images, as many as the published code tests at a time.
    #[must_use]
    pub fn samples_together(&self) -> usize {
        let linear = self.steps.iter().all(|step| matches!(step.op, Op::Linear(_) | Op::Copy));
        if linear { 256 } else { 64 }
    }
}

fn hold(chart: Option<&Chart>, base: usize) -> Hold<'_> {
    match chart {
        None | Some(Chart::Whole) => Hold::Whole,
        Some(Chart::Projected { basis, .. }) if basis.cols() == 0 => Hold::Whole,
        Some(Chart::Projected { basis, importance: None }) if basis.cols() == basis.rows() => Hold::Fixed,
        Some(Chart::Projected { basis, importance }) => Hold::Projected { basis, importance: importance.as_deref() },
        Some(Chart::Confined { span }) if span.cols() == 0 => Hold::Fixed,
        Some(Chart::Confined { span }) => Hold::Confined { span },
        Some(Chart::Coordinates { span, gain }) => Hold::Coordinates { span, gain: gain.as_deref(), base },
    }
}

/// Holds a geometry against the network's own layout.
///
/// # Panics
/// See [`Plan::new`].
pub fn check(whole: &Layout, geometry: &Geometry) {
    let layers = whole.projected().count();
    assert_eq!(geometry.charts.len(), layers, "one chart for each of {layers} projected layers");
    assert_eq!(geometry.layout.tensors.len(), whole.tensors.len(), "the geometry's layout has the network's tensors");
    for (held, free) in geometry.layout.tensors.iter().zip(&whole.tensors) {
        let mut cols = free.cols;
        if let Role::Projected(layer) = free.role {
            let (rows, scales) = match &geometry.charts[layer] {
                Chart::Whole => (free.cols, None),
                Chart::Projected { basis, importance } => {
                    assert!(basis.cols() <= basis.rows(), "a basis has no more columns than rows: {}", free.name);
                    (basis.rows(), importance.as_ref().map(|scales| (scales.len(), basis.cols())))
                }
                Chart::Confined { span } => {
                    assert!(span.cols() <= span.rows(), "a span has no more columns than rows: {}", free.name);
                    (span.rows(), None)
                }
                Chart::Coordinates { span, gain } => {
                    cols = span.cols();
                    (span.rows(), gain.as_ref().map(|scales| (scales.len(), span.cols())))
                }
            };
            assert_eq!(rows, free.cols, "rows of the chart's basis of {}", free.name);
            if let Some((actual, expected)) = scales {
                assert_eq!(actual, expected, "scales of the chart of {}", free.name);
            }
        }
        assert_eq!((held.rows, held.cols), (free.rows, cols), "shape of {} in the geometry's layout", free.name);
    }
}
