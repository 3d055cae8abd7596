//! The singular directions of a representation outside a memory, by the cheapest of three routes.
//!
//! *Direct*: singular value decomposition of `R̂ = R − MMᵀR: d × n`. *Gram*: eigendecomposition of `R̂R̂ᵀ: d × d`, for
//! representations with many more samples than dimensions (patches of a convolution). *Samples*: eigendecomposition of
//! `R̂ᵀR̂: n × n`, for no more samples than dimensions; direction j is `R̂ vⱼ / σⱼ`, computed for those that are wanted.
//!
//! Squaring costs resolution: directions that hold less than about `max(d, n) · 2e-16` of the energy (a singular value below
//! about 1e-6 of the norm) drown in rounding. All routes leave those out, so that they find the same directions; a direction
//! that holds the share s of the energy is off by about `2e-16 / s`. No threshold in use comes near, and a test holds the
//! routes together.

use crate::SubspaceError;
use crate::linalg::{deflate, deflate_once, gram, left_singular, product, subtract_product, symmetric_eigen};
use faer::{Mat, MatRef};

/// Samples a dimension from which the Gram route is taken. It is the faster one from about one sample a dimension (d =
/// 784, one thread: n = 784 170 ms direct, 130 ms by Gram; n = 1600 280 and 155; n = 300 35 and 100); up to twice that
/// the more accurate vectors of the direct route are worth the time.
const GRAM_FROM: usize = 2;

/// How a representation lies to a memory.
pub(crate) struct Spectrum {
    /// Directions outside the memory, by falling singular value.
    directions: Directions,
    /// Their singular values, above the noise.
    pub(crate) values: Vec<f64>,
    /// Energy outside the memory: the sum of all squared singular values of `R − MMᵀR`.
    pub(crate) residual: f64,
    /// Energy of the representation, `‖R‖²`.
    pub(crate) total: f64,
    /// `‖mⱼᵀR‖` for each column `mⱼ` of the memory.
    pub(crate) on_memory: Vec<f64>,
}

enum Directions {
    /// `d × k`.
    Known(Mat<f64>),
    /// `R̂: d × n` and the eigenvectors of `R̂ᵀR̂`, `n × n`, by rising eigenvalue.
    OfSamples { rest: Mat<f64>, right: Mat<f64> },
}

