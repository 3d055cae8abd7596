//! Samples of several tasks under one numbering.

use std::sync::Arc;

use kith_core::{Samples, TaskId};
use rand_chacha::ChaCha8Rng;

use crate::TaskSamples;

/// Samples of one task or more, numbered through in task order. Tasks have inputs of one length.
#[derive(Clone, Debug)]
pub struct Pool {
    parts: Vec<Arc<TaskSamples>>,
    /// The number of each part's first sample, ascending.
    starts: Vec<u32>,
}

impl Pool {
    /// The samples of these tasks.
    pub(crate) fn new(parts: Vec<Arc<TaskSamples>>) -> Self {
        let starts = parts.iter().scan(0_u32, |next, part| {
            let start = *next;
            *next = start.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
            Some(start)
        });
        Self { starts: starts.collect(), parts }
    }

    /// The number of sample `index` of task `task`.
    ///
    /// # Panics
    /// If there is no such task.
    #[must_use]
    pub fn number(&self, task: TaskId, index: u32) -> u32 {
        self.starts[task.index()] + index
    }

    /// The samples, as an engine sees them: those of one task alone without a detour.
    #[must_use]
    pub fn samples(&self) -> &dyn Samples {
        match self.parts.as_slice() {
            [only] => only.as_ref(),
            _ => self,
        }
    }

    fn find(&self, number: u32) -> (&TaskSamples, u32) {
        let part = self.starts.partition_point(|start| *start <= number).saturating_sub(1);
        (&self.parts[part], number - self.starts[part])
    }
}

impl From<Arc<TaskSamples>> for Pool {
    fn from(samples: Arc<TaskSamples>) -> Self {
        Self::new(vec![samples])
    }
}

impl Samples for Pool {
    fn input_len(&self) -> usize {
        self.parts.first().map_or(0, |part| part.input_len())
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    fn read(&self, index: u32, out: &mut [f32]) {
        let (part, index) = self.find(index);
        part.read(index, out);
    }

    fn changes(&self) -> bool {
        self.parts.iter().any(|part| part.changes())
    }

    fn read_changed(&self, index: u32, stream: &mut ChaCha8Rng, out: &mut [f32]) {
        let (part, index) = self.find(index);
        part.read_changed(index, stream, out);
    }

    fn label(&self, index: u32) -> u32 {
        let (part, index) = self.find(index);
        part.label(index)
    }
}
