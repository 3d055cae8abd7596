//! Pooling of one image.

use crate::plan::Window;

/// Whether windows of two by two lie side by side: what nearly every network uses, and what vectors can do.
const fn halves(window: Window) -> bool {
    let Window { kernel: [down, across], stride, padding, .. } = window;
    down == 2 && across == 2 && stride == 2 && padding == 0
}

/// The largest of two by two numbers, the first of equals, and its place; `first` is the place of the first number.
#[inline(always)]
fn halve(top: &[f32], bottom: &[f32], first: usize, out: &mut [f32], places: &mut [u32]) {
    let width = top.len();
    let (top, bottom) = (top.as_chunks::<2>().0, bottom.as_chunks::<2>().0);
    let windows = top.iter().zip(bottom).zip(out.iter_mut().zip(places));
    let offsets = [1, width as u32, width as u32 + 1];
    for (x, ((top, bottom), (out, place))) in (first as u32..).step_by(2).zip(windows) {
        let (mut best, mut value) = (x, top[0]);
        for (pixel, offset) in [top[1], bottom[0], bottom[1]].into_iter().zip(offsets) {
            let larger = (pixel > value) | pixel.is_nan();
            best = if larger { x + offset } else { best };
            value = if larger { pixel } else { value };
        }
        (*out, *place) = (value, best);
    }
}

#[inline(always)]
fn max_pool_body(window: Window, plane: &[f32], out: &mut [f32], places: &mut [u32]) {
    let Window { image: [height, width], kernel, stride, padding, places: [down, across] } = window;
    assert!(plane.len() == height * width && out.len() == down * across && places.len() == out.len(), "one image");
    if halves(window) {
        for y in 0..down {
            let (top, bottom) = plane[2 * y * width..][..2 * width].split_at(width);
            let at = y * across..(y + 1) * across;
            halve(top, bottom, 2 * y * width, &mut out[at.clone()], &mut places[at]);
        }
        return;
    }
    for y in 0..down {
        let rows = (y * stride).saturating_sub(padding)..(y * stride + kernel[0]).saturating_sub(padding).min(height);
        for x in 0..across {
            let first = (x * stride).saturating_sub(padding);
            let end = (x * stride + kernel[1]).saturating_sub(padding).min(width);
            let mut best = rows.start * width + first;
            let mut value = plane[best];
            for row in rows.clone() {
                for (at, &pixel) in plane[row * width + first..row * width + end].iter().enumerate() {
                    // What is not a number wins: a run that diverged must show it.
                    let larger = pixel > value || pixel.is_nan();
                    best = if larger { row * width + first + at } else { best };
                    value = if larger { pixel } else { value };
                }
            }
            out[y * across + x] = value;
            places[y * across + x] = best as u32;
        }
    }
}

#[inline(always)]
fn window_mean_body(window: Window, plane: &[f32], out: &mut [f32], share: f32) {
    let Window { image: [_, width], kernel, stride, places: [_, across], .. } = window;
    for (place, out) in out.iter_mut().enumerate() {
        let (y, x) = (place / across * stride, place % across * stride);
        let rows = (y..y + kernel[0]).map(|row| plane[row * width + x..][..kernel[1]].iter().sum::<f32>());
        *out = share * rows.sum::<f32>();
    }
}

#[inline(always)]
fn spread_mean_body(window: Window, delta: &[f32], plane: &mut [f32], share: f32) {
    let Window { image: [_, width], kernel, stride, places: [_, across], .. } = window;
    for (place, delta) in delta.iter().enumerate() {
        let (y, x) = (place / across * stride, place % across * stride);
        for row in y..y + kernel[0] {
            plane[row * width + x..][..kernel[1]].iter_mut().for_each(|value| *value += share * delta);
        }
    }
}

