//! The bodies of a round, in memory that is kept from round to round.

use std::collections::BTreeMap;

use kith_core::{AgentId, Leg};
use kith_engine::Engine;
use kith_method::{Cohort, ExchangeKind, PayloadForm};

use crate::body::{Body, Shelf};

/// Bodies of a round for one edge: as an increment, and standing for itself.
pub(crate) type Bodies = BTreeMap<(AgentId, AgentId), (Body, Body)>;

/// Memory that bodies are made in.
pub(crate) struct Room {
    shelf: Shelf,
    row: Vec<f32>,
}

impl Room {
    pub(crate) const fn new(shelf: Shelf) -> Self {
        Self { shelf, row: Vec::new() }
    }

    /// What goes over these edges in a leg.
    pub(crate) fn bodies<E: Engine>(&mut self, cohort: &Cohort<E>, leg: Leg, edges: &[(AgentId, AgentId)]) -> Bodies {
        let mut bodies = Bodies::new();
        if !leg.exchanges() {
            return bodies;
        }
        let mut last: Option<(AgentId, (Body, Body))> = None;
        // Rows, unlike gradients and relayed sums, are the same for every neighbour.
        let one_each = match cohort.parts().exchange.kind {
            ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures => leg == Leg::Both,
            kind => kind == ExchangeKind::Relay,
        };
        for &(from, to) in edges {
            let made = match &last {
                Some((agent, made)) if *agent == from && !one_each => made.clone(),
                _ => self.made(cohort, leg, from, to),
            };
            last = Some((from, made.clone()));
            bodies.insert((from, to), made);
        }
        bodies
    }

    fn made<E: Engine>(&mut self, cohort: &Cohort<E>, leg: Leg, from: AgentId, to: AgentId) -> (Body, Body) {
        let mut body = |form| {
            let mut bytes = self.shelf.take();
            cohort.write_payload((leg, form), from, to, &mut self.row, &mut bytes);
            self.shelf.body(bytes)
        };
        let increment = body(PayloadForm::Increment);
        let absolute = match cohort.parts().exchange.compressor {
            Some(_) => body(PayloadForm::Absolute),
            None => increment.clone(),
        };
        (increment, absolute)
    }
}
