//! Bodies of packets: shared by all who are sent one, and their memory used again. A body is as large as a network; taken anew in
//! every round, it would cost more to map than to copy.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers that are kept at most: more are in use at once only where an agent has very many neighbours.
const MOST: usize = 32;
/// Smaller ones are not worth keeping.
const LEAST: usize = 1 << 12;

/// Bytes that may go to several peers.
#[derive(Clone, Default)]
pub(crate) struct Body(Arc<Held>);

#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    shelf: Shelf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shelf.put(std::mem::take(&mut self.bytes));
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// A body that leaves nothing on any shelf.
impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Held { bytes, shelf: Shelf(None) }))
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Body {}

impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Body({} bytes)", self.len())
    }
}

/// Buffers of bodies that are gone.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Option<Arc<Mutex<Vec<Vec<u8>>>>>);

impl std::fmt::Debug for Shelf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Shelf")
    }
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// A buffer with whatever was in it.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.lock().and_then(|mut kept| kept.pop()).unwrap_or_default()
    }

    /// A body whose buffer comes back when nobody holds it any more.
    pub(crate) fn body(&self, bytes: Vec<u8>) -> Body {
        Body(Arc::new(Held { bytes, shelf: self.clone() }))
    }

    fn put(&self, bytes: Vec<u8>) {
        if let Some(mut kept) = self.lock().filter(|kept| kept.len() < MOST && bytes.capacity() >= LEAST) {
            kept.push(bytes);
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Vec<Vec<u8>>>> {
        // Whoever panicked while it held the lock left whole buffers behind.
        self.0.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_holder_is_gone() {
        let shelf = Shelf::new();
        let body = shelf.body(vec![7; 1 << 16]);
        let (place, other) = (body.as_ptr(), body.clone());
        drop(body);
        assert_eq!(shelf.take().capacity(), 0, "it is still held");
        drop(other);
        let again = shelf.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 1 << 16));
    }

    #[test]
    fn small_buffers_and_too_many_are_not_kept() {
        let shelf = Shelf::new();
        drop(shelf.body(vec![0; LEAST - 1]));
        assert_eq!(shelf.take().capacity(), 0);
        let bodies: Vec<Body> = (0..MOST + 5).map(|_| shelf.body(vec![0; LEAST])).collect();
        drop(bodies);
        let kept = (0..).take_while(|_| shelf.take().capacity() > 0).count();
        assert_eq!(kept, MOST);
    }
}