#[inline(always)]
fn max_pool_back_body(window: Window, places: &[u32], delta: &[f32], plane: &mut [f32]) {
    let Window { image: [_, width], places: [down, across], .. } = window;
    assert!(places.len() == down * across && delta.len() == places.len(), "one image");
    if !halves(window) {
        plane.fill(0.0);
        for (delta, &place) in delta.iter().zip(places) {
            plane[place as usize] += delta;
        }
        return;
    }
    plane[2 * down * width..].fill(0.0);
    for y in 0..down {
        let (top, bottom) = plane[2 * y * width..][..2 * width].split_at_mut(width);
        let at = y * across..(y + 1) * across;
        spread(top, bottom, 2 * y * width, &places[at.clone()], &delta[at]);
    }
}

/// Back from [`halve`]: the gradient goes to one of the four, the others get zero.
#[inline(always)]
fn spread(top: &mut [f32], bottom: &mut [f32], first: usize, places: &[u32], delta: &[f32]) {
    let width = top.len();
    top[2 * delta.len()..].fill(0.0);
    bottom[2 * delta.len()..].fill(0.0);
    let rows = top.as_chunks_mut::<2>().0.iter_mut().zip(bottom.as_chunks_mut::<2>().0);
    let width = width as u32;
    for (x, ((top, bottom), (&place, &delta))) in (first as u32..).step_by(2).zip(rows.zip(places.iter().zip(delta))) {
        let part = |at: u32| if place == at { delta } else { 0.0 };
        *top = [part(x), part(x + 1)];
        *bottom = [part(x + width), part(x + width + 1)];
    }
}

widest! {
    /// The largest number of every window, the first of equals, and its place in the image.
    fn max_pool / max_pool_avx2 / max_pool_avx512 / max_pool_body(
        window: Window, plane: &[f32], out: &mut [f32], places: &mut [u32]
    )
}
widest! {
    /// `share` times the sum of every window (no padding).
    fn window_mean / window_mean_avx2 / window_mean_avx512 / window_mean_body(
        window: Window, plane: &[f32], out: &mut [f32], share: f32
    )
}
widest! {
    /// Adds `share` times every place's gradient to its window (no padding).
    fn spread_mean / spread_mean_avx2 / spread_mean_avx512 / spread_mean_body(
        window: Window, delta: &[f32], plane: &mut [f32], share: f32
    )
}
widest! {
    /// Every gradient goes to the pixel that was the largest; the other pixels get zero.
    fn max_pool_back / max_pool_back_avx2 / max_pool_back_avx512 / max_pool_back_body(
        window: Window, places: &[u32], delta: &[f32], plane: &mut [f32]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_by_halves_is_pooling_number_by_number() {
        for [height, width] in [[2, 2], [3, 5], [10, 10], [28, 28], [29, 29], [7, 34]] {
            let places = [height / 2, width / 2];
            let window = Window { image: [height, width], kernel: [2, 2], stride: 2, padding: 0, places };
            // Few values, so that there are equals; negative ones; and one that is not a number.
            let mut plane: Vec<f32> = (0..height * width).map(|i| f32::from((i * 7 % 5) as u8) - 2.0).collect();
            plane[1] = f32::NAN;
            let (mut out, mut at) = (vec![0.0; window.area()], vec![0; window.area()]);
            max_pool(window, &plane, &mut out, &mut at);
            let delta: Vec<f32> = (0..window.area()).map(|i| i as f32 + 1.0).collect();
            let mut back = vec![f32::NAN; plane.len()];
            max_pool_back(window, &at, &delta, &mut back);
            let mut expected = vec![0.0; plane.len()];
            for (place, (&value, &best)) in out.iter().zip(&at).enumerate() {
                let corner = place / places[1] * 2 * width + place % places[1] * 2;
                let pixels = [corner, corner + 1, corner + width, corner + width + 1];
                let found = pixels.into_iter().find(|&pixel| plane[pixel].is_nan()).unwrap_or_else(|| {
                    let largest = pixels.into_iter().map(|pixel| plane[pixel]).fold(f32::MIN, f32::max);
                    pixels.into_iter().find(|&pixel| plane[pixel] == largest).unwrap_or(corner)
                });
                assert_eq!((value.to_bits(), best as usize), (plane[found].to_bits(), found), "{height} x {width}");
                expected[found] += delta[place];
            }
            assert_eq!(back, expected, "{height} x {width}");
        }
    }
}
