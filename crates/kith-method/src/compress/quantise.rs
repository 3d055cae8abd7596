//! Few bits an entry: stochastic rounding, and signs.

use kith_core::Layout;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::float;

/// Entries that share one scale under quantisation. A whole number of bytes at any number of bits.
const BUCKET: usize = 64;

/// Bytes of `len` entries at so many bits each: scales, then codes.
pub(super) const fn wire_len(len: usize, bits: u8) -> usize {
    4 * len.div_ceil(BUCKET) + (len * bits as usize).div_ceil(8)
}

const fn levels(bits: u8) -> i32 {
    (1 << (bits - 1)) - 1
}

/// `1/(1 + min(d/s², √d/s))`: with it, stochastic rounding contracts (Koloskova et al. 2020).
pub(super) fn damping(bits: u8, len: usize) -> f32 {
    let (entries, levels) = (len.min(BUCKET) as f32, levels(bits) as f32);
    1.0 / (1.0 + (entries / (levels * levels)).min(entries.sqrt() / levels))
}

/// Appends scales and codes. A draw is a word of the stream for each entry, in order.
pub(super) fn quantise(row: &[f32], bits: u8, stream: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    let top = levels(bits);
    let start = bytes.len();
    bytes.resize(start + 4 * row.len().div_ceil(BUCKET), 0);
    let (mut words, mut codes) = ([0_u8; 4 * BUCKET], [0_u16; BUCKET]);
    for (place, bucket) in row.chunks(BUCKET).enumerate() {
        let largest = bucket.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        bytes[start + 4 * place..][..4].copy_from_slice(&largest.to_le_bytes());
        let words = &mut words[..4 * bucket.len()];
        stream.fill_bytes(words);
        // No branch in the loop, so that it runs on vectors: a bucket of zeros is divided by one.
        let unit = if largest > 0.0 { largest } else { 1.0 };
        for ((code, value), word) in codes.iter_mut().zip(bucket).zip(words.as_chunks::<4>().0) {
            let chance = (u32::from_le_bytes(*word) >> 8) as i32 as f32 / (1 << 24) as f32;
            let level = value.abs() / unit * top as f32;
            let below = level as i32;
            let level = (below + i32::from(level - below as f32 > chance)).min(top);
            *code = (level as u16) << 1 | u16::from(value.is_sign_negative());
        }
        pack(&codes[..bucket.len()], bits, bytes);
    }
}

/// Reads what [`quantise`] wrote.
pub(super) fn restore(bytes: &[u8], bits: u8, row: &mut [f32]) {
    let (scales, codes) = bytes.split_at((4 * row.len().div_ceil(BUCKET)).min(bytes.len()));
    let unit = damping(bits, row.len()) / levels(bits) as f32;
    let mut bucket_codes = [0_u16; BUCKET];
    let packed = codes.chunks(BUCKET * usize::from(bits) / 8);
    for ((bucket, scale), packed) in row.chunks_mut(BUCKET).zip(scales.chunks_exact(4)).zip(packed) {
        let scale = float(scale) * unit;
        let count = unpack(packed, bits, &mut bucket_codes).min(bucket.len());
        for (value, code) in bucket.iter_mut().zip(&bucket_codes[..count]) {
            let size = scale * f32::from(code >> 1);
            *value = f32::from_bits(size.to_bits() ^ u32::from(code & 1) << 31);
        }
    }
}

/// Appends the mean magnitude of each tensor, then a bit for each sign.
pub(super) fn signs(row: &[f32], layout: &Layout, bytes: &mut Vec<u8>) {
    for tensor in &layout.tensors {
        let sum: f64 = row[tensor.range()].iter().map(|value| f64::from(value.abs())).sum();
        bytes.extend(((sum / tensor.len().max(1) as f64) as f32).to_le_bytes());
    }
    bytes.extend(row.chunks(8).map(|group| {
        group.iter().enumerate().fold(0, |byte, (at, value)| byte | u8::from(value.is_sign_negative()) << at)
    }));
}

/// Reads what [`signs`] wrote.
pub(super) fn restore_signs(bytes: &[u8], layout: &Layout, row: &mut [f32]) {
    let (means, signs) = bytes.split_at((4 * layout.tensors.len()).min(bytes.len()));
    for (group, byte) in row.chunks_mut(8).zip(signs) {
        for (at, value) in group.iter_mut().enumerate() {
            *value = if byte >> at & 1 == 1 { -1.0 } else { 1.0 };
        }
    }
    for (tensor, mean) in layout.tensors.iter().zip(means.chunks_exact(4)) {
        let mean = float(mean);
        row[tensor.range()].iter_mut().for_each(|value| *value *= mean);
    }
}

/// Writes codes of so many bits each, low bits first; the last byte is filled up with zeros.
fn pack(codes: &[u16], bits: u8, bytes: &mut Vec<u8>) {
    match bits {
        16 => bytes.extend(codes.iter().flat_map(|code| code.to_le_bytes())),
        8 => bytes.extend(codes.iter().map(|code| *code as u8)),
        _ => bytes.extend(codes.chunks(usize::from(8 / bits)).map(|group| {
            let place = |(at, code): (usize, &u16)| (*code as u8) << (at * usize::from(bits));
            group.iter().enumerate().map(place).fold(0, |byte, part| byte | part)
        })),
    }
}

/// Reads codes of so many bits each; how many there were.
fn unpack(bytes: &[u8], bits: u8, codes: &mut [u16; BUCKET]) -> usize {
    match bits {
        16 => {
            let pairs = bytes.as_chunks::<2>().0;
            codes.iter_mut().zip(pairs).for_each(|(code, pair)| *code = u16::from_le_bytes(*pair));
            pairs.len()
        }
        8 => {
            codes.iter_mut().zip(bytes).for_each(|(code, byte)| *code = u16::from(*byte));
            bytes.len()
        }
        _ => {
            let each = usize::from(8 / bits);
            for (group, byte) in codes.chunks_mut(each).zip(bytes) {
                for (at, code) in group.iter_mut().enumerate() {
                    *code = u16::from(*byte >> (at * usize::from(bits))) & ((1 << bits) - 1);
                }
            }
            bytes.len() * each
        }
    }
}
