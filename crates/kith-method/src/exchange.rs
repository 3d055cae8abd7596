//! Exchanges: what is sent, what neighbours keep of each other, how it is mixed.
//!
//! Every exchange is made of flows over edges, `x_i ← x_i + γ w_ij (p_j − p_i)` with the public rows p of one round: the half
//! step itself (`Model`) or the public copy x̂ (`Difference`). A flow and its counterpart cancel, so mixing keeps the mean
//! of all agents however rounds and links fail, as long as both ends use the same pair of rows.

use std::collections::BTreeMap;

use kith_core::{AgentId, Round};
use kith_engine::{Engine, MixingPlan, Slot, Visit};

use crate::{Cohort, ExchangeKind};

/// The flow of an earlier round, applied now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LateFlow {
    /// The other end.
    pub peer: AgentId,
    /// The round whose payloads are meant.
    pub round: Round,
    /// Averaging rate of that round.
    pub rate: f64,
}

/// What one agent mixes in a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixing<'a> {
    /// Who.
    pub agent: AgentId,
    /// Neighbours whose payload of this round is here, ascending.
    pub fresh: &'a [AgentId],
    /// Neighbours from whom a payload of this round is expected, ascending.
    pub opened: &'a [AgentId],
    /// Flows of earlier rounds.
    pub late: Vec<LateFlow>,
}

/// Public rows of exchanges that were not settled in their round, by directed edge and round.
#[derive(Default)]
pub(crate) struct Kept(BTreeMap<(AgentId, AgentId), BTreeMap<Round, Vec<f32>>>);

impl Kept {
    fn get(&self, from: AgentId, to: AgentId, round: Round) -> Option<&[f32]> {
        self.0.get(&(from, to))?.get(&round).map(Vec::as_slice)
    }

