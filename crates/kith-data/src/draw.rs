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

/// The numbers 0 to `count` − 1.
pub(crate) fn range(count: usize) -> Vec<u32> {
    (0..u32::try_from(count).unwrap_or(u32::MAX)).collect()
}
