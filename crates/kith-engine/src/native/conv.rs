//! Convolutions: weight `[C_out, d]` times patches `[d, images · places]`, a few images at a time so that patches stay in
//! cache. Patches are cut anew on the way back: that costs less than keeping them.

use std::ops::Range;

use super::linear::base_weight;
use super::pass::{Constraint, Target, Temporary};
use crate::kernel::{
    self, Grid, GridMut, Shape, Update, keep_only, patches, product_of_grids, scale_columns, sum_patches, times,
    times_transposed,
};
use crate::plan::{Hold, Stage, Window};

/// Numbers of a patch matrix that is worked on at a time, unless one image has more.
const PATCHES: usize = 1 << 17;

/// A convolution of a minibatch.
#[derive(Clone, Copy)]
pub(super) struct Conv<'s, 'g> {
    pub(super) stage: &'s Stage<'g>,
    pub(super) window: Window,
    pub(super) batch: usize,
}

impl Conv<'_, '_> {
    /// Images whose patches are cut together.
    fn images(&self) -> usize {
        (PATCHES / (self.stage.inputs * self.window.area())).clamp(1, self.batch.max(1))
    }

    /// Numbers of the patch matrix.
    pub(super) fn patch_numbers(&self) -> usize {
        self.stage.inputs * self.window.area() * self.images()
    }

    /// Whether gradients are constrained on patches, `[d, n]`, rather than on the weight's gradient, `[C_out, d]`: the product
    /// with a basis costs as many multiplications a column of patches as a row of the gradient.
    pub(super) const fn constrains_patches(&self) -> bool {
        self.batch * self.window.area() < self.stage.outputs
    }

    /// Numbers of the smaller factor that a constraint needs.
    pub(super) fn narrow_numbers(&self) -> usize {
        let rows = if self.constrains_patches() { self.images() * self.window.area() } else { self.stage.outputs };
        self.stage.narrow() * rows
    }

    fn chunks(self) -> impl Iterator<Item = Range<usize>> {
        let images = self.images();
        (0..self.batch).step_by(images).map(move |first| first..self.batch.min(first + images))
    }

    /// Steps from channel to channel: of the input, of the output.
    const fn steps(&self) -> (usize, usize) {
        (self.batch * self.window.pixels(), self.batch * self.window.area())
    }

