//! Blocks: rows on the device, in chunks of agents.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kith_core::AgentId;

use crate::engine::rows::{Rows, read, tensor};

/// Rows `[agents, row length]` on the device. A chunk is one tensor, so that no buffer outgrows what a device binds.
#[derive(Clone, Debug)]
pub struct BurnBlock {
    agents: usize,
    len: usize,
    /// Whose rows these are, ascending; without, those of the first agents.
    roster: Option<Arc<[AgentId]>>,
    /// Agents of a chunk, but for the last.
    step: usize,
    /// One a chunk; none where rows hold no number.
    chunks: Vec<Option<Rows>>,
}

impl BurnBlock {
    pub(crate) fn zeros(
        agents: usize,
        roster: Option<Arc<[AgentId]>>,
        len: usize,
        step: usize,
        device: &Device,
    ) -> Self {
        let count = agents.div_ceil(step);
        let mut block = Self { agents, roster, len, step, chunks: vec![None; count] };
        block.reshape(len, device);
        block
    }

    pub(crate) fn reshape(&mut self, len: usize, device: &Device) {
        self.len = len;
        for chunk in 0..self.chunks.len() {
            let agents = self.range(chunk).len();
            // The old one goes first: both may not fit.
            self.chunks[chunk] = None;
            self.chunks[chunk] = (len > 0).then(|| Tensor::zeros([agents, len], device));
        }
    }

    /// Numbers in a row.
    #[must_use]
    pub const fn row_len(&self) -> usize {
        self.len
    }

    /// Rows.
    #[must_use]
    pub const fn agents(&self) -> usize {
        self.agents
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The rows of a chunk.
    pub(crate) fn range(&self, chunk: usize) -> Range<usize> {
        chunk * self.step..self.agents.min((chunk + 1) * self.step)
    }

    /// Which row is the agent's.
    pub(crate) fn index(&self, agent: AgentId) -> usize {
        let index = match &self.roster {
            None => (agent.index() < self.agents).then_some(agent.index()),
            Some(roster) => roster.binary_search(&agent).ok(),
        };
        index.unwrap_or_else(|| panic!("agent {agent} in a block of {} rows", self.agents))
    }

    /// An agent's chunk and its place in it.
    fn place(&self, agent: AgentId) -> (usize, usize) {
        let index = self.index(agent);
        (index / self.step, index % self.step)
    }

    pub(crate) fn upload(&mut self, agent: AgentId, row: &[f32], device: &Device) {
        assert_eq!(row.len(), self.len, "numbers in a row");
        let (chunk, place) = self.place(agent);
        if let Some(rows) = self.chunks[chunk].take() {
            let row = tensor(row.to_vec(), [1, self.len], device);
            self.chunks[chunk] = Some(rows.slice_assign([place..place + 1, 0..self.len], row));
        }
    }

    pub(crate) fn download(&self, agent: AgentId, row: &mut [f32]) {
        assert_eq!(row.len(), self.len, "numbers in a row");
        let (chunk, place) = self.place(agent);
        if let Some(rows) = &self.chunks[chunk] {
            row.copy_from_slice(&read(rows.clone().narrow(0, place, 1)));
        }
    }

    /// The whole chunk.
    pub(crate) fn chunk(&self, chunk: usize) -> Option<Rows> {
        self.chunks[chunk].clone()
    }

    pub(crate) fn take_chunk(&mut self, chunk: usize) -> Option<Rows> {
        self.chunks[chunk].take()
    }

    pub(crate) fn put_chunk(&mut self, chunk: usize, rows: Option<Rows>) {
        self.chunks[chunk] = rows;
    }

    /// The agents of the list, chunk by chunk: chunk, and who.
    ///
    /// # Panics
    /// If agents do not ascend, or one has no row.
    pub(crate) fn by_chunk<'a>(&self, agents: &'a [AgentId]) -> Vec<(usize, &'a [AgentId])> {
        assert!(agents.windows(2).all(|pair| pair[0] < pair[1]), "agents ascend");
        let same = |one: &AgentId, other: &AgentId| self.place(*one).0 == self.place(*other).0;
        agents.chunk_by(same).map(|part| (self.place(part[0]).0, part)).collect()
    }

    /// Places in their chunk of agents that are all of one chunk.
    pub(crate) fn places(&self, agents: &[AgentId]) -> Vec<usize> {
        agents.iter().map(|agent| self.place(*agent).1).collect()
    }
}

/// Whether places are all of a chunk's.
pub(crate) fn is_all(places: &[usize], count: usize) -> bool {
    places.len() == count
}

/// The rows at these ascending places.
pub(crate) fn pick(rows: Rows, places: &[usize], device: &Device) -> Rows {
    let [count, _] = rows.dims();
    match (places.first(), places.last()) {
        _ if is_all(places, count) => rows,
        (Some(&first), Some(&last)) if last - first + 1 == places.len() => rows.narrow(0, first, places.len()),
        _ => rows.select(0, indices(places, device)),
    }
}

/// `rows` with `new` at these ascending places.
pub(crate) fn replaced(rows: Rows, places: &[usize], new: Rows, device: &Device) -> Rows {
    let [count, len] = rows.dims();
    match (places.first(), places.last()) {
        _ if is_all(places, count) => new,
        (Some(&first), Some(&last)) if last - first + 1 == places.len() => {
            rows.slice_assign([first..last + 1, 0..len], new)
        }
        _ => {
            let mut sources: Vec<usize> = (0..count).collect();
            for (at, &place) in places.iter().enumerate() {
                sources[place] = count + at;
            }
            Tensor::cat(vec![rows, new], 0).select(0, indices(&sources, device))
        }
    }
}

/// Indices on the device.
pub(crate) fn indices(places: &[usize], device: &Device) -> Tensor<1, Int> {
    let places: Vec<i32> = places.iter().map(|place| *place as i32).collect();
    let count = places.len();
    Tensor::from_data(TensorData::new(places, [count]), device)
}
