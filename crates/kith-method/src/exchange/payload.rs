//! Payloads as bytes, and the rows of agents that other processes host.
//!
//! A process that hosts some agents has rows for the others that send to them, too: a neighbour's row holds what its last payload
//! said, so that [`Cohort::exchange`] computes the same bits as where all agents are in one process. Bodies are raw
//! little-endian `f32`, or what the compressor writes.

use std::collections::{BTreeMap, BTreeSet};

use kith_core::{AgentId, Layout, Leg, Round, Tape, TapeError};
use kith_engine::Engine;
use kith_subspace::Growth;
use thiserror::Error;

use super::Mixing;
use crate::{Cohort, Compressor, ExchangeKind, MethodError, Order};

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
        /// Which.
        place: usize,
    },
}

/// What payloads of a task look like: enough to judge one without the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct PayloadSpec {
    len: usize,
    vectors: usize,
    compressor: Option<Compressor>,
    copies: bool,
    gradients: bool,
}

impl PayloadSpec {
    /// Whether a gradient goes over the edge in this leg, rather than a model.
    fn is_gradient(&self, leg: Leg) -> bool {
        self.gradients && leg == Leg::Both
    }

    /// Whether these bytes are a payload of such a leg.
    ///
    /// # Errors
    /// A wrong length, and entries that are not finite.
    pub fn check(&self, leg: Leg, form: PayloadForm, body: &[u8]) -> Result<(), PayloadError> {
        let whole = 4 * self.len * self.vectors;
        let found = body.len();
        let (expected, compressor) = match self.compressor {
            _ if self.is_gradient(leg) => (if found == 0 { 0 } else { whole }, None),
            Some(_) if self.copies && form == PayloadForm::Absolute && found == whole => (whole, None),
            Some(compressor) => (compressor.wire_len(self.len), Some(compressor)),
            None => (whole, None),
        };
        if found != expected {
            return Err(PayloadError::Length { expected, found });
        }
        let values = match compressor {
            None => floats(body),
            Some(compressor) => {
                let mut values = vec![0.0; self.len];
                compressor.decode(body, &mut values);
                values
            }
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(PayloadError::NotFinite { place }),
            None => Ok(()),
        }
    }
}

/// What goes to and comes from agents of other processes.
#[derive(Default)]
pub(crate) struct Wire {
    /// Agents of other processes that send to hosted ones, ascending, with all that they send to.
    senders: Vec<(AgentId, Vec<AgentId>)>,
    /// Whether anything leaves the process.
    open: bool,
    /// The round whose public rows are made already.
    offered: Option<Round>,
    /// What agents made public last, as their compressor wrote it.
    encoded: BTreeMap<AgentId, Vec<u8>>,
    /// Agents that have made something public in the task before what they made public last.
    continued: BTreeSet<AgentId>,
    /// Public copies that grow by compressed differences, by directed edge.
    replicas: BTreeMap<(AgentId, AgentId), Vec<f32>>,
}

impl Wire {
    pub(crate) fn new(weights: &[Vec<(AgentId, f64)>], hosted: &[AgentId]) -> Self {
        let mut senders: BTreeMap<AgentId, Vec<AgentId>> = BTreeMap::new();
        for &agent in hosted {
            for (peer, _) in weights[agent.index()].iter().filter(|(peer, _)| hosted.binary_search(peer).is_err()) {
                senders.entry(*peer).or_default();
            }
        }
        // All of them, wherever they are: the place in this list is part of the order in which gradients are added.
        for (agent, from) in weights.iter().enumerate() {
            for (peer, _) in from {
                if let Some(receivers) = senders.get_mut(peer) {
                    receivers.push(AgentId::from(agent));
                }
            }
        }
        Self { senders: senders.into_iter().collect(), open: hosted.len() < weights.len(), ..Self::default() }
    }

    pub(crate) fn begin(&mut self) {
        self.offered = None;
        self.encoded.clear();
        self.continued.clear();
        self.replicas.clear();
    }

    /// Agents of other processes that send to hosted ones, with all that they send to.
    pub(crate) fn senders(&self) -> impl Iterator<Item = (AgentId, &[AgentId])> {
        self.senders.iter().map(|(agent, receivers)| (*agent, receivers.as_slice()))
    }

    /// Most agents that one of them sends to.
    pub(crate) fn most_receivers(&self) -> usize {
        self.senders.iter().map(|(_, receivers)| receivers.len()).max().unwrap_or(0)
    }

    pub(crate) fn is_offered(&self, round: Round) -> bool {
        self.offered == Some(round)
    }

    /// Carries everything over a tape; a row has at most `longest` numbers.
    pub(crate) fn carry(&mut self, tape: &mut Tape<'_>, longest: usize) -> Result<(), TapeError> {
        let Self { senders: _, open: _, offered, encoded, continued, replicas } = self;
        tape.option("round whose public rows are made", offered, |tape, round| tape.number(&mut round.0))?;
        let mut sent: Vec<_> = std::mem::take(encoded).into_iter().collect();
        tape.list("agents that made something public", &mut sent, usize::MAX, |tape, (agent, bytes)| {
            agent.carry(tape)?;
            // No compressor takes more than twice the bytes of what it compresses.
            tape.blob("bytes of a payload", bytes, 8 * longest)
        })?;
        encoded.extend(sent);
        let mut again: Vec<_> = std::mem::take(continued).into_iter().collect();
        tape.list("agents that did so before", &mut again, usize::MAX, |tape, agent| agent.carry(tape))?;
        continued.extend(again);
        let mut copies: Vec<_> = std::mem::take(replicas).into_iter().collect();
        tape.list("public copies of edges", &mut copies, usize::MAX, |tape, ((from, to), row)| {
            from.carry(tape)?;
            to.carry(tape)?;
            tape.kept_row("numbers in a public copy", row, longest)
        })?;
        replicas.extend(copies);
        Ok(())
    }

