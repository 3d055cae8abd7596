//! Products of any shape, by the `gemm` crate on the calling thread.

use gemm::{Parallelism, gemm};

use super::{Shape, Update};

/// Where an operand lies: first number, and the steps from column to column and from row to row.
struct Operand<'a> {
    data: &'a [f32],
    column_step: usize,
    row_step: usize,
}

pub(super) fn times_transposed(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    let a = Operand { data: a, column_step: 1, row_step: shape.depth };
    let b = Operand { data: b, column_step: shape.depth, row_step: 1 };
    product(shape, update, out, &a, &b);
}

pub(super) fn times(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    let a = Operand { data: a, column_step: 1, row_step: shape.depth };
    let b = Operand { data: b, column_step: 1, row_step: shape.cols };
    product(shape, update, out, &a, &b);
}

pub(super) fn transposed_times(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    let a = Operand { data: a, column_step: shape.rows, row_step: 1 };
    let b = Operand { data: b, column_step: 1, row_step: shape.cols };
    product(shape, update, out, &a, &b);
}

fn product(shape: Shape, update: Update, out: &mut [f32], a: &Operand<'_>, b: &Operand<'_>) {
    // SAFETY: the callers' `Shape::check` holds `out` to rows × cols, `a` to rows × depth and `b` to depth × cols numbers,
    // and the steps above walk exactly these, row-major or transposed. `out` is borrowed alone. With keep = 0 it is not
    // read (and it is initialised anyway).
    unsafe {
        gemm(
            shape.rows,
            shape.cols,
            shape.depth,
            out.as_mut_ptr(),
            1,
            shape.cols as isize,
            update.keep != 0.0,
            a.data.as_ptr(),
            a.column_step as isize,
            a.row_step as isize,
            b.data.as_ptr(),
            b.column_step as isize,
            b.row_step as isize,
            update.keep,
            update.alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A matrix in memory: number `(i, j)` lies at `first + i · row_step + j · column_step`.
#[derive(Clone, Copy)]
pub(crate) struct Grid<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
}

/// A matrix in memory to write, rows `row_step` apart, columns side by side.
pub(crate) struct GridMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) row_step: usize,
}

/// `out ← keep · out + alpha · a · b`, `out: [rows, cols]`, `a: [rows, depth]`, `b: [depth, cols]`, wherever their numbers lie.
pub(crate) fn product_of_grids(shape: Shape, update: Update, out: GridMut<'_>, a: Grid<'_>, b: Grid<'_>) {
    let Shape { rows, cols, depth } = shape;
    if rows == 0 || cols == 0 || depth == 0 {
        let row = |row: &mut [f32]| super::keep_only(&mut row[..cols], update.keep);
        return out.data.chunks_mut(out.row_step.max(1)).take(rows).for_each(row);
    }
    assert!(out.row_step >= cols, "rows of the output do not overlap");
    assert!((rows - 1) * out.row_step + cols <= out.data.len(), "the output of {shape:?}");
    for (grid, rows, cols) in [(a, rows, depth), (b, depth, cols)] {
        let last = (rows - 1) * grid.row_step + (cols - 1) * grid.column_step;
        assert!(last < grid.data.len(), "an operand of {shape:?}");
    }
    // SAFETY: every number that the steps reach lies within its slice, as checked above; rows of `out`, which is borrowed
    // alone, do not overlap. With keep = 0 it is not read (and it is initialised anyway).
    unsafe {
        gemm(
            rows,
            cols,
            depth,
            out.data.as_mut_ptr(),
            1,
            out.row_step as isize,
            update.keep != 0.0,
            a.data.as_ptr(),
            a.column_step as isize,
            a.row_step as isize,
            b.data.as_ptr(),
            b.column_step as isize,
            b.row_step as isize,
            update.keep,
            update.alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
