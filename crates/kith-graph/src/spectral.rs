//! The extreme eigenvalues of a symmetric operator, by the Lanczos method.
//!
//! The method runs without reorthogonalisation: rounding then only repeats eigenvalues of the tridiagonal matrix, it
//! moves none outside the spectrum (Paige, 1976), and only the two ends are asked for. So a ring of a thousand agents,
//! whose gap is 1e-5, takes some thousand sparse products instead of a dense factorisation.

/// Two ends that moved by less than this while the number of steps doubled have converged.
const SETTLED: f64 = 1e-14;
/// Below this, the space that the start vector spans is exhausted.
const EXHAUSTED: f64 = 1e-13;

/// The largest modulus of the eigenvalues of a symmetric operator on `copies` blocks of `n` numbers each, on the space
/// where every block sums to zero; `apply(x, out)` sets `out ← A x` and keeps that space. Zero where the space is empty.
pub(crate) fn largest_modulus(n: usize, copies: usize, apply: impl Fn(&[f64], &mut [f64])) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let size = n * copies;
    let mut current: Vec<f64> = (0..size as u64).map(scatter).collect();
    remove_means(&mut current, n);
    let norm = dot(&current, &current).sqrt();
    current.iter_mut().for_each(|x| *x /= norm);

    let (mut previous, mut next) = (vec![0.0; size], vec![0.0; size]);
    let (mut diagonal, mut beside): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let (mut check_at, mut last) = (32, f64::INFINITY);
    let limit = 16 * size + 64;
    loop {
        apply(&current, &mut next);
        let back = beside.last().copied().unwrap_or(0.0);
        next.iter_mut().zip(&previous).for_each(|(next, previous)| *next -= back * previous);
        let alpha = dot(&next, &current);
        next.iter_mut().zip(&current).for_each(|(next, current)| *next -= alpha * current);
        remove_means(&mut next, n);
        diagonal.push(alpha);
        let beta = dot(&next, &next).sqrt();
        if beta < EXHAUSTED || diagonal.len() == limit {
            return extreme(&diagonal, &beside);
        }
        if diagonal.len() == check_at {
            let found = extreme(&diagonal, &beside);
            if (found - last).abs() < SETTLED {
                return found;
            }
            last = found;
            check_at *= 2;
        }
        beside.push(beta);
        next.iter_mut().for_each(|x| *x /= beta);
        std::mem::swap(&mut previous, &mut current);
        std::mem::swap(&mut current, &mut next);
    }
}

/// The factor by which an operator that keeps sums shrinks a vector of sum zero, in the long run: the geometric mean over the
/// later of many products, since the largest eigenvalues may be a complex pair.
pub(crate) fn decay(n: usize, apply: impl Fn(&[f64], &mut [f64])) -> f64 {
    const SKIPPED: u32 = 1000;
    const COUNTED: u32 = 4000;
    let mut current: Vec<f64> = (0..n as u64).map(scatter).collect();
    let mut next = vec![0.0; n];
    let mut logarithms = 0.0;
    for step in 0..SKIPPED + COUNTED {
        remove_means(&mut current, n);
        let norm = dot(&current, &current).sqrt();
        if norm < f64::MIN_POSITIVE {
            return 0.0;
        }
        if step > SKIPPED {
            logarithms += norm.ln();
        }
        current.iter_mut().for_each(|x| *x /= norm);
        apply(&current, &mut next);
        std::mem::swap(&mut current, &mut next);
    }
    (logarithms / f64::from(COUNTED - 1)).exp()
}

/// A fixed start vector without structure, in [-0.5, 0.5): SplitMix64's finaliser over the index.
fn scatter(index: u64) -> f64 {
    let mut bits = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn remove_means(x: &mut [f64], n: usize) {
    for block in x.chunks_exact_mut(n) {
        let mean = block.iter().sum::<f64>() / n as f64;
        block.iter_mut().for_each(|x| *x -= mean);
    }
}

/// The larger modulus of the two extreme eigenvalues of a symmetric tridiagonal matrix.
fn extreme(diagonal: &[f64], beside: &[f64]) -> f64 {
    let negated: Vec<f64> = diagonal.iter().map(|x| -x).collect();
    largest(diagonal, beside).abs().max(largest(&negated, beside).abs())
}

/// The largest eigenvalue of a symmetric tridiagonal matrix, by bisection on Sturm's count.
fn largest(diagonal: &[f64], beside: &[f64]) -> f64 {
    let radius = |i: usize| {
        let before = if i == 0 { 0.0 } else { beside[i - 1] };
        before + beside.get(i).filter(|_| i + 1 < diagonal.len()).copied().unwrap_or(0.0)
    };
    // Gershgorin's discs.
    let mut high = (0..diagonal.len()).map(|i| diagonal[i] + radius(i)).fold(f64::NEG_INFINITY, f64::max);
    let mut low = diagonal.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for _ in 0..128 {
        let middle = low.midpoint(high);
        if middle <= low || middle >= high {
            break;
        }
        if all_below(diagonal, beside, middle) { high = middle } else { low = middle }
    }
    high
}

/// Whether every eigenvalue is below `x`: whether `x I − T` has positive pivots only.
fn all_below(diagonal: &[f64], beside: &[f64], x: f64) -> bool {
    let mut pivot = x - diagonal[0];
    for (diagonal, beside) in diagonal[1..].iter().zip(beside) {
        if pivot <= 0.0 {
            return false;
        }
        pivot = x - diagonal - beside * beside / pivot;
    }
    pivot > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagonal_operator_gives_its_largest_modulus() {
        let two = largest_modulus(2, 1, |x, out| out.copy_from_slice(&[-0.75 * x[0], -0.75 * x[1]]));
        assert!((two - 0.75).abs() < 1e-15, "{two}");
    }

    #[test]
    fn the_largest_eigenvalue_of_a_path_is_twice_a_cosine() {
        for n in [1_usize, 2, 7, 100] {
            let expected = 2.0 * (std::f64::consts::PI / (n as f64 + 1.0)).cos();
            let found = largest(&vec![0.0; n], &vec![1.0; n - 1]);
            assert!((found - expected).abs() < 1e-14, "{n}: {found} against {expected}");
        }
    }
}
