//! Made-up activations and measures that several tests use.
#![allow(dead_code, reason = "each test binary uses a part")]

use faer::{Mat, MatRef};
use kith_core::Matrix;

/// Numbers in [-0.5, 0.5), the same for the same seed.
pub(crate) fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    }
}

/// Inputs of a layer `[n, d]`: a few random factors, so that the spectrum decays, and a little noise, rectified.
pub(crate) fn activations(n: usize, d: usize, factors: usize, seed: u64) -> Matrix {
    let mut next = numbers(seed);
    let mixing: Vec<f32> = (0..factors * d).map(|_| next()).collect();
    let mut data = Vec::with_capacity(n * d);
    for _ in 0..n {
        let strengths: Vec<f32> = (0..factors).map(|factor| next() / (1.0 + factor as f32)).collect();
        for col in 0..d {
            let signal: f32 = strengths.iter().enumerate().map(|(f, s)| s * mixing[f * d + col]).sum();
            data.push((signal + 0.02 * next()).max(0.0));
        }
    }
    Matrix::new(n, d, data)
}

/// The same numbers in `f64`.
pub(crate) fn wide(a: &Matrix) -> Mat<f64> {
    Mat::from_fn(a.rows(), a.cols(), |row, col| f64::from(a.get(row, col)))
}

/// Norm of `AᵀA − I`.
pub(crate) fn orthonormality(a: MatRef<'_, f64>) -> f64 {
    (a.transpose() * a - Mat::<f64>::identity(a.ncols(), a.ncols())).norm_l2()
}
