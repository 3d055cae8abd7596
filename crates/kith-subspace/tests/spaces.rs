//! The memory and its complement: orthonormality, lossless coefficients, scaled projection, degenerate input.

mod common;

use common::{activations, numbers, orthonormality, wide};
use faer::Mat;
use kith_core::Matrix;
use kith_subspace::{Growth, LayerMemory, Rule, SubspaceError, encode, lift};

const SGP: Rule = Rule::Sgp { alpha: 5.0 };

/// A memory after this many tasks, grown by what travels.
fn learned(d: usize, n: usize, tasks: u64, rule: Rule) -> LayerMemory {
    let mut memory = LayerMemory::new(d);
    for task in 0..tasks {
        let growth = memory.propose(&activations(n, d, 6, task + 1), 0.95, rule).expect("numbers are finite");
        memory.grow(&growth.rounded()).expect("what was proposed fits");
    }
    memory
}

fn refused(result: Result<Growth, SubspaceError>) -> SubspaceError {
    result.expect_err("this must be refused")
}

#[test]
fn twenty_tasks_of_rounded_growth_stay_orthonormal() {
    for (d, n) in [(96, 40), (48, 400)] {
        let memory = learned(d, n, 20, SGP);
        assert_eq!(memory.tasks(), 20);
        assert!(memory.rank() > d / 3, "rank {} of {d}", memory.rank());
        let off = orthonormality(memory.basis_f64());
        assert!(off <= 1e-6, "{d}: off by {off:e}");
        // Held in f64 but rounded on the way in: nothing is lost by handing it out.
        assert_eq!(wide(&memory.basis()).as_ref(), memory.basis_f64());
    }
}

#[test]
fn memory_and_residual_are_together_an_orthonormal_basis() {
    let memory = learned(64, 30, 3, Rule::Gpm);
    let (m, o) = (wide(&memory.basis()), wide(&memory.residual()));
    assert!(memory.rank() > 0 && memory.rank() + o.ncols() == 64);
    assert!((m.transpose() * &o).norm_max() < 1e-6);
    let all = Mat::from_fn(64, 64, |row, col| if col < m.ncols() { m[(row, col)] } else { o[(row, col - m.ncols())] });
    assert!(orthonormality(all.as_ref()) < 1e-5);
    assert!((&all * all.transpose() - Mat::<f64>::identity(64, 64)).norm_l2() < 1e-5);
    assert_eq!(memory.residual(), memory.clone().residual());
}

#[test]
fn coefficients_of_what_lies_in_the_residual_space_come_back() {
    let memory = learned(64, 30, 3, Rule::Gpm);
    let o = memory.residual();
    let mut next = numbers(5);
    let c = Matrix::from_fn(7, o.cols(), |_, _| next());
    let q = lift(&c, &o);
    assert_eq!((q.rows(), q.cols()), (7, 64));
    let back = lift(&encode(&q, &o), &o);
    assert!((wide(&back) - wide(&q)).norm_max() < 1e-5);
    // What lies in the core space is lost.
    let core = lift(&Matrix::from_fn(1, memory.rank(), |_, _| 1.0), &memory.basis());
    assert!(wide(&encode(&core, &o)).norm_max() < 1e-5);
}

#[test]
fn the_scaled_free_space_is_the_scaled_projection() {
    let memory = learned(40, 25, 2, SGP);
    let importance = memory.importance();
    let soft = importance.iter().filter(|&&value| value < 1.0).count();
    assert!(soft > 0 && soft < memory.rank(), "{importance:?}");
    let free = memory.free_space(SGP);
    let gain = free.gain.expect("scaled projection has gains");
    assert_eq!(free.span.cols(), 40 - memory.rank() + soft);
    assert_eq!(gain.len(), free.span.cols());
    assert!(gain.iter().all(|&value| value > 0.0 && value <= 1.0));
    let span = wide(&free.span);
    let scaled = Mat::from_fn(40, gain.len(), |row, col| span[(row, col)] * f64::from(gain[col]));
    let expected = Mat::<f64>::identity(40, 40) - memory.scaled_projector();
    assert!((scaled * span.transpose() - expected).norm_max() < 1e-6);
    assert!(orthonormality(span.as_ref()) < 1e-5);
}

