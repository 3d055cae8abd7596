//! The generator behind NumPy's `RandomState`, for task sequences that are defined by it.

const LEN: usize = 624;
const MIDDLE: usize = 397;

/// MT19937 (Matsumoto & Nishimura 1998), seeded by its `init_genrand`, as `RandomState(seed)` is.
pub(crate) struct Mersenne {
    state: [u32; LEN],
    next: usize,
}

impl Mersenne {
    /// The generator of `RandomState(seed)`.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [seed; LEN];
        for index in 1..LEN {
            let before = state[index - 1];
            state[index] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(index as u32);
        }
        Self { state, next: LEN }
    }

    /// 32 random bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        if self.next == LEN {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for index in 0..LEN {
            let joined = (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % LEN] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + MIDDLE) % LEN] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// `RandomState.shuffle`: Fisher–Yates from the end, each place drawn by masking and rejection.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let mask = u32::MAX >> (last as u32).leading_zeros();
            let place = loop {
                let drawn = self.next_u32() & mask;
                if drawn as usize <= last {
                    break drawn as usize;
                }
            };
            items.swap(last, place);
        }
    }

    /// `RandomState(seed).permutation(count)`.
    pub(crate) fn permutation(seed: u32, count: usize) -> Vec<u32> {
        let mut items = crate::draw::range(count);
        Self::new(seed).shuffle(&mut items);
        items
    }
}

/// The NumPy seed of every task of permuted MNIST, as the GPM code (Saha et al. 2021) makes them: `100 r + i` at
/// position `i`, where `r` runs through 0 … 9 shuffled by `RandomState(seed)`.
///
/// Generalised to more than ten tasks by shuffling 0 … `count` − 1; above 100 tasks the factor is `count`, so that no
/// two tasks share a seed. Up to ten tasks are the first ones of ten.
pub(crate) fn permuted_task_seeds(seed: u32, count: usize) -> Vec<u32> {
    let stride = u32::try_from(count.max(100)).unwrap_or(u32::MAX);
    let order = Mersenne::permutation(seed, count.max(10));
    (0_u32..).zip(order).take(count).map(|(position, r)| stride.wrapping_mul(r).wrapping_add(position)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_of_ten_are_those_of_numpy() {
        // RandomState(0).permutation(10) and RandomState(42).permutation(10).
        assert_eq!(Mersenne::permutation(0, 10), [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]);
        assert_eq!(Mersenne::permutation(42, 10), [8, 1, 5, 0, 7, 2, 9, 4, 3, 6]);
    }

    #[test]
    fn the_first_words_are_those_of_the_reference_generator() {
        // init_genrand(5489), the published default seed.
        let mut generator = Mersenne::new(5489);
        assert_eq!([generator.next_u32(), generator.next_u32()], [3_499_211_612, 581_869_302]);
    }

    #[test]
    fn seed_two_gives_the_published_task_seeds() {
        assert_eq!(permuted_task_seeds(2, 10), [400, 101, 502, 3, 704, 205, 306, 607, 908, 809]);
        assert_eq!(permuted_task_seeds(2, 3), [400, 101, 502]);
    }

    #[test]
    fn permutations_of_784_start_as_published() {
        assert_eq!(Mersenne::permutation(400, 784)[..8], [745, 491, 157, 422, 329, 168, 133, 44]);
        assert_eq!(Mersenne::permutation(101, 784)[..6], [744, 134, 42, 100, 536, 314]);
        assert_eq!(Mersenne::permutation(502, 784)[..6], [349, 447, 151, 400, 393, 301]);
    }

    #[test]
    fn no_two_of_250_tasks_share_a_seed() {
        let mut seeds = permuted_task_seeds(2, 250);
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 250);
    }
}
