//! Skinny kernels against the general ones, on every machine that this one can stand for.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use super::skinny::{self, Machine};
use super::{Shape, Update, general};

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
fn skinny_products_equal_general_products() {
    let sizes = [1, 2, 3, 5, 7, 8, 10, 13, 16, 17, 31, 33, 64, 100];
    let deep = [1, 2, 10, 16, 31, 100, 401, 784, 1201];
    for machine in machines() {
        for &rows in &sizes {
            for &cols in &sizes {
                for &depth in &deep {
                    let shape = Shape::new(rows, cols, depth);
                    let (a, b) = (numbers(1, rows * depth), numbers(2, cols * depth));
                    for update in [Update::SET, Update::SUBTRACT, Update { keep: 0.5, alpha: 2.0 }] {
                        let start = if update.keep == 0.0 { f32::NAN } else { 0.25 };
                        let mut ours = vec![start; rows * cols];
                        let mut theirs = ours.clone();
                        skinny::times_transposed(machine, shape, update, &mut ours, &a, &b);
                        general::times_transposed(shape, update, &mut theirs, &a, &b);
                        same("times_transposed", shape, &ours, &theirs);
                        ours.fill(start);
                        theirs.fill(start);
                        skinny::times(machine, shape, update, &mut ours, &a, &b);
                        general::times(shape, update, &mut theirs, &a, &b);
                        same("times", shape, &ours, &theirs);
                        ours.fill(start);
                        theirs.fill(start);
                        skinny::transposed_times(machine, shape, update, &mut ours, &a, &b);
                        general::transposed_times(shape, update, &mut theirs, &a, &b);
                        same("transposed_times", shape, &ours, &theirs);
                    }
                }
            }
        }
    }
}
