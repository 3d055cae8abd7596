//! The rows that a visit works on.

use super::buffer::Buffer;
use crate::port::Slot;

/// One agent's rows of the visit's blocks, and the thread's scratch rows.
#[derive(Debug)]
pub(crate) struct Registers<'v> {
    blocks: Vec<&'v mut [f32]>,
    scratch: &'v mut [Buffer],
    scratch_len: usize,
}

impl<'v> Registers<'v> {
    pub(crate) fn new(blocks: Vec<&'v mut [f32]>, scratch: &'v mut [Buffer], scratch_len: usize) -> Self {
        Self { blocks, scratch, scratch_len }
    }

    pub(crate) fn get(&self, slot: Slot) -> &[f32] {
        match slot {
            Slot::Block(n) => self.blocks[n],
            Slot::Scratch(n) => &self.scratch[n].as_ref()[..self.scratch_len],
        }
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut [f32] {
        match slot {
            Slot::Block(n) => self.blocks[n],
            Slot::Scratch(n) => &mut self.scratch[n].as_mut()[..self.scratch_len],
        }
    }

    /// Works on one row while all others may be read; the row itself is empty meanwhile.
    pub(crate) fn apart(&mut self, y: Slot, work: impl FnOnce(&mut [f32], &Self)) {
        match y {
            Slot::Block(n) => {
                let row = std::mem::take(&mut self.blocks[n]);
                work(row, self);
                self.blocks[n] = row;
            }
            Slot::Scratch(n) => {
                let mut row = std::mem::take(&mut self.scratch[n]);
                work(&mut row.as_mut()[..self.scratch_len], self);
                self.scratch[n] = row;
            }
        }
    }

    /// Two rows, the first to write.
    ///
    /// # Panics
    /// If they are one and the same.
    pub(crate) fn pair(&mut self, y: Slot, x: Slot) -> (&mut [f32], &[f32]) {
        let len = self.scratch_len;
        match (y, x) {
            (Slot::Block(y), Slot::Block(x)) => match self.blocks.get_disjoint_mut([y, x]) {
                Ok([y, x]) => (y, x),
                Err(error) => panic!("blocks {y} and {x} of a visit: {error}"),
            },
            (Slot::Scratch(y), Slot::Scratch(x)) => match self.scratch.get_disjoint_mut([y, x]) {
                Ok([y, x]) => (&mut y.as_mut()[..len], &x.as_mut()[..len]),
                Err(error) => panic!("scratch rows {y} and {x} of a visit: {error}"),
            },
            (Slot::Block(y), Slot::Scratch(x)) => (self.blocks[y], &self.scratch[x].as_ref()[..len]),
            (Slot::Scratch(y), Slot::Block(x)) => (&mut self.scratch[y].as_mut()[..len], self.blocks[x]),
        }
    }
}
