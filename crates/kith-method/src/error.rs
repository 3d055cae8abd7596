//! What can go wrong in a method.

use kith_subspace::SubspaceError;
use thiserror::Error;

/// What can go wrong in a method.
#[derive(Debug, Error)]
pub enum MethodError {
    /// The memory could not be updated.
    #[error("memory of layer {layer}: {source}")]
    Memory {
        /// The projected layer, from 0.
        layer: usize,
        /// Why.
        source: SubspaceError,
    },
    /// A basis for another number of layers arrived.
    #[error("the basis is for {found} layers; this network has {expected} projected layers")]
    Layers {
        /// Layers of this network.
        expected: usize,
        /// Layers of the basis.
        found: usize,
    },
    /// What an agent was handed is not what agents of this run have.
    #[error("{found} bytes of rows were handed over; {expected} are expected")]
    HandoverLength {
        /// Bytes of the rows of this run.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// It holds a number that is none.
    #[error("entry {place} of the rows that were handed over is not a finite number")]
    HandoverNotFinite {
        /// Which.
        place: usize,
    },
    /// More bytes than the layers' growths.
    #[error("the basis has {excess} bytes more than the growths of its layers")]
    BasisLength {
        /// How many.
        excess: usize,
    },
}
