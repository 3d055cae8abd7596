//! Compressors: rows to bytes and back. What a row costs on the wire is the length of its bytes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Entries that share one scale under quantisation.
const BUCKET: usize = 64;

/// How a row is made smaller at a loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Compressor {
    /// All entries as they are: no loss.
    Identity,
    /// The entries of largest magnitude, of equals those that come first: position and value each.
    TopK {
        /// Share of entries that is kept, in (0, 1]; at least one entry.
        share: f64,
    },
    /// Entries drawn at random; receivers draw the same positions from a seed of eight bytes.
    RandomK {
        /// Share of entries that is kept, in (0, 1]; at least one entry.
        share: f64,
        /// Whether the mean over draws is the row itself.
        #[serde(default)]
        bias: Bias,
    },
    /// Stochastic rounding to `2^(bits − 1) − 1` levels and a sign, each 64 entries in units of their largest (QSGD), scaled
    /// down so that it never adds more than it takes away.
    Quantised {
        /// 2, 4, 8 or 16.
        bits: u8,
    },
    /// One bit an entry: the sign, times the mean magnitude.
    ScaledSign,
}

/// Whether randomly kept entries are scaled up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Bytes of a row of `len` entries.
    #[must_use]
    pub fn wire_len(self, len: usize) -> usize {
        match self {
            Self::Identity => 4 * len,
            Self::TopK { share } => 8 * Self::kept(share, len),
            Self::RandomK { share, .. } => 8 + 4 * Self::kept(share, len),
            Self::Quantised { bits } => 4 * len.div_ceil(BUCKET) + (len * usize::from(bits)).div_ceil(8),
            Self::ScaledSign => 4 + len.div_ceil(8),
        }
    }

    /// The row as bytes, exactly [`Compressor::wire_len`] of them.
    #[must_use]
    pub fn encode(self, row: &[f32], stream: &mut ChaCha8Rng) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.wire_len(row.len()));
        match self {
            Self::Identity => row.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
            Self::TopK { share } => {
                for at in largest(row, Self::kept(share, row.len())) {
                    bytes.extend((at as u32).to_le_bytes());
                    bytes.extend(row[at].to_le_bytes());
                }
            }
            Self::RandomK { share, .. } => {
                let seed = stream.next_u64();
                bytes.extend(seed.to_le_bytes());
                for at in drawn(seed, Self::kept(share, row.len()), row.len()) {
                    bytes.extend(row[at].to_le_bytes());
                }
            }
            Self::Quantised { bits } => quantise(row, bits, stream, &mut bytes),
            Self::ScaledSign => {
                let sum: f64 = row.iter().map(|value| f64::from(value.abs())).sum();
                let mean = sum / row.len().max(1) as f64;
                bytes.extend((mean as f32).to_le_bytes());
                pack(row.iter().map(|value| u32::from(value.is_sign_negative())), 1, &mut bytes);
            }
        }
        bytes
    }

    /// The row that receivers read from bytes of [`Compressor::encode`]; what is missing reads as zero.
    pub fn decode(self, bytes: &[u8], row: &mut [f32]) {
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
                let places = drawn(u64::from_le_bytes(*seed), kept, len);
                for (at, value) in places.into_iter().zip(values.chunks_exact(4)) {
                    row[at] = factor * float(value);
                }
            }
            Self::Quantised { bits } => restore(bytes, bits, row),
            Self::ScaledSign => {
                let Some((mean, signs)) = bytes.split_first_chunk::<4>() else { return };
                let mean = f32::from_le_bytes(*mean);
                for (value, negative) in row.iter_mut().zip(unpack(signs, 1)) {
                    *value = if negative == 1 { -mean } else { mean };
                }
            }
        }
    }

    /// δ of `E‖x − C(x)‖² ≤ (1 − δ)‖x‖²` for rows of `len` entries; nothing where no such bound holds.
    #[must_use]
    pub fn contraction(self, len: usize) -> Option<f64> {
        match self {
            Self::Identity => Some(1.0),
            Self::TopK { share } | Self::RandomK { share, bias: Bias::Biased } => {
                Some(Self::kept(share, len) as f64 / len.max(1) as f64)
            }
            Self::RandomK { bias: Bias::Unbiased, .. } => None,
            Self::Quantised { bits } => Some(f64::from(damping(bits, len))),
            Self::ScaledSign => Some(1.0 / len.max(1) as f64),
        }
    }
}

