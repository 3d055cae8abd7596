//! Newtypes for the things that are counted.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::{Tape, TapeError};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number as an index.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<usize> for $name {
            fn from(index: usize) -> Self {
                Self(index as $inner)
            }
        }
    };
}

id!(
    /// A learning participant: a vertex of the graph.
    AgentId(u32)
);
id!(
    /// A stage of the task sequence.
    TaskId(u32)
);
id!(
    /// One exchange with the neighbours; counted over the whole run, from 0.
    Round(u64)
);

impl Round {
    /// The round after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl AgentId {
    /// Writes the number to a tape, or reads it back.
    ///
    /// # Errors
    /// What the tape says.
    pub fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        let mut bytes = self.0.to_le_bytes();
        tape.bytes(&mut bytes)?;
        self.0 = u32::from_le_bytes(bytes);
        Ok(())
    }
}
