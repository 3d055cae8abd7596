//! Arithmetic on rows. The bits are the same on every machine: each number is computed by the same roundings, with no
//! fused multiply-add, whatever the width of the vector registers.

#[inline(always)]
fn axpy_body(y: &mut [f32], a: f32, x: &[f32]) {
    assert_eq!(y.len(), x.len(), "rows of one length");
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

#[inline(always)]
fn scale_body(y: &mut [f32], a: f32) {
    for y in y {
        *y *= a;
    }
}

#[inline(always)]
fn multiply_add_body(y: &mut [f32], a: f32, x: &[f32], z: &[f32]) {
    assert!(y.len() == x.len() && y.len() == z.len(), "rows of one length");
    for ((y, x), z) in y.iter_mut().zip(x).zip(z) {
        *y += a * (x * z);
    }
}

/// Whether a combination starts from what is in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// From zero: the output is only written.
    Zero,
    /// From the output's value.
    Output,
}

#[inline(always)]
fn combine_body(out: &mut [f32], start: Start, terms: &[(f32, &[f32])]) {
    let mut rest = terms;
    let mut start = start;
    // The first pass writes, later passes add; up to five terms a pass (a torus), each added to the sum so far in order.
    loop {
        let (now, later) = rest.split_at(rest.len().min(5));
        match (start, now) {
            (Start::Zero, []) => out.fill(0.0),
            (Start::Output, []) => {}
            (Start::Zero, &[(a, x)]) => each(out, |i, _| a * x[i], [x]),
            (Start::Zero, &[(a, x), (b, y)]) => each(out, |i, _| a * x[i] + b * y[i], [x, y]),
            (Start::Zero, &[(a, x), (b, y), (c, z)]) => each(out, |i, _| a * x[i] + b * y[i] + c * z[i], [x, y, z]),
            (Start::Zero, &[(a, x), (b, y), (c, z), (d, w)]) => {
                each(out, |i, _| a * x[i] + b * y[i] + c * z[i] + d * w[i], [x, y, z, w]);
            }
            (Start::Output, &[(a, x)]) => each(out, |i, o| o + a * x[i], [x]),
            (Start::Output, &[(a, x), (b, y)]) => each(out, |i, o| o + a * x[i] + b * y[i], [x, y]),
            (Start::Output, &[(a, x), (b, y), (c, z)]) => {
                each(out, |i, o| o + a * x[i] + b * y[i] + c * z[i], [x, y, z]);
            }
            (Start::Output, &[(a, x), (b, y), (c, z), (d, w)]) => {
                each(out, |i, o| o + a * x[i] + b * y[i] + c * z[i] + d * w[i], [x, y, z, w]);
            }
            (Start::Zero, &[(a, x), (b, y), (c, z), (d, w), (e, v), ..]) => {
                each(out, |i, _| a * x[i] + b * y[i] + c * z[i] + d * w[i] + e * v[i], [x, y, z, w, v]);
            }
            (Start::Output, &[(a, x), (b, y), (c, z), (d, w), (e, v), ..]) => {
                each(out, |i, o| o + a * x[i] + b * y[i] + c * z[i] + d * w[i] + e * v[i], [x, y, z, w, v]);
            }
        }
        if later.is_empty() {
            return;
        }
        rest = later;
        start = Start::Output;
    }
}

/// `out[i] ← f(i, out[i])`; the rows that `f` reads are as long as `out`, which lets the loop run without checks.
#[inline(always)]
fn each<const N: usize>(out: &mut [f32], f: impl Fn(usize, f32) -> f32, rows: [&[f32]; N]) {
    let len = out.len();
    assert!(rows.iter().all(|row| row.len() == len), "rows of one length");
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(i, *out);
    }
}

widest! {
    /// `y ← y + a x`.
    fn axpy / axpy_avx2 / axpy_avx512 / axpy_body(y: &mut [f32], a: f32, x: &[f32])
}
widest! {
    /// `y ← a y`.
    fn scale / scale_avx2 / scale_avx512 / scale_body(y: &mut [f32], a: f32)
}
widest! {
    /// `y ← y + a · x ⊙ z`.
    fn multiply_add / multiply_add_avx2 / multiply_add_avx512 / multiply_add_body(y: &mut [f32], a: f32, x: &[f32], z: &[f32])
}
widest! {
    /// `out ← (0 or out) + Σ c x` over the terms, added one after the other in their order.
    fn combine / combine_avx2 / combine_avx512 / combine_body(out: &mut [f32], start: Start, terms: &[(f32, &[f32])])
}
widest! {
    /// Adds `a_i b_i` of every lane of 16 to the lane's sum in f64.
    fn lanes / lanes_avx2 / lanes_avx512 / lanes_body(sums: &mut [f64; 16], a: &[f32], b: &[f32])
}

#[inline(always)]
fn lanes_body(sums: &mut [f64; 16], a: &[f32], b: &[f32]) {
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
}

/// `Σ a_i b_i` in f64: sixteen interleaved sums, then these in order, then the tail.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "rows of one length");
    let mut sums = [0.0; 16];
    lanes(&mut sums, a, b);
    let tail = a.len() / 16 * 16;
    let head: f64 = sums.iter().sum();
    a[tail..].iter().zip(&b[tail..]).fold(head, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b))
}

/// `‖x‖²` in f64, summed in an order that depends on the length alone.
pub(crate) fn squared_norm(x: &[f32]) -> f64 {
    dot(x, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combination_adds_its_terms_in_order_whatever_their_number() {
        let rows: Vec<Vec<f32>> = (0..7)
            .map(|row: u16| (0..37_u16).map(|col| (f32::from(row * 37 + col) * 0.618).fract() - 0.5).collect())
            .collect();
        for count in 0..=7 {
            let terms: Vec<(f32, &[f32])> =
                (0_u8..).zip(&rows[..count]).map(|(j, row)| (0.1 + f32::from(j) * 0.3, row.as_slice())).collect();
            for start in [Start::Zero, Start::Output] {
                let mut out = vec![0.75_f32; 37];
                combine(&mut out, start, &terms);
                for (col, &value) in out.iter().enumerate() {
                    let mut sum = None;
                    if start == Start::Output {
                        sum = Some(0.75_f32);
                    }
                    for (a, row) in &terms {
                        let term = a * row[col];
                        sum = Some(sum.map_or(term, |sum| sum + term));
                    }
                    assert_eq!(value.to_bits(), sum.unwrap_or(0.0).to_bits(), "{count} terms from {start:?}");
                }
            }
        }
    }

    #[test]
    fn a_norm_of_many_small_numbers_keeps_its_digits() {
        let row = vec![1e-4_f32; 1_000_003];
        let expected = 1_000_003.0 * f64::from(1e-4_f32).powi(2);
        assert!((squared_norm(&row) / expected - 1.0).abs() < 1e-10);
    }
}
