//! Laws of compressors: bytes as announced, loss within the bound, and the rules written out a second time, slowly.

use kith_core::{AgentId, Layout, Purpose, Role, Seeds, Tensor};
use kith_method::{Bias, Compressor};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;

fn layout(shapes: &[(usize, usize)]) -> Layout {
    let mut offset = 0;
    let tensors = shapes.iter().enumerate().map(|(at, &(rows, cols))| {
        let tensor = Tensor { name: format!("t{at}"), offset, rows, cols, role: Role::Free };
        offset += rows * cols;
        tensor
    });
    Layout { tensors: tensors.collect() }
}

fn stream(index: u64) -> ChaCha8Rng {
    Seeds::new(3).agent(Purpose::Compress, AgentId(0), index)
}

fn wave(len: usize, draw: u64) -> Vec<f32> {
    (0..len).map(|at| ((at as u64 * 37 + draw * 11) as f32 * 0.7).sin()).collect()
}

fn all() -> Vec<Compressor> {
    let bits = [2, 4, 8, 16].map(|bits| Compressor::Quantised { bits });
    let kept =
        [0.01, 0.25, 1.0].map(|share| [Compressor::TopK { share }, Compressor::RandomK { share, bias: Bias::Biased }]);
    let ranks = [1, 2, 5].map(|rank| Compressor::LowRank { rank });
    let others = [Compressor::Identity, Compressor::ScaledSign];
    bits.into_iter().chain(kept.into_iter().flatten()).chain(ranks).chain(others).collect()
}

/// Numbers the kinds of compressors: a new one does not compile before it has a number, and fails the test before it stands in [`all`].
fn kind(compressor: Compressor) -> usize {
    match compressor {
        Compressor::Identity => 0,
        Compressor::TopK { .. } => 1,
        Compressor::RandomK { .. } => 2,
        Compressor::Quantised { .. } => 3,
        Compressor::ScaledSign => 4,
        Compressor::LowRank { .. } => 5,
    }
}

#[test]
fn no_kind_of_compressor_is_left_out() {
    let kinds: std::collections::BTreeSet<usize> = all().into_iter().map(kind).collect();
    assert_eq!(kinds, (0..6).collect());
}

fn squares(row: impl Iterator<Item = f32>) -> f64 {
    row.map(|value| f64::from(value).powi(2)).sum()
}

#[test]
fn compressors_take_the_bytes_that_they_say_and_contract() {
    let one = |len| layout(&[(len, 1)]);
    let network = layout(&[(10, 31), (10, 1), (9, 10), (1, 1)]);
    for layout in [one(1), one(7), one(64), one(65), one(1000), network] {
        let len = layout.len();
        for compressor in all() {
            let (mut lost, mut size) = (0.0, 0.0);
            for draw in 0..200 {
                let row = wave(len, draw);
                let bytes = compressor.encode(&row, &layout, &mut stream(draw));
                assert_eq!(bytes.len(), compressor.wire_len(&layout), "{compressor:?} {len}");
                let mut back = vec![f32::NAN; len];
                compressor.decode(&bytes, &layout, &mut back);
                lost += squares(row.iter().zip(&back).map(|(one, other)| one - other));
                size += squares(row.iter().copied());
            }
            let bound = 1.0 - compressor.contraction(&layout).expect("it contracts");
            assert!(lost <= size * (bound * 1.1 + 1e-9), "{compressor:?} {len}: {} above {bound}", lost / size);
        }
    }
}

#[test]
fn with_fewer_bits_more_is_lost() {
    let (layout, mut before) = (layout(&[(50, 40)]), 0.0);
    for bits in [16, 8, 4, 2] {
        let compressor = Compressor::Quantised { bits };
        let row = wave(2000, 1);
        let mut back = vec![0.0; 2000];
        compressor.decode(&compressor.encode(&row, &layout, &mut stream(0)), &layout, &mut back);
        let lost = squares(row.iter().zip(&back).map(|(one, other)| one - other)) / squares(row.into_iter());
        assert!(lost > 2.0 * before, "{bits} bits lose {lost}, twice as many {before}");
        before = lost;
    }
}

#[test]
fn factors_of_a_matrix_of_their_rank_lose_nothing() {
    let layout = layout(&[(30, 20), (20, 30), (5, 1)]);
    let mut row = wave(layout.len(), 5);
    for tensor in &layout.tensors[..2] {
        let value = |at: usize| {
            let (i, j) = ((at / tensor.cols) as f32, (at % tensor.cols) as f32);
            (0.3 * i).sin() * (0.2 * j).cos() + (0.1 * i).cos() * (0.7 * j).sin()
        };
        row[tensor.range()].iter_mut().enumerate().for_each(|(at, out)| *out = value(at));
    }
    for (rank, most) in [(2, 1e-5), (3, 1e-5)] {
        let compressor = Compressor::LowRank { rank };
        let mut back = vec![0.0; layout.len()];
        let bytes = compressor.encode(&row, &layout, &mut stream(2));
        assert_eq!(bytes.len(), 4 * (2 * 50 * rank as usize + 5));
        compressor.decode(&bytes, &layout, &mut back);
        let lost = squares(row.iter().zip(&back).map(|(one, other)| one - other)) / squares(row.iter().copied());
        assert!(lost.sqrt() < most, "rank {rank}: {:e}", lost.sqrt());
    }
}

