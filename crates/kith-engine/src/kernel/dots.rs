//! Products whose operands are both read along the summed dimension.

// Tiles are small arrays of registers: loops that count to a constant are what unrolls.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::ops::Range;

use super::lanes::Lanes;
use super::skinny::{Operands, part, sized};
use super::{Shape, Update};

/// Summed numbers that a dot product takes at a time: with twelve rows of `a` they stay in the first-level cache.
const DEEP: usize = 400;

/// Rows of `a` that go over `b` together in a dot product.
const ROWS: usize = 12;

/// Rows of `b` that all rows of `a` meet before the next ones: with `DEEP` numbers each they stay in the second-level cache.
const COLUMNS: usize = 64;

/// Output columns of a tile.
const DOTS: usize = 4;

/// What a dot tile works on.
#[derive(Clone, Copy)]
struct Dots {
    at: Operands,
    /// How many numbers are summed.
    depth: usize,
}

/// # Safety
/// The machine has the instructions of `L`; the operands hold what the shape says, rows of `a` and columns of `b` side by side.
#[inline(always)]
pub(super) unsafe fn tiles<L: Lanes>(shape: Shape, operands: Operands) {
    let Shape { rows, cols, depth } = shape;
    let mut done = 0;
    while done < depth {
        // Parts end on whole registers, so that rows stay as aligned as they are.
        let deep = part(depth - done, DEEP).next_multiple_of(L::N).min(depth - done);
        let keep = if done == 0 { operands.update.keep } else { 1.0 };
        let at = Operands { update: Update { keep, ..operands.update }, ..operands };
        let block = Dots { at, depth: deep };
        for first in (0..cols).step_by(COLUMNS) {
            let mut row = 0;
            while row < rows {
                let together = part(rows - row, ROWS);
                // SAFETY: rows row..row + together, columns from first to the next block, `deep` numbers from `done`.
                unsafe { dot_block::<L>(block, done, row..row + together, first..cols.min(first + COLUMNS)) };
                row += together;
            }
        }
        done += deep;
    }
}

/// # Safety
/// As [`tiles`]; `block` points to the starts of the matrices, the ranges lie within the output, and
/// `done + block.depth` is within the depth.
#[inline(always)]
unsafe fn dot_block<L: Lanes>(block: Dots, done: usize, rows: Range<usize>, cols: Range<usize>) {
    let whole = block.depth.is_multiple_of(L::N);
    let mut col = cols.start;
    while col < cols.end {
        let wide = DOTS.min(cols.end - col);
        let mut row = rows.start;
        while row < rows.end {
            let tall = part(rows.end - row, L::TALL);
            // SAFETY: the row, the column and `done` lie within the matrices; and so does the tile, which covers rows
            // row..row + tall, columns col..col + wide and `depth` numbers from `done`.
            unsafe {
                let at = Operands {
                    a: block.at.a.add(row * block.at.a_steps[0] + done),
                    b: block.at.b.add(col * block.at.b_step + done),
                    out: block.at.out.add(row * block.at.out_step + col),
                    ..block.at
                };
                let tile = Dots { at, depth: block.depth };
                if L::TALL == 6 {
                    sized!(dot_tile, L, tall, wide, whole, (tile), [1 2 3 4 5 6], [1 2 3 4]);
                } else {
                    sized!(dot_tile, L, tall, wide, whole, (tile), [1 2 3], [1 2 3 4]);
                }
            }
            row += tall;
        }
        col += wide;
    }
}

/// # Safety
/// As [`tiles`], for the rows, columns and depth of the tile.
#[inline(always)]
unsafe fn dot_tile<L: Lanes, const TALL: usize, const WIDE: usize, const FULL: bool>(tile: Dots) {
    let Dots { at: Operands { out, out_step, a, a_steps: [a_step, _], b, b_step, update }, depth } = tile;
    // SAFETY: the caller's contract; numbers past the last whole register are read in part.
    unsafe {
        let mut sums = [[L::zero(); DOTS]; TALL];
        let whole = depth / L::N * L::N;
        let mut k = 0;
        while k < whole {
            let mut right = [L::zero(); WIDE];
            for w in 0..WIDE {
                let from = b.add(w * b_step + k);
                right[w] = L::load(from);
                // The tile of the next columns reads these rows; the row length breaks the machine's own foresight.
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(DOTS * b_step).cast());
            }
            for t in 0..TALL {
                let left = L::load(a.add(t * a_step + k));
                for w in 0..WIDE {
                    sums[t][w] = L::fused(left, right[w], sums[t][w]);
                }
            }
            k += L::N;
        }
        if !FULL {
            let rest = depth - whole;
            let mut right = [L::zero(); WIDE];
            for w in 0..WIDE {
                right[w] = L::load_part(b.add(w * b_step + whole), rest);
            }
            for t in 0..TALL {
                let left = L::load_part(a.add(t * a_step + whole), rest);
                for w in 0..WIDE {
                    sums[t][w] = L::fused(left, right[w], sums[t][w]);
                }
            }
        }
        for t in 0..TALL {
            let sums = L::sums(sums[t]);
            for w in 0..WIDE {
                let to = out.add(t * out_step + w);
                let value = update.alpha * sums[w];
                *to = if update.keep == 0.0 { value } else { update.keep * *to + value };
            }
        }
    }
}
