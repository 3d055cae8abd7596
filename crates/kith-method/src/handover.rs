//! What an agent that comes back without state of its own takes over from another: rows, and the memory they rest on.
//! Also how a driver judges a basis before an agent sees it.

use kith_core::{AgentId, Layout};
use kith_engine::Engine;
use kith_subspace::{Growth, LayerMemory};

use crate::{Cohort, ExchangeKind, MethodError, decode_basis};

/// An agent's rows and memory, as another process handed them over. Its numbers are finite, its bases orthonormal.
#[derive(Clone, Debug)]
pub struct Handover {
    memory: Vec<LayerMemory>,
    rows: Vec<f32>,
}

/// What a basis of the next update must continue: enough to judge one without the rows.
#[derive(Clone, Debug)]
pub struct BasisSpec {
    layout: Layout,
    memory: Vec<LayerMemory>,
}

impl BasisSpec {
    /// Whether these bytes are a basis by which the memory can grow.
    ///
    /// # Errors
    /// Bytes that are no growths, growths of another memory, columns that are not orthonormal or not finite.
    pub fn check(&self, bytes: &[u8]) -> Result<(), MethodError> {
        let growths = decode_basis(&self.layout, bytes)?;
        for (layer, (memory, growth)) in self.memory.iter().zip(&growths).enumerate() {
            memory.clone().grow(growth).map_err(|source| MethodError::Memory { layer, source })?;
        }
        Ok(())
    }
}

impl<E: Engine> Cohort<E> {
    /// What a basis must continue that `agent` is to adopt.
    #[must_use]
    pub fn basis_spec(&self, agent: AgentId) -> BasisSpec {
        BasisSpec { layout: self.layout().clone(), memory: self.memory(agent).to_vec() }
    }

    /// Gives `agent` the rows of `source`: it comes back after a crash.
    pub fn take_over(&mut self, agent: AgentId, source: AgentId) {
        let rows = self.own_rows(source);
        self.set_rows(agent, &rows);
    }

    /// The rows and the memory of `agent` as bytes, little-endian: growths so far, the memory of each layer as one growth,
    /// then the rows as `f32`. While a task is learned.
    #[must_use]
    pub fn hand_over(&mut self, agent: AgentId) -> Vec<u8> {
        let memory = self.memory(agent);
        let tasks = memory.first().map_or(0, LayerMemory::tasks) as u32;
        let mut bytes = tasks.to_le_bytes().to_vec();
        memory.iter().for_each(|layer| bytes.extend(layer.whole().to_bytes()));
        bytes.extend(self.own_rows(agent).iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// Most bytes that [`Cohort::hand_over`] gives.
    #[must_use]
    pub fn longest_handover(&mut self) -> usize {
        let memory: usize = self.layout().projected().map(|tensor| 16 + 4 * tensor.cols * (tensor.cols + 1)).sum();
        4 + memory + 4 * self.row_len() * (2 + self.retained.blocks().count())
    }

    /// Reads what [`Cohort::hand_over`] wrote for the same set-up. Nothing changes yet.
    ///
    /// # Errors
    /// Bytes of another set-up, bases that are not orthonormal, numbers that are not finite.
    pub fn read_handover(&self, bytes: &[u8]) -> Result<Handover, MethodError> {
        let short = MethodError::HandoverLength { expected: 4, found: bytes.len() };
        let (tasks, mut rest) = bytes.split_first_chunk::<4>().ok_or(short)?;
        let tasks = u32::from_le_bytes(*tasks) as usize;
        let layers = self.memory(self.hosted.first().copied().unwrap_or_default()).len();
        let mut memory = Vec::with_capacity(layers);
        for (layer, tensor) in self.layout().projected().take(layers).enumerate() {
            let failed = |source| MethodError::Memory { layer, source };
            let (growth, left) = Growth::take(tensor.cols, rest).map_err(failed)?;
            memory.push(LayerMemory::restored(&growth, tasks).map_err(failed)?);
            rest = left;
        }
        let (numbers, odd) = rest.as_chunks::<4>();
        if !odd.is_empty() {
            return Err(MethodError::HandoverLength { expected: 4 * numbers.len(), found: rest.len() });
        }
        let rows: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        match rows.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(MethodError::HandoverNotFinite { place }),
            None => Ok(Handover { memory, rows }),
        }
    }

    /// All hosted agents remember what was handed over: before [`Cohort::begin_task`] of the task that its sender learns.
    pub fn remember(&mut self, handover: &Handover) {
        let own = self.memories.len() > 1;
        for (agent, layers) in self.memories.iter_mut().enumerate() {
            if !own || self.hosted.binary_search(&AgentId::from(agent)).is_ok() {
                layers.clone_from(&handover.memory);
            }
        }
    }

    /// All hosted agents take the rows that were handed over, after [`Cohort::begin_task`].
    ///
    /// # Errors
    /// Rows of another length. Nothing has changed then.
    pub fn take_rows(&mut self, handover: &Handover) -> Result<(), MethodError> {
        let expected = self.own_rows(self.hosted.first().copied().unwrap_or_default()).len();
        if handover.rows.len() != expected {
            return Err(MethodError::HandoverLength { expected: 4 * expected, found: 4 * handover.rows.len() });
        }
        for agent in self.hosted.clone() {
            self.set_rows(agent, &handover.rows);
        }
        Ok(())
    }

    /// What outlives a crash of `agent` elsewhere: its weights (and, in coordinates, their base), and what it holds against
    /// forgetting.
    fn own_rows(&mut self, agent: AgentId) -> Vec<f32> {
        let (whole, len) = (self.row_len(), self.payload_len());
        let Self { engine, whole: weights, coordinates, retained, .. } = self;
        let mut rows = Vec::new();
        let mut read = |block: &E::Block, len: usize| {
            let mut row = vec![0.0; len];
            engine.download(block, agent, &mut row);
            rows.extend(row);
        };
        read(weights, whole);
        coordinates.iter().for_each(|block| read(block, len));
        retained.blocks().for_each(|block| read(block, whole));
        rows
    }

    /// Gives an agent such rows. It has no momentum, and nothing of what it sent is known to anyone.
    fn set_rows(&mut self, agent: AgentId, rows: &[f32]) {
        let (whole, len) = (self.row_len(), self.payload_len());
        let Self { engine, whole: weights, coordinates, retained, momentum, public, extra, parts, wire, .. } = self;
        let (row, mut rest) = rows.split_at(whole.min(rows.len()));
        engine.upload(weights, agent, row);
        let others = coordinates.iter_mut().map(|block| (block, len));
        for (block, len) in others.chain(retained.blocks().map(|block| (block, whole))) {
            let (row, left) = rest.split_at(len.min(rest.len()));
            engine.upload(block, agent, row);
            rest = left;
        }
        let nothing = vec![0.0; len];
        let public = (parts.exchange.kind == ExchangeKind::Difference).then_some(public);
        for block in momentum.iter_mut().chain(public).chain(extra.blocks()) {
            engine.upload(block, agent, &nothing);
        }
        extra.push.iter_mut().for_each(|push| push.set_weight(agent, 1.0));
        wire.restart(agent);
    }
}
