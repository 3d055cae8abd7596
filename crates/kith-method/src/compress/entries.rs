//! Which entries of a row are kept.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Hands the `count` entries of largest magnitude to `keep`, by ascending position; ties go to lower positions.
///
/// Magnitudes compare as their bits do, so the smallest kept one is found among whole numbers, without positions. A first
/// pass counts them by exponent and leading digits: what must be ordered are then those of one such class.
pub(super) fn largest(row: &[f32], count: usize, mut keep: impl FnMut(usize, f32)) {
    const CLASS: u32 = 20;
    let size = |value: f32| value.abs().to_bits();
    if count == 0 {
        return;
    }
    let mut classes = [0_u32; 1 << (31 - CLASS)];
    row.iter().for_each(|value| classes[(size(*value) >> CLASS) as usize] += 1);
    let (mut class, mut above) = (classes.len() - 1, 0);
    while class > 0 && above + (classes[class] as usize) < count {
        above += classes[class] as usize;
        class -= 1;
    }
    let within = |value: &f32| (size(*value) >> CLASS) as usize == class;
    let mut close: Vec<u32> = row.iter().copied().filter(within).map(size).collect();
    let wanted = (count - above).min(close.len());
    if wanted == 0 {
        return;
    }
    let smallest = *close.select_nth_unstable_by(wanted - 1, |one, other| other.cmp(one)).1;
    let larger = close[..wanted].iter().filter(|size| **size > smallest).count();
    let mut equals = wanted - larger;
    for (at, &value) in row.iter().enumerate() {
        let size = size(value);
        if size > smallest {
            keep(at, value);
        } else if size == smallest && equals > 0 {
            equals -= 1;
            keep(at, value);
        }
    }
}

/// `count` different positions below `len` from a seed, ascending (Floyd's algorithm).
pub(super) fn drawn(seed: u64, count: usize, len: usize) -> impl Iterator<Item = usize> {
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut taken = vec![false; len];
    for last in len - count..len {
        let at = ((u128::from(stream.next_u64()) * (last as u128 + 1)) >> 64) as usize;
        let free = if taken[at] { last } else { at };
        taken[free] = true;
    }
    taken.into_iter().enumerate().filter(|(_, taken)| *taken).map(|(at, _)| at)
}
