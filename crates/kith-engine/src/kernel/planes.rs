//! Arithmetic on the numbers of a channel. Sums are taken in sixteen lanes over blocks and added up in f64, in an order that
//! depends on lengths alone.

/// Numbers that are summed in f32 before they are added to a sum in f64.
const BLOCK: usize = 1024;

const LANES: usize = 16;

/// Sum of `f` over pairs of numbers.
#[inline(always)]
fn reduce(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    assert_eq!(x.len(), y.len(), "rows of one length");
    let mut total = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        let mut lanes = [0.0_f32; LANES];
        let (whole_x, whole_y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let mut rest = 0.0;
        for (x, y) in whole_x.remainder().iter().zip(whole_y.remainder()) {
            rest += f(*x, *y);
        }
        for (x, y) in whole_x.zip(whole_y) {
            for lane in 0..LANES {
                lanes[lane] += f(x[lane], y[lane]);
            }
        }
        total += f64::from(rest) + lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
    }
    total
}

#[inline(always)]
fn sum_body(x: &[f32], out: &mut f64) {
    *out += reduce(x, x, |x, _| x);
}

#[inline(always)]
fn deviation_body(x: &[f32], mean: f32, out: &mut f64) {
    *out += reduce(x, x, |x, _| (x - mean) * (x - mean));
}

#[inline(always)]
fn centred_products_body(x: &[f32], y: &[f32], mean: f32, out: &mut f64) {
    *out += reduce(x, y, |x, y| (x - mean) * y);
}

#[inline(always)]
fn affine_body(y: &mut [f32], x: &[f32], gain: f32, shift: f32) {
    assert_eq!(y.len(), x.len(), "rows of one length");
    for (y, x) in y.iter_mut().zip(x) {
        *y = gain * x + shift;
    }
}

#[inline(always)]
fn shift_body(y: &mut [f32], by: f32) {
    for y in y {
        *y += by;
    }
}

#[inline(always)]
fn combine_affine_body(out: &mut [f32], x: &[f32], y: &[f32], factors: [f32; 3]) {
    assert!(out.len() == x.len() && out.len() == y.len(), "rows of one length");
    let [a, b, c] = factors;
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = a * x + b * y + c;
    }
}

#[inline(always)]
fn multiply_body(y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len(), "rows of one length");
    for (y, x) in y.iter_mut().zip(x) {
        *y *= x;
    }
}

#[inline(always)]
fn rectify_body(y: &mut [f32]) {
    for y in y {
        *y = if *y < 0.0 { 0.0 } else { *y };
    }
}

#[inline(always)]
fn mask_body(delta: &mut [f32], output: &[f32]) {
    for (delta, output) in delta.iter_mut().zip(output) {
        *delta = if *output > 0.0 { *delta } else { 0.0 };
    }
}

widest! {
    /// Adds the sum of `x` to `out`.
    fn sum / sum_avx2 / sum_avx512 / sum_body(x: &[f32], out: &mut f64)
}
widest! {
    /// Adds `Σ (x − mean)²` to `out`.
    fn deviation / deviation_avx2 / deviation_avx512 / deviation_body(x: &[f32], mean: f32, out: &mut f64)
}
widest! {
    /// Adds `Σ (x − mean) y` to `out`.
    fn centred_products / centred_products_avx2 / centred_products_avx512 / centred_products_body(
        x: &[f32], y: &[f32], mean: f32, out: &mut f64
    )
}
widest! {
    /// `y ← gain · x + shift`.
    fn affine / affine_avx2 / affine_avx512 / affine_body(y: &mut [f32], x: &[f32], gain: f32, shift: f32)
}
widest! {
    /// `y ← y + by`.
    fn shift / shift_avx2 / shift_avx512 / shift_body(y: &mut [f32], by: f32)
}
widest! {
    /// `out ← a x + b y + c`.
    fn combine_affine / combine_affine_avx2 / combine_affine_avx512 / combine_affine_body(
        out: &mut [f32], x: &[f32], y: &[f32], factors: [f32; 3]
    )
}
widest! {
    /// `y ← y · x`, number by number.
    fn multiply / multiply_avx2 / multiply_avx512 / multiply_body(y: &mut [f32], x: &[f32])
}
widest! {
    /// ReLU. What is not a number stays so: a run that diverged must show it.
    fn rectify / rectify_avx2 / rectify_avx512 / rectify_body(y: &mut [f32])
}
widest! {
    /// Passes a gradient back through a ReLU: zero where the output is not positive.
    fn mask / mask_avx2 / mask_avx512 / mask_body(delta: &mut [f32], output: &[f32])
}
