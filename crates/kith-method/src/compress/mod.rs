//! Compressors: rows to bytes and back. What a row costs on the wire is the length of its bytes.

mod entries;
mod low_rank;
mod quantise;

use kith_core::{Layout, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a row is made smaller at a loss.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Compressor {
    /// All entries as they are: no loss.
    Identity,
    /// The entries of largest magnitude, of equals those that come first: position and value each.
    TopK {
        /// Share of entries that is kept, in (0, 1]; at least one entry.
        #[schemars(example = 0.01)]
        share: f64,
    },
    /// Entries drawn at random; receivers draw the same positions from a seed of eight bytes.
    RandomK {
        /// Share of entries that is kept, in (0, 1]; at least one entry.
        #[schemars(example = 0.01)]
        share: f64,
        /// Whether the mean over draws is the row itself.
        #[serde(default)]
        bias: Bias,
    },
    /// Stochastic rounding to `2^(bits − 1) − 1` levels and a sign, each 64 entries in units of their largest (QSGD), scaled
    /// down so that it never adds more than it takes away.
    Quantised {
        /// 2, 4, 8 or 16.
        #[schemars(example = 8)]
        bits: u8,
    },
    /// One bit an entry: the sign, times the mean magnitude of its tensor.
    ScaledSign,
    /// Two thin factors of each matrix, found by one step of subspace iteration (after PowerSGD, Vogels et al. 2019). Tensors
    /// that factors would not make smaller are sent as they are.
    LowRank {
        /// Columns of each factor, at least 1.
        #[schemars(example = 2)]
        rank: u32,
    },
}

/// Whether randomly kept entries are scaled up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// As they are.
    #[default]
    Biased,
    /// Times n/k: right on average, and not a contraction.
    Unbiased,
}

impl Compressor {
    /// Entries kept of `len`, by compressors that keep some.
    fn kept(share: f64, len: usize) -> usize {
        ((share * len as f64).round() as usize).clamp(1, len.max(1)).min(len)
    }

    /// Bytes of a row of this layout.
    #[must_use]
    pub fn wire_len(self, layout: &Layout) -> usize {
        let len = layout.len();
        match self {
            Self::Identity => 4 * len,
            Self::TopK { share } => 8 * Self::kept(share, len),
            Self::RandomK { share, .. } => 8 + 4 * Self::kept(share, len),
            Self::Quantised { bits } => quantise::wire_len(len, bits),
            Self::ScaledSign => 4 * layout.tensors.len() + len.div_ceil(8),
            Self::LowRank { rank } => 4 * low_rank::numbers(layout, rank),
        }
    }

    /// A row of this layout as bytes, exactly [`Compressor::wire_len`] of them. Draws come from `stream`.
    #[must_use]
    pub fn encode(self, row: &[f32], layout: &Layout, stream: &mut ChaCha8Rng) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.wire_len(layout));
        match self {
            Self::Identity => row.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
            Self::TopK { share } => entries::largest(row, Self::kept(share, row.len()), |at, value| {
                bytes.extend((at as u32).to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }),
            Self::RandomK { share, .. } => {
                let seed = stream.next_u64();
                bytes.extend(seed.to_le_bytes());
                for at in entries::drawn(seed, Self::kept(share, row.len()), row.len()) {
                    bytes.extend(row[at].to_le_bytes());
                }
            }
            Self::Quantised { bits } => quantise::quantise(row, bits, stream, &mut bytes),
            Self::ScaledSign => quantise::signs(row, layout, &mut bytes),
            Self::LowRank { rank } => low_rank::encode(row, layout, rank, stream, &mut bytes),
        }
        bytes
    }

    /// The row that receivers read from bytes of [`Compressor::encode`]; what is missing reads as zero.
    pub fn decode(self, bytes: &[u8], layout: &Layout, row: &mut [f32]) {
        let len = row.len();
        row.fill(0.0);
        match self {
            Self::Identity => {
                row.iter_mut().zip(bytes.chunks_exact(4)).for_each(|(value, bytes)| *value = float(bytes))
            }
            Self::TopK { .. } => {
                for entry in bytes.chunks_exact(8) {
                    if let Some(value) = row.get_mut(float(&entry[..4]).to_bits() as usize) {
                        *value = float(&entry[4..]);
                    }
                }
            }
            Self::RandomK { share, bias } => {
                let Some((seed, values)) = bytes.split_first_chunk::<8>() else { return };
                let kept = Self::kept(share, len);
                let factor = if bias == Bias::Unbiased { len as f32 / kept as f32 } else { 1.0 };
                let places = entries::drawn(u64::from_le_bytes(*seed), kept, len);
                for (at, value) in places.zip(values.chunks_exact(4)) {
                    row[at] = factor * float(value);
                }
            }
            Self::Quantised { bits } => quantise::restore(bytes, bits, row),
            Self::ScaledSign => quantise::restore_signs(bytes, layout, row),
            Self::LowRank { rank } => low_rank::decode(bytes, layout, rank, row),
        }
    }

    /// δ of `E‖x − C(x)‖² ≤ (1 − δ)‖x‖²` for rows of this layout; nothing where no such bound holds.
    #[must_use]
    pub fn contraction(self, layout: &Layout) -> Option<f64> {
        let len = layout.len();
        match self {
            Self::Identity => Some(1.0),
            Self::TopK { share } | Self::RandomK { share, bias: Bias::Biased } => {
                Some(Self::kept(share, len) as f64 / len.max(1) as f64)
            }
            Self::RandomK { bias: Bias::Unbiased, .. } => None,
            Self::Quantised { bits } => Some(f64::from(quantise::damping(bits, len))),
            Self::ScaledSign => {
                let longest = layout.tensors.iter().map(Tensor::len).max().unwrap_or(1);
                Some(1.0 / longest.max(1) as f64)
            }
            Self::LowRank { rank } => Some(low_rank::contraction(layout, rank)),
        }
    }
}

fn float(bytes: &[u8]) -> f32 {
    bytes.first_chunk::<4>().map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
}
