//! What can go wrong with a memory.

use thiserror::Error;

/// Why a memory could not be computed, read or grown.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SubspaceError {
    /// The energy threshold is outside (0, 1].
    #[error("energy threshold is {found}, expected a number above 0 and at most 1")]
    Threshold {
        /// The threshold given.
        found: f64,
    },
    /// The scale coefficient of scaled gradient projection is negative or not finite.
    #[error("scale coefficient alpha is {found}, expected a finite number of at least 0")]
    Alpha {
        /// The coefficient given.
        found: f64,
    },
    /// Two sizes that must agree do not.
    #[error("{operation}: input dimension is {found}, expected {expected}")]
    Dimension {
        /// What was being done.
        operation: &'static str,
        /// The dimension of the layer.
        expected: usize,
        /// The dimension given.
        found: usize,
    },
    /// A number is NaN or infinite, or so large that its square is.
    #[error("{operation}: a number is not finite, or its square is not")]
    NotFinite {
        /// What was being done.
        operation: &'static str,
    },
    /// An iterative factorisation did not converge.
    #[error("{operation} of a {rows} x {cols} matrix did not converge")]
    NoConvergence {
        /// Which factorisation.
        operation: &'static str,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// The growth was computed for a memory of another rank.
    #[error("growth extends a memory of rank {found}, but this one has rank {expected}")]
    BaseRank {
        /// The rank of the memory.
        expected: usize,
        /// The rank that the growth extends.
        found: usize,
    },
    /// The growth would make the rank exceed the dimension.
    #[error("{columns} columns on top of rank {rank} exceed the dimension {dimension}")]
    TooManyColumns {
        /// Columns to add.
        columns: usize,
        /// Rank before them.
        rank: usize,
        /// Dimension of the layer.
        dimension: usize,
    },
    /// The columns to add are not orthonormal among themselves and to the memory.
    #[error("new columns are off orthonormal by {found:e}, at most {accepted:e} is accepted")]
    NotOrthonormal {
        /// Largest entry of `[M C]ᵀC − [0; I]` in absolute value.
        found: f64,
        /// What is accepted.
        accepted: f64,
    },
    /// The number of importances is neither zero nor the rank after growing.
    #[error("growth holds {found} importances, expected none or {expected}")]
    ImportanceCount {
        /// Rank after growing.
        expected: usize,
        /// Importances given.
        found: usize,
    },
    /// An importance is outside [0, 1].
    #[error("importance is {found}, expected a number from 0 to 1")]
    Importance {
        /// The importance given.
        found: f64,
    },
    /// The bytes of a growth are fewer or more than its header says.
    #[error("a growth is encoded in {found} bytes, expected {expected}")]
    Length {
        /// Bytes that the header (or a header alone) asks for.
        expected: u64,
        /// Bytes given.
        found: usize,
    },
}
