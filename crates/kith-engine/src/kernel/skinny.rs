//! Products without packing: with a minibatch as one side, or patches that lie in cache, packing operands, as general kernels
//! do, costs as much as the product.
//!
//! Two loops serve all. *Broadcast* (`broadcast.rs`): the output's columns lie in registers, one number of `a` meets a row of
//! `b`. *Dot* (`dots.rs`): both operands are read along the summed dimension.
//! Which is used, and how a product is cut into tiles, depends on the shape and the machine alone.

use super::grid::{self, Grid, GridMut};
use super::lanes::{Avx2, Avx512};
use super::{Shape, Update, broadcast, dots};

/// The instructions that this machine has for products without packing.
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

/// Whether one of the two loops can walk the operands.
pub(super) const fn fits(a: &Grid<'_>, b: &Grid<'_>) -> bool {
    b.column_step == 1 || (a.column_step == 1 && b.row_step == 1)
}

/// `out ← keep · out + alpha · a · b`: rows of `b` lie together, or rows of `a` and columns of `b` do.
pub(super) fn product(machine: Machine, shape: Shape, update: Update, out: GridMut<'_>, a: Grid<'_>, b: Grid<'_>) {
    grid::check(shape, &out, &a, &b);
    assert!(fits(&a, &b), "operands of {shape:?} lie side by side");
    let operands = Operands {
        out: out.data.as_mut_ptr(),
        out_step: out.row_step,
        a: a.data.as_ptr(),
        a_steps: [a.row_step, a.column_step],
        b: b.data.as_ptr(),
        b_step: if b.column_step == 1 { b.row_step } else { b.column_step },
        update,
    };
    // SAFETY: `detect` found the instructions; every number that the steps reach lies in its slice, as checked above.
    unsafe {
        match (machine, b.column_step == 1) {
            (Machine::Avx512, true) => broadcast_avx512(shape, operands),
            (Machine::Avx2, true) => broadcast_avx2(shape, operands),
            (Machine::Avx512, false) => dots_avx512(shape, operands),
            (Machine::Avx2, false) => dots_avx2(shape, operands),
        }
    }
}

/// Where the operands of a product lie, after their bounds were checked.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) out: *mut f32,
    pub(super) out_step: usize,
    pub(super) a: *const f32,
    /// From row to row and from column to column of `a`.
    pub(super) a_steps: [usize; 2],
    pub(super) b: *const f32,
    /// From row to row of `b`, or, for dot products, from column to column.
    pub(super) b_step: usize,
    pub(super) update: Update,
}

#[target_feature(enable = "avx512f")]
unsafe fn broadcast_avx512(shape: Shape, operands: Operands) {
    // SAFETY: the caller's contract.
    unsafe { broadcast::tiles::<Avx512>(shape, operands) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn broadcast_avx2(shape: Shape, operands: Operands) {
    // SAFETY: the caller's contract.
    unsafe { broadcast::tiles::<Avx2>(shape, operands) }
}

#[target_feature(enable = "avx512f")]
unsafe fn dots_avx512(shape: Shape, operands: Operands) {
    // SAFETY: the caller's contract.
    unsafe { dots::tiles::<Avx512>(shape, operands) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn dots_avx2(shape: Shape, operands: Operands) {
    // SAFETY: the caller's contract.
    unsafe { dots::tiles::<Avx2>(shape, operands) }
}

/// The next part of `rest`, when it is cut into as few parts of at most `most` as can be, of nearly equal size.
#[inline(always)]
pub(super) const fn part(rest: usize, most: usize) -> usize {
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

pub(super) use sized;
