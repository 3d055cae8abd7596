//! Laws of the energy rule and of the projectors, over shapes on both routes.

mod common;

use common::{activations, wide};
use faer::{Mat, MatRef};
use kith_core::{Matrix, Tape};
use kith_subspace::{LayerMemory, Rule};
use proptest::prelude::*;

/// Energy shares next to the threshold that rounding may move across it.
const SLACK: f64 = 1e-9;

/// Share of the energy of `representation: [n, d]` in the span of the orthonormal `basis: d × r`.
fn share(representation: &Matrix, basis: MatRef<'_, f64>) -> f64 {
    let r = wide(representation);
    (&r * basis).squared_norm_l2() / r.squared_norm_l2()
}

fn joined(memory: &LayerMemory, columns: MatRef<'_, f64>) -> Mat<f64> {
    let old = memory.basis_f64();
    Mat::from_fn(old.nrows(), old.ncols() + columns.ncols(), |row, col| {
        if col < old.ncols() { old[(row, col)] } else { columns[(row, col - old.ncols())] }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn later_tasks_reach_the_threshold_with_as_few_directions_as_possible(
        d in 2_usize..30, n in 2_usize..90, seed in 0_u64..1000, threshold in 0.3_f64..0.999,
    ) {
        let mut memory = LayerMemory::new(d);
        let first = memory.propose(&activations(n, d, 4, seed), threshold, Rule::Gpm).expect("finite");
        memory.grow(&first).expect("fits");
        let seen = activations(n, d, 4, seed + 5000);
        prop_assume!(seen.as_slice().iter().any(|&value| value > 0.0));
        let growth = memory.propose(&seen, threshold, Rule::Gpm).expect("finite");
        let columns = growth.columns_f64();
        prop_assert!(share(&seen, joined(&memory, columns).as_ref()) >= threshold - SLACK);
        if growth.rank() > 0 {
            let fewer = columns.subcols(0, growth.rank() - 1);
            prop_assert!(share(&seen, joined(&memory, fewer).as_ref()) < threshold + SLACK);
        }
    }

    #[test]
    fn a_memory_put_on_tape_comes_back_by_its_bits(d in 2_usize..20, seed in 0_u64..1000, alpha in 0.0_f64..20.0) {
        for rule in [Rule::Gpm, Rule::Sgp { alpha }] {
            let mut memory = LayerMemory::new(d);
            for task in 0..3 {
                let growth = memory.propose(&activations(40, d, 4, seed + task), 0.9, rule).expect("finite");
                memory.grow(&growth).expect("fits");
            }
            let (mut bytes, mut back) = (Vec::new(), LayerMemory::new(d));
            memory.carry(&mut Tape::recording(&mut bytes)).expect("a vector takes everything");
            back.carry(&mut Tape::playing(&mut bytes.as_slice())).expect("it is for as many inputs");
            prop_assert_eq!(&back, &memory);
            let mut other = LayerMemory::new(d + 1);
            prop_assert!(other.carry(&mut Tape::playing(&mut bytes.as_slice())).is_err());
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            prop_assert!(LayerMemory::new(d).carry(&mut Tape::playing(&mut bytes.as_slice())).is_err());
        }
    }

    #[test]
    fn the_first_task_stays_just_below_the_threshold(
        d in 2_usize..30, n in 2_usize..90, seed in 0_u64..1000, threshold in 0.3_f64..0.999,
    ) {
        let memory = LayerMemory::new(d);
        let seen = activations(n, d, 4, seed);
        prop_assume!(seen.as_slice().iter().any(|&value| value > 0.0));
        let first = memory.propose(&seen, threshold, Rule::Gpm).expect("finite");
        prop_assert!(share(&seen, first.columns_f64()) < threshold + SLACK);
        // The later rule on the same numbers takes the one direction more that crosses it.
        let mut started = memory;
        started.grow(&started.propose(&Matrix::new(0, d, Vec::new()), 1.0, Rule::Gpm).expect("empty")).expect("fits");
        let later = started.propose(&seen, threshold, Rule::Gpm).expect("finite");
        prop_assert_eq!(later.rank(), first.rank() + 1);
    }

    #[test]
    fn projectors_are_idempotent_and_importances_in_range(
        d in 2_usize..24, n in 1_usize..70, seed in 0_u64..1000, alpha in 0.0_f64..20.0,
    ) {
        let mut memory = LayerMemory::new(d);
        let mut before = Vec::new();
        for task in 0..4 {
            let seen = activations(n, d, 3, seed + 7000 * task);
            let growth = memory.propose(&seen, 0.9, Rule::Sgp { alpha }).expect("finite");
            memory.grow(&growth.rounded()).expect("fits");
            let importance = memory.importance();
            prop_assert_eq!(importance.len(), memory.rank());
            prop_assert!(importance.iter().all(|value| (0.0..=1.0).contains(value)), "{:?}", importance);
            prop_assert!(before.iter().zip(&importance).all(|(old, new)| new >= old));
            before = importance;
        }
        let projector = memory.projector();
        prop_assert!((&projector * &projector - &projector).norm_max() < 1e-6);
        prop_assert!((projector.transpose() - &projector).norm_max() < 1e-12);
    }
}
