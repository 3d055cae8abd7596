//! The bytes in which agents agree on a growth, and what a memory refuses to adopt.

mod common;

use common::activations;
use kith_subspace::{Growth, LayerMemory, Rule, SubspaceError};
use proptest::prelude::*;

const SGP: Rule = Rule::Sgp { alpha: 3.0 };

fn grown_once(d: usize, rule: Rule) -> (LayerMemory, Growth) {
    let mut memory = LayerMemory::new(d);
    let first = memory.propose(&activations(20, d, 4, 1), 0.8, rule).expect("numbers are finite");
    memory.grow(&first.rounded()).expect("what was proposed fits");
    let second = memory.propose(&activations(20, d, 4, 2), 0.9, rule).expect("numbers are finite");
    assert!(memory.rank() > 0 && second.rank() > 0);
    (memory, second)
}

/// Header word `index` set to `value`.
fn with_word(bytes: &[u8], index: usize, value: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[index * 4..index * 4 + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn sender_and_receiver_hold_the_same_bits() {
    for rule in [Rule::Gpm, SGP] {
        let (memory, growth) = grown_once(16, rule);
        let bytes = growth.to_bytes();
        let received = Growth::from_bytes(16, &bytes).expect("what was written is read");
        assert_eq!(received, growth.rounded());
        let (mut sender, mut receiver) = (memory.clone(), memory);
        sender.grow(&growth.rounded()).expect("it fits the sender");
        receiver.grow(&received).expect("it fits the receiver");
        assert_eq!(sender, receiver);
        assert_eq!(sender.digest(), receiver.digest());
        assert_eq!(sender.residual(), receiver.residual());
    }
}

#[test]
fn the_length_is_sixteen_bytes_and_four_a_number() {
    let (memory, growth) = grown_once(16, SGP);
    let numbers = 16 * growth.rank() + memory.rank() + growth.rank();
    assert_eq!(growth.wire_len(), 16 + 4 * numbers);
    assert_eq!(growth.to_bytes().len(), growth.wire_len());
    let empty = LayerMemory::new(5).propose(&activations(0, 5, 1, 1), 0.5, Rule::Gpm).expect("nothing is fine");
    assert_eq!(empty.to_bytes(), [[5_u8, 0, 0, 0].as_slice(), &[0; 12]].concat());
}

#[test]
fn digests_tell_memories_apart() {
    let (memory, growth) = grown_once(16, SGP);
    let mut grown = memory.clone();
    grown.grow(&growth).expect("it fits");
    assert_ne!(memory.digest(), grown.digest());
    assert_ne!(LayerMemory::new(3).digest(), LayerMemory::new(4).digest());
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let (_, growth) = grown_once(16, SGP);
    let bytes = growth.to_bytes();
    let read = |bytes: &[u8]| Growth::from_bytes(16, bytes).expect_err("this must be refused");
    let total = bytes.len();
    assert_eq!(read(&bytes[..9]), SubspaceError::Length { expected: 16, found: 9 });
    assert_eq!(read(&bytes[..total - 1]), SubspaceError::Length { expected: total as u64, found: total - 1 });
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(read(&longer), SubspaceError::Length { expected: total as u64, found: total + 1 });
    let error = read(&with_word(&bytes, 0, 17));
    assert_eq!(error, SubspaceError::Dimension { operation: "reading a growth", expected: 16, found: 17 });
    for (word, value) in [(1, u32::MAX), (2, u32::MAX), (2, 17)] {
        assert!(matches!(read(&with_word(&bytes, word, value)), SubspaceError::TooManyColumns { .. }));
    }
    assert!(matches!(read(&with_word(&bytes, 3, 1)), SubspaceError::ImportanceCount { found: 1, .. }));
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let (_, growth) = grown_once(16, SGP);
    let bytes = growth.to_bytes();
    let last = bytes.len() / 4 - 1;
    let read = |index: usize, value: f32| Growth::from_bytes(16, &with_word(&bytes, index, value.to_bits()));
    for index in [4, last] {
        for value in [f32::NAN, f32::INFINITY] {
            let error = read(index, value).expect_err("not a number to compute with");
            assert_eq!(error, SubspaceError::NotFinite { operation: "reading a growth" });
        }
    }
    assert_eq!(read(last, 1.5), Err(SubspaceError::Importance { found: 1.5 }));
    assert_eq!(read(last, -0.5), Err(SubspaceError::Importance { found: -0.5 }));
}

#[test]
fn a_memory_refuses_what_was_not_computed_for_it_and_stays_as_it_was() {
    let (memory, growth) = grown_once(16, Rule::Gpm);
    let rank = memory.rank();
    let mut other = LayerMemory::new(16);
    assert_eq!(other.grow(&growth), Err(SubspaceError::BaseRank { expected: 0, found: rank }));
    let mut smaller = LayerMemory::new(15);
    let error = smaller.grow(&growth).expect_err("another layer");
    assert_eq!(error, SubspaceError::Dimension { operation: "growing a memory", expected: 15, found: 16 });
    let mut again = memory.clone();
    again.grow(&growth).expect("once");
    assert_eq!(again.grow(&growth), Err(SubspaceError::BaseRank { expected: rank + growth.rank(), found: rank }));
    let bent = with_word(&growth.to_bytes(), 4, 0.5_f32.to_bits());
    let bent = Growth::from_bytes(16, &bent).expect("its form is right");
    let mut same = memory.clone();
    assert!(matches!(same.grow(&bent), Err(SubspaceError::NotOrthonormal { .. })));
    assert_eq!(same, memory);
}

proptest! {
    #[test]
    fn the_wire_form_is_exact(d in 1_usize..24, n in 0_usize..60, seed in 0_u64..1000, scaled in any::<bool>()) {
        let rule = if scaled { SGP } else { Rule::Gpm };
        let growth = LayerMemory::new(d).propose(&activations(n, d, 3, seed), 0.99, rule).expect("numbers are finite");
        let bytes = growth.to_bytes();
        prop_assert_eq!(bytes.len(), growth.wire_len());
        let read = Growth::from_bytes(d, &bytes).expect("what was written is read");
        prop_assert_eq!(&read, &growth.rounded());
        prop_assert_eq!(read.to_bytes(), bytes);
    }

    #[test]
    fn garbage_is_an_error_or_a_growth_of_that_very_length(
        d in 0_usize..6,
        header in prop::collection::vec(0_u32..8, 4),
        body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(&body);
        for bytes in [&bytes, &body] {
            if let Ok(growth) = Growth::from_bytes(d, bytes) {
                prop_assert_eq!(growth.wire_len(), bytes.len());
                // It may or may not be adopted, but nothing breaks.
                let mut memory = LayerMemory::new(d);
                if memory.grow(&growth).is_ok() {
                    prop_assert_eq!(memory.rank(), growth.rank());
                }
            }
        }
    }
}
