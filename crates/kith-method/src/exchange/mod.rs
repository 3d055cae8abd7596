//! Exchanges: what is sent, what neighbours keep of each other, how it is mixed.
//!
//! Every exchange is made of flows over edges, `x_i ← x_i + γ w_ij (p_j − p_i)` with the public rows p of one round: the half
//! step itself (`Model`) or the public copy x̂ (`Difference`). A flow and its counterpart cancel, so mixing keeps the mean
//! of all agents however rounds and links fail, as long as both ends use the same pair of rows.

mod across;
mod adaptive;
mod features;
mod numbers;
mod payload;
mod publish;
mod push;
mod relay;
mod update;

use std::collections::BTreeMap;

use kith_core::{AgentId, Leg, Round, Tape, TapeError};
use kith_engine::{Engine, MixingPlan};

pub(crate) use across::Across;
pub(crate) use adaptive::Adaptive;
pub(crate) use features::Contrast;
pub(crate) use payload::{COUNT, WEIGHT, Wire};
pub use payload::{PayloadError, PayloadForm, PayloadSpec, WholeCopy, decode_basis};
pub(crate) use push::PushSum;
pub(crate) use relay::Relay;
pub(crate) use update::GlobalUpdate;

use crate::cohort::Ahead;
use crate::{Cohort, ExchangeKind, Loss, Order};

/// Weights that are multiples of its inverse, and what is left of one, are `f32` without rounding.
const EXACT_GRID: f64 = (1 << 22) as f64;

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
    /// To whom, of those that only receive from it, its payload of this round went, ascending.
    pub given: &'a [AgentId],
    /// Flows of earlier rounds.
    pub late: Vec<LateFlow>,
}

/// A public row of an earlier round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeptRow {
    /// The row, and what travels beside it.
    pub(crate) row: Vec<f32>,
    /// Its push-sum weight; 1 where nothing is divided.
    pub(crate) weight: f64,
}

/// Public rows of exchanges that were not settled in their round, by directed edge and round.
#[derive(Default)]
pub(crate) struct Kept(BTreeMap<(AgentId, AgentId), BTreeMap<Round, KeptRow>>);

impl Kept {
    fn get(&self, from: AgentId, to: AgentId, round: Round) -> Option<&KeptRow> {
        self.0.get(&(from, to))?.get(&round)
    }

    pub(crate) fn insert(&mut self, (from, to): (AgentId, AgentId), round: Round, row: KeptRow) {
        self.0.entry((from, to)).or_default().insert(round, row);
    }