#[test]
fn entries_kept_at_random_and_scaled_up_are_right_on_average() {
    let compressor = Compressor::RandomK { share: 0.25, bias: Bias::Unbiased };
    let layout = layout(&[(16, 1)]);
    assert_eq!(compressor.contraction(&layout), None);
    let row: Vec<f32> = (0..16).map(|at| at as f32 - 4.0).collect();
    let (mut sum, mut back) = ([0.0_f64; 16], vec![0.0; 16]);
    let mut stream = stream(0);
    for _ in 0..20_000 {
        compressor.decode(&compressor.encode(&row, &layout, &mut stream), &layout, &mut back);
        sum.iter_mut().zip(&back).for_each(|(sum, value)| *sum += f64::from(*value) / 20_000.0);
    }
    for (mean, value) in sum.iter().zip(&row) {
        assert!((mean - f64::from(*value)).abs() < 0.5, "{mean} {value}");
    }
}

/// Positions of the `count` largest, by sorting all.
fn sorted(row: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.sort_by(|one, other| row[*other].abs().total_cmp(&row[*one].abs()).then(one.cmp(other)));
    places.truncate(count);
    places.sort_unstable();
    places
}

/// Stochastic rounding entry by entry: scales, then a bit stream.
fn quantised(row: &[f32], bits: u32, stream: &mut ChaCha8Rng) -> Vec<u8> {
    let top = (1_u32 << (bits - 1)) - 1;
    let (mut scales, mut codes, mut bit) = (Vec::new(), vec![0_u8; (row.len() * bits as usize).div_ceil(8)], 0);
    for bucket in row.chunks(64) {
        let largest = bucket.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        scales.extend(largest.to_le_bytes());
        for value in bucket {
            let chance = (stream.next_u32() >> 8) as f32 / (1 << 24) as f32;
            let level = if largest > 0.0 { value.abs() / largest * top as f32 } else { 0.0 };
            let level = ((level.floor() as u32) + u32::from(level.fract() > chance)).min(top);
            let code = level << 1 | u32::from(value.is_sign_negative());
            for at in 0..bits {
                codes[bit / 8] |= ((code >> at & 1) as u8) << (bit % 8);
                bit += 1;
            }
        }
    }
    scales.extend(codes);
    scales
}

proptest! {
    #[test]
    fn the_largest_entries_are_those_that_sorting_finds(
        row in prop::collection::vec(prop_oneof![-3..3_i8, -100..100_i8], 1..400),
        share in 0.001..1.0_f64,
    ) {
        // Few different values, so that most magnitudes are shared.
        let row: Vec<f32> = row.into_iter().map(|value| f32::from(value) * 0.37).collect();
        let layout = layout(&[(row.len(), 1)]);
        let compressor = Compressor::TopK { share };
        let count = compressor.wire_len(&layout) / 8;
        let bytes = compressor.encode(&row, &layout, &mut stream(0));
        let kept: Vec<usize> =
            bytes.chunks(8).map(|entry| u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) as usize).collect();
        prop_assert_eq!(kept, sorted(&row, count));
    }

    #[test]
    fn quantised_bytes_are_those_of_the_rule_entry_by_entry(
        row in prop::collection::vec(-2.0..2.0_f32, 1..300),
        bits in prop::sample::select(vec![2_u8, 4, 8, 16]),
        zeros in 0..300_usize,
        index in 0..1000_u64,
    ) {
        let mut row = row;
        row.iter_mut().take(zeros).for_each(|value| *value = 0.0);
        let layout = layout(&[(row.len(), 1)]);
        let ours = Compressor::Quantised { bits }.encode(&row, &layout, &mut stream(index));
        prop_assert_eq!(ours, quantised(&row, u32::from(bits), &mut stream(index)));
    }

    #[test]
    fn bytes_that_are_cut_short_or_changed_decode_to_something(
        cut in 0..600_usize,
        flip in 0..600_usize,
        which in 0..16_usize,
    ) {
        let layout = layout(&[(10, 12), (10, 1), (1, 17)]);
        let compressors = all();
        let compressor = compressors[which % compressors.len()];
        let row = wave(layout.len(), 1);
        let mut bytes = compressor.encode(&row, &layout, &mut stream(0));
        if let Some(byte) = bytes.get_mut(flip) {
            *byte ^= 0xff;
        }
        bytes.truncate(cut);
        let mut back = vec![f32::NAN; row.len()];
        compressor.decode(&bytes, &layout, &mut back);
        if bytes.is_empty() {
            prop_assert!(back.iter().all(|value| *value == 0.0));
        }
    }
}
