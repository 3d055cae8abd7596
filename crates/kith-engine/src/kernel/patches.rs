//! Image patches as the columns of a matrix, and back.

use crate::plan::Window;

impl Window {
    /// Along one side: the places whose window's pixel `at` lies in the image, and the pixel of the first of them.
    const fn inside(&self, side: usize, at: usize) -> (usize, usize, usize) {
        let Self { image, stride, padding, places, .. } = self;
        let first = if at >= *padding { 0 } else { (*padding - at).div_ceil(*stride) };
        let limit = image[side] + *padding;
        let end = if limit > at { (limit - at).div_ceil(*stride) } else { 0 };
        let end = if end < places[side] { end } else { places[side] };
        if first >= end { (0, 0, 0) } else { (first, end, first * *stride + at - *padding) }
    }
}

/// Copies few numbers; a call to the system's copy would cost more than the copy.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    const LANES: usize = 8;
    let len = to.len();
    assert_eq!(len, from.len(), "rows of one length");
    if len < LANES {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
        return;
    }
    let whole = len - len % LANES;
    for (to, from) in to[..whole].chunks_exact_mut(LANES).zip(from[..whole].chunks_exact(LANES)) {
        to.copy_from_slice(from);
    }
    to[len - LANES..].copy_from_slice(&from[len - LANES..]);
}

/// Calls `work(row of the matrix, image, place down, (first, end) across, pixel of the first)` for every run of pixels.
#[inline(always)]
fn runs(window: Window, channels: usize, mut work: impl FnMut(usize, usize, usize, (usize, usize), usize)) {
    let [down, across] = window.kernel;
    for channel in 0..channels {
        for at_y in 0..down {
            let (top, bottom, first_y) = window.inside(0, at_y);
            for at_x in 0..across {
                let (left, right, first_x) = window.inside(1, at_x);
                let row = (channel * down + at_y) * across + at_x;
                for y in 0..window.places[0] {
                    let inside = y >= top && y < bottom && left < right;
                    let pixel_y = if inside { first_y + (y - top) * window.stride } else { 0 };
                    let across = if inside { (left, right) } else { (0, 0) };
                    work(row, channel, y, across, pixel_y * window.image[1] + first_x);
                }
            }
        }
    }
}

#[inline(always)]
fn patches_body(window: Window, planes: &[f32], plane_step: usize, first: usize, count: usize, out: &mut [f32]) {
    let channels = planes.len() / plane_step.max(1);
    let (pixels, area, width) = (window.pixels(), window.area(), window.places[1]);
    runs(window, channels, |row, channel, y, (left, right), pixel| {
        for image in 0..count {
            let source = &planes[channel * plane_step + (first + image) * pixels..][..pixels];
            let run = &mut out[row * count * area + image * area + y * width..][..width];
            run[..left].fill(0.0);
            run[right..].fill(0.0);
            let inside = &mut run[left..right];
            if inside.is_empty() {
                continue;
            }
            if window.stride == 1 {
                copy(inside, &source[pixel..pixel + (right - left)]);
            } else {
                for (to, from) in inside.iter_mut().zip(source[pixel..].iter().step_by(window.stride)) {
                    *to = *from;
                }
            }
        }
    });
}

#[inline(always)]
fn add_patches_body(
    window: Window,
    columns: &[f32],
    planes: &mut [f32],
    plane_step: usize,
    first: usize,
    count: usize,
) {
    let channels = planes.len() / plane_step.max(1);
    let (pixels, area, width) = (window.pixels(), window.area(), window.places[1]);
    runs(window, channels, |row, channel, y, (left, right), pixel| {
        if left == right {
            return;
        }
        for image in 0..count {
            let target = &mut planes[channel * plane_step + (first + image) * pixels..][..pixels];
            let run = &columns[row * count * area + image * area + y * width..][left..right];
            if window.stride == 1 {
                for (to, from) in target[pixel..pixel + run.len()].iter_mut().zip(run) {
                    *to += from;
                }
            } else {
                for (to, from) in target[pixel..].iter_mut().step_by(window.stride).zip(run) {
                    *to += from;
                }
            }
        }
    });
}

widest! {
    /// Writes the patches of images `first..first + count` to the columns of `out: [channels · kernel, count · places]`,
    /// channel-major; `planes: [channels, images, pixels]` with channels `plane_step` apart.
    fn patches / patches_avx2 / patches_avx512 / patches_body(
        window: Window, planes: &[f32], plane_step: usize, first: usize, count: usize, out: &mut [f32]
    )
}
widest! {
    /// Adds columns back to the pixels that [`patches`] took them from.
    fn add_patches / add_patches_avx2 / add_patches_avx512 / add_patches_body(
        window: Window, columns: &[f32], planes: &mut [f32], plane_step: usize, first: usize, count: usize
    )
}
