//! Products with a minibatch as one side, where packing operands, as general kernels do, costs as much as the product.
//!
//! Two loops serve all three products. *Broadcast*: the output's columns lie in registers, one number of `a` meets a row of
//! `b` (input and weight gradients). *Dot*: both operands are read along the summed dimension (layer outputs).
//! Which is used, and how a product is cut into tiles, depends on the shape and the machine alone.

// Tiles are small arrays of registers: loops that count to a constant are what unrolls.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::ops::Range;

use super::lanes::{Avx2, Avx512, Lanes};
use super::{Shape, Update};

/// Summed numbers that a dot product takes at a time: with twelve rows of `a` they stay in the first-level cache.
const DEEP: usize = 400;

/// Rows of `a` that go over `b` together in a dot product.
const ROWS: usize = 12;

/// Rows of `b` that all rows of `a` meet before the next ones: with `DEEP` numbers each they stay in the second-level cache.
const COLUMNS: usize = 64;

/// Output columns of a tile in dot products.
const DOTS: usize = 4;

/// The instructions that this machine has for skinny products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Avx512,
    Avx2,
}

impl Machine {
    /// None where only the general kernels run.
    pub(super) fn detect() -> Option<Self> {
        if is_x86_feature_detected!("avx512f") {
            Some(Self::Avx512)
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Some(Self::Avx2)
        } else {
            None
        }
    }
}

/// How the left operand of a broadcast product lies: steps between output rows and between summed numbers.
#[derive(Clone, Copy)]
struct Steps {
    row: usize,
    depth: usize,
}

/// `out ← keep · out + alpha · a · b`. The shape has been checked.
pub(super) fn times(machine: Machine, shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    let steps = Steps { row: shape.depth, depth: 1 };
    broadcast(machine, shape, update, out, a, steps, b);
}

/// `out ← keep · out + alpha · aᵀ · b`. The shape has been checked.
pub(super) fn transposed_times(machine: Machine, shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    let steps = Steps { row: 1, depth: shape.rows };
    broadcast(machine, shape, update, out, a, steps, b);
}

fn broadcast(machine: Machine, shape: Shape, update: Update, out: &mut [f32], a: &[f32], steps: Steps, b: &[f32]) {
    shape.check(out, a, b);
    // SAFETY: `detect` found the instructions; the slices hold what the shape says, row-major, `a` as the steps say.
    unsafe {
        match machine {
            Machine::Avx512 => broadcast_avx512(shape, update, out, a, steps, b),
            Machine::Avx2 => broadcast_avx2(shape, update, out, a, steps, b),
        }
    }
}

