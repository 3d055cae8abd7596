//! Numbers that start on a cache line.

/// Numbers in a 64-byte cache line.
pub(super) const LINE: usize = 16;

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
    pub(super) fn reset(&mut self, len: usize) {
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
