//! Draws that must stay the same from release to release, so they are not left to a library's sampling code.

use rand_chacha::rand_core::Rng;

/// A number below `bound` (at least 1). The bias is below `bound / 2⁶⁴`.
pub(crate) fn below(rng: &mut impl Rng, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// Fisher–Yates, from the end.
pub(crate) fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

/// `count` of the items (or all, if there are fewer), each at most once, in random order.
pub(crate) fn choose(rng: &mut impl Rng, mut items: Vec<u32>, count: usize) -> Vec<u32> {
    let count = count.min(items.len());
    for next in 0..count {
        let other = next + below(rng, items.len() - next);
        items.swap(next, other);
    }
    items.truncate(count);
    items
}

/// `count` different numbers below `bound` (all, if there are fewer), in random order, in a time that does not grow with
/// `bound` (Floyd's sampling, then a shuffle).
pub(crate) fn distinct(rng: &mut impl Rng, bound: usize, count: usize) -> Vec<usize> {
    let count = count.min(bound);
    let mut drawn = std::collections::BTreeSet::new();
    let mut order = Vec::with_capacity(count);
    for last in bound - count..bound {
        let number = below(rng, last + 1);
        let new = if drawn.insert(number) { number } else { last };
        drawn.insert(new);
        order.push(new);
    }
    shuffle(rng, &mut order);
    order
}

/// The numbers 0 to `count` − 1.
pub(crate) fn range(count: usize) -> Vec<u32> {
    (0..u32::try_from(count).unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::{Purpose, Seeds};

    #[test]
    fn distinct_numbers_are_distinct_and_equally_likely() {
        let mut rng = Seeds::new(3).shared(Purpose::RecallBatch, 0);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            let drawn = distinct(&mut rng, 7, 3);
            assert!(drawn.len() == 3 && drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
            drawn.into_iter().for_each(|number| seen[number] += 1);
        }
        // Expected 3000 each, with a standard deviation of 41.
        assert!(seen.iter().all(|count| count.abs_diff(3_000) < 210), "{seen:?}");
        assert_eq!(distinct(&mut rng, 2, 5).len(), 2);
    }
}
