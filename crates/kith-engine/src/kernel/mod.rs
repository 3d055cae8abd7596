//! Products of row-major matrices and arithmetic on rows: all the unsafe code of the engine, behind checked functions.

#[macro_use]
mod widest;

#[cfg(target_arch = "x86_64")]
mod broadcast;
#[cfg(target_arch = "x86_64")]
mod dots;
mod general;
mod grid;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod pages;
mod patches;
mod planes;
mod pooling;
mod rows;
#[cfg(target_arch = "x86_64")]
mod shifts;
#[cfg(target_arch = "x86_64")]
mod skinny;

pub(crate) use grid::{Grid, GridMut};
pub(crate) use pages::prefer_huge_pages;
pub(crate) use patches::{patches, sum_patches};
pub(crate) use planes::{affine, centred_products, combine_affine, deviation, mask, multiply, rectify, shift, sum};
pub(crate) use pooling::{max_pool, max_pool_back, spread_mean, window_mean};
pub(crate) use rows::{Start, axpy, combine, dot, scale, squared_norm};

/// Largest minibatch whose products are cut into tiles as they lie; larger operands are worth packing.
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
    let (a, b) = (Grid::rows(a, shape.depth), Grid::transposed(b, shape.depth));
    product(shape, update, GridMut { data: out, row_step: shape.cols }, a, b, packing(shape.rows));
}

/// `out ← keep · out + alpha · a · b`, `out: [rows, cols]`, `a: [rows, depth]`, `b: [depth, cols]`: an input gradient.
pub(crate) fn times(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    shape.check(out, a, b);
    let (a, b) = (Grid::rows(a, shape.depth), Grid::rows(b, shape.cols));
    product(shape, update, GridMut { data: out, row_step: shape.cols }, a, b, packing(shape.rows));
}

/// `out ← keep · out + alpha · aᵀ · b`, `out: [rows, cols]`, `a: [depth, rows]`, `b: [depth, cols]`: a weight gradient.
pub(crate) fn transposed_times(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    shape.check(out, a, b);
    let (a, b) = (Grid::transposed(a, shape.rows), Grid::rows(b, shape.cols));
    product(shape, update, GridMut { data: out, row_step: shape.cols }, a, b, packing(shape.depth));
}

/// `out ← keep · out + alpha · a · b`, `out: [rows, cols]`, `a: [rows, depth]`, `b: [depth, cols]`, wherever their numbers lie:
/// a product with patches, which are in cache.
pub(crate) fn product_of_grids(shape: Shape, update: Update, out: GridMut<'_>, a: Grid<'_>, b: Grid<'_>) {
    product(shape, update, out, a, b, Packing::Never);
}

/// Whether operands are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    /// Where the kernels that do without can walk the operands.
    Never,
    Always,
}

/// Products with a long minibatch are worth packing.
const fn packing(batch: usize) -> Packing {
    if batch <= SKINNY { Packing::Never } else { Packing::Always }
}

fn product(shape: Shape, update: Update, out: GridMut<'_>, a: Grid<'_>, b: Grid<'_>, packing: Packing) {
    let Shape { rows, cols, depth } = shape;
    if rows == 0 || cols == 0 || depth == 0 {
        let row = |row: &mut [f32]| keep_only(&mut row[..cols], update.keep);
        return out.data.chunks_mut(out.row_step.max(1)).take(rows).for_each(row);
    }
    #[cfg(target_arch = "x86_64")]
    if packing == Packing::Never
        && skinny::fits(&a, &b)
        && let Some(machine) = skinny::Machine::detect()
    {
        return skinny::product(machine, shape, update, out, a, b);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = packing;
    general::product(shape, update, out, a, b);
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

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
