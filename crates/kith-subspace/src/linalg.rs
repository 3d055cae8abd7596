//! Products and factorisations in `f64`, always on the calling thread, so that the bits do not depend on a thread count.

use crate::SubspaceError;
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::matmul::triangular::BlockStructure;
use faer::linalg::{evd, householder, matmul, qr, svd};
use faer::{Accum, Conj, Mat, MatMut, MatRef, Par, Spec};
use kith_core::Matrix;

/// `A · B`.
pub(crate) fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    matmul::matmul(out.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// `C ← C − A · B`.
pub(crate) fn subtract_product(c: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
    matmul::matmul(c, Accum::Add, a, b, -1.0, Par::Seq);
}

/// `A · Aᵀ`, exactly symmetric.
pub(crate) fn gram(a: MatRef<'_, f64>) -> Mat<f64> {
    let d = a.nrows();
    let mut out = Mat::zeros(d, d);
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    matmul::triangular::matmul(out.as_mut(), lower, Accum::Replace, a, full, a.transpose(), full, 1.0, Par::Seq);
    for col in 1..d {
        for row in 0..col {
            out[(row, col)] = out[(col, row)];
        }
    }
    out
}

/// Removes the part of the columns of `x` that lies in the span of the nearly orthonormal columns of `basis`. Twice,
/// because a basis rounded to `f32` leaves about 1e-8 of it the first time.
pub(crate) fn deflate(mut x: MatMut<'_, f64>, basis: MatRef<'_, f64>) {
    deflate_once(x.as_mut(), basis);
    deflate_once(x, basis);
}

/// One of the two passes of [`deflate`].
pub(crate) fn deflate_once(x: MatMut<'_, f64>, basis: MatRef<'_, f64>) {
    if basis.ncols() > 0 {
        let coefficients = product(basis.transpose(), x.as_ref());
        subtract_product(x, basis, coefficients.as_ref());
    }
}

/// Left singular vectors `d × min(d, n)` and singular values, descending.
pub(crate) fn left_singular(a: MatRef<'_, f64>) -> Result<(Mat<f64>, Vec<f64>), SubspaceError> {
    let (d, n) = a.shape();
    let size = d.min(n);
    let mut u = Mat::zeros(d, size);
    let mut s = Diag::zeros(size);
    let (left, right) = (svd::ComputeSvdVectors::Thin, svd::ComputeSvdVectors::No);
    let scratch = svd::svd_scratch::<f64>(d, n, left, right, Par::Seq, Spec::default());
    let mut buffer = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut buffer);
    svd::svd(a, s.as_mut(), Some(u.as_mut()), None, Par::Seq, stack, Spec::default())
        .map_err(|_| SubspaceError::NoConvergence { operation: "singular value decomposition", rows: d, cols: n })?;
    let values = s.column_vector().iter().copied().collect();
    Ok((u, values))
}

/// Eigenvectors and eigenvalues, ascending, of a symmetric matrix of which the lower triangle is read.
pub(crate) fn symmetric_eigen(a: MatRef<'_, f64>) -> Result<(Mat<f64>, Vec<f64>), SubspaceError> {
    let d = a.nrows();
    let mut u = Mat::zeros(d, d);
    let mut s = Diag::zeros(d);
    let vectors = evd::ComputeEigenvectors::Yes;
    let mut buffer = MemBuffer::new(evd::self_adjoint_evd_scratch::<f64>(d, vectors, Par::Seq, Spec::default()));
    let stack = MemStack::new(&mut buffer);
    evd::self_adjoint_evd(a, s.as_mut(), Some(u.as_mut()), Par::Seq, stack, Spec::default())
        .map_err(|_| SubspaceError::NoConvergence { operation: "symmetric eigendecomposition", rows: d, cols: d })?;
    let values = s.column_vector().iter().copied().collect();
    Ok((u, values))
}

/// Householder factor of `a: d × r`, r ≤ d, of full column rank: `Q` is `d × d` and orthogonal.
pub(crate) struct Householder {
    factored: Mat<f64>,
    coefficients: Mat<f64>,
}

impl Householder {
    pub(crate) fn of(a: MatRef<'_, f64>) -> Self {
        let (d, r) = a.shape();
        let mut factored = a.to_owned();
        let block = qr::no_pivoting::factor::recommended_block_size::<f64>(d, r);
        let mut coefficients = Mat::zeros(block, r);
        let scratch = qr::no_pivoting::factor::qr_in_place_scratch::<f64>(d, r, block, Par::Seq, Spec::default());
        let mut buffer = MemBuffer::new(scratch);
        let stack = MemStack::new(&mut buffer);
        let (factor, settings) = (coefficients.as_mut(), Spec::default());
        qr::no_pivoting::factor::qr_in_place(factored.as_mut(), factor, Par::Seq, stack, settings);
        Self { factored, coefficients }
    }

    /// Columns `from .. from + count` of `Q`.
    fn columns(&self, from: usize, count: usize) -> Mat<f64> {
        let d = self.factored.nrows();
        let mut q = Mat::from_fn(d, count, |row, col| if row == from + col { 1.0 } else { 0.0 });
        let rows = self.coefficients.nrows();
        let scratch = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(d, rows, count);
        let mut buffer = MemBuffer::new(scratch);
        householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
            self.factored.as_ref(),
            self.coefficients.as_ref(),
            Conj::No,
            q.as_mut(),
            Par::Seq,
            MemStack::new(&mut buffer),
        );
        q
    }

    /// An orthonormal basis of the span of `a`, column j in the direction that `a`'s column j adds.
    pub(crate) fn range(&self) -> Mat<f64> {
        let r = self.factored.ncols();
        let mut q = self.columns(0, r);
        for col in 0..r {
            if self.factored[(col, col)] < 0.0 {
                q.col_mut(col).iter_mut().for_each(|entry| *entry = -*entry);
            }
        }
        q
    }

    /// An orthonormal basis `d × (d − r)` of the complement of the span of `a`.
    pub(crate) fn complement(&self) -> Mat<f64> {
        let (d, r) = self.factored.shape();
        self.columns(r, d - r)
    }
}

/// The same numbers, rounded to `f32`.
pub(crate) fn to_f32(a: MatRef<'_, f64>) -> Matrix {
    Matrix::from_fn(a.nrows(), a.ncols(), |row, col| a[(row, col)] as f32)
}

/// The same numbers, exactly.
pub(crate) fn to_f64(a: &Matrix) -> Mat<f64> {
    Mat::from_fn(a.rows(), a.cols(), |row, col| f64::from(a.get(row, col)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthonormal_columns_are_their_own_range_and_the_complement_is_orthogonal_to_it() {
        let a = Mat::from_fn(9, 9, |row, col| ((row * 7 + col * col * 3) % 11) as f64 - 4.0);
        let (u, _) = left_singular(a.as_ref()).expect("it converges");
        let columns = u.subcols(0, 5);
        let householder = Householder::of(columns);
        assert!((householder.range() - columns).norm_max() < 1e-14);
        let complement = householder.complement();
        assert_eq!(complement.shape(), (9, 4));
        assert!(product(columns.transpose(), complement.as_ref()).norm_max() < 1e-14);
    }

    #[test]
    fn a_gram_matrix_is_exactly_symmetric() {
        let a = Mat::from_fn(5, 13, |row, col| ((row + 1) * (col + 2)) as f64 / 7.0 - row as f64);
        let found = gram(a.as_ref());
        assert_eq!(found.transpose(), found);
        assert!((found - product(a.as_ref(), a.transpose())).norm_max() < 1e-11);
    }
}
