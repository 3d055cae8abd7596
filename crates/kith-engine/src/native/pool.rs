//! What moves numbers about: pooling, patches as rows, and planes turned into rows.

use crate::kernel;
use crate::plan::{Form, Value, Window};

/// `y ←` the largest of every window, with its pixel.
pub(super) fn max_pool(window: Window, x: &[f32], y: &mut [f32], places: &mut [u32]) {
    let (pixels, area) = (window.pixels(), window.area());
    let planes = x.chunks_exact(pixels).zip(y.chunks_exact_mut(area)).zip(places.chunks_exact_mut(area));
    for ((x, y), places) in planes {
        kernel::max_pool(window, x, y, places);
    }
}

/// Every gradient goes to the pixel that was the largest.
pub(super) fn max_pool_back(window: Window, places: &[u32], delta: &[f32], before: &mut [f32]) {
    let (pixels, area) = (window.pixels(), window.area());
    let planes = before.chunks_exact_mut(pixels).zip(delta.chunks_exact(area)).zip(places.chunks_exact(area));
    for ((before, delta), places) in planes {
        kernel::max_pool_back(window, places, delta, before);
    }
}

/// One over the pixels of a window.
fn share(window: Window) -> f32 {
    1.0 / (window.kernel[0] * window.kernel[1]) as f32
}

/// `y ←` the mean of every window.
pub(super) fn average(window: Window, x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks_exact(window.pixels()).zip(y.chunks_exact_mut(window.area())) {
        kernel::window_mean(window, x, y, share(window));
    }
}

/// Every gradient is shared by its window.
pub(super) fn average_back(window: Window, delta: &[f32], before: &mut [f32]) {
    before.fill(0.0);
    for (before, delta) in before.chunks_exact_mut(window.pixels()).zip(delta.chunks_exact(window.area())) {
        kernel::spread_mean(window, delta, before, share(window));
    }
}

/// Rows `[batch, channels, pixels]` become planes `[channels, batch, pixels]`, or the other way round; `from` is what `x` is.
pub(super) fn turn(from: &Value, batch: usize, x: &[f32], y: &mut [f32]) {
    let (channels, pixels) = (from.channels(), from.pixels());
    for image in 0..batch {
        for channel in 0..channels {
            let (row, plane) = ((image * channels + channel) * pixels, (channel * batch + image) * pixels);
            let (to, at) = match from.form {
                Form::Rows => (plane, row),
                Form::Planes => (row, plane),
            };
            if pixels == 1 {
                y[to] = x[at];
            } else {
                y[to..to + pixels].copy_from_slice(&x[at..at + pixels]);
            }
        }
    }
}

/// Appends the patches of all images as rows `[images · places, d]`; `columns` has room for one image's.
pub(super) fn patch_rows(window: Window, batch: usize, x: &[f32], columns: &mut [f32], out: &mut Vec<f32>) {
    let area = window.area();
    for image in 0..batch {
        kernel::patches(window, x, batch * window.pixels(), image, 1, columns);
        for place in 0..area {
            out.extend(columns.iter().skip(place).step_by(area));
        }
    }
}