impl Spectrum {
    /// The first `rank` directions, `d × rank`, of length one.
    pub(crate) fn vectors(&self, rank: usize) -> Mat<f64> {
        match &self.directions {
            Directions::Known(vectors) => vectors.subcols(0, rank).to_owned(),
            Directions::OfSamples { rest, right } => {
                let n = right.ncols();
                let scaled = Mat::from_fn(n, rank, |row, col| right[(row, n - 1 - col)] / self.values[col]);
                product(rest.as_ref(), scaled.as_ref())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Direct,
    Gram,
    Samples,
}

impl Route {
    pub(crate) const fn for_shape(d: usize, n: usize) -> Self {
        if n >= GRAM_FROM * d {
            Self::Gram
        } else if n <= d {
            Self::Samples
        } else {
            Self::Direct
        }
    }
}

/// The spectrum of `r: d × n`, finite, outside the span of `memory: d × r`.
pub(crate) fn outside(r: MatRef<'_, f64>, memory: MatRef<'_, f64>, route: Route) -> Result<Spectrum, SubspaceError> {
    match route {
        Route::Direct => direct(r, memory),
        Route::Gram => by_gram(r, memory),
        Route::Samples => by_samples(r, memory),
    }
}

/// `R̂`, and how much of each sample lies on the memory.
fn deflated(r: MatRef<'_, f64>, memory: MatRef<'_, f64>) -> (Mat<f64>, Vec<f64>) {
    let coefficients = product(memory.transpose(), r);
    let on_memory = coefficients.row_iter().map(|row| row.norm_l2()).collect();
    let mut rest = r.to_owned();
    subtract_product(rest.as_mut(), memory, coefficients.as_ref());
    deflate_once(rest.as_mut(), memory);
    (rest, on_memory)
}

fn by_samples(r: MatRef<'_, f64>, memory: MatRef<'_, f64>) -> Result<Spectrum, SubspaceError> {
    let total = r.squared_norm_l2();
    let (rest, on_memory) = deflated(r, memory);
    let gram = gram(rest.transpose());
    let residual = trace(gram.as_ref());
    let (right, energies) = symmetric_eigen(gram.as_ref())?;
    let noise = noise_share(r) * total;
    let values = energies.iter().rev().filter(|&&energy| energy > noise).map(|energy| energy.sqrt()).collect();
    Ok(Spectrum { directions: Directions::OfSamples { rest, right }, values, residual, total, on_memory })
}

fn direct(r: MatRef<'_, f64>, memory: MatRef<'_, f64>) -> Result<Spectrum, SubspaceError> {
    let total = r.squared_norm_l2();
    let (rest, on_memory) = deflated(r, memory);
    let (vectors, mut values) = left_singular(rest.as_ref())?;
    let residual = values.iter().map(|value| value * value).sum();
    let noise = (noise_share(r) * total).sqrt();
    values.retain(|&value| value > noise);
    Ok(Spectrum { directions: Directions::Known(vectors), values, residual, total, on_memory })
}

fn by_gram(r: MatRef<'_, f64>, memory: MatRef<'_, f64>) -> Result<Spectrum, SubspaceError> {
    let d = r.nrows();
    let mut rest = gram(r);
    let total = trace(rest.as_ref());
    let coefficients = product(rest.as_ref(), memory);
    let on_memory = memory
        .col_iter()
        .zip(coefficients.col_iter())
        .map(|(m, c)| m.iter().zip(c.iter()).map(|(m, c)| m * c).sum::<f64>().max(0.0).sqrt())
        .collect();
    // G(I − P) is the transpose of (I − P)G.
    deflate(rest.as_mut(), memory);
    deflate(rest.as_mut().transpose_mut(), memory);
    let residual = trace(rest.as_ref()).max(0.0);
    let (ascending, energies) = symmetric_eigen(rest.as_ref())?;
    let noise = noise_share(r) * total;
    let values: Vec<f64> = energies.iter().rev().filter(|&&e| e > noise).map(|energy| energy.sqrt()).collect();
    let vectors = Mat::from_fn(d, values.len(), |row, col| ascending[(row, d - 1 - col)]);
    Ok(Spectrum { directions: Directions::Known(vectors), values, residual, total, on_memory })
}

/// Share of the energy that a direction must exceed to be told from rounding: of the Gram matrix in `f64`, and of the
/// representation and the memory in `f32`, which a threshold of one would otherwise learn.
fn noise_share(r: MatRef<'_, f64>) -> f64 {
    let single = f64::from(f32::EPSILON).powi(2);
    single.max(r.nrows().max(r.ncols()) as f64 * f64::EPSILON)
}

fn trace(a: MatRef<'_, f64>) -> f64 {
    (0..a.nrows()).map(|index| a[(index, index)]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns around a spectrum that falls by a constant factor, from 1 to 1e-3.
    fn decaying(d: usize, n: usize, seed: u64) -> Mat<f64> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        let mix = Mat::from_fn(d, d, |_, _| next());
        let samples = Mat::from_fn(d, n, |row, _| next() * 10_f64.powf(-3.0 * row as f64 / d as f64));
        product(mix.as_ref(), samples.as_ref())
    }

    fn projector(vectors: &Mat<f64>) -> Mat<f64> {
        product(vectors.as_ref(), vectors.transpose())
    }

    #[test]
    fn the_routes_agree() {
        for (d, n) in [(20, 12), (20, 20), (90, 40), (24, 300), (60, 90)] {
            let first = outside(decaying(d, n, 3).as_ref(), Mat::zeros(d, 0).as_ref(), Route::Direct);
            let memory = first.expect("it converges").vectors(n.min(d / 4));
            let seen = decaying(d, n, 4);
            let direct = outside(seen.as_ref(), memory.as_ref(), Route::Direct).expect("it converges");
            let norm = direct.total.sqrt();
            assert_eq!(direct.values.len(), n.min(d - memory.ncols()));
            let others = if n <= d { vec![Route::Gram, Route::Samples] } else { vec![Route::Gram] };
            for route in others {
                let other = outside(seen.as_ref(), memory.as_ref(), route).expect("it converges");
                assert_eq!(other.values.len(), direct.values.len());
                assert!((direct.total - other.total).abs() < 1e-12 * direct.total);
                assert!((direct.residual - other.residual).abs() < 1e-12 * direct.total);
                for (a, b) in direct.values.iter().zip(&other.values) {
                    assert!((a - b).abs() < 1e-10 * norm, "{route:?}: {a} against {b}");
                }
                for (a, b) in direct.on_memory.iter().zip(&other.on_memory) {
                    assert!((a - b).abs() < 1e-12 * norm, "{route:?}: {a} against {b}");
                }
                for rank in 1..direct.values.len() {
                    let off = (projector(&direct.vectors(rank)) - projector(&other.vectors(rank))).norm_max();
                    assert!(off < 1e-8, "{route:?}, {d} x {n}, rank {rank}: off by {off:e}");
                }
            }
        }
    }

    #[test]
    fn the_smaller_square_is_decomposed() {
        assert_eq!(Route::for_shape(784, 300), Route::Samples);
        assert_eq!(Route::for_shape(2048, 125), Route::Samples);
        assert_eq!(Route::for_shape(784, 1000), Route::Direct);
        assert_eq!(Route::for_shape(1152, 10_000), Route::Gram);
    }
}
