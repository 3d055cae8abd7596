//! Products of row-major matrices and arithmetic on rows: all the unsafe code of the engine, behind checked functions.

#[macro_use]
mod widest;

mod general;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod pages;
mod patches;
mod planes;
mod rows;
#[cfg(target_arch = "x86_64")]
mod skinny;

pub(crate) use general::{Grid, GridMut, product_of_grids};
pub(crate) use pages::prefer_huge_pages;
pub(crate) use patches::{add_patches, patches};
pub(crate) use planes::{
    affine, centred_products, combine_affine, deviation, mask, max_pool, multiply, rectify, spread_mean, sum,
    window_mean,
};
pub(crate) use rows::{Start, axpy, combine, dot, scale, squared_norm};

/// Largest minibatch whose products are cut into tiles as they lie; larger operands are worth packing.
#[cfg(target_arch = "x86_64")]
const SKINNY: usize = 256;

/// Sizes of a product: the output is `[rows, cols]`, `depth` is summed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) depth: usize,
}

impl Shape {
    pub(crate) const fn new(rows: usize, cols: usize, depth: usize) -> Self {
        Self { rows, cols, depth }
    }

    /// Checks that the three matrices hold what the shape says; what makes the kernels sound.
    fn check(self, out: &[f32], a: &[f32], b: &[f32]) {
        let Self { rows, cols, depth } = self;
        assert_eq!((out.len(), a.len(), b.len()), (rows * cols, rows * depth, depth * cols), "matrices of {self:?}");
    }
}

/// What a product does to its output: `out ← keep · out + alpha · product`. With `keep = 0` the output is only written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Update {
    pub(crate) keep: f32,
    pub(crate) alpha: f32,
}

impl Update {
    /// `out ← product`.
    pub(crate) const SET: Self = Self { keep: 0.0, alpha: 1.0 };
    /// `out ← out + product`.
    pub(crate) const ADD: Self = Self { keep: 1.0, alpha: 1.0 };
    /// `out ← out − product`.
    pub(crate) const SUBTRACT: Self = Self { keep: 1.0, alpha: -1.0 };
}

/// `out ← keep · out + alpha · a · bᵀ`, `out: [rows, cols]`, `a: [rows, depth]`, `b: [cols, depth]`: a layer's output.
pub(crate) fn times_transposed(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    shape.check(out, a, b);
    if trivial(shape, update, out) {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let (true, Some(machine)) = (shape.rows <= SKINNY, skinny::Machine::detect()) {
        return skinny::times_transposed(machine, shape, update, out, a, b);
    }
    general::times_transposed(shape, update, out, a, b);
}

/// `out ← keep · out + alpha · a · b`, `out: [rows, cols]`, `a: [rows, depth]`, `b: [depth, cols]`: an input gradient.
pub(crate) fn times(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    shape.check(out, a, b);
    if trivial(shape, update, out) {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let (true, Some(machine)) = (shape.rows <= SKINNY, skinny::Machine::detect()) {
        return skinny::times(machine, shape, update, out, a, b);
    }
    general::times(shape, update, out, a, b);
}

/// `out ← keep · out + alpha · aᵀ · b`, `out: [rows, cols]`, `a: [depth, rows]`, `b: [depth, cols]`: a weight gradient.
pub(crate) fn transposed_times(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    shape.check(out, a, b);
    if trivial(shape, update, out) {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let (true, Some(machine)) = (shape.depth <= SKINNY, skinny::Machine::detect()) {
        return skinny::transposed_times(machine, shape, update, out, a, b);
    }
    general::transposed_times(shape, update, out, a, b);
}

/// `row ← keep · row`; `keep = 0` writes zeros whatever was there.
pub(crate) fn keep_only(row: &mut [f32], keep: f32) {
    if keep == 0.0 {
        row.fill(0.0);
    } else if keep != 1.0 {
        scale(row, keep);
    }
}

/// Multiplies column `j` of a matrix by `scales[j]`.
pub(crate) fn scale_columns(matrix: &mut [f32], scales: &[f32]) {
    for row in matrix.chunks_exact_mut(scales.len().max(1)) {
        for (value, scale) in row.iter_mut().zip(scales) {
            *value *= scale;
        }
    }
}

/// Serves products over nothing; says whether it did.
fn trivial(shape: Shape, update: Update, out: &mut [f32]) -> bool {
    let empty = shape.rows == 0 || shape.cols == 0 || shape.depth == 0;
    if empty {
        keep_only(out, update.keep);
    }
    empty
}

#[cfg(test)]
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
