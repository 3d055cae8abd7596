//! Payloads as bytes, and the rows of agents that other processes host.
//!
//! A process that hosts some agents has rows for the others that send to them, too: a neighbour's row holds what its last payload
//! said, so that [`Cohort::exchange`] computes the same bits as where all agents are in one process. Bodies are raw
//! little-endian `f32`, or what the compressor writes.

mod wire;

use kith_core::{AgentId, Layout, Leg, Round};
use kith_engine::Engine;
use kith_subspace::Growth;
use thiserror::Error;

use super::features::{ClassSums, class_shape};
use super::numbers::{append, first_not_finite, floats};
use super::{KeptRow, Mixing};
use crate::{Cohort, Compressor, ExchangeKind, MethodError, Order};

use wire::Task;
pub(crate) use wire::Wire;

/// What a body is to be added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadForm {
    /// What the receiver holds since the round before.
    Increment,
    /// Nothing: it stands for itself.
    Absolute,
}

/// Why bytes are not a payload.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// Too many or too few.
    #[error("a payload of {found} bytes; {expected} are expected")]
    Length {
        /// Bytes that it should have.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// A number that is none.
    #[error("entry {place} of the payload is not a finite number")]
    NotFinite {
        /// Which; one beyond the row is a weight.
        place: usize,
    },
}

/// Absolute payloads where copies grow by compressed differences: the copy as it is, once it holds more than one difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WholeCopy {
    /// Bytes of a copy's body.
    pub bytes: u64,
    /// How many first rounds of a task, or of an agent that has come back, send what the compressor writes under this form too.
    pub after: u64,
}

/// What payloads of a task look like: enough to judge one without the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct PayloadSpec {
    layout: Layout,
    len: usize,
    vectors: usize,
    /// Bytes that a consensus round adds: importances that are gossiped.
    consensus_more: usize,
    compressor: Option<Compressor>,
    gradient_compressor: Option<Compressor>,
    kind: ExchangeKind,
}

/// Bytes that say how many models a relayed sum is of.
pub(crate) const COUNT: usize = 4;
/// Bytes of a push-sum weight.
pub(crate) const WEIGHT: usize = 8;

impl PayloadSpec {
    /// Whether a gradient goes over the edge in this leg, rather than a model.
    fn is_gradient(&self, leg: Leg) -> bool {
        self.kind == ExchangeKind::NeighbourGradients && leg == Leg::Both
    }

    /// Whether features by class go over the edge in this leg.
    fn is_features(&self, leg: Leg) -> bool {
        self.kind == ExchangeKind::NeighbourFeatures && leg == Leg::Both
    }

    /// Bytes of features by class.
    pub(crate) fn sums_len(&self) -> usize {
        ClassSums::wire_len(class_shape(&self.layout))
    }

    /// Whether receivers hold copies that grow by what they are sent.
    fn copies(&self) -> bool {
        self.kind == ExchangeKind::Difference
    }

    /// Whether these bytes are a payload of such a leg.
    ///
    /// # Errors
    /// A wrong length, and entries that are not finite.
    pub fn check(&self, leg: Leg, form: PayloadForm, body: &[u8]) -> Result<(), PayloadError> {
        let whole = 4 * self.len * self.vectors;
        let found = body.len();
        let (expected, compressor) = match self.compressor {
            _ if self.is_gradient(leg) && found == 0 => (0, None),
            _ if self.is_gradient(leg) => {
                let compressor = self.gradient_compressor;
                (compressor.map_or(whole, |compressor| compressor.wire_len(&self.layout)), compressor)
            }
            _ if self.is_features(leg) => (self.sums_len(), None),
            _ if self.kind == ExchangeKind::Relay => (whole + COUNT, None),
            _ if self.kind == ExchangeKind::PushSum => (whole + WEIGHT, None),
            Some(_) if self.copies() && form == PayloadForm::Absolute && found == whole => (whole, None),
            Some(compressor) => (compressor.wire_len(&self.layout), Some(compressor)),
            // A neighbour may be in its consensus rounds before this agent is, so both lengths are right at any time.
            None if found == whole + self.consensus_more => (found, None),
            None => (whole, None),
        };
        if found != expected {
            return Err(PayloadError::Length { expected, found });
        }
        if self.kind == ExchangeKind::PushSum && !weight(body).is_some_and(|weight| weight.is_normal() && weight > 0.0)
        {
            return Err(PayloadError::NotFinite { place: self.len });
        }
        let unusable = match compressor {
            None if self.is_features(leg) => {
                let (classes, width) = class_shape(&self.layout);
                first_not_finite(&body[..found.min(4 * classes * width)])
            }
            None => first_not_finite(&body[..found.min(whole)]),
            Some(compressor) => {
                let mut values = vec![0.0; self.len];
                compressor.decode(body, &self.layout, &mut values);
                values.iter().position(|value| !value.is_finite())
            }
        };
        match unusable {
            Some(place) => Err(PayloadError::NotFinite { place }),
            None => Ok(()),
        }
    }
}

