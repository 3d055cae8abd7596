//! What goes from row to row: mixing, and the change between weights and coordinates.

use burn::tensor::{Bool, Tensor, TensorData};
use kith_core::{AgentId, Role, Tensor as Place};
use kith_engine::plan;
use kith_engine::{Chart, Geometry, MixingPlan};

use crate::engine::BurnEngine;
use crate::engine::block::{BurnBlock, indices};
use crate::engine::rows::{Piece, Rows, assembled, matrices, tensor, times_shared};

/// Where a mixed row starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Zero,
    Output,
}

/// A dense product is taken where rows have at least one term in so many: it reads every row once, gathering once a term. A
/// guess from memory traffic and arithmetic of current GPUs, not a measurement.
const SPARSE: usize = 64;

/// Terms of one output row within one chunk of the input: places and coefficients.
type Terms = Vec<(usize, f32)>;

impl BurnEngine {
    /// `out[i] ← (0 or out[i]) + Σ_j c_ij input[j]` for every row of the plan.
    pub(crate) fn combine(&self, out: &mut BurnBlock, input: &BurnBlock, plan: &MixingPlan, start: Start) {
        assert_eq!(out.row_len(), input.row_len(), "numbers in a row of the two blocks");
        let agents: Vec<AgentId> = (0..plan.len()).map(|row| plan.row(row).0).collect();
        let mut first = 0;
        for (chunk, own) in out.by_chunk(&agents) {
            let rows = first..first + own.len();
            first = rows.end;
            let places = out.places(own);
            let count = out.range(chunk).len();
            let Some(before) = out.take_chunk(chunk) else { continue };
            let mut sum: Option<Rows> = None;
            for source in 0..input.chunk_count() {
                let Some(from) = input.chunk(source) else { continue };
                let mut terms: Vec<Terms> = vec![Vec::new(); count];
                for (&place, row) in places.iter().zip(rows.clone()) {
                    let range = input.range(source);
                    let sources = plan.row(row).1.iter().map(|(agent, c)| (input.index(*agent), *c));
                    let inside = sources.filter(|(index, _)| range.contains(index));
                    terms[place] = inside.map(|(index, c)| (index - range.start, c)).collect();
                }
                if let Some(product) = self.product(&terms, from) {
                    sum = Some(match sum {
                        Some(sum) => sum.add(product),
                        None => product,
                    });
                }
            }
            let sum = sum.unwrap_or_else(|| before.zeros_like());
            out.put_chunk(chunk, Some(self.finished(before, sum, &places, start)));
        }
    }

    /// The chunk after mixing: rows that are not in the plan stay.
    fn finished(&self, before: Rows, sum: Rows, places: &[usize], start: Start) -> Rows {
        let [count, len] = before.dims();
        if start == Start::Output {
            return before.add(sum);
        }
        if places.len() == count {
            return sum;
        }
        let mut mixed = vec![false; count];
        places.iter().for_each(|place| mixed[*place] = true);
        let mixed = Tensor::<2, Bool>::from_data(TensorData::new(mixed, [count, 1]), self.device());
        before.mask_where(mixed.expand([count, len]), sum)
    }

    /// Sums of terms, row by row; none where there is no term at all.
    fn product(&self, terms: &[Terms], from: Rows) -> Option<Rows> {
        let [inputs, _] = from.dims();
        let most = terms.iter().map(Vec::len).max().unwrap_or(0);
        if most == 0 {
            return None;
        }
        let count = terms.len();
        if inputs <= SPARSE * most {
            let mut dense = vec![0.0; count * inputs];
            for (row, terms) in dense.chunks_exact_mut(inputs).zip(terms) {
                terms.iter().for_each(|(place, c)| row[*place] += c);
            }
            return Some(tensor(dense, [count, inputs], self.device()).matmul(from));
        }
        let nth = |nth: usize| {
            // A row with fewer terms takes its first once more, times zero: what is not finite stays among its own sources.
            let term = |terms: &Terms| terms.get(nth).copied().or(terms.first().map(|(place, _)| (*place, 0.0)));
            let (places, factors): (Vec<_>, Vec<_>) = terms.iter().map(|terms| term(terms).unwrap_or((0, 0.0))).unzip();
            let factors = tensor(factors, [count, 1], self.device());
            from.clone().select(0, indices(&places, self.device())).mul(factors)
        };
        (0..most).map(nth).reduce(Tensor::add)
    }

