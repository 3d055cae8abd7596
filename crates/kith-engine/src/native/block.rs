//! Rows of numbers that start on cache lines.

use std::sync::Arc;

use kith_core::AgentId;

use super::buffer::{Buffer, LINE};

/// Rows of the native engine: `[agents, len]`, each row on its own cache lines.
#[derive(Debug)]
pub struct NativeBlock {
    buffer: Buffer,
    agents: usize,
    len: usize,
    stride: usize,
    /// Whose rows these are, ascending; without, those of the first agents.
    roster: Option<Arc<[AgentId]>>,
    /// Room for rows that are written while those that they replace are still read.
    spare: Spare,
}

/// Slots beside those of a block's rows, and which slot is whose.
#[derive(Debug, Default)]
struct Spare {
    buffer: Buffer,
    slots: usize,
    /// The slot of each row: a row of the block's own buffer, and after those the spare ones. In order, while this is empty.
    taken: Vec<usize>,
}

impl NativeBlock {
    pub(crate) fn zeros(agents: usize, len: usize) -> Self {
        let stride = len.next_multiple_of(LINE);
        Self { buffer: Buffer::zeros(agents * stride), agents, len, stride, roster: None, spare: Spare::default() }
    }

    /// Rows of these agents only, ascending.
    pub(crate) fn of(roster: Arc<[AgentId]>, len: usize) -> Self {
        Self { roster: Some(Arc::clone(&roster)), ..Self::zeros(roster.len(), len) }
    }

    /// Which row is the agent's, counted in the order of agents.
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
        self.spare.slots = 0;
        self.spare.taken.clear();
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
        self.slot(self.slot_of(self.place(agent)))
    }

    /// The row of `agent`, to write.
    ///
    /// # Panics
    /// If the block has no such agent.
    pub fn row_mut(&mut self, agent: AgentId) -> &mut [f32] {
        let slot = self.slot_of(self.place(agent));
        let (buffer, slot) = match slot.checked_sub(self.agents) {
            None => (&mut self.buffer, slot),
            Some(spare) => (&mut self.spare.buffer, spare),
        };
        &mut buffer.as_mut()[slot * self.stride..][..self.len]
    }

    /// All rows in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.agents).map(|place| self.slot(self.slot_of(place)))
    }

    /// All rows in order, to write.
    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let taken = (0..self.agents).map(|place| self.slot_of(place)).collect::<Vec<_>>();
        let mut slots = self.slots_mut();
        // Blocks of no numbers have no slots.
        taken.into_iter().map(move |slot| slots.get_mut(slot).map(std::mem::take).unwrap_or_default())
    }

    /// The slot of a row.
    pub(super) fn slot_of(&self, place: usize) -> usize {
        self.spare.taken.get(place).copied().unwrap_or(place)
    }

    fn slot(&self, slot: usize) -> &[f32] {
        let (buffer, slot) = match slot.checked_sub(self.agents) {
            None => (&self.buffer, slot),
            Some(spare) => (&self.spare.buffer, spare),
        };
        &buffer.as_ref()[slot * self.stride..][..self.len]
    }

    /// All slots, those of rows and the spare ones.
    pub(super) fn slots_mut(&mut self) -> Vec<&mut [f32]> {
        let (len, stride) = (self.len, self.stride.max(1));
        let own = self.buffer.as_mut().chunks_exact_mut(stride).take(self.agents);
        let spare = self.spare.buffer.as_mut().chunks_exact_mut(stride).take(self.spare.slots);
        own.chain(spare).map(|slot| &mut slot[..len]).collect()
    }

    /// At least `count` slots beside those of rows. Returns which are free.
    pub(super) fn make_spare(&mut self, count: usize) -> Vec<usize> {
        if self.spare.slots < count {
            let held = self.spare.slots * self.stride;
            let mut larger = Buffer::zeros(count * self.stride);
            larger.as_mut()[..held].copy_from_slice(&self.spare.buffer.as_ref()[..held]);
            self.spare.buffer = larger;
            self.spare.slots = count;
        }
        let mut free = vec![true; self.agents + self.spare.slots];
        (0..self.agents).for_each(|place| free[self.slot_of(place)] = false);
        (0..free.len()).filter(|slot| free[*slot]).collect()
    }

    /// From now on the row at each place is what stands in this slot.
    pub(super) fn take_slots(&mut self, slots: Vec<usize>) {
        debug_assert_eq!(slots.len(), self.agents, "a slot for each row");
        self.spare.taken = slots;
    }

    /// The rows of `agents`, which must ascend, to write.
    pub(crate) fn pick_mut<'a>(
        &'a mut self,
        agents: impl IntoIterator<Item = AgentId> + 'a,
    ) -> impl Iterator<Item = &'a mut [f32]> + 'a {
        let count = self.agents;
        let roster = self.roster.clone();
        let mut rows = self.rows_mut();
        let mut next = 0;
        agents.into_iter().map(move |agent| {
            let index = roster.as_ref().map_or(agent.index(), |roster| roster.binary_search(&agent).unwrap_or(count));
            assert!(index < count, "agent {agent} in a block of {count} rows");
            assert!(index >= next, "agents ascend: {agent} comes after {}", next.saturating_sub(1));
            let row = rows.nth(index - next).unwrap_or_default();
            next = index + 1;
            row
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
