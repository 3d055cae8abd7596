//! The samples of one task: images read through a permutation, a rotation or a frame.

use std::sync::Arc;

use kith_core::Samples;

use crate::image::{ImageSet, Pixels};
use crate::view::View;

/// The samples of one task, normalised, moved and relabelled as they are read.
#[derive(Clone, Debug)]
pub struct TaskSamples {
    images: ImageSet,
    rows: Arc<[u32]>,
    labels: Arc<[u32]>,
    view: View,
    /// The input that each byte becomes: 256 a channel of the images.
    table: Arc<[f32]>,
}

impl TaskSamples {
    /// Samples `rows` of `images` with these labels (one a row), seen through `view`; `table` holds 256 inputs a channel.
    ///
    /// The caller vouches for rows below `images.len()`.
    pub(crate) fn new(images: &ImageSet, rows: Arc<[u32]>, labels: Arc<[u32]>, view: View, table: Arc<[f32]>) -> Self {
        debug_assert_eq!(rows.len(), labels.len());
        Self { images: images.clone(), rows, labels, view, table }
    }

    /// The class of every sample.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Which image of the dataset every sample is.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }
}

impl Samples for TaskSamples {
    fn input_len(&self) -> usize {
        self.view.output_len(&self.images)
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, index: u32, out: &mut [f32]) {
        let len = self.images.image_len();
        let start = self.rows[index as usize] as usize * len;
        match self.images.pixels() {
            Pixels::Bytes(bytes) => self.view.read_bytes(&bytes[start..start + len], &self.table, out),
            Pixels::Floats(floats) => self.view.read_floats(&floats[start..start + len], out),
        }
    }

    fn label(&self, index: u32) -> u32 {
        self.labels[index as usize]
    }
}
