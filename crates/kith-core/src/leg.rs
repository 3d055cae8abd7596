//! What a training round consists of.

/// A part of a training round. A protocol counts every leg as a round of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// Local work, then exchange.
    Both,
    /// Exchange only: it takes no time to compute.
    Exchange,
    /// Local work only: nothing is sent.
    Compute,
}

impl Leg {
    /// Whether agents compute.
    #[must_use]
    pub const fn computes(self) -> bool {
        matches!(self, Self::Both | Self::Compute)
    }

    /// Whether agents exchange.
    #[must_use]
    pub const fn exchanges(self) -> bool {
        matches!(self, Self::Both | Self::Exchange)
    }
}