    /// An exchange of `round` is settled at once: nothing older is needed on this edge.
    fn forget(&mut self, one: AgentId, other: AgentId) {
        self.0.remove(&(one, other));
        self.0.remove(&(other, one));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Carries everything over a tape; a kept row has at most `longest` numbers.
    pub(crate) fn carry(&mut self, tape: &mut Tape<'_>, longest: usize) -> Result<(), TapeError> {
        let mut edges: Vec<_> = std::mem::take(&mut self.0).into_iter().collect();
        tape.list("edges with unsettled exchanges", &mut edges, usize::MAX, |tape, ((from, to), rounds)| {
            from.carry(tape)?;
            to.carry(tape)?;
            let mut rows: Vec<_> = std::mem::take(rounds).into_iter().collect();
            tape.list("unsettled exchanges of an edge", &mut rows, usize::MAX, |tape, (round, kept)| {
                tape.number(&mut round.0)?;
                tape.float(&mut kept.weight)?;
                tape.kept_row("numbers in a kept row", &mut kept.row, longest)
            })?;
            rounds.extend(rows);
            Ok(())
        })?;
        self.0.extend(edges);
        Ok(())
    }
}

impl<E: Engine> Cohort<E> {
    /// Mixes payloads of one leg of a round, at averaging rate `rate`. Agents without an entry keep their rows.
    pub fn exchange(&mut self, round: Round, leg: Leg, rate: f64, rows: &[Mixing<'_>]) {
        match (self.parts.exchange.kind, leg) {
            (ExchangeKind::None, _) => {}
            (_, Leg::Compute) => self.settle_late(rows),
            (ExchangeKind::NeighbourGradients, Leg::Both) => {
                self.settle_late(rows);
                self.exchange_gradients(rows);
            }
            (ExchangeKind::NeighbourFeatures, Leg::Both) => {
                self.settle_late(rows);
                self.exchange_features(rows);
            }
            (ExchangeKind::GlobalUpdate, _) => self.gossip_update(rate, rows),
            (ExchangeKind::Relay, _) => self.relay(rate, rows),
            (ExchangeKind::PushSum, _) => {
                if !self.wire.is_offered(round) {
                    self.publish(round, rows);
                }
                self.push(round, rate, rows);
            }
            _ => self.exchange_models(round, rate, rows),
        }
    }

    /// Says what [`Cohort::exchange`] is going to be given after the steps that come next, where nothing looks at the rows in
    /// between. Mixing then goes along with the steps, if it is of the kind that can, to the same bits; `exchange` must follow.
    pub fn announce(&mut self, leg: Leg, rate: f64, rows: &[Mixing<'_>]) {
        let exchange = &self.parts.exchange;
        let mixes_trained = matches!(exchange.kind, ExchangeKind::Model | ExchangeKind::Corrected)
            && exchange.adaptive.is_none()
            && !exchange.keeps_second_rows();
        let everyone = self.hosted.len() == self.agents && self.is_whole(rows);
        if mixes_trained && everyone && leg == Leg::Both && self.geometries.len() == 1 {
            self.make_plan(rate, rows, true);
            self.ahead = Ahead::Announced;
        }
    }

    /// Whether every agent mixes this round's payloads of all its neighbours, and no others.
    fn is_whole(&self, rows: &[Mixing<'_>]) -> bool {
        let is_whole = |row: &Mixing<'_>| {
            row.late.is_empty()
                && row.fresh.len() == self.weights[row.agent.index()].len()
                && row.opened.len() == row.fresh.len()
        };
        rows.len() == self.hosted.len() && rows.iter().all(is_whole)
    }

    /// Makes the plan of a round, unless it stands from the round before.
    fn make_plan(&mut self, rate: f64, rows: &[Mixing<'_>], whole: bool) {
        if !(whole && self.planned == Some(rate)) {
            self.plan_mixing(rate, rows);
            self.planned = whole.then_some(rate);
        }
    }

    fn exchange_models(&mut self, round: Round, rate: f64, rows: &[Mixing<'_>]) {
        let whole = self.is_whole(rows);
        let sends_last = self.parts.exchange.order == Order::MixThenSend;
        if self.has_public() && !sends_last && !self.wire.is_offered(round) {
            self.publish(round, rows);
        }
        // Where each agent has averaging rates of its own, a late flow has no other end: who was not heard is absent.
        let settles = self.parts.exchange.loss() == Loss::Settles;
        if !whole && settles {
            self.keep_unsettled(round, rows);
        } else if !self.kept.0.is_empty() {
            self.kept.clear();
        }
        let adaptive = self.extra.adaptive.is_some();
        self.make_plan(if adaptive { 1.0 } else { rate }, rows, whole);
        if let Some(across) = &mut self.extra.across {
            across.receive(self.agents, rows, &self.wire);
        }
        if let Some(contrast) = &mut self.extra.contrast {
            contrast.receive(self.agents, rows);
        }
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        if adaptive {
            self.mix_adaptively(rate, &agents);
        } else if self.parts.exchange.has_public() {
            self.engine.mix_into(trained, &self.public, &self.plan);
        } else if self.parts.exchange.keeps_second_rows() {
            // The rows of before are what neighbours take gradients at.
            self.engine.mix(&mut self.public, trained, &self.plan);
            std::mem::swap(&mut self.public, trained);
        } else if self.ahead != Ahead::Mixed {
            self.engine.mix_in_place(trained, &self.plan);
        }
        self.ahead = Ahead::No;
        if let Some((tracker, _)) = &mut self.extra.tracker {
            self.engine.mix_in_place(tracker, &self.plan);
        }
        if let Some(importance) = self.retained.importance.as_mut().filter(|_| self.shares_importance) {
            self.engine.mix_in_place(importance, &self.plan);
        }
        if self.has_public() && sends_last {
            self.publish(round, rows);
        }
        if !whole && settles {
            self.settle_late(rows);
        }
        if self.stepped.is_some() {
            self.after_mixing(&agents);
        }
    }

    /// Whether neighbours mix public rows that are not the trained rows themselves.
    pub(super) fn has_public(&self) -> bool {
        self.parts.exchange.has_public()
    }

    /// Whether mixing in this leg must leave [`Cohort::conserved`] where it is.
    #[must_use]
    pub fn keeps_mean(&self, leg: Leg) -> bool {
        match self.parts.exchange.kind {
            ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures => leg != Leg::Both,
            // Sums on their way hold models of rounds before.
            ExchangeKind::Relay => false,
            // Each agent has averaging rates of its own.
            _ => self.parts.exchange.adaptive.is_none(),
        }
    }

    pub(super) fn plan_mixing(&mut self, rate: f64, rows: &[Mixing<'_>]) {
        let exchange = &self.parts.exchange;
        let replaces = !self.has_public() && exchange.kind != ExchangeKind::GlobalUpdate && exchange.adaptive.is_none();
        let own = f64::from(u8::from(replaces));
        // D² adds up what mixing does, round after round, so there each row must sum to exactly one as it is used.
        let exact = self.parts.exchange.kind == ExchangeKind::Corrected;
        let as_used = |weight: f64| if exact { (weight * EXACT_GRID).round() / EXACT_GRID } else { weight };
        self.plan.clear();
        let mut given = rows.iter().peekable();
        for agent in self.hosted.iter().copied() {
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
                .map(|(peer, w)| (*peer, as_used(rate * w)))
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
            // What is given away one way is taken in even by who sat that round out. Other processes see to that themselves.
            for &to in row.given {
                if of(to).is_some_and(|there| !there.fresh.contains(&row.agent)) {
                    self.keep(round, row.agent, to);
                }
            }
        }
    }

    /// Keeps the public row of `from` for the exchange with `to`.
    fn keep(&mut self, round: Round, from: AgentId, to: AgentId) {
        let len = self.geometries[0].layout.len();
        let trained = self.coordinates.as_ref().unwrap_or(&self.whole);
        let public = if self.has_public() { &self.public } else { trained };
        let tracker = self.extra.tracker.as_ref().map(|(tracker, _)| tracker);
        let importance = self.retained.importance.as_ref().filter(|_| self.shares_importance);
        let blocks = || [public].into_iter().chain(tracker).chain(importance);
        let mut copy = vec![0.0; len * blocks().count()];
        for (block, part) in blocks().zip(copy.chunks_exact_mut(len.max(1))) {
            self.engine.download(block, from, part);
        }
        let weight = self.extra.push.as_ref().map_or(1.0, |push| push.weight(from));
        self.kept.insert((from, to), round, KeptRow { row: copy, weight });
    }

    fn settle_late(&mut self, rows: &[Mixing<'_>]) {
        let len = self.geometries[0].layout.len();
        let mut own = vec![0.0; len];
        for row in rows.iter().filter(|row| !row.late.is_empty()) {
            let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
            let tracker = self.extra.tracker.as_mut().map(|(tracker, _)| tracker);
            // Importances are in what was kept of consensus rounds only, and settle after their task, too.
            let importance = self.retained.importance.as_mut();
            for (part, block) in [trained].into_iter().chain(tracker).chain(importance).enumerate() {
                self.engine.download(block, row.agent, &mut own);
                for late in &row.late {
                    let weights = &self.weights[row.agent.index()];
                    let Ok(at) = weights.binary_search_by_key(&late.peer, |(peer, _)| *peer) else { continue };
                    let flow = (late.rate * weights[at].1) as f32;
                    let theirs = self.kept.get(late.peer, row.agent, late.round);
                    let mine = self.kept.get(row.agent, late.peer, late.round);
                    let (Some(theirs), Some(mine)) = (theirs, mine) else { continue };
                    let range = part * len..(part + 1) * len;
                    let (Some(theirs), Some(mine)) = (theirs.row.get(range.clone()), mine.row.get(range)) else {
                        continue;
                    };
                    for ((value, theirs), mine) in own.iter_mut().zip(theirs).zip(mine) {
                        *value += flow * (theirs - mine);
                    }
                }
                self.engine.upload(block, row.agent, &own);
            }
        }
    }

    /// The mixing plan of the last round, for checks.
    #[must_use]
    pub fn mixing_plan(&self) -> &MixingPlan {
        &self.plan
    }
}
