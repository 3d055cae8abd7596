//! Who meets whom in which round, where that changes from round to round.

use std::fmt::Debug;

use crate::AgentId;

/// Who takes part in a round and who exchanges with whom. Rounds count through the whole run, all legs of a training round
/// as one. Both ends of an edge get the same answer, so an exchange that one end opens the other opens too.
pub trait Calendar: Debug + Send + Sync {
    /// Whether `agent` does anything in this round.
    fn takes_part(&self, round: u64, agent: AgentId) -> bool;

    /// Whether these two, neighbours in some round, exchange in this one.
    fn meets(&self, round: u64, one: AgentId, other: AgentId) -> bool;
}
