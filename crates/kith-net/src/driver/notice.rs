//! What a process has to say while it runs.

use kith_core::{AgentId, Round};

use crate::faults::Fault;

/// What a process has to say while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// It listens here.
    Listening(String),
    /// The process of these agents is there and fits.
    Connected(Vec<AgentId>),
    /// The process of these agents is gone; why, if it said so.
    Gone(Vec<AgentId>),
    /// These agents, of another process or of this one, were away and take part again from this round on.
    Rejoined(Vec<AgentId>, Round),
    /// The process of these agents does not fit.
    Refused(Vec<AgentId>, String),
    /// The process of these agents sent something bad for the first time.
    Bad(Vec<AgentId>, Fault, String),
    /// The process of these agents sent too much of it and is spoken to no more.
    Dropped(Vec<AgentId>),
}

/// Where notices go.
pub type Tell<'t> = &'t (dyn Fn(Notice) + Sync);
