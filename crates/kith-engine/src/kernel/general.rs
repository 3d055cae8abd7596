//! Products of any shape, by the `gemm` crate on the calling thread.

use gemm::{Parallelism, gemm};

use super::grid::{self, Grid, GridMut};
use super::{Shape, Update};

/// `out ← keep · out + alpha · a · b`, wherever their numbers lie; no side of the shape is empty.
pub(super) fn product(shape: Shape, update: Update, out: GridMut<'_>, a: Grid<'_>, b: Grid<'_>) {
    grid::check(shape, &out, &a, &b);
    // SAFETY: every number that the steps reach lies within its slice, as checked above; rows of `out`, which is borrowed
    // alone, do not overlap. With keep = 0 it is not read (and it is initialised anyway).
    unsafe {
        gemm(
            shape.rows,
            shape.cols,
            shape.depth,
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
