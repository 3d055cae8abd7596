//! Images as they are kept in memory, and how pixel values become network inputs.

use std::sync::Arc;

use crate::{DataError, Normalise};

/// The values of many images, `[images, channels, height, width]`, shared by everything that reads them. Vectors, since to share a
/// slice they would be copied, and both be held for that moment.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// As files hold them; a table turns each into an input.
    Bytes(Arc<Vec<u8>>),
    /// Ready inputs, of synthetic images.
    Floats(Arc<Vec<f32>>),
}

/// Labelled images of one shape.
#[derive(Clone, Debug)]
pub struct ImageSet {
    pixels: Pixels,
    labels: Arc<[u32]>,
    shape: [usize; 3],
}

impl ImageSet {
    /// Images of `shape` (channels, height, width), each value a byte.
    ///
    /// Returns nothing if there are not as many images as labels.
    #[must_use]
    pub fn from_bytes(shape: [usize; 3], pixels: Vec<u8>, labels: Vec<u32>) -> Option<Self> {
        let fits = volume(shape)?.checked_mul(labels.len())? == pixels.len();
        fits.then(|| Self { pixels: Pixels::Bytes(pixels.into()), labels: labels.into(), shape })
    }

    /// Images of `shape` (channels, height, width), each value an input.
    ///
    /// Returns nothing if there are not as many images as labels.
    #[must_use]
    pub fn from_floats(shape: [usize; 3], pixels: Vec<f32>, labels: Vec<u32>) -> Option<Self> {
        let fits = volume(shape)?.checked_mul(labels.len())? == pixels.len();
        fits.then(|| Self { pixels: Pixels::Floats(pixels.into()), labels: labels.into(), shape })
    }

    /// The values, image after image.
    #[must_use]
    pub const fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// The class of each image.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Channels, height, width.
    #[must_use]
    pub const fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Values in one image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Values in one image, if that is at least one and fits a 32-bit index.
pub(crate) fn volume(shape: [usize; 3]) -> Option<usize> {
    let volume = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side))?;
    (1..=u32::MAX as usize).contains(&volume).then_some(volume)
}

/// How bytes are scaled: `((byte / range) − mean) / deviation`, a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// The byte that stands for 1.
    pub range: f32,
    /// Mean of each channel, after division by the range.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, after division by the range.
    pub deviation: Vec<f32>,
}

impl Scaling {
    /// Scaling of bytes 0 to 255 with these means and deviations, a channel.
    #[must_use]
    pub fn new(mean: &[f32], deviation: &[f32]) -> Self {
        Self { range: 255.0, mean: mean.to_vec(), deviation: deviation.to_vec() }
    }

    /// The scaling that `normalise` asks for, where `self` is the standard one.
    #[must_use]
    pub fn choose(&self, normalise: Normalise) -> Self {
        let constant = |mean, deviation| Self {
            range: self.range,
            mean: vec![mean; self.mean.len()],
            deviation: vec![deviation; self.mean.len()],
        };
        match normalise {
            Normalise::Standard => self.clone(),
            Normalise::Unit => constant(0.0, 1.0),
            Normalise::Half => constant(0.5, 0.5),
        }
    }

    /// The scaling with mean and deviation as they are once zeros fill the images up, so that the images' own values
    /// are the share `covered` of all values. (MNIST at 32 × 32 has mean .1000 and deviation .2752.)
    #[must_use]
    pub fn padded(&self, covered: f64) -> Self {
        let mut padded = self.clone();
        for (mean, deviation) in padded.mean.iter_mut().zip(&mut padded.deviation) {
            let (m, s) = (f64::from(*mean), f64::from(*deviation));
            *mean = (m * covered) as f32;
            *deviation = ((s * s + m * m) * covered - (m * covered).powi(2)).sqrt() as f32;
        }
        padded
    }

    /// Mean and deviation, a channel, of images `[images, channels, area]` of bytes.
    ///
    /// A channel that never changes gets deviation 1.
    #[must_use]
    pub fn measured(pixels: &[u8], channels: usize, area: usize, range: f32) -> Self {
        let mut scaling = Self { range, mean: Vec::new(), deviation: Vec::new() };
        for channel in 0..channels {
            let (mut count, mut sum, mut squares) = (0_u64, 0_u64, 0_u64);
            for plane in pixels.chunks_exact(area.max(1)).skip(channel).step_by(channels) {
                count += plane.len() as u64;
                for &byte in plane {
                    sum += u64::from(byte);
                    squares += u64::from(byte) * u64::from(byte);
                }
            }
            let count = count.max(1) as f64;
            let mean = sum as f64 / count;
            let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt() / f64::from(range);
            scaling.mean.push((mean / f64::from(range)) as f32);
            scaling.deviation.push(if deviation > 0.0 { deviation as f32 } else { 1.0 });
        }
        scaling
    }

    /// The input that each byte becomes: 256 a channel, in the order of operations of `ToTensor` and `Normalize`.
    #[must_use]
    pub fn table(&self) -> Vec<f32> {
        self.mean
            .iter()
            .zip(&self.deviation)
            .flat_map(|(&mean, &deviation)| {
                (0..=u8::MAX).map(move |byte| (f32::from(byte) / self.range - mean) / deviation)
            })
            .collect()
    }
}

/// A dataset in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// The training set.
    pub train: ImageSet,
    /// The test set.
    pub test: ImageSet,
    /// Number of classes; every label is below it.
    pub classes: usize,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Its usual scaling of bytes.
    pub scaling: Scaling,
}

impl Dataset {
    /// Whether the parts agree: shapes, label ranges, samples in both sets.
    pub(crate) fn checked(self, at: &std::path::Path) -> Result<Self, DataError> {
        for (what, set) in [("training", &self.train), ("test", &self.test)] {
            if set.shape != self.shape {
                return Err(DataError::format(
                    at,
                    format!("{what} images of {:?}", self.shape),
                    format!("{:?}", set.shape),
                ));
            }
            if set.is_empty() {
                return Err(DataError::format(at, format!("at least one {what} image"), "none"));
            }
            if let Some(&label) = set.labels.iter().find(|&&label| label as usize >= self.classes) {
                let expected = format!("{what} labels below {}", self.classes);
                return Err(DataError::format(at, expected, format!("label {label}")));
            }
        }
        Ok(self)
    }
}