    /// An exchange of `round` is settled at once: nothing older is needed on this edge.
    fn forget(&mut self, one: AgentId, other: AgentId) {
        self.0.remove(&(one, other));
        self.0.remove(&(other, one));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<E: Engine> Cohort<E> {
    /// Mixes payloads of one round, at averaging rate `rate`. Agents without an entry keep their rows.
    pub fn exchange(&mut self, round: Round, rate: f64, rows: &[Mixing<'_>]) {
        if self.parts.exchange.kind == ExchangeKind::None {
            return;
        }
        let whole = rows.len() == self.agents
            && rows.iter().all(|row| {
                row.late.is_empty()
                    && row.fresh.len() == self.weights[row.agent.index()].len()
                    && row.opened.len() == row.fresh.len()
            });
        if self.parts.exchange.kind == ExchangeKind::Difference {
            self.publish(rows);
        }
        if !whole {
            self.keep_unsettled(round, rows);
        } else if !self.kept.0.is_empty() {
            self.kept.clear();
        }
        if !(whole && self.planned == Some(rate)) {
            self.plan_mixing(rate, rows);
            self.planned = whole.then_some(rate);
        }
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        match self.parts.exchange.kind {
            ExchangeKind::Model => {
                self.engine.mix(&mut self.public, trained, &self.plan);
                std::mem::swap(&mut self.public, trained);
            }
            ExchangeKind::Difference => self.engine.mix_into(trained, &self.public, &self.plan),
            ExchangeKind::None => {}
        }
        if !whole {
            self.settle_late(rows);
        }
    }

    /// `x̂ ← x̂ + q` with `q = x − x̂`: what receivers of q do, so that all copies hold the same bits.
    fn publish(&mut self, rows: &[Mixing<'_>]) {
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        let (row, copy, difference) = (Slot::Block(0), Slot::Block(1), Slot::Scratch(0));
        self.engine.visit(&self.geometries[0], &agents, &mut [trained, &mut self.public], 1, |visit| {
            visit.copy(difference, row);
            visit.axpy(difference, -1.0, copy);
            visit.axpy(copy, 1.0, difference);
        });
    }

    #[allow(clippy::cast_possible_truncation)]
    fn plan_mixing(&mut self, rate: f64, rows: &[Mixing<'_>]) {
        let own = f64::from(u8::from(self.parts.exchange.kind == ExchangeKind::Model));
        self.plan.clear();
        let mut given = rows.iter().peekable();
        for agent in (0..self.agents).map(AgentId::from) {
            let Some(row) = given.next_if(|row| row.agent == agent) else {
                if own > 0.0 {
                    self.plan.push(agent, [(agent, 1.0)]);
                }
                continue;
            };
            let weights = &self.weights[agent.index()];
            let mut terms: Vec<(AgentId, f64)> = weights
                .iter()
                .filter(|(peer, _)| row.fresh.contains(peer))
                .map(|(peer, w)| (*peer, rate * w))
                .collect();
            let given_away: f64 = terms.iter().map(|(_, weight)| weight).sum();
            let place = terms.partition_point(|(peer, _)| *peer < agent);
            terms.insert(place, (agent, own - given_away));
            self.plan.push(agent, terms.into_iter().map(|(peer, weight)| (peer, weight as f32)));
        }
    }

    /// Keeps the public rows of exchanges that one end at least has still to apply, both ends' rows for each.
    fn keep_unsettled(&mut self, round: Round, rows: &[Mixing<'_>]) {
        let of = |agent: AgentId| rows.binary_search_by_key(&agent, |row| row.agent).ok().map(|at| &rows[at]);
        let waits = |row: &Mixing<'_>, peer: AgentId| row.opened.contains(&peer) && !row.fresh.contains(&peer);
        let owes = |row: &Mixing<'_>, peer: AgentId| row.late.iter().any(|late| late.peer == peer);
        for row in rows {
            for &peer in row.opened {
                if waits(row, peer) {
                    self.keep(round, row.agent, peer);
                    self.keep(round, peer, row.agent);
                } else if !owes(row, peer)
                    && of(peer).is_none_or(|there| !waits(there, row.agent) && !owes(there, row.agent))
                {
                    self.kept.forget(row.agent, peer);
                }
            }
        }
    }

    /// Keeps the public row of `from` for the exchange with `to`.
    fn keep(&mut self, round: Round, from: AgentId, to: AgentId) {
        let mut copy = vec![0.0; self.geometries[0].layout.len()];
        let public = match self.parts.exchange.kind {
            ExchangeKind::Difference => &self.public,
            ExchangeKind::Model | ExchangeKind::None => self.coordinates.as_ref().unwrap_or(&self.whole),
        };
        self.engine.download(public, from, &mut copy);
        self.kept.0.entry((from, to)).or_default().insert(round, copy);
    }

    #[allow(clippy::cast_possible_truncation)]
    fn settle_late(&mut self, rows: &[Mixing<'_>]) {
        let mut own = vec![0.0; self.geometries[0].layout.len()];
        for row in rows.iter().filter(|row| !row.late.is_empty()) {
            let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
            self.engine.download(trained, row.agent, &mut own);
            for late in &row.late {
                let weights = &self.weights[row.agent.index()];
                let Ok(at) = weights.binary_search_by_key(&late.peer, |(peer, _)| *peer) else { continue };
                let flow = (late.rate * weights[at].1) as f32;
                let theirs = self.kept.get(late.peer, row.agent, late.round);
                let mine = self.kept.get(row.agent, late.peer, late.round);
                let (Some(theirs), Some(mine)) = (theirs, mine) else { continue };
                for ((value, theirs), mine) in own.iter_mut().zip(theirs).zip(mine) {
                    *value += flow * (theirs - mine);
                }
            }
            self.engine.upload(trained, row.agent, &own);
        }
    }

    /// The mixing plan of the last round, for checks.
    #[must_use]
    pub fn mixing_plan(&self) -> &MixingPlan {
        &self.plan
    }
}