/// `out ← keep · out + alpha · a · bᵀ`. The shape has been checked.
pub(super) fn times_transposed(machine: Machine, shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    shape.check(out, a, b);
    // SAFETY: `detect` found the instructions; the slices hold what the shape says, row-major.
    unsafe {
        match machine {
            Machine::Avx512 => dots_avx512(shape, update, out, a, b),
            Machine::Avx2 => dots_avx2(shape, update, out, a, b),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn broadcast_avx512(shape: Shape, update: Update, out: &mut [f32], a: &[f32], steps: Steps, b: &[f32]) {
    // SAFETY: the caller's contract.
    unsafe { broadcast_tiles::<Avx512>(shape, update, out, a, steps, b) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn broadcast_avx2(shape: Shape, update: Update, out: &mut [f32], a: &[f32], steps: Steps, b: &[f32]) {
    // SAFETY: the caller's contract.
    unsafe { broadcast_tiles::<Avx2>(shape, update, out, a, steps, b) }
}

#[target_feature(enable = "avx512f")]
unsafe fn dots_avx512(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    // SAFETY: the caller's contract.
    unsafe { dot_tiles::<Avx512>(shape, update, out, a, b) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn dots_avx2(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    // SAFETY: the caller's contract.
    unsafe { dot_tiles::<Avx2>(shape, update, out, a, b) }
}

/// The next part of `rest`, when it is cut into as few parts of at most `most` as can be, of nearly equal size.
#[inline(always)]
const fn part(rest: usize, most: usize) -> usize {
    rest.div_ceil(rest.div_ceil(most))
}

/// Calls a tile function with its sizes as constants: `FULL` says whether the last registers are.
macro_rules! sized {
    ($tile:ident, $lanes:ty, $tall:expr, $wide:expr, $full:expr, $arguments:tt, $ts:tt, $ws:tt) => {
        if $full {
            sized!(@tall $tile, $lanes, $tall, $wide, true, $arguments, $ts, $ws);
        } else {
            sized!(@tall $tile, $lanes, $tall, $wide, false, $arguments, $ts, $ws);
        }
    };
    (@tall $tile:ident, $lanes:ty, $tall:expr, $wide:expr, $full:literal, $arguments:tt, [$($t:literal)*], $ws:tt) => {
        match $tall {
            $($t => sized!(@wide $tile, $lanes, $t, $wide, $full, $arguments, $ws),)*
            _ => unreachable!("a tile is no taller than the registers allow"),
        }
    };
    (@wide $tile:ident, $lanes:ty, $t:literal, $wide:expr, $full:literal, $arguments:tt, [$($w:literal)*]) => {
        match $wide {
            $($w => $tile::<$lanes, $t, $w, $full> $arguments,)*
            _ => unreachable!("a tile is no wider than the registers allow"),
        }
    };
}

/// What a broadcast tile works on.
#[derive(Clone, Copy)]
struct Broadcast {
    a: *const f32,
    steps: Steps,
    b: *const f32,
    out: *mut f32,
    cols: usize,
    depth: usize,
    /// Lanes of the tile's last register.
    last: usize,
    update: Update,
}

/// # Safety
/// The machine has the instructions of `L`; the slices hold what the shape and the steps say.
#[inline(always)]
unsafe fn broadcast_tiles<L: Lanes>(shape: Shape, update: Update, out: &mut [f32], a: &[f32], steps: Steps, b: &[f32]) {
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
            let tile = unsafe {
                Broadcast {
                    a: a.as_ptr().add(row * steps.row),
                    steps,
                    b: b.as_ptr().add(first),
                    out: out.as_mut_ptr().add(row * cols + first),
                    cols,
                    depth,
                    last,
                    update,
                }
            };
            // SAFETY: the tile covers rows row..row + tall and columns first..first + (wide − 1) N + last of the output.
            unsafe {
                if L::WIDE == 4 {
                    sized!(broadcast_tile, L, tall, wide, last == L::N, (tile), [1 2 3 4 5 6], [1 2 3 4]);
                } else {
                    sized!(broadcast_tile, L, tall, wide, last == L::N, (tile), [1 2 3 4 5 6], [1 2]);
                }
            }
            row += tall;
        }
        register += wide;
    }
}

/// # Safety
/// As [`broadcast_tiles`], for the rows and columns of the tile.
#[inline(always)]
unsafe fn broadcast_tile<L: Lanes, const TALL: usize, const WIDE: usize, const FULL: bool>(tile: Broadcast) {
    let Broadcast { a, steps, b, out, cols, depth, last, update } = tile;
    // SAFETY: the caller's contract; a last register that is not full is read and written in part.
    unsafe {
        // The tile below is updated next, and its rows lie too far apart for the machine to foresee them.
        if update.keep != 0.0 {
            for t in 0..TALL {
                for w in 0..WIDE {
                    _mm_prefetch::<_MM_HINT_T0>(out.wrapping_add((TALL + t) * cols + w * L::N).cast());
                }
            }
        }
        let mut sums = [[L::zero(); WIDE]; TALL];
        for k in 0..depth {
            let row = load_row::<L, WIDE, FULL>(b.add(k * cols), last);
            for t in 0..TALL {
                let factor = L::splat(*a.add(t * steps.row + k * steps.depth));
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
                store_row::<L, WIDE, FULL>(out.add(t * cols), values, last);
            }
            return;
        }
        if update.keep != 1.0 {
            let keep = L::splat(update.keep);
            for t in 0..TALL {
                let kept = load_row::<L, WIDE, FULL>(out.add(t * cols), last).map(|value| L::multiply(keep, value));
                store_row::<L, WIDE, FULL>(out.add(t * cols), kept, last);
            }
        }
        for t in 0..TALL {
            let mut row = load_row::<L, WIDE, FULL>(out.add(t * cols), last);
            for w in 0..WIDE {
                row[w] = L::fused(alpha, sums[t][w], row[w]);
            }
            store_row::<L, WIDE, FULL>(out.add(t * cols), row, last);
        }
    }
}

/// # Safety
/// As [`broadcast_tiles`], for `WIDE` registers, of the last its first `last` lanes unless it is `FULL`.
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

/// What a dot tile works on.
#[derive(Clone, Copy)]
struct Dots {
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    cols: usize,
    /// Numbers in a row of `a` and of `b`.
    stride: usize,
    /// How many of them are summed.
    depth: usize,
    update: Update,
}

/// # Safety
/// The machine has the instructions of `L`; the slices hold what the shape says.
#[inline(always)]
unsafe fn dot_tiles<L: Lanes>(shape: Shape, update: Update, out: &mut [f32], a: &[f32], b: &[f32]) {
    let Shape { rows, cols, depth } = shape;
    let mut done = 0;
    while done < depth {
        // Parts end on whole registers, so that rows stay as aligned as they are.
        let deep = part(depth - done, DEEP).next_multiple_of(L::N).min(depth - done);
        let update = if done == 0 { update } else { Update { keep: 1.0, alpha: update.alpha } };
        let block =
            Dots { a: a.as_ptr(), b: b.as_ptr(), out: out.as_mut_ptr(), cols, stride: depth, depth: deep, update };
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
/// As [`dot_tiles`]; `block` points to the starts of the matrices, the ranges lie within the output, and
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
                let tile = Dots {
                    a: block.a.add(row * block.stride + done),
                    b: block.b.add(col * block.stride + done),
                    out: block.out.add(row * block.cols + col),
                    ..block
                };
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
/// As [`dot_tiles`], for the rows, columns and depth of the tile.
#[inline(always)]
unsafe fn dot_tile<L: Lanes, const TALL: usize, const WIDE: usize, const FULL: bool>(tile: Dots) {
    let Dots { a, b, out, cols, stride, depth, update } = tile;
    // SAFETY: the caller's contract; numbers past the last whole register are read in part.
    unsafe {
        let mut sums = [[L::zero(); DOTS]; TALL];
        let whole = depth / L::N * L::N;
        let mut k = 0;
        while k < whole {
            let mut right = [L::zero(); WIDE];
            for w in 0..WIDE {
                let from = b.add(w * stride + k);
                right[w] = L::load(from);
                // The tile of the next columns reads these rows; the row length breaks the machine's own foresight.
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(DOTS * stride).cast());
            }
            for t in 0..TALL {
                let left = L::load(a.add(t * stride + k));
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
                right[w] = L::load_part(b.add(w * stride + whole), rest);
            }
            for t in 0..TALL {
                let left = L::load_part(a.add(t * stride + whole), rest);
                for w in 0..WIDE {
                    sums[t][w] = L::fused(left, right[w], sums[t][w]);
                }
            }
        }
        for t in 0..TALL {
            let sums = L::sums(sums[t]);
            for w in 0..WIDE {
                let to = out.add(t * cols + w);
                let value = update.alpha * sums[w];
                *to = if update.keep == 0.0 { value } else { update.keep * *to + value };
            }
        }
    }
}
