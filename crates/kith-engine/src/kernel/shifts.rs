//! Patches of a window that moves pixel by pixel: every row of the patch matrix is the image's rows, shifted.

use std::ops::Range;

use super::lanes::{Avx2, Avx512, Lanes};
use super::skinny::Machine;
use crate::plan::Window;

/// Writes the patches of `images` to the columns of `out`; see [`super::patches`].
pub(super) fn patches(
    machine: Machine,
    window: Window,
    planes: &[f32],
    plane_step: usize,
    images: Range<usize>,
    out: &mut [f32],
) {
    let channels = check(window, planes, plane_step, &images, out);
    let (from, out) = (planes.as_ptr(), out.as_mut_ptr());
    // SAFETY: `detect` found the instructions; the slices hold what the window says, as checked above.
    unsafe {
        match machine {
            Machine::Avx512 => gather_avx512(window, channels, from, plane_step, images, out),
            Machine::Avx2 => gather_avx2(window, channels, from, plane_step, images, out),
        }
    }
}

/// Sets pixels to the sums of what [`patches`] takes from them; see [`super::sum_patches`].
pub(super) fn sum_patches(
    machine: Machine,
    window: Window,
    columns: &[f32],
    planes: &mut [f32],
    plane_step: usize,
    images: Range<usize>,
) {
    let channels = check(window, planes, plane_step, &images, columns);
    let (from, planes) = (columns.as_ptr(), planes.as_mut_ptr());
    // SAFETY: as above.
    unsafe {
        match machine {
            Machine::Avx512 => sum_avx512(window, channels, from, planes, plane_step, images),
            Machine::Avx2 => sum_avx2(window, channels, from, planes, plane_step, images),
        }
    }
}

/// Holds slices against a window; returns the number of channels.
fn check(window: Window, planes: &[f32], plane_step: usize, images: &Range<usize>, columns: &[f32]) -> usize {
    let Window { image, kernel, stride, padding, places } = window;
    assert_eq!(stride, 1, "a window that moves pixel by pixel");
    for side in 0..2 {
        assert!(image[side] + 2 * padding + 1 == places[side] + kernel[side], "places of {window:?}");
    }
    let channels = planes.len() / plane_step.max(1);
    assert!(images.start <= images.end && images.end * window.pixels() <= plane_step, "images {images:?} of a plane");
    let size = channels * kernel[0] * kernel[1] * images.len() * window.area();
    assert_eq!(columns.len(), size, "numbers of the patches of {window:?}");
    channels
}

#[target_feature(enable = "avx512f")]
unsafe fn gather_avx512(
    w: Window,
    channels: usize,
    from: *const f32,
    step: usize,
    images: Range<usize>,
    out: *mut f32,
) {
    // SAFETY: the caller's contract.
    unsafe { gather::<Avx512>(w, channels, from, step, images, out) }
}

#[target_feature(enable = "avx2")]
unsafe fn gather_avx2(w: Window, channels: usize, from: *const f32, step: usize, images: Range<usize>, out: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { gather::<Avx2>(w, channels, from, step, images, out) }
}

#[target_feature(enable = "avx512f")]
unsafe fn sum_avx512(w: Window, channels: usize, from: *const f32, to: *mut f32, step: usize, images: Range<usize>) {
    // SAFETY: the caller's contract.
    unsafe { sum::<Avx512>(w, channels, from, to, step, images) }
}

#[target_feature(enable = "avx2")]
unsafe fn sum_avx2(w: Window, channels: usize, from: *const f32, to: *mut f32, step: usize, images: Range<usize>) {
    // SAFETY: the caller's contract.
    unsafe { sum::<Avx2>(w, channels, from, to, step, images) }
}

