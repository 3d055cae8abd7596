//! Coefficients on a span, in test-grade `f64`: the plain statement of what engines do in their hot path.

use crate::linalg::{product, to_f32, to_f64};
use kith_core::Matrix;

/// Coefficients of `q: [out, d]` on the orthonormal columns of `span: d × k`: `q · span`, `[out, k]`.
///
/// Lossless if the rows of `q` lie in the span (Choudhary et al., 2024, lossless compression).
///
/// # Panics
/// If `q` has not as many columns as `span` has rows.
#[must_use]
pub fn encode(q: &Matrix, span: &Matrix) -> Matrix {
    assert_eq!(q.cols(), span.rows(), "encode: columns of q against rows of the span");
    to_f32(product(to_f64(q).as_ref(), to_f64(span).as_ref()).as_ref())
}

/// What coefficients `c: [out, k]` on the columns of `span: d × k` stand for: `c · spanᵀ`, `[out, d]`.
///
/// # Panics
/// If `c` and `span` have different numbers of columns.
#[must_use]
pub fn lift(c: &Matrix, span: &Matrix) -> Matrix {
    assert_eq!(c.cols(), span.cols(), "lift: columns of the coefficients against columns of the span");
    to_f32(product(to_f64(c).as_ref(), to_f64(span).transpose()).as_ref())
}