#[test]
fn the_free_space_of_gpm_is_the_residual_space() {
    let memory = learned(40, 25, 2, Rule::Gpm);
    let free = memory.free_space(Rule::Gpm);
    assert_eq!((free.span, free.gain), (memory.residual(), None));
    assert_eq!(memory.importance(), vec![1.0; memory.rank()]);
    assert_eq!(memory.scaled_projector(), memory.projector());
}

#[test]
fn an_empty_memory_leaves_everything_free() {
    let memory = LayerMemory::new(3);
    assert_eq!(memory.residual(), Matrix::new(3, 3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]));
    assert_eq!(memory.projector().norm_max(), 0.0);
    assert_eq!(memory.free_space(SGP).gain, Some(vec![1.0; 3]));
}

#[test]
fn a_saturated_memory_leaves_nothing_free_and_grows_no_more() {
    let mut memory = LayerMemory::new(8);
    for task in 0..3 {
        let growth = memory.propose(&activations(50, 8, 8, task), 1.0, SGP).expect("numbers are finite");
        memory.grow(&growth.rounded()).expect("what was proposed fits");
    }
    assert!(memory.is_saturated());
    assert_eq!((memory.residual().rows(), memory.residual().cols()), (8, 0));
    assert_eq!(memory.free_space(Rule::Gpm).span.cols(), 0);
    for n in [5, 50] {
        let growth = memory.propose(&activations(n, 8, 8, 9), 1.0, SGP).expect("numbers are finite");
        assert_eq!((growth.rank(), growth.importance().len()), (0, 8));
        memory.grow(&growth).expect("an empty growth fits");
    }
    let empty = Matrix::new(2, 0, Vec::new());
    assert_eq!(lift(&empty, &memory.residual()), Matrix::new(2, 8, vec![0.0; 16]));
}

#[test]
fn nothing_to_see_adds_nothing() {
    let mut memory = learned(12, 10, 2, SGP);
    let before = memory.clone();
    for seen in [Matrix::new(0, 12, Vec::new()), Matrix::new(4, 12, vec![0.0; 48])] {
        let growth = memory.propose(&seen, 0.9, SGP).expect("nothing is fine");
        assert_eq!(growth.rank(), 0);
        memory.grow(&growth).expect("an empty growth fits");
        assert_eq!(memory.digest(), before.digest());
    }
    assert_eq!(memory.tasks(), before.tasks() + 2);
}

#[test]
fn a_representation_of_low_rank_adds_no_more_than_its_rank() {
    for n in [6, 300] {
        let direction = |row: usize, col: usize| ((row + 1) * (col % 3 + 1)) as f32 + (row % 5 * (col % 2)) as f32;
        let seen = Matrix::from_fn(n, 20, direction);
        let mut memory = LayerMemory::new(20);
        memory.grow(&memory.propose(&Matrix::new(0, 20, Vec::new()), 1.0, Rule::Gpm).expect("empty")).expect("fits");
        let growth = memory.propose(&seen, 1.0, Rule::Gpm).expect("numbers are finite");
        assert_eq!(growth.rank(), 2, "{n} samples");
        memory.grow(&growth.rounded()).expect("what was proposed fits");
        assert_eq!(memory.propose(&seen, 1.0 - 1e-9, Rule::Gpm).expect("again").rank(), 0, "{n} samples");
    }
}

#[test]
fn importance_accumulates_even_if_nothing_is_added() {
    let seen = activations(30, 10, 4, 3);
    let mut memory = LayerMemory::new(10);
    memory.grow(&memory.propose(&seen, 0.9, Rule::Sgp { alpha: 1.0 }).expect("first")).expect("fits");
    let before = memory.importance();
    let growth = memory.propose(&seen, 0.1, Rule::Sgp { alpha: 1.0 }).expect("again");
    assert_eq!(growth.rank(), 0);
    let after = growth.importance();
    assert!(before.len() > 1 && before[1] < 1.0);
    for (before, after) in before.iter().zip(&after) {
        // The same representation gives the same importance again.
        assert!((after - (2.0 * before).min(1.0)).abs() < 1e-6, "{before} became {after}");
    }
}