/// The push-sum weight that ends a body.
fn weight(body: &[u8]) -> Option<f64> {
    body.last_chunk().map(|bytes| f64::from_le_bytes(*bytes))
}

/// Reads what [`Cohort::encode_basis`] wrote for a network of this layout.
///
/// # Errors
/// Bytes that are no growths, and growths of other layers.
pub fn decode_basis(layout: &Layout, mut bytes: &[u8]) -> Result<Vec<Growth>, MethodError> {
    let mut growths = Vec::new();
    for (layer, tensor) in layout.projected().enumerate() {
        let (growth, rest) =
            Growth::take(tensor.cols, bytes).map_err(|source| MethodError::Memory { layer, source })?;
        growths.push(growth);
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(MethodError::BasisLength { excess: bytes.len() });
    }
    Ok(growths)
}

impl<E: Engine> Cohort<E> {
    /// Agents whose rows are computed here, ascending.
    #[must_use]
    pub fn hosted(&self) -> &[AgentId] {
        &self.hosted
    }

    /// What payloads of the task under way look like.
    #[must_use]
    pub fn payload_spec(&self) -> PayloadSpec {
        let exchange = &self.parts.exchange;
        PayloadSpec {
            layout: self.geometries[0].layout.clone(),
            len: self.payload_len(),
            vectors: 1 + usize::from(self.parts.tracks()),
            consensus_more: self.consensus_more() as usize,
            compressor: exchange.compressor,
            gradient_compressor: exchange.gradient_compressor,
            kind: exchange.kind,
        }
    }

    /// How long absolute payloads of the task under way are, where their length is their own.
    #[must_use]
    pub fn whole_copy(&self) -> Option<WholeCopy> {
        let exchange = &self.parts.exchange;
        if exchange.kind != ExchangeKind::Difference || exchange.compressor.is_none() {
            return None;
        }
        // Where sending comes last, the task's first payload is nothing, and the second the first difference.
        let after = if exchange.order == Order::MixThenSend { 2 } else { 1 };
        Some(WholeCopy { bytes: 4 * self.payload_len() as u64, after })
    }

    /// What the memory gains, as bytes: the growths of all layers, one after the other.
    #[must_use]
    pub fn encode_basis(growths: &[Growth]) -> Vec<u8> {
        growths.iter().flat_map(Growth::to_bytes).collect()
    }

    /// Makes ready what these agents send in a leg whose local work is done: call it before [`Cohort::payload`].
    pub fn offer(&mut self, round: Round, leg: Leg, agents: &[AgentId]) {
        self.wire.began.get_or_insert(round);
        let sends_first = self.parts.exchange.order != Order::MixThenSend;
        let kind = self.parts.exchange.kind;
        let across = matches!(kind, ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures);
        let sends_models = leg.exchanges() && !(across && leg == Leg::Both);
        if sends_models && self.has_public() && sends_first && kind != ExchangeKind::None {
            let rows =
                agents.iter().map(|&agent| Mixing { agent, fresh: &[], opened: &[], given: &[], late: Vec::new() });
            self.publish(round, &rows.collect::<Vec<_>>());
            self.wire.offered = Some(round);
        }
    }

    /// The body of what `from` sends to `to` in this leg. A public row goes as it is where nothing compresses it: a difference
    /// would take as many bytes, and this needs nothing that the receiver holds.
    #[must_use]
    pub fn payload(&self, leg: Leg, from: AgentId, to: AgentId, form: PayloadForm) -> Vec<u8> {
        let mut body = Vec::new();
        self.write_payload((leg, form), from, to, &mut Vec::new(), &mut body);
        body
    }

