//! The samples of one task: images read through a permutation, a rotation or a frame.

use std::sync::Arc;

use kith_core::Samples;
use rand_chacha::ChaCha8Rng;

use crate::AugmentSpec;
use crate::image::{ImageSet, Pixels};
use crate::view::{BYTES, View};

/// The samples of one task, normalised, moved and relabelled as they are read.
#[derive(Clone, Debug)]
pub struct TaskSamples {
    images: ImageSet,
    rows: Arc<[u32]>,
    labels: Arc<[u32]>,
    view: View,
    /// The input that each byte becomes: 256 a channel of the images.
    table: Arc<[f32]>,
    /// How they are changed when they are trained on.
    augment: Option<Augment>,
}

/// How samples are changed, and the shape of one input.
#[derive(Clone, Debug)]
struct Augment {
    spec: AugmentSpec,
    shape: [usize; 3],
}

impl TaskSamples {
    /// Samples `rows` of `images` with these labels (one a row), seen through `view`; `table` holds 256 inputs a channel.
    ///
    /// The caller vouches for rows below `images.len()`.
    pub(crate) fn new(images: &ImageSet, rows: Arc<[u32]>, labels: Arc<[u32]>, view: View, table: Arc<[f32]>) -> Self {
        debug_assert_eq!(rows.len(), labels.len());
        Self { images: images.clone(), rows, labels, view, table, augment: None }
    }

    /// The same samples, changed by `spec` when they are trained on; `shape` is that of one input.
    pub(crate) fn augmented(self, spec: Option<&AugmentSpec>, shape: [usize; 3]) -> Self {
        let augment = spec.filter(|spec| !spec.is_idle()).map(|spec| Augment { spec: spec.clone(), shape });
        Self { augment, ..self }
    }

    /// What lies outside an image.
    fn black(&self, channel: usize) -> f32 {
        match self.images.pixels() {
            // One channel of the images may stand for all of the input's.
            Pixels::Bytes(_) if self.table.len() == BYTES => self.table[0],
            Pixels::Bytes(_) => self.table[channel * BYTES],
            Pixels::Floats(_) => 0.0,
        }
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

    fn changes(&self) -> bool {
        self.augment.is_some()
    }

    fn read_changed(&self, index: u32, stream: &mut ChaCha8Rng, out: &mut [f32]) {
        self.read(index, out);
        if let Some(Augment { spec, shape }) = &self.augment {
            spec.change(*shape, out, |channel| self.black(channel), stream);
        }
    }

    fn label(&self, index: u32) -> u32 {
        self.labels[index as usize]
    }
}
