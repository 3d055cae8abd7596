//! What goes from row to row: mixing, and the change between weights and coordinates.

use kith_core::{Layout, Role, Tensor};

use super::NativeEngine;
use super::block::NativeBlock;
use crate::kernel::{self, Shape, Start, Update};
use crate::plan;
use crate::port::{Chart, Geometry, MixingPlan};

/// Columns that are mixed together over a share of rows: what several rows read stays in the second-level cache.
const COLUMNS: usize = 4096;

/// Most rows in a share.
const ROWS: usize = 16;

impl NativeEngine {
    /// `out[i] ← (0 or out[i]) + Σ_j c_ij input[j]`. Neighbouring rows are walked column block by column block, so that an
    /// input row is read from memory once though several rows mix it. Rows are taken from the last to the first: visits go
    /// upwards, so the rows that are still in cache are met first, after a visit and after mixing.
    pub(super) fn combine_rows(&self, out: &mut NativeBlock, input: &NativeBlock, plan: &MixingPlan, start: Start) {
        assert_eq!(out.row_len(), input.row_len(), "numbers in a row of the two blocks");
        let len = out.row_len();
        let indices = 0..plan.len();
        let mut rows: Vec<_> = out.pick_mut(indices.clone().map(|index| plan.row(index).0)).zip(indices).collect();
        rows.reverse();
        let share = rows.len().div_ceil(4 * self.workspaces.len()).clamp(1, ROWS);
        let shares: Vec<_> = rows.chunks_mut(share).collect();
        self.spread(shares, |rows| {
            let mut terms = Vec::new();
            for first in (0..len).step_by(COLUMNS) {
                let columns = first..len.min(first + COLUMNS);
                for (row, index) in rows.iter_mut() {
                    let (_, sources) = plan.row(*index);
                    terms.clear();
                    terms.extend(sources.iter().map(|&(agent, c)| (c, &input.row(agent)[columns.clone()])));
                    kernel::combine(&mut row[columns.clone()], start, &terms);
                }
            }
        });
    }

    /// Splits whole rows into base and coordinates.
    pub(super) fn enter_rows(&self, geometry: &Geometry, whole: &mut NativeBlock, coordinates: &mut NativeBlock) {
        self.check_blocks(geometry, whole, coordinates);
        let rows: Vec<_> = whole.rows_mut().zip(coordinates.rows_mut()).collect();
        self.spread(rows, |(whole, coordinates)| {
            for (free, held, chart) in tensors(self.layout(), geometry) {
                let (weight, narrow) = (&mut whole[free.range()], &mut coordinates[held.range()]);
                let Some(Chart::Coordinates { span, .. }) = chart else {
                    narrow.copy_from_slice(weight);
                    continue;
                };
                let (d, k) = (free.cols, held.cols);
                kernel::times(Shape::new(free.rows, k, d), Update::SET, narrow, weight, span.as_slice());
                let lift = Shape::new(free.rows, d, k);
                kernel::times_transposed(lift, Update::SUBTRACT, weight, narrow, span.as_slice());
            }
        });
    }

    /// Puts base and coordinates together again.
    pub(super) fn leave_rows(&self, geometry: &Geometry, whole: &mut NativeBlock, coordinates: &NativeBlock) {
        self.check_blocks(geometry, whole, coordinates);
        let rows: Vec<_> = whole.rows_mut().zip(coordinates.rows()).collect();
        self.spread(rows, |(whole, coordinates)| {
            for (free, held, chart) in tensors(self.layout(), geometry) {
                let (weight, narrow) = (&mut whole[free.range()], &coordinates[held.range()]);
                let Some(Chart::Coordinates { span, .. }) = chart else {
                    weight.copy_from_slice(narrow);
                    continue;
                };
                let lift = Shape::new(free.rows, free.cols, held.cols);
                kernel::times_transposed(lift, Update::ADD, weight, narrow, span.as_slice());
            }
        });
    }

    fn check_blocks(&self, geometry: &Geometry, whole: &NativeBlock, coordinates: &NativeBlock) {
        plan::check(self.layout(), geometry);
        assert_eq!(whole.agents(), coordinates.agents(), "rows of the two blocks");
        assert_eq!(whole.row_len(), self.layout().len(), "numbers in a whole row");
        assert_eq!(coordinates.row_len(), geometry.layout.len(), "numbers in a row of coordinates");
    }
}

/// Every tensor in the whole and in the geometry's layout, with the chart of projected ones.
fn tensors<'a>(
    whole: &'a Layout,
    geometry: &'a Geometry,
) -> impl Iterator<Item = (&'a Tensor, &'a Tensor, Option<&'a Chart>)> {
    whole.tensors.iter().zip(&geometry.layout.tensors).map(|(free, held)| {
        let chart = match free.role {
            Role::Projected(layer) => Some(&geometry.charts[layer]),
            Role::Free | Role::Affine(_) | Role::Head(_) => None,
        };
        (free, held, chart)
    })
}
