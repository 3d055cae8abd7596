//! Mixing without a second block. A row that others still mix is copied before it is overwritten, a piece at a time: of a ring
//! two or three pieces are alive at once and stay in the first cache, so that memory is read once and written once.

use kith_core::AgentId;

use super::NativeEngine;
use super::block::NativeBlock;
use crate::kernel::{self, Start};
use crate::port::MixingPlan;

/// Most columns of a piece, and fewest where many copies are alive.
const COLUMNS: std::ops::RangeInclusive<usize> = 256..=4096;

/// Numbers of all copies alive at once, where the fewest columns allow: a quarter of a second-level cache.
const ALIVE: usize = 1 << 16;

/// Terms that one pass of the kernel takes.
const TERMS: usize = 5;

/// Where a term's row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// In the block: it is not overwritten yet, or never.
    Row(usize),
    /// In a copy.
    Copy(usize),
}

/// A row to be mixed.
#[derive(Debug)]
struct Step {
    place: usize,
    /// Where the row goes before it is overwritten.
    copy: Option<usize>,
    terms: Vec<(Source, f32)>,
}

/// The order of a mixing, and how many copies are alive at most.
#[derive(Debug)]
pub(super) struct Schedule {
    steps: Vec<Step>,
    copies: usize,
}

impl Schedule {
    /// `place` says which of the rows is an agent's.
    pub(super) fn new(plan: &MixingPlan, place: impl Fn(AgentId) -> usize) -> Self {
        let agents: Vec<AgentId> = (0..plan.len()).map(|index| plan.row(index).0).collect();
        let index = |agent: AgentId| agents.binary_search(&agent).ok();
        // The last step that reads a row after or while it is overwritten.
        let mut last: Vec<Option<usize>> = vec![None; agents.len()];
        for step in 0..agents.len() {
            for (source, _) in plan.row(step).1 {
                if let Some(source) = index(*source).filter(|source| *source <= step) {
                    last[source] = Some(step);
                }
            }
        }
        let (mut free, mut copies) = (Vec::new(), 0);
        let mut copy: Vec<Option<usize>> = vec![None; agents.len()];
        let mut ends: Vec<Vec<usize>> = vec![Vec::new(); agents.len()];
        let mut steps = Vec::with_capacity(agents.len());
        for step in 0..agents.len() {
            if let Some(last) = last[step] {
                let slot = free.pop().unwrap_or_else(|| {
                    copies += 1;
                    copies - 1
                });
                copy[step] = Some(slot);
                ends[last].push(slot);
            }
            let read = |&(source, c): &(AgentId, f32)| {
                let early = index(source).filter(|source| *source <= step).and_then(|source| copy[source]);
                (early.map_or_else(|| Source::Row(place(source)), Source::Copy), c)
            };
            let terms = plan.row(step).1.iter().map(read).collect();
            steps.push(Step { place: place(agents[step]), copy: copy[step], terms });
            free.append(&mut ends[step]);
        }
        Self { steps, copies }
    }

    fn columns(&self) -> usize {
        (ALIVE / self.copies.max(1)).clamp(*COLUMNS.start(), *COLUMNS.end())
    }

    /// Mixes the pieces `[.., first..first + columns]` of all rows.
    fn mix(&self, rows: &mut [&mut [f32]], copies: &mut [f32], columns: std::ops::Range<usize>) {
        let width = columns.len();
        for step in &self.steps {
            let row = std::mem::take(&mut rows[step.place]);
            let out = &mut row[columns.clone()];
            if let Some(copy) = step.copy {
                copies[copy * width..(copy + 1) * width].copy_from_slice(out);
            }
            let source = |source: Source| match source {
                Source::Row(place) => &rows[place][columns.clone()],
                Source::Copy(copy) => &copies[copy * width..(copy + 1) * width],
            };
            let mut start = Start::Zero;
            let mut rest = step.terms.as_slice();
            loop {
                let (now, later) = rest.split_at(rest.len().min(TERMS));
                let mut terms: [(f32, &[f32]); TERMS] = [(0.0, &[]); TERMS];
                terms.iter_mut().zip(now).for_each(|(term, &(from, c))| *term = (c, source(from)));
                kernel::combine(out, start, &terms[..now.len()]);
                if later.is_empty() {
                    break;
                }
                (start, rest) = (Start::Output, later);
            }
            rows[step.place] = row;
        }
    }
}

impl NativeEngine {
    /// `rows[i] ← Σ_j c_ij rows[j]`. Threads share the columns, since all rows of a column need each other.
    pub(super) fn combine_in_place(&self, block: &mut NativeBlock, plan: &MixingPlan) {
        let len = block.row_len();
        if plan.is_empty() || len == 0 {
            return;
        }
        let schedule = Schedule::new(plan, |agent| block.place(agent));
        self.mix_by(&schedule, block.rows_mut().collect(), len);
    }

    /// Mixes these rows of `len` numbers.
    pub(super) fn mix_by(&self, schedule: &Schedule, rows: Vec<&mut [f32]>, len: usize) {
        let parts = if self.workspaces.len() > 1 { 4 * self.workspaces.len() } else { 1 };
        let share = len.div_ceil(parts).next_multiple_of(16);
        let mut shares: Vec<Vec<&mut [f32]>> = (0..len.div_ceil(share)).map(|_| Vec::new()).collect();
        for row in rows {
            shares.iter_mut().zip(row.chunks_mut(share)).for_each(|(share, piece)| share.push(piece));
        }
        self.spread(shares, |mut rows| {
            let len = rows.first().map_or(0, |row| row.len());
            let columns = schedule.columns().min(len);
            let mut copies = vec![0.0; schedule.copies * columns];
            for first in (0..len).step_by(columns.max(1)) {
                schedule.mix(&mut rows, &mut copies, first..len.min(first + columns));
            }
        });
    }
}
