//! What a task adds to a memory, and the exact bytes in which agents agree on it.

use crate::SubspaceError;
use crate::linalg::to_f32;
use faer::{Mat, MatRef};
use kith_core::Matrix;

/// What a representation adds to a memory: new columns, and for scaled gradient projection the importances of all
/// columns, old and new.
///
/// All agents must grow by the same bits. The one that computed the growth sends [`Growth::to_bytes`] and grows by
/// [`Growth::rounded`], which is what the others read.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    pub(crate) base_rank: usize,
    pub(crate) columns: Mat<f64>,
    pub(crate) importance: Vec<f64>,
}

/// Four little-endian `u32`: dimension, rank before, columns, importances.
const HEADER: usize = 16;

impl Growth {
    /// Dimension `d` of the layer's input.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.columns.nrows()
    }

    /// Rank of the memory that this growth extends.
    #[must_use]
    pub const fn base_rank(&self) -> usize {
        self.base_rank
    }

    /// Number of new columns.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.columns.ncols()
    }

    /// The new columns, `d × rank`, orthonormal and orthogonal to the memory.
    #[must_use]
    pub fn columns(&self) -> Matrix {
        to_f32(self.columns.as_ref())
    }

    /// The new columns as computed, `d × rank`.
    #[must_use]
    pub fn columns_f64(&self) -> MatRef<'_, f64> {
        self.columns.as_ref()
    }

    /// Importance of every column after growing, in [0, 1]; empty for gradient projection memory, where all are 1.
    #[must_use]
    pub fn importance(&self) -> Vec<f32> {
        self.importance.iter().map(|&value| value as f32).collect()
    }

    /// This growth as it is after travelling: every number rounded to `f32`.
    #[must_use]
    pub fn rounded(&self) -> Self {
        let columns = Mat::from_fn(self.dimension(), self.rank(), |row, col| round(self.columns[(row, col)]));
        Self { base_rank: self.base_rank, columns, importance: self.importance.iter().copied().map(round).collect() }
    }

    /// Length of [`Growth::to_bytes`] in bytes.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        HEADER + 4 * (self.dimension() * self.rank() + self.importance.len())
    }

    /// The exact form that travels, little-endian: `u32` dimension, rank before, columns and importances, then the
    /// columns one after the other and the importances as `f32`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.wire_len());
        for count in [self.dimension(), self.base_rank, self.rank(), self.importance.len()] {
            bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        let columns = self.columns.col_iter().flat_map(|column| column.iter().copied());
        for value in columns.chain(self.importance.iter().copied()) {
            bytes.extend_from_slice(&(value as f32).to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Growth::to_bytes`] wrote for a layer of this `dimension`. It allocates no more than a small
    /// multiple of the bytes given.
    ///
    /// # Errors
    /// If the bytes are too few or too many, the dimension is another, the counts do not fit each other, a number is
    /// not finite or an importance is outside [0, 1].
    pub fn from_bytes(dimension: usize, bytes: &[u8]) -> Result<Self, SubspaceError> {
        let (header, body) = bytes
            .split_at_checked(HEADER)
            .ok_or(SubspaceError::Length { expected: HEADER as u64, found: bytes.len() })?;
        let mut counts = header.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word));
        let mut count = || counts.next().unwrap_or_default();
        let (found, base_rank, rank, importances) = (count(), count(), count(), count());
        if found as usize != dimension {
            return Err(SubspaceError::Dimension {
                operation: "reading a growth",
                expected: dimension,
                found: found as usize,
            });
        }
        let after = u64::from(base_rank) + u64::from(rank);
        if after > dimension as u64 {
            let (columns, rank) = (rank as usize, base_rank as usize);
            return Err(SubspaceError::TooManyColumns { columns, rank, dimension });
        }
        // From here every count but the importances is at most `dimension`.
        let (base_rank, rank, importances) = (base_rank as usize, rank as usize, importances as usize);
        if importances != 0 && importances != base_rank + rank {
            return Err(SubspaceError::ImportanceCount { expected: base_rank + rank, found: importances });
        }
        let numbers = u64::from(found) * rank as u64 + importances as u64;
        let expected = numbers.saturating_mul(4).saturating_add(HEADER as u64);
        if expected != bytes.len() as u64 {
            return Err(SubspaceError::Length { expected, found: bytes.len() });
        }
        let values: Vec<f64> =
            body.as_chunks::<4>().0.iter().map(|&word| f64::from(f32::from_le_bytes(word))).collect();
        let (columns, importance) = values.split_at(dimension * rank);
        let columns = MatRef::from_column_major_slice(columns, dimension, rank).to_owned();
        let growth = Self { base_rank, columns, importance: importance.to_vec() };
        growth.check_numbers("reading a growth")?;
        Ok(growth)
    }

    /// Reads a growth that other bytes follow; returns those too.
    ///
    /// # Errors
    /// As [`Growth::from_bytes`].
    pub fn take(dimension: usize, bytes: &[u8]) -> Result<(Self, &[u8]), SubspaceError> {
        let counts: Vec<u64> =
            bytes.as_chunks::<4>().0.iter().take(4).map(|&word| u64::from(u32::from_le_bytes(word))).collect();
        let numbers = match counts[..] {
            [found, _, rank, importances] => found.saturating_mul(rank).saturating_add(importances),
            _ => 0,
        };
        let expected = numbers.saturating_mul(4).saturating_add(HEADER as u64);
        let end = usize::try_from(expected).unwrap_or(usize::MAX).min(bytes.len());
        let (growth, rest) = bytes.split_at(end);
        Ok((Self::from_bytes(dimension, growth)?, rest))
    }

    /// That every number is finite and every importance in [0, 1].
    pub(crate) fn check_numbers(&self, operation: &'static str) -> Result<(), SubspaceError> {
        if !self.columns.is_all_finite() || !self.importance.iter().all(|value| value.is_finite()) {
            return Err(SubspaceError::NotFinite { operation });
        }
        match self.importance.iter().find(|&value| !(0.0..=1.0).contains(value)) {
            Some(&found) => Err(SubspaceError::Importance { found }),
            None => Ok(()),
        }
    }
}

fn round(value: f64) -> f64 {
    f64::from(value as f32)
}