/// # Safety
/// The machine has the instructions of `L`; `from` points to planes and `out` to columns that [`check`] holds to the window.
#[inline(always)]
unsafe fn gather<L: Lanes>(
    window: Window,
    channels: usize,
    from: *const f32,
    step: usize,
    images: Range<usize>,
    out: *mut f32,
) {
    let Window { image: [_, width], kernel: [down, across], places: [_, length], .. } = window;
    let (pixels, area, count) = (window.pixels(), window.area(), images.len());
    for channel in 0..channels {
        for at_y in 0..down {
            let (top, bottom, first_y) = window.inside(0, at_y);
            for at_x in 0..across {
                let (left, right, first_x) = window.inside(1, at_x);
                let padded = top > 0 || bottom < window.places[0] || left > 0 || right < length;
                // SAFETY: the row of the matrix, the images, and the runs that lie within them; `inside` gives places and
                // pixels of the image only.
                unsafe {
                    let row = out.add(((channel * down + at_y) * across + at_x) * count * area);
                    if padded {
                        row.write_bytes(0, count * area);
                    }
                    for image in 0..count {
                        let source =
                            from.add(channel * step + (images.start + image) * pixels + first_y * width + first_x);
                        let target = row.add(image * area + top * length + left);
                        if length == width && right - left == length {
                            copy::<L>(source, target, (bottom - top) * length);
                            continue;
                        }
                        for y in 0..bottom - top {
                            copy::<L>(source.add(y * width), target.add(y * length), right - left);
                        }
                    }
                }
            }
        }
    }
}

/// Copies few numbers; a call to the system's copy would cost more than the copy.
///
/// # Safety
/// `from` and `to` are good for `count` numbers and do not overlap; the machine has the instructions of `L`.
#[inline(always)]
unsafe fn copy<L: Lanes>(from: *const f32, to: *mut f32, count: usize) {
    let mut done = 0;
    // SAFETY: the caller's contract.
    unsafe {
        while done + L::N <= count {
            L::store(to.add(done), L::load(from.add(done)));
            done += L::N;
        }
        if done < count {
            L::store_part(to.add(done), L::load_part(from.add(done), count - done), count - done);
        }
    }
}

/// Sums are taken pixel by pixel, in the order of the window's pixels, and written once.
///
/// # Safety
/// The machine has the instructions of `L`; `from` points to columns and `to` to planes that [`check`] holds to the window.
#[inline(always)]
unsafe fn sum<L: Lanes>(
    window: Window,
    channels: usize,
    from: *const f32,
    to: *mut f32,
    step: usize,
    images: Range<usize>,
) {
    let Window { image: [height, width], kernel: [down, across], padding, places: [tall, length], .. } = window;
    let (pixels, area, count) = (window.pixels(), window.area(), images.len());
    for channel in 0..channels {
        for image in 0..count {
            for pixel_y in 0..height {
                // The window's rows that reach this row of pixels: y = pixel_y + padding − at_y is a place.
                let first = (pixel_y + padding + 1).saturating_sub(tall);
                let end = down.min(pixel_y + padding + 1);
                for pixel_x in (0..width).step_by(L::N) {
                    let lanes = L::N.min(width - pixel_x);
                    // SAFETY: lanes are masked to places of the row, so only numbers of the columns are read; the sum goes
                    // to pixels of the image.
                    unsafe {
                        let mut total = L::zero();
                        for at_y in first..end {
                            let y = pixel_y + padding - at_y;
                            for at_x in 0..across {
                                // Lane l is the place x = pixel_x + l + padding − at_x.
                                let skip = at_x.saturating_sub(pixel_x + padding).min(lanes);
                                let stop = (length + at_x).saturating_sub(pixel_x + padding).min(lanes).max(skip);
                                let row = ((channel * down + at_y) * across + at_x) * count + image;
                                let at = (row * area + y * length + pixel_x + padding).wrapping_sub(at_x);
                                total = L::add(total, L::load_between(from.wrapping_add(at), skip, stop));
                            }
                        }
                        let pixel =
                            to.add(channel * step + (images.start + image) * pixels + pixel_y * width + pixel_x);
                        L::store_part(pixel, total, lanes);
                    }
                }
            }
        }
    }
}
