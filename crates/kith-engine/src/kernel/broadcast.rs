//! Products whose output columns lie in registers: one number of `a` meets a row of `b`.

// Tiles are small arrays of registers: loops that count to a constant are what unrolls.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::Shape;
use super::lanes::Lanes;
use super::skinny::{Operands, part, sized};

/// What a broadcast tile works on.
#[derive(Clone, Copy)]
struct Broadcast {
    at: Operands,
    depth: usize,
    /// Lanes of the tile's last register.
    last: usize,
}

/// # Safety
/// The machine has the instructions of `L`; the operands hold what the shape says, rows of `b` side by side.
#[inline(always)]
pub(super) unsafe fn tiles<L: Lanes>(shape: Shape, operands: Operands) {
    let Shape { rows, cols, depth } = shape;
    let registers = cols.div_ceil(L::N);
    let mut register = 0;
    // A panel of `b` stays in the first-level cache while all rows of the output pass by.
    while register < registers {
        let wide = part(registers - register, L::WIDE);
        let first = register * L::N;
        let last = (cols - first - (wide - 1) * L::N).min(L::N);
        let mut row = 0;
        while row < rows {
            let tall = part(rows - row, 6);
            // SAFETY: row < rows and first < cols, so the pointers stay in their slices.
            let at = unsafe {
                Operands {
                    a: operands.a.add(row * operands.a_steps[0]),
                    b: operands.b.add(first),
                    out: operands.out.add(row * operands.out_step + first),
                    ..operands
                }
            };
            let tile = Broadcast { at, depth, last };
            // SAFETY: the tile covers rows row..row + tall and columns first..first + (wide − 1) N + last of the output.
            unsafe {
                if L::WIDE == 4 {
                    sized!(tile_of, L, tall, wide, last == L::N, (tile), [1 2 3 4 5 6], [1 2 3 4]);
                } else {
                    sized!(tile_of, L, tall, wide, last == L::N, (tile), [1 2 3 4 5 6], [1 2]);
                }
            }
            row += tall;
        }
        register += wide;
    }
}

/// # Safety
/// As [`tiles`], for the rows and columns of the tile.
#[inline(always)]
unsafe fn tile_of<L: Lanes, const TALL: usize, const WIDE: usize, const FULL: bool>(tile: Broadcast) {
    let Broadcast { at: Operands { out, out_step, a, a_steps, b, b_step, update }, depth, last } = tile;
    // SAFETY: the caller's contract; a last register that is not full is read and written in part.
    unsafe {
        // The tile below is updated next, and its rows lie too far apart for the machine to foresee them.
        if update.keep != 0.0 {
            for t in 0..TALL {
                for w in 0..WIDE {
                    _mm_prefetch::<_MM_HINT_T0>(out.wrapping_add((TALL + t) * out_step + w * L::N).cast());
                }
            }
        }
        let mut sums = [[L::zero(); WIDE]; TALL];
        for k in 0..depth {
            let row = load_row::<L, WIDE, FULL>(b.add(k * b_step), last);
            for t in 0..TALL {
                let factor = L::splat(*a.add(t * a_steps[0] + k * a_steps[1]));
                for w in 0..WIDE {
                    sums[t][w] = L::fused(factor, row[w], sums[t][w]);
                }
            }
        }
        // One short loop a case: a long one would not be unrolled, and the sums would go through memory.
        let alpha = L::splat(update.alpha);
        if update.keep == 0.0 {
            for t in 0..TALL {
                let values = sums[t].map(|sum| L::multiply(alpha, sum));
                store_row::<L, WIDE, FULL>(out.add(t * out_step), values, last);
            }
            return;
        }
        if update.keep != 1.0 {
            let keep = L::splat(update.keep);
            for t in 0..TALL {
                let kept = load_row::<L, WIDE, FULL>(out.add(t * out_step), last).map(|value| L::multiply(keep, value));
                store_row::<L, WIDE, FULL>(out.add(t * out_step), kept, last);
            }
        }
        for t in 0..TALL {
            let mut row = load_row::<L, WIDE, FULL>(out.add(t * out_step), last);
            for w in 0..WIDE {
                row[w] = L::fused(alpha, sums[t][w], row[w]);
            }
            store_row::<L, WIDE, FULL>(out.add(t * out_step), row, last);
        }
    }
}

/// # Safety
/// As [`tiles`], for `WIDE` registers, of the last its first `last` lanes unless it is `FULL`.
#[inline(always)]
unsafe fn load_row<L: Lanes, const WIDE: usize, const FULL: bool>(from: *const f32, last: usize) -> [L::Vector; WIDE] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut row = [L::zero(); WIDE];
        for w in 0..WIDE {
            let from = from.add(w * L::N);
            row[w] = if FULL || w + 1 < WIDE { L::load(from) } else { L::load_part(from, last) };
        }
        row
    }
}

/// # Safety
/// As [`load_row`].
#[inline(always)]
unsafe fn store_row<L: Lanes, const WIDE: usize, const FULL: bool>(to: *mut f32, row: [L::Vector; WIDE], last: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        for w in 0..WIDE {
            let to = to.add(w * L::N);
            if FULL || w + 1 < WIDE {
                L::store(to, row[w]);
            } else {
                L::store_part(to, row[w], last);
            }
        }
    }
}