    /// The weight as it multiplies: in coordinates, `W = B + C Sᵀ` is written to `lifted`. That is one product of C_out rows, where
    /// patches in coordinates would be two of as many rows as there are patches.
    fn weight<'a>(&self, (row, base): (&'a [f32], Option<&[f32]>), lifted: &'a mut [f32]) -> &'a [f32] {
        let held = &row[self.stage.weight_range()];
        let Hold::Coordinates { span, base: at, .. } = self.stage.hold else { return held };
        let lifted = &mut lifted[..self.stage.outputs * self.stage.inputs];
        lifted.copy_from_slice(base_weight(base, at, self.stage));
        let shape = Shape::new(self.stage.outputs, self.stage.inputs, span.cols());
        times_transposed(shape, Update::ADD, lifted, held, span.as_slice());
        lifted
    }

    /// `y ← W x + b`; the weight is kept in `lifted` where it is in coordinates.
    pub(super) fn forward(
        self,
        at: (&[f32], Option<&[f32]>),
        x: &[f32],
        y: &mut [f32],
        lifted: &mut [f32],
        temporary: &mut Temporary,
    ) {
        let weight = self.weight(at, lifted);
        let (d, area, (step_in, step_out)) = (self.stage.inputs, self.window.area(), self.steps());
        for chunk in self.chunks() {
            let width = chunk.len() * area;
            let columns = &mut temporary.columns.as_mut()[..d * width];
            patches(self.window, x, step_in, chunk.start, chunk.len(), columns);
            let out = GridMut { data: &mut y[chunk.start * area..], row_step: step_out };
            let shape = Shape::new(self.stage.outputs, width, d);
            product_of_grids(shape, Update::SET, out, Grid::rows(weight, d), Grid::rows(columns, width));
            if let Some(bias) = self.stage.bias_range() {
                for (y, bias) in y.chunks_exact_mut(step_out).zip(&at.0[bias]) {
                    kernel::shift(&mut y[chunk.start * area..][..width], *bias);
                }
            }
        }
    }

    /// `before ←` the patches' gradient `Wᵀ δ` added up by pixel.
    pub(super) fn input_gradient(
        self,
        row: &[f32],
        delta: &[f32],
        before: &mut [f32],
        lifted: &[f32],
        temporary: &mut Temporary,
    ) {
        let weight = match self.stage.hold {
            Hold::Coordinates { .. } => lifted,
            _ => &row[self.stage.weight_range()],
        };
        let (d, area, (step_in, step_out)) = (self.stage.inputs, self.window.area(), self.steps());
        for chunk in self.chunks() {
            let width = chunk.len() * area;
            let columns = &mut temporary.columns.as_mut()[..d * width];
            let weight = Grid::transposed(weight, d);
            let delta = Grid { data: &delta[chunk.start * area..], row_step: step_out, column_step: 1 };
            let out = GridMut { data: columns, row_step: width };
            product_of_grids(Shape::new(d, width, self.stage.outputs), Update::SET, out, weight, delta);
            sum_patches(self.window, columns, before, step_in, chunk.start, chunk.len());
        }
    }

    /// `into ← beta · into + alpha · gradient` in the weight's and the bias's places.
    pub(super) fn weight_gradient(
        self,
        x: &[f32],
        delta: &[f32],
        into: &mut [f32],
        (target, constraint): (Target, Constraint),
        temporary: &mut Temporary,
    ) {
        let update = Update { keep: target.beta, alpha: target.alpha };
        let weight = &mut into[self.stage.weight_range()];
        match (self.stage.hold, constraint) {
            (Hold::Fixed, Constraint::Charts) => keep_only(weight, target.beta),
            (Hold::Whole | Hold::Fixed, _) | (Hold::Projected { .. } | Hold::Confined { .. }, Constraint::Raw) => {
                self.accumulate(x, delta, weight, update, Hold::Whole, temporary);
            }
            (hold, _) if self.constrains_patches() => self.accumulate(x, delta, weight, update, hold, temporary),
            (hold, _) => {
                let mut gradient = std::mem::take(&mut temporary.gradient);
                let whole = &mut gradient.as_mut()[..self.stage.outputs * self.stage.inputs];
                self.accumulate(x, delta, whole, Update::SET, Hold::Whole, temporary);
                self.constrain(hold, whole, weight, update, temporary);
                temporary.gradient = gradient;
            }
        }
        if let Some(range) = self.stage.bias_range() {
            let bias = &mut into[range];
            keep_only(bias, target.beta);
            for (bias, delta) in bias.iter_mut().zip(delta.chunks_exact(self.steps().1.max(1))) {
                let mut sum = 0.0;
                kernel::sum(delta, &mut sum);
                *bias += target.alpha * sum as f32;
            }
        }
    }

    /// `out ← keep · out + alpha · δ Pᵀ` over all patches P, constrained by `hold`.
    fn accumulate(
        self,
        x: &[f32],
        delta: &[f32],
        out: &mut [f32],
        update: Update,
        hold: Hold<'_>,
        temporary: &mut Temporary,
    ) {
        let (d, area, (step_in, step_out)) = (self.stage.inputs, self.window.area(), self.steps());
        let mut update = update;
        if self.batch == 0 {
            keep_only(out, update.keep);
        }
        for chunk in self.chunks() {
            let width = chunk.len() * area;
            let columns = &mut temporary.columns.as_mut()[..d * width];
            patches(self.window, x, step_in, chunk.start, chunk.len(), columns);
            let narrow = &mut temporary.product.as_mut()[..];
            let (operand, rows) = constrain_patches(hold, d, width, columns, narrow);
            let operand = Grid::transposed(operand, width);
            let delta = Grid { data: &delta[chunk.start * area..], row_step: step_out, column_step: 1 };
            let shape = Shape::new(self.stage.outputs, rows, width);
            product_of_grids(shape, update, GridMut { data: out, row_step: rows }, delta, operand);
            update.keep = 1.0;
        }
    }

    /// `into ← keep · into + alpha ·` what the chart makes of the whole gradient `[C_out, d]`.
    fn constrain(
        self,
        hold: Hold<'_>,
        gradient: &mut [f32],
        into: &mut [f32],
        update: Update,
        temporary: &mut Temporary,
    ) {
        let (rows, d, narrow) = (self.stage.outputs, self.stage.inputs, self.stage.narrow());
        let product = &mut temporary.product.as_mut()[..rows * narrow];
        match hold {
            Hold::Projected { basis, importance } => {
                times(Shape::new(rows, narrow, d), Update::SET, product, gradient, basis.as_slice());
                if let Some(importance) = importance {
                    scale_columns(product, importance);
                }
                times_transposed(Shape::new(rows, d, narrow), Update::SUBTRACT, gradient, product, basis.as_slice());
                keep_only(into, update.keep);
                kernel::axpy(into, update.alpha, gradient);
            }
            Hold::Confined { span } => {
                times(Shape::new(rows, narrow, d), Update::SET, product, gradient, span.as_slice());
                times_transposed(Shape::new(rows, d, narrow), update, into, product, span.as_slice());
            }
            Hold::Coordinates { span, gain, .. } => {
                times(Shape::new(rows, narrow, d), Update::SET, product, gradient, span.as_slice());
                if let Some(gain) = gain {
                    scale_columns(product, gain);
                }
                keep_only(into, update.keep);
                kernel::axpy(into, update.alpha, product);
            }
            Hold::Whole | Hold::Fixed => {}
        }
    }
}

/// The patches `[d, width]` after the chart's constraint, or in its coordinates; and the rows of that.
fn constrain_patches<'a>(
    hold: Hold<'_>,
    d: usize,
    width: usize,
    columns: &'a mut [f32],
    narrow: &'a mut [f32],
) -> (&'a [f32], usize) {
    let basis = match hold {
        Hold::Whole | Hold::Fixed => return (columns, d),
        Hold::Projected { basis, .. } => basis,
        Hold::Confined { span } | Hold::Coordinates { span, .. } => span,
    };
    let k = basis.cols();
    let narrow = &mut narrow[..k * width];
    let out = GridMut { data: narrow, row_step: width };
    let (transposed, patches) = (Grid::transposed(basis.as_slice(), k), Grid::rows(columns, width));
    product_of_grids(Shape::new(k, width, d), Update::SET, out, transposed, patches);
    if let Hold::Projected { importance: Some(scales), .. } | Hold::Coordinates { gain: Some(scales), .. } = hold {
        for (row, scale) in narrow.chunks_exact_mut(width.max(1)).zip(scales) {
            kernel::scale(row, *scale);
        }
    }
    let update = match hold {
        Hold::Coordinates { .. } => return (narrow, k),
        Hold::Confined { .. } => Update::SET,
        _ => Update::SUBTRACT,
    };
    let out = GridMut { data: columns, row_step: width };
    let (basis, narrow) = (Grid::rows(basis.as_slice(), k), Grid::rows(narrow, width));
    product_of_grids(Shape::new(d, width, k), update, out, basis, narrow);
    (columns, d)
}
