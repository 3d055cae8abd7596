//! Where the numbers of a matrix lie.

use super::Shape;

/// A matrix in memory: number `(i, j)` lies at `first + i · row_step + j · column_step`.
#[derive(Clone, Copy)]
pub(crate) struct Grid<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
}

impl<'a> Grid<'a> {
    /// Rows of `cols` numbers, one after the other.
    pub(crate) const fn rows(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_step: cols, column_step: 1 }
    }

    /// The transpose of rows of `rows` numbers, one after the other.
    pub(crate) const fn transposed(data: &'a [f32], rows: usize) -> Self {
        Self { data, row_step: 1, column_step: rows }
    }
}

/// A matrix in memory to write, rows `row_step` apart, columns side by side.
pub(crate) struct GridMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) row_step: usize,
}

/// Checks that every number of a product, none of whose sides is empty, lies in its slice, and that rows of the output do
/// not overlap: what makes the kernels sound.
pub(super) fn check(shape: Shape, out: &GridMut<'_>, a: &Grid<'_>, b: &Grid<'_>) {
    let Shape { rows, cols, depth } = shape;
    assert!(rows > 0 && cols > 0 && depth > 0, "no side of {shape:?} is empty");
    assert!(rows == 1 || out.row_step >= cols, "rows of the output do not overlap");
    assert!((rows - 1) * out.row_step + cols <= out.data.len(), "the output of {shape:?}");
    for (grid, rows, cols) in [(a, rows, depth), (b, depth, cols)] {
        let last = (rows - 1) * grid.row_step + (cols - 1) * grid.column_step;
        assert!(last < grid.data.len(), "an operand of {shape:?}");
    }
}