#[test]
fn the_second_task_reaches_the_threshold_even_if_the_first_kept_nothing() {
    let seen = Matrix::new(2, 3, vec![1.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    let mut memory = LayerMemory::new(3);
    let first = memory.propose(&seen, 0.9, Rule::Gpm).expect("numbers are finite");
    assert_eq!(first.rank(), 0);
    memory.grow(&first).expect("an empty growth fits");
    assert_eq!(memory.propose(&seen, 0.9, Rule::Gpm).expect("numbers are finite").rank(), 1);
}

#[test]
fn settings_and_numbers_out_of_range_are_refused() {
    let memory = LayerMemory::new(2);
    let fine = Matrix::new(1, 2, vec![1.0, 2.0]);
    for threshold in [0.0, -0.5, 1.0001, f64::NAN, f64::INFINITY] {
        assert!(matches!(refused(memory.propose(&fine, threshold, Rule::Gpm)), SubspaceError::Threshold { .. }));
    }
    for alpha in [-1.0, f64::NAN, f64::INFINITY] {
        let error = refused(memory.propose(&fine, 0.9, Rule::Sgp { alpha }));
        assert!(matches!(error, SubspaceError::Alpha { .. }));
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = refused(memory.propose(&Matrix::new(1, 2, vec![1.0, value]), 0.9, Rule::Gpm));
        assert_eq!(error, SubspaceError::NotFinite { operation: "proposing a growth" });
    }
    let error = refused(memory.propose(&Matrix::new(1, 3, vec![1.0; 3]), 0.9, Rule::Gpm));
    assert_eq!(error, SubspaceError::Dimension { operation: "proposing a growth", expected: 2, found: 3 });
}

#[test]
fn what_is_remembered_is_not_added_again_even_at_threshold_one() {
    for n in [12, 90] {
        let seen = activations(n, 30, 6, 8);
        let mut memory = LayerMemory::new(30);
        memory.grow(&memory.propose(&Matrix::new(0, 30, Vec::new()), 1.0, Rule::Gpm).expect("empty")).expect("fits");
        for expected in [n.min(30), 0] {
            let growth = memory.propose(&seen, 1.0, Rule::Gpm).expect("numbers are finite");
            assert_eq!(growth.rank(), expected, "{n} samples");
            memory.grow(&growth.rounded()).expect("what was proposed fits");
        }
    }
}

#[test]
fn faint_new_directions_are_as_orthogonal_to_the_memory_as_strong_ones() {
    // Ten strong directions that the memory holds, rounded, and two at 3e-5 of their size that it does not.
    for n in [30, 400] {
        let mut next = numbers(11);
        let strong = Matrix::from_fn(n, 40, |_, col| if col < 10 { next() } else { 0.0 });
        let turned = activations(40, 40, 40, 12);
        let seen = |faint: f64| {
            let scale = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, faint, faint];
            let mut next = numbers(13);
            let factors = Mat::from_fn(12, n, |row, col| {
                let own = if row < 10 { strong.get(col, row) } else { next() };
                f64::from(own) * scale[row]
            });
            wide(&turned).subrows(0, 12).transpose() * factors
        };
        let mut memory = LayerMemory::new(40);
        memory.grow(&memory.propose(&Matrix::new(0, 40, Vec::new()), 1.0, Rule::Gpm).expect("empty")).expect("fits");
        let known = memory.propose_f64(seen(0.0).as_ref(), 1.0, Rule::Gpm).expect("numbers are finite");
        memory.grow(&known.rounded()).expect("what was proposed fits");
        assert_eq!(memory.rank(), 10, "{n} samples");
        let growth = memory.propose_f64(seen(3e-5).as_ref(), 1.0, Rule::Gpm).expect("numbers are finite");
        assert_eq!(growth.rank(), 2, "{n} samples");
        let off = (memory.basis_f64().transpose() * growth.columns_f64()).norm_max();
        assert!(off < 1e-14, "{n} samples: off by {off:e}");
        assert!(orthonormality(growth.columns_f64()) < 1e-14);
    }
}
