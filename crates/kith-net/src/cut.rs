//! Links that are cut as planned.

use kith_core::{AgentId, Round};

/// Nothing passes between two agents for some rounds, as if the link between them were down. Each end goes by its own rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The two agents.
    pub between: [AgentId; 2],
    /// The first round, as agents count them, in which nothing passes.
    pub from: Round,
    /// The first round in which it does again; never, where there is none.
    pub until: Option<Round>,
}

impl Cut {
    pub(crate) fn holds(&self, one: AgentId, other: AgentId, round: Round) -> bool {
        let [a, b] = self.between;
        let meant = (a, b) == (one, other) || (b, a) == (one, other);
        meant && self.from <= round && self.until.is_none_or(|until| round < until)
    }
}