    /// Splits whole rows into base and coordinates.
    pub(crate) fn enter_rows(&self, geometry: &Geometry, whole: &mut BurnBlock, coordinates: &mut BurnBlock) {
        self.check_blocks(geometry, whole, coordinates);
        for chunk in 0..whole.chunk_count() {
            let Some(rows) = whole.take_chunk(chunk) else { continue };
            let agents = rows.dims()[0];
            let (mut base, mut held): (Vec<Piece>, Vec<Piece>) = (Vec::new(), Vec::new());
            for (free, narrow, chart) in self.tensors(geometry) {
                let weight = || rows.clone().narrow(1, free.offset, free.len());
                match chart {
                    Some(Chart::Coordinates { span, .. }) if span.cols() == 0 => base.push((free.offset, weight())),
                    Some(Chart::Coordinates { span, .. }) => {
                        let span = self.constants.matrix(span);
                        let weight = matrices(&rows, free.offset, [free.rows, free.cols]);
                        let inside = times_shared(weight.clone(), span.clone());
                        let rest = weight.sub(times_shared(inside.clone(), span.transpose()));
                        held.push((narrow.offset, inside.reshape([agents, narrow.len()])));
                        base.push((free.offset, rest.reshape([agents, free.len()])));
                    }
                    _ => {
                        held.push((narrow.offset, weight()));
                        base.push((free.offset, weight()));
                    }
                }
            }
            if coordinates.row_len() > 0 {
                let held = assembled(held, agents, coordinates.row_len(), self.device());
                coordinates.put_chunk(chunk, Some(held));
            }
            whole.put_chunk(chunk, Some(assembled(base, agents, whole.row_len(), self.device())));
        }
    }

    /// Puts base and coordinates together again.
    pub(crate) fn leave_rows(&self, geometry: &Geometry, whole: &mut BurnBlock, coordinates: &BurnBlock) {
        self.check_blocks(geometry, whole, coordinates);
        for chunk in 0..whole.chunk_count() {
            let Some(base) = whole.take_chunk(chunk) else { continue };
            let agents = base.dims()[0];
            let held = coordinates.chunk(chunk);
            let piece = |(free, narrow, chart): (&Place, &Place, Option<&Chart>)| -> Piece {
                let weight = match (chart, &held) {
                    (Some(Chart::Coordinates { span, .. }), Some(held)) if span.cols() > 0 => {
                        let span = self.constants.matrix(span).transpose();
                        let lifted = times_shared(matrices(held, narrow.offset, [narrow.rows, narrow.cols]), span);
                        base.clone().narrow(1, free.offset, free.len()).add(lifted.reshape([agents, free.len()]))
                    }
                    (Some(Chart::Coordinates { .. }), _) | (_, None) => base.clone().narrow(1, free.offset, free.len()),
                    (_, Some(held)) => held.clone().narrow(1, narrow.offset, narrow.len()),
                };
                (free.offset, weight)
            };
            let pieces = self.tensors(geometry).map(piece).collect();
            whole.put_chunk(chunk, Some(assembled(pieces, agents, whole.row_len(), self.device())));
        }
    }

    /// Every tensor in the whole and in the geometry's layout, with the chart of projected ones.
    fn tensors<'a>(
        &'a self,
        geometry: &'a Geometry,
    ) -> impl Iterator<Item = (&'a Place, &'a Place, Option<&'a Chart>)> {
        self.layout().tensors.iter().zip(&geometry.layout.tensors).map(|(free, held)| {
            let chart = match free.role {
                Role::Projected(layer) => Some(&geometry.charts[layer]),
                Role::Free | Role::Affine(_) | Role::Head(_) => None,
            };
            (free, held, chart)
        })
    }

    fn check_blocks(&self, geometry: &Geometry, whole: &BurnBlock, coordinates: &BurnBlock) {
        plan::check(self.layout(), geometry);
        assert_eq!(whole.agents(), coordinates.agents(), "rows of the two blocks");
        assert_eq!(whole.row_len(), self.layout().len(), "numbers in a whole row");
        assert_eq!(coordinates.row_len(), geometry.layout.len(), "numbers in a row of coordinates");
    }
}