    /// Keeps what an agent's receivers are sent.
    pub(crate) fn keep(&mut self, agent: AgentId, bytes: Vec<u8>) {
        if self.open && self.encoded.insert(agent, bytes).is_some() {
            self.continued.insert(agent);
        }
    }

    /// The agent's public row is zero again.
    pub(crate) fn restart(&mut self, agent: AgentId) {
        self.encoded.remove(&agent);
        self.continued.remove(&agent);
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

fn bytes(row: &[f32]) -> Vec<u8> {
    row.iter().flat_map(|value| value.to_le_bytes()).collect()
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
            len: self.payload_len(),
            vectors: if self.parts.tracks() { 2 } else { 1 },
            compressor: exchange.compressor,
            copies: exchange.kind == ExchangeKind::Difference,
            gradients: exchange.kind == ExchangeKind::NeighbourGradients,
        }
    }

    /// What the memory gains, as bytes: the growths of all layers, one after the other.
    #[must_use]
    pub fn encode_basis(growths: &[Growth]) -> Vec<u8> {
        growths.iter().flat_map(Growth::to_bytes).collect()
    }

    /// Makes ready what these agents send in a leg whose local work is done: call it before [`Cohort::payload`].
    pub fn offer(&mut self, round: Round, leg: Leg, agents: &[AgentId]) {
        let sends_first = self.parts.exchange.order != Order::MixThenSend;
        if leg.exchanges() && self.has_public() && sends_first && self.parts.exchange.kind != ExchangeKind::None {
            let rows = agents.iter().map(|&agent| Mixing { agent, fresh: &[], opened: &[], late: Vec::new() });
            self.publish(round, &rows.collect::<Vec<_>>());
            self.wire.offered = Some(round);
        }
    }

    /// The body of what `from` sends to `to` in this leg. A public row goes as it is where nothing compresses it: a difference
    /// would take as many bytes, and this needs nothing that the receiver holds.
    #[must_use]
    pub fn payload(&self, leg: Leg, from: AgentId, to: AgentId, form: PayloadForm) -> Vec<u8> {
        let spec = self.payload_spec();
        let mut row = vec![0.0; spec.len];
        if spec.is_gradient(leg) {
            let cross = self.extra.across.as_ref().and_then(|across| across.gradient_for(from, to));
            return cross.map_or_else(Vec::new, |cross| {
                self.engine.download(cross, from, &mut row);
                bytes(&row)
            });
        }
        if let Some(compressor) = spec.compressor {
            let grown = spec.copies && self.wire.continued.contains(&from);
            if !(grown && form == PayloadForm::Absolute) {
                let nothing = || vec![0; compressor.wire_len(spec.len)];
                return self.wire.encoded.get(&from).cloned().unwrap_or_else(nothing);
            }
        }
        let trained = self.coordinates.as_ref().unwrap_or(&self.whole);
        self.engine.download(if self.has_public() { &self.public } else { trained }, from, &mut row);
        let mut body = bytes(&row);
        if let Some((tracker, _)) = &self.extra.tracker {
            self.engine.download(tracker, from, &mut row);
            body.extend(bytes(&row));
        }
        body
    }

    /// Takes in what `from`, an agent of another process, sent to `to` for the leg that is mixed next. The body has passed
    /// [`PayloadSpec::check`].
    pub fn receive(&mut self, leg: Leg, from: AgentId, to: AgentId, form: PayloadForm, body: &[u8]) {
        let spec = self.payload_spec();
        if spec.is_gradient(leg) {
            if let Some(across) = &mut self.extra.across
                && let Some(cross) = across.gradient_from(from, to, body.is_empty())
            {
                self.engine.upload(cross, from, &floats(body));
            }
            return;
        }
        let row = self.read(&spec, from, to, form, body);
        let (public, tracker) = row.split_at(spec.len);
        let has_public = self.has_public();
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        self.engine.upload(if has_public { &mut self.public } else { trained }, from, public);
        if let Some((block, _)) = &mut self.extra.tracker {
            self.engine.upload(block, from, tracker);
        }
    }

    /// Takes in what `from` sent to `to` for an exchange of an earlier round, whose flow is applied next.
    pub fn receive_late(&mut self, round: Round, from: AgentId, to: AgentId, form: PayloadForm, body: &[u8]) {
        let spec = self.payload_spec();
        if spec.check(Leg::Exchange, form, body).is_ok() {
            let row = self.read(&spec, from, to, form, body);
            self.kept.0.entry((from, to)).or_default().insert(round, row);
        }
    }

    /// The public row that a body stands for, and the tracker where there is one.
    fn read(&mut self, spec: &PayloadSpec, from: AgentId, to: AgentId, form: PayloadForm, body: &[u8]) -> Vec<f32> {
        let Some(compressor) = spec.compressor else { return floats(body) };
        let stands_alone = spec.copies && form == PayloadForm::Absolute && body.len() == 4 * spec.len;
        let mut row = vec![0.0; spec.len];
        if stands_alone {
            row = floats(body);
        } else {
            compressor.decode(body, &mut row);
        }
        if !spec.copies {
            return row;
        }
        let replica = self.wire.replicas.entry((from, to)).or_insert_with(|| vec![0.0; spec.len]);
        if form == PayloadForm::Absolute {
            replica.fill(0.0);
        }
        if stands_alone {
            replica.copy_from_slice(&row);
        } else {
            replica.iter_mut().zip(&row).for_each(|(held, value)| *held += value);
        }
        replica.clone()
    }
}