    /// Writes [`Cohort::payload`] over what `body` holds; `row` is room for a row. Both keep their memory from round to round.
    pub fn write_payload(
        &self,
        (leg, form): (Leg, PayloadForm),
        from: AgentId,
        to: AgentId,
        row: &mut Vec<f32>,
        body: &mut Vec<u8>,
    ) {
        let spec = self.payload_spec();
        body.clear();
        if spec.is_gradient(leg) {
            let (Some(across), Some(place)) = (&self.extra.across, self.place_of(from, to)) else { return };
            let Some(cross) = across.gradient_for(from, to, place) else { return };
            if spec.gradient_compressor.is_some() {
                body.extend_from_slice(across.encoded(from, place).unwrap_or_default());
                return;
            }
            return self.append_row(cross, from, row, body);
        }
        if spec.is_features(leg) {
            let sums = self.extra.contrast.as_ref().and_then(|contrast| contrast.sums_for(from, to));
            body.extend(sums.map_or_else(|| vec![0; spec.sums_len()], ClassSums::to_bytes));
            return;
        }
        if spec.kind == ExchangeKind::Relay {
            let (sum, count) = self.relayed(from, to);
            append(&sum, body);
            body.extend_from_slice(&count.to_le_bytes());
            return;
        }
        if let Some(compressor) = spec.compressor {
            let grown = spec.copies() && self.wire.continued.contains(&from);
            if !(grown && form == PayloadForm::Absolute) {
                match self.wire.encoded.get(&from) {
                    Some(encoded) => body.extend_from_slice(encoded),
                    None => body.resize(compressor.wire_len(&spec.layout), 0),
                }
                return;
            }
        }
        let trained = self.coordinates.as_ref().unwrap_or(&self.whole);
        self.append_row(if self.has_public() { &self.public } else { trained }, from, row, body);
        body.extend(self.extra.push.iter().flat_map(|push| push.weight(from).to_le_bytes()));
        let tracker = self.extra.tracker.as_ref().map(|(tracker, _)| tracker);
        for block in tracker.into_iter().chain(self.retained.importance.as_ref().filter(|_| self.shares_importance)) {
            self.append_row(block, from, row, body);
        }
    }

    fn append_row(&self, block: &E::Block, agent: AgentId, row: &mut Vec<f32>, body: &mut Vec<u8>) {
        row.resize(self.payload_len(), 0.0);
        self.engine.download(block, agent, row);
        append(row, body);
    }

    /// Takes in what `from`, an agent of another process, sent to `to` for the leg that is mixed next. The body has passed
    /// [`PayloadSpec::check`].
    pub fn receive(&mut self, leg: Leg, from: AgentId, to: AgentId, form: PayloadForm, body: &[u8]) {
        let spec = self.payload_spec();
        if spec.is_gradient(leg) {
            let place = self.place_of(from, to);
            if let (Some(across), Some(place)) = (&mut self.extra.across, place)
                && let Some(cross) = across.gradient_from(from, to, place, body.is_empty())
            {
                let mut row = vec![0.0; spec.len];
                match spec.gradient_compressor {
                    Some(compressor) => compressor.decode(body, &spec.layout, &mut row),
                    None => row = floats(body),
                }
                self.engine.upload(cross, from, &row);
            }
            return;
        }
        if let Some(contrast) = self.extra.contrast.as_mut().filter(|_| spec.is_features(leg)) {
            contrast.keep(from, to, ClassSums::from_bytes(body, class_shape(&spec.layout)));
            return;
        }
        if spec.kind == ExchangeKind::Relay {
            let (sum, count) = body.split_at(body.len() - COUNT.min(body.len()));
            let count = count.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            self.wire.sums.insert((from, to), (floats(sum), count));
            return;
        }
        if let (Some(push), Some(weight)) = (&mut self.extra.push, weight(body)) {
            push.set_weight(from, weight);
            self.engine.upload(&mut self.public, from, &floats(&body[..body.len() - WEIGHT]));
            return;
        }
        let mut row = std::mem::take(&mut self.wire.row);
        self.wire.read(&spec, (from, to), (Task::UnderWay, form), body, &mut row);
        let (public, more) = row.split_at(spec.len);
        let has_public = self.has_public();
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        self.engine.upload(if has_public { &mut self.public } else { trained }, from, public);
        let tracker = self.extra.tracker.as_mut().map(|(tracker, _)| tracker);
        let importance = self.retained.importance.as_mut().filter(|_| self.shares_importance);
        for (block, part) in tracker.into_iter().chain(importance).zip(more.chunks_exact(spec.len.max(1))) {
            self.engine.upload(block, from, part);
        }
        self.wire.row = row;
    }

    /// Takes in what `from` sent to `to` for an exchange of an earlier round, whose flow is applied next.
    pub fn receive_late(&mut self, round: Round, from: AgentId, to: AgentId, form: PayloadForm, body: &[u8]) {
        let spec = self.payload_spec();
        if spec.check(Leg::Exchange, form, body).is_ok() {
            let task = if self.wire.began.is_some_and(|began| began <= round) { Task::UnderWay } else { Task::Before };
            let mut kept = KeptRow { row: Vec::new(), weight: 1.0 };
            match (spec.kind == ExchangeKind::PushSum, weight(body)) {
                // With a task all models are their own numerators again: what was under way then is nobody's any more.
                (true, _) if task == Task::Before => return,
                (true, Some(weight)) => kept = KeptRow { row: floats(&body[..body.len() - WEIGHT]), weight },
                _ => self.wire.read(&spec, (from, to), (task, form), body, &mut kept.row),
            }
            self.kept.insert((from, to), round, kept);
        }
    }

    /// Where `to` stands among the neighbours of `from`.
    fn place_of(&self, from: AgentId, to: AgentId) -> Option<usize> {
        self.weights.get(from.index())?.binary_search_by_key(&to, |(peer, _)| *peer).ok()
    }
}
