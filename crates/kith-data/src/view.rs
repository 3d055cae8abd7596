//! How a task sees an image: as it is, permuted, rotated, or framed in a larger one.

use std::sync::Arc;

use crate::image::ImageSet;

/// Inputs a channel in a table.
pub(crate) const BYTES: usize = 256;

/// How inputs are taken from the values of an image.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// In place.
    Plain,
    /// Input `k` is value `source[k]`.
    Permuted(Arc<[u32]>),
    /// Input `k` is a weighted sum of four values.
    Rotated(Arc<[Taps]>),
    /// In the middle of a larger image, one channel perhaps repeated.
    Framed(Frame),
}

/// Where an input of a rotated image comes from: four values of a channel and their weights, and the weight of what
/// lies outside the image, which is black.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    source: [u32; 4],
    weight: [f32; 4],
    outside: f32,
}

/// A larger image around the image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Channels, height, width of the image.
    inner: [usize; 3],
    /// Channels, height, width of the frame.
    outer: [usize; 3],
}

impl Frame {
    /// A frame of shape `outer`; the image's channel is repeated if it has one and the frame has more.
    ///
    /// Returns nothing if the image does not fit.
    pub(crate) fn new(inner: [usize; 3], outer: [usize; 3]) -> Option<Self> {
        let fits = (inner[0] == outer[0] || inner[0] == 1) && inner[1] <= outer[1] && inner[2] <= outer[2];
        fits.then_some(Self { inner, outer })
    }

    /// Calls `put(channel, range of inputs, range of values)` for every row of the image in the frame.
    fn rows(&self, mut put: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>)) {
        let ([channels, height, width], [outer_channels, outer_height, outer_width]) = (self.inner, self.outer);
        let (top, left) = ((outer_height - height) / 2, (outer_width - width) / 2);
        for outer_channel in 0..outer_channels {
            let channel = if channels == 1 { 0 } else { outer_channel };
            for row in 0..height {
                let to = (outer_channel * outer_height + top + row) * outer_width + left;
                let from = (channel * height + row) * width;
                put(channel, to..to + width, from..from + width);
            }
        }
    }
}

/// The table of one channel; the reference to an array lets the compiler drop every bounds check on a byte.
fn channel_table(table: &[f32], channel: usize) -> &[f32; BYTES] {
    const ZEROS: [f32; BYTES] = [0.0; BYTES];
    table.chunks_exact(BYTES).nth(channel).and_then(|table| table.try_into().ok()).unwrap_or(&ZEROS)
}

/// Input `k` is that of value `source[k]`, for images of at most `N` values, a power of two.
///
/// The image is copied first: reading it in order is what the memory is fast at, and an index masked to `N` needs no
/// bounds check; together that takes a quarter off the time of a read.
fn gather<const N: usize>(image: &[u8], source: &[u32], table: &[f32; BYTES], out: &mut [f32]) {
    let mut near = [0_u8; N];
    near[..image.len()].copy_from_slice(image);
    for (out, &source) in out.iter_mut().zip(source) {
        *out = table[near[source as usize & (N - 1)] as usize];
    }
}

impl View {
    /// Numbers that come out for one of `images`.
    pub(crate) fn output_len(&self, images: &ImageSet) -> usize {
        match self {
            Self::Plain => images.image_len(),
            Self::Permuted(source) => source.len(),
            Self::Rotated(taps) => taps.len(),
            Self::Framed(frame) => frame.outer.iter().product(),
        }
    }