fn float(bytes: &[u8]) -> f32 {
    bytes.first_chunk::<4>().map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
}

/// Positions of the `count` entries of largest magnitude, ascending; ties go to lower positions.
fn largest(row: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    let order = |one: &usize, other: &usize| row[*other].abs().total_cmp(&row[*one].abs()).then(one.cmp(other));
    if count < places.len() && count > 0 {
        places.select_nth_unstable_by(count - 1, order);
        places.truncate(count);
    }
    places.sort_unstable();
    places
}

/// `count` different positions below `len` from a seed, ascending (Floyd's algorithm).
fn drawn(seed: u64, count: usize, len: usize) -> Vec<usize> {
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    let mut taken = vec![false; len];
    for last in len - count..len {
        let at = ((u128::from(stream.next_u64()) * (last as u128 + 1)) >> 64) as usize;
        let free = if taken[at] { last } else { at };
        taken[free] = true;
    }
    (0..len).filter(|&at| taken[at]).collect()
}

/// `1/(1 + min(d/s², √d/s))`: with it, stochastic rounding contracts (Koloskova et al. 2020).
fn damping(bits: u8, len: usize) -> f32 {
    let (entries, levels) = (len.min(BUCKET) as f32, levels(bits) as f32);
    1.0 / (1.0 + (entries / (levels * levels)).min(entries.sqrt() / levels))
}

const fn levels(bits: u8) -> u32 {
    (1 << (bits - 1)) - 1
}

fn quantise(row: &[f32], bits: u8, stream: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let top = levels(bits);
    let mut codes = Vec::with_capacity(row.len());
    for bucket in row.chunks(BUCKET) {
        let largest = bucket.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        bytes.extend(largest.to_le_bytes());
        for value in bucket {
            let chance = (stream.next_u32() >> 8) as f32 / (1 << 24) as f32;
            let level = if largest > 0.0 { value.abs() / largest * top as f32 } else { 0.0 };
            let level = ((level.floor() as u32) + u32::from(level.fract() > chance)).min(top);
            codes.push(level << 1 | u32::from(value.is_sign_negative()));
        }
    }
    pack(codes.into_iter(), u32::from(bits), bytes);
}

fn restore(bytes: &[u8], bits: u8, row: &mut [f32]) {
    let (scales, codes) = bytes.split_at((4 * row.len().div_ceil(BUCKET)).min(bytes.len()));
    let unit = damping(bits, row.len()) / levels(bits) as f32;
    let mut codes = unpack(codes, u32::from(bits));
    for (bucket, scale) in row.chunks_mut(BUCKET).zip(scales.chunks_exact(4)) {
        for (value, code) in bucket.iter_mut().zip(&mut codes) {
            let size = float(scale) * unit * (code >> 1) as f32;
            *value = if code & 1 == 1 { -size } else { size };
        }
    }
}

/// Writes codes of so many bits each, low bits first; the last byte is filled up with zeros.
fn pack(codes: impl Iterator<Item = u32>, bits: u32, bytes: &mut Vec<u8>) {
    let (mut held, mut count) = (0_u64, 0);
    for code in codes {
        held |= u64::from(code) << count;
        count += bits;
        while count >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        bytes.push(held as u8);
    }
}

fn unpack(bytes: &[u8], bits: u32) -> impl Iterator<Item = u32> {
    let (mut bytes, mut held, mut count) = (bytes.iter(), 0_u64, 0);
    std::iter::from_fn(move || {
        while count < bits {
            held |= u64::from(*bytes.next()?) << count;
            count += 8;
        }
        let code = held as u32 & ((1_u64 << bits) - 1) as u32;
        held >>= bits;
        count -= bits;
        Some(code)
    })
}
