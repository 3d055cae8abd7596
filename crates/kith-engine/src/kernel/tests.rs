//! Kernels without packing against the general ones, on every machine that this one can stand for.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use super::skinny::{self, Machine};
use super::{Grid, GridMut, Shape, Update, general};

fn numbers(seed: usize, len: usize) -> Vec<f32> {
    let mut state = seed as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn machines() -> Vec<Machine> {
    match Machine::detect() {
        Some(Machine::Avx512) => vec![Machine::Avx512, Machine::Avx2],
        Some(Machine::Avx2) => vec![Machine::Avx2],
        None => vec![],
    }
}

fn same(name: &str, shape: Shape, ours: &[f32], theirs: &[f32]) {
    // Sums of `depth` products of numbers up to 1 in another order.
    let tolerance = 1e-6 * (shape.depth as f32 + 4.0);
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= tolerance, "{name} {shape:?}: {ours} against {theirs}");
    }
}

#[test]
fn products_without_packing_equal_general_products() {
    let sizes = [1, 2, 3, 5, 7, 8, 10, 13, 16, 17, 31, 33, 64, 100];
    let deep = [1, 2, 10, 16, 31, 100, 401, 784, 1201];
    for machine in machines() {
        let pairs = sizes.iter().flat_map(|&rows| sizes.map(|cols| (rows, cols)));
        for (rows, cols, depth) in pairs.flat_map(|(rows, cols)| deep.map(|depth| (rows, cols, depth))) {
            let shape = Shape::new(rows, cols, depth);
            let (a, b) = (numbers(1, rows * depth), numbers(2, cols * depth));
            let operands = [
                ("times_transposed", Grid::rows(&a, depth), Grid::transposed(&b, depth)),
                ("times", Grid::rows(&a, depth), Grid::rows(&b, cols)),
                ("transposed_times", Grid::transposed(&a, rows), Grid::rows(&b, cols)),
            ];
            for (name, a, b) in operands {
                for update in [Update::SET, Update::SUBTRACT, Update { keep: 0.5, alpha: 2.0 }] {
                    both(name, machine, shape, update, [a, b], cols);
                }
            }
        }
    }
}

#[test]
fn products_of_matrices_with_gaps_leave_the_gaps_alone() {
    for machine in machines() {
        for (rows, cols, depth) in [(6, 100, 25), (16, 37, 150), (13, 64, 5), (1, 1, 1), (150, 70, 16)] {
            let shape = Shape::new(rows, cols, depth);
            let (a_step, b_step) = (rows.max(depth) + 3, cols.max(depth) + 5);
            let (a, b) = (numbers(3, a_step * rows.max(depth)), numbers(4, b_step * cols.max(depth)));
            let wide = |data, step| Grid { data, row_step: step, column_step: 1 };
            let tall = |data, step| Grid { data, row_step: 1, column_step: step };
            for update in [Update::SET, Update { keep: 0.5, alpha: 2.0 }] {
                both("a b", machine, shape, update, [wide(&a, a_step), wide(&b, b_step)], cols + 7);
                both("a bT", machine, shape, update, [wide(&a, a_step), tall(&b, b_step)], cols + 7);
                both("aT b", machine, shape, update, [tall(&a, a_step), wide(&b, b_step)], cols + 7);
            }
        }
    }
}

/// One product by both kernels, into rows `row_step` apart.
fn both(name: &str, machine: Machine, shape: Shape, update: Update, [a, b]: [Grid<'_>; 2], row_step: usize) {
    let start = if update.keep == 0.0 { f32::NAN } else { 0.25 };
    let mut ours = vec![start; shape.rows * row_step];
    let mut theirs = ours.clone();
    skinny::product(machine, shape, update, GridMut { data: &mut ours, row_step }, a, b);
    general::product(shape, update, GridMut { data: &mut theirs, row_step }, a, b);
    for (ours, theirs) in ours.chunks_exact(row_step).zip(theirs.chunks_exact(row_step)) {
        same(name, shape, &ours[..shape.cols], &theirs[..shape.cols]);
        let gap = |value: &f32| value.to_bits() == start.to_bits();
        assert!(ours[shape.cols..].iter().all(gap), "{name} {shape:?} wrote between rows");
    }
}
