//! Rows of numbers that start on cache lines.

use std::sync::Arc;

use kith_core::AgentId;

/// Numbers in a 64-byte cache line.
const LINE: usize = 16;

/// Numbers whose first lies on a cache line. Grows, never shrinks.
///
/// Zeros come from the allocator's zeroed pages and a place inside them is chosen, rather than asking for an aligned
/// allocation: the standard library clears those by hand and so touches every page, needed or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let data = vec![0.0; len + LINE - 1];
        crate::kernel::prefer_huge_pages(&data);
        let start = data.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1);
        Self { data, start, len }
    }

    /// Makes room for `len` numbers; what they are is then undefined.
    pub(crate) fn ensure(&mut self, len: usize) {
        if len > self.capacity() {
            *self = Self::zeros(len);
        }
        self.len = self.len.max(len);
    }

    /// Exactly `len` zeros, in the same memory where it suffices.
    fn reset(&mut self, len: usize) {
        if len > self.capacity() {
            *self = Self::zeros(len);
        } else {
            self.len = len;
            self.as_mut().fill(0.0);
        }
    }

    fn capacity(&self) -> usize {
        self.data.len().saturating_sub(LINE - 1)
    }
}

impl AsRef<[f32]> for Buffer {
    fn as_ref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl AsMut<[f32]> for Buffer {
    fn as_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

/// Rows of the native engine: `[agents, len]`, each row on its own cache lines.
#[derive(Debug)]
pub struct NativeBlock {
    buffer: Buffer,
    agents: usize,
    len: usize,
    stride: usize,
    /// Whose rows these are, ascending; without, those of the first agents.
    roster: Option<Arc<[AgentId]>>,
}

impl NativeBlock {
    pub(crate) fn zeros(agents: usize, len: usize) -> Self {
        let stride = len.next_multiple_of(LINE);
        Self { buffer: Buffer::zeros(agents * stride), agents, len, stride, roster: None }
    }

    /// Rows of these agents only, ascending.
    pub(crate) fn of(roster: Arc<[AgentId]>, len: usize) -> Self {
        Self { roster: Some(Arc::clone(&roster)), ..Self::zeros(roster.len(), len) }
    }

    /// Which row is the agent's.
    pub(super) fn place(&self, agent: AgentId) -> usize {
        let place = match &self.roster {
            None => (agent.index() < self.agents).then_some(agent.index()),
            Some(roster) => roster.binary_search(&agent).ok(),
        };
        place.unwrap_or_else(|| panic!("agent {agent} in a block of {} rows", self.agents))
    }

    pub(crate) fn reshape(&mut self, len: usize) {
        self.len = len;
        self.stride = len.next_multiple_of(LINE);
        self.buffer.reset(self.agents * self.stride);
    }

    /// Number of rows.
    #[must_use]
    pub const fn agents(&self) -> usize {
        self.agents
    }

    /// Numbers in a row.
    #[must_use]
    pub const fn row_len(&self) -> usize {
        self.len
    }

    /// The row of `agent`.
    ///
    /// # Panics
    /// If the block has no such agent.
    #[must_use]
    pub fn row(&self, agent: AgentId) -> &[f32] {
        let start = self.place(agent) * self.stride;
        &self.buffer.as_ref()[start..start + self.len]
    }

    /// The row of `agent`, to write.
    ///
    /// # Panics
    /// If the block has no such agent.
    pub fn row_mut(&mut self, agent: AgentId) -> &mut [f32] {
        let start = self.place(agent) * self.stride;
        &mut self.buffer.as_mut()[start..start + self.len]
    }

    /// All rows in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.buffer.as_ref().chunks_exact(self.stride.max(1)).map(|row| &row[..self.len]).take(self.agents)
    }

    /// All rows in order, to write.
    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let len = self.len;
        self.buffer.as_mut().chunks_exact_mut(self.stride.max(1)).map(move |row| &mut row[..len])
    }

    /// The rows of `agents`, which must ascend, to write.
    pub(crate) fn pick_mut<'a>(
        &'a mut self,
        agents: impl IntoIterator<Item = AgentId> + 'a,
    ) -> impl Iterator<Item = &'a mut [f32]> + 'a {
        let count = self.agents;
        let (len, stride) = (self.len, self.stride);
        let roster = self.roster.clone();
        let mut rest = self.buffer.as_mut();
        let mut next = 0;
        agents.into_iter().map(move |agent| {
            let index = roster.as_ref().map_or(agent.index(), |roster| roster.binary_search(&agent).unwrap_or(count));
            assert!(index < count, "agent {agent} in a block of {count} rows");
            assert!(index >= next, "agents ascend: {agent} comes after {}", next.saturating_sub(1));
            let (_, from) = std::mem::take(&mut rest).split_at_mut((index - next) * stride);
            let (row, after) = from.split_at_mut(stride);
            rest = after;
            next = index + 1;
            &mut row[..len]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_start_on_cache_lines() {
        let block = NativeBlock::zeros(3, 17);
        for agent in 0..3 {
            assert_eq!(block.row(AgentId(agent)).as_ptr() as usize % 64, 0);
            assert_eq!(block.row(AgentId(agent)).len(), 17);
        }
    }

    #[test]
    fn a_reshaped_block_is_zero_and_keeps_its_memory() {
        let mut block = NativeBlock::zeros(2, 40);
        block.row_mut(AgentId(1)).fill(3.0);
        let before = block.row(AgentId(0)).as_ptr();
        block.reshape(20);
        assert_eq!(block.row(AgentId(0)).as_ptr(), before);
        assert_eq!(block.row(AgentId(1)), [0.0; 20]);
        block.reshape(100);
        assert_eq!(block.row(AgentId(1)), [0.0; 100]);
    }

    #[test]
    fn a_block_of_some_agents_has_their_rows_only() {
        let mut block = NativeBlock::of([AgentId(3), AgentId(8)].into(), 2);
        block.row_mut(AgentId(8)).fill(5.0);
        assert_eq!((block.agents(), block.row(AgentId(3)), block.row(AgentId(8))), (2, &[0.0; 2][..], &[5.0; 2][..]));
        let picked: Vec<_> = block.pick_mut([AgentId(8)]).map(|row| row[0]).collect();
        assert_eq!(picked, [5.0]);
        assert_eq!(block.rows().count(), 2);
    }

    #[test]
    fn picked_rows_are_those_of_the_agents() {
        let mut block = NativeBlock::zeros(4, 2);
        for (value, row) in [1.0, 2.0, 3.0, 4.0].into_iter().zip(block.rows_mut()) {
            row.fill(value);
        }
        let picked: Vec<_> = block.pick_mut([AgentId(1), AgentId(3)]).map(|row| row[0]).collect();
        assert_eq!(picked, [2.0, 4.0]);
    }
}
