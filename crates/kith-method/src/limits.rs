//! What an exchange can stand: links that lose frames, several local steps between exchanges, neighbours that change from
//! round to round. Rules of files and the laws of methods both read it here, so that what is accepted is what is tested.

use crate::{Exchange, ExchangeKind, Feedback, Order};

/// What becomes of a frame that a link loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is sent again, and its flow applied later, at both ends or at neither: the mean of all agents stays.
    Settles,
    /// Its sender is absent in that round. Mixing keeps no mean here, so there is none to restore.
    Absent,
    /// Nothing makes up for it, for this reason.
    Refused(&'static str),
}

impl Exchange {
    /// What becomes of a frame that a link loses.
    #[must_use]
    pub const fn loss(&self) -> Loss {
        if self.adaptive.is_some() {
            return Loss::Absent;
        }
        match self.kind {
            ExchangeKind::None
            | ExchangeKind::Model
            | ExchangeKind::Difference
            | ExchangeKind::NeighbourGradients
            | ExchangeKind::NeighbourFeatures
            | ExchangeKind::PushSum => Loss::Settles,
            ExchangeKind::Corrected => Loss::Refused(
                "D² adds what mixing did to a row to every later round, so a flow that one end applies later has moved the mean once for \
                 each round between",
            ),
            ExchangeKind::GlobalUpdate => Loss::Refused(
                "mixing enters through the tracked update, which is the gradient's too, so what a lost frame leaves out of it cannot be \
                 made up for later",
            ),
            ExchangeKind::Relay => Loss::Refused("a sum that is lost on the way is missing from every mean behind it"),
        }
    }

    /// Whether agents can take several local steps between two exchanges.
    ///
    /// # Errors
    /// Why not.
    pub fn several_steps(&self) -> Result<(), &'static str> {
        match self.kind {
            ExchangeKind::NeighbourGradients => {
                Err("gradients across edges belong to the models that were exchanged, \
                 and after the first of several steps agents are elsewhere")
            }
            ExchangeKind::NeighbourFeatures if self.data_variant_strength.unwrap_or(0.0) > 0.0 => {
                Err("means of classes are of the neighbours' features of one minibatch, and a second step has another")
            }
            ExchangeKind::GlobalUpdate => Err("what is tracked is one gradient and what one mixing does"),
            ExchangeKind::None
            | ExchangeKind::Model
            | ExchangeKind::Difference
            | ExchangeKind::Corrected
            | ExchangeKind::NeighbourFeatures
            | ExchangeKind::Relay
            | ExchangeKind::PushSum => Ok(()),
        }
    }

    /// Whether neighbours, or who takes part, may change from round to round.
    ///
    /// # Errors
    /// Why not.
    pub fn changing_neighbours(&self) -> Result<(), &'static str> {
        match self.kind {
            ExchangeKind::None | ExchangeKind::Model | ExchangeKind::NeighbourFeatures | ExchangeKind::PushSum => {
                Ok(())
            }
            ExchangeKind::Difference if self.order == Order::MixThenSend => {
                Err("what this order mixes was sent in the round before, to other neighbours")
            }
            ExchangeKind::Difference if self.compressor.is_some() || self.adaptive.is_some() => {
                Err("a neighbour that sat a round out needs the whole copy, so that compression would save nothing")
            }
            ExchangeKind::Difference => Ok(()),
            ExchangeKind::NeighbourGradients if self.feeds_gradients_back() => {
                Err("what compression lost of a gradient waits for the same neighbour in the next round")
            }
            ExchangeKind::NeighbourGradients => Ok(()),
            ExchangeKind::Corrected => Err("D² undoes in a round what the round before mixed, with the same weights"),
            ExchangeKind::GlobalUpdate => Err("the update is tracked from round to round with the same weights"),
            ExchangeKind::Relay => Err("relayed sums are on their way along one tree for many rounds"),
        }
    }

    /// Whether what compression lost of a gradient is added to the next one for the same neighbour.
    pub(crate) fn feeds_gradients_back(&self) -> bool {
        self.gradient_compressor.is_some() && self.feedback == Feedback::Error
    }
}