    /// Writes the inputs of one image of bytes, of which `table` holds 256 inputs a channel.
    pub(crate) fn read_bytes(&self, image: &[u8], table: &[f32], out: &mut [f32]) {
        let channels = (table.len() / BYTES).max(1);
        let area = (image.len() / channels).max(1);
        match self {
            Self::Plain => {
                for (channel, (out, image)) in out.chunks_exact_mut(area).zip(image.chunks_exact(area)).enumerate() {
                    let table = channel_table(table, channel);
                    for (out, &byte) in out.iter_mut().zip(image) {
                        *out = table[byte as usize];
                    }
                }
            }
            Self::Permuted(source) if channels == 1 => {
                let table = channel_table(table, 0);
                match image.len() {
                    0..=1_024 => gather::<1_024>(image, source, table, out),
                    1_025..=4_096 => gather::<4_096>(image, source, table, out),
                    _ => {
                        for (out, &source) in out.iter_mut().zip(source.iter()) {
                            *out = table[image[source as usize] as usize];
                        }
                    }
                }
            }
            Self::Permuted(source) => {
                for (out, &source) in out.iter_mut().zip(source.iter()) {
                    let source = source as usize;
                    *out = table[source / area * BYTES + image[source] as usize];
                }
            }
            Self::Rotated(taps) => {
                for (channel, (out, taps)) in out.chunks_exact_mut(area).zip(taps.chunks_exact(area)).enumerate() {
                    let table = channel_table(table, channel);
                    for (out, taps) in out.iter_mut().zip(taps) {
                        *out = taps.mix(table[0], |source| table[image[source] as usize]);
                    }
                }
            }
            Self::Framed(frame) => {
                let outer_area = (frame.outer[1] * frame.outer[2]).max(1);
                for (channel, out) in out.chunks_exact_mut(outer_area).enumerate() {
                    out.fill(channel_table(table, if channels == 1 { 0 } else { channel })[0]);
                }
                frame.rows(|channel, to, from| {
                    let table = channel_table(table, channel);
                    for (out, &byte) in out[to].iter_mut().zip(&image[from]) {
                        *out = table[byte as usize];
                    }
                });
            }
        }
    }

    /// Writes the inputs of one image of ready values; outside the image is 0.
    pub(crate) fn read_floats(&self, image: &[f32], out: &mut [f32]) {
        match self {
            Self::Plain => out.copy_from_slice(image),
            Self::Permuted(source) => {
                for (out, &source) in out.iter_mut().zip(source.iter()) {
                    *out = image[source as usize];
                }
            }
            Self::Rotated(taps) => {
                for (out, taps) in out.iter_mut().zip(taps.iter()) {
                    *out = taps.mix(0.0, |source| image[source]);
                }
            }
            Self::Framed(frame) => {
                out.fill(0.0);
                frame.rows(|_, to, from| out[to].copy_from_slice(&image[from]));
            }
        }
    }
}

impl Taps {
    fn mix(&self, black: f32, value: impl Fn(usize) -> f32) -> f32 {
        let mut sum = self.outside * black;
        for (&source, &weight) in self.source.iter().zip(&self.weight) {
            sum += weight * value(source as usize);
        }
        sum
    }
}

/// Rotates images of `shape` counter-clockwise about their middle, with bilinear interpolation; what comes in from
/// outside is black.
pub(crate) fn rotated(shape: [usize; 3], degrees: f64) -> View {
    let [channels, height, width] = shape;
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (middle_y, middle_x) = ((height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0);
    let mut taps = Vec::with_capacity(channels * height * width);
    for channel in 0..channels {
        for row in 0..height {
            for column in 0..width {
                let (y, x) = (row as f64 - middle_y, column as f64 - middle_x);
                // The inverse rotation; rows grow downwards.
                let (from_y, from_x) = (middle_y + y * cos + x * sin, middle_x + x * cos - y * sin);
                taps.push(bilinear((from_y, from_x), (height, width), channel * height * width));
            }
        }
    }
    View::Rotated(taps.into())
}

fn bilinear((y, x): (f64, f64), (height, width): (usize, usize), start: usize) -> Taps {
    // Rounding to 2⁻²⁰ of a pixel, so that turns by right angles hit pixels exactly.
    let round = |value: f64| (value * f64::from(1 << 20)).round() / f64::from(1 << 20);
    let (y, x) = (round(y), round(x));
    let (top, left) = (y.floor(), x.floor());
    let (down, right) = (y - top, x - left);
    let corners = [
        (top, left, (1.0 - down) * (1.0 - right)),
        (top, left + 1.0, (1.0 - down) * right),
        (top + 1.0, left, down * (1.0 - right)),
        (top + 1.0, left + 1.0, down * right),
    ];
    let mut taps = Taps { source: [start as u32; 4], weight: [0.0; 4], outside: 0.0 };
    for (corner, (row, column, weight)) in corners.into_iter().enumerate() {
        if row >= 0.0 && column >= 0.0 && row < height as f64 && column < width as f64 {
            taps.source[corner] = (start + row as usize * width + column as usize) as u32;
            taps.weight[corner] = weight as f32;
        } else {
            taps.outside += weight as f32;
        }
    }
    taps
}
