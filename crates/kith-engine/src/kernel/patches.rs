//! Image patches as the columns of a matrix, and back.

#[cfg(target_arch = "x86_64")]
use super::shifts;
#[cfg(target_arch = "x86_64")]
use super::skinny::Machine;
use crate::plan::Window;

impl Window {
    /// Along one side: the places whose window's pixel `at` lies in the image, and the pixel of the first of them.
    pub(super) const fn inside(&self, side: usize, at: usize) -> (usize, usize, usize) {
        let Self { image, stride, padding, places, .. } = self;
        let first = if at >= *padding { 0 } else { (*padding - at).div_ceil(*stride) };
        let limit = image[side] + *padding;
        let end = if limit > at { (limit - at).div_ceil(*stride) } else { 0 };
        let end = if end < places[side] { end } else { places[side] };
        if first >= end { (0, 0, 0) } else { (first, end, first * *stride + at - *padding) }
    }
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
            for (to, from) in inside.iter_mut().zip(source[pixel..].iter().step_by(window.stride)) {
                *to = *from;
            }
        }
    });
}

#[inline(always)]
fn sum_patches_body(
    window: Window,
    columns: &[f32],
    planes: &mut [f32],
    plane_step: usize,
    first: usize,
    count: usize,
) {
    let channels = planes.len() / plane_step.max(1);
    let (pixels, area, width) = (window.pixels(), window.area(), window.places[1]);
    for plane in planes.chunks_exact_mut(plane_step.max(1)) {
        plane[first * pixels..(first + count) * pixels].fill(0.0);
    }
    runs(window, channels, |row, channel, y, (left, right), pixel| {
        if left == right {
            return;
        }
        for image in 0..count {
            let target = &mut planes[channel * plane_step + (first + image) * pixels..][..pixels];
            let run = &columns[row * count * area + image * area + y * width..][left..right];
            for (to, from) in target[pixel..].iter_mut().step_by(window.stride).zip(run) {
                *to += from;
            }
        }
    });
}

/// Writes the patches of images `first..first + count` to the columns of `out: [channels · kernel, count · places]`,
/// channel-major; `planes: [channels, images, pixels]` with channels `plane_step` apart.
pub(crate) fn patches(window: Window, planes: &[f32], plane_step: usize, first: usize, count: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if window.stride == 1
        && let Some(machine) = Machine::detect()
    {
        return shifts::patches(machine, window, planes, plane_step, first..first + count, out);
    }
    patches_plain(window, planes, plane_step, first, count, out);
}

/// Sets the pixels of images `first..first + count` to the sums of the columns' numbers that [`patches`] takes from them.
pub(crate) fn sum_patches(
    window: Window,
    columns: &[f32],
    planes: &mut [f32],
    plane_step: usize,
    first: usize,
    count: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if window.stride == 1
        && let Some(machine) = Machine::detect()
    {
        return shifts::sum_patches(machine, window, columns, planes, plane_step, first..first + count);
    }
    sum_patches_plain(window, columns, planes, plane_step, first, count);
}

widest! {
    /// [`patches`] of any stride on any machine.
    fn patches_plain / patches_avx2 / patches_avx512 / patches_body(
        window: Window, planes: &[f32], plane_step: usize, first: usize, count: usize, out: &mut [f32]
    )
}
widest! {
    /// [`sum_patches`] of any stride on any machine.
    fn sum_patches_plain / sum_patches_avx2 / sum_patches_avx512 / sum_patches_body(
        window: Window, columns: &[f32], planes: &mut [f32], plane_step: usize, first: usize, count: usize
    )
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(image: [usize; 2], kernel: [usize; 2], padding: usize) -> Window {
        let places = [0, 1].map(|side| image[side] + 2 * padding + 1 - kernel[side]);
        Window { image, kernel, stride: 1, padding, places }
    }

    proptest! {
        #[test]
        fn shifted_rows_are_the_patches_and_their_sums(
            (height, width, down, across) in (1_usize..40, 1_usize..40, 1_usize..6, 1_usize..6),
            (padding, channels, count, first) in (0_usize..3, 1_usize..3, 1_usize..4, 0_usize..2),
            numbers in prop::collection::vec(-1.0_f32..1.0, 64),
        ) {
            prop_assume!(height + 2 * padding >= down && width + 2 * padding >= across && padding < down.min(across));
            let window = window([height, width], [down, across], padding);
            let step = 5 * window.pixels();
            let planes: Vec<f32> = numbers.iter().copied().cycle().take(channels * step).collect();
            let mut expected = vec![f32::NAN; channels * down * across * count * window.area()];
            patches_plain(window, &planes, step, first, count, &mut expected);
            let mut sums = planes.clone();
            sum_patches_plain(window, &expected, &mut sums, step, first, count);
            let machines = match Machine::detect() {
                Some(Machine::Avx512) => vec![Machine::Avx512, Machine::Avx2],
                machine => machine.into_iter().collect(),
            };
            for machine in machines {
                let mut ours = vec![f32::NAN; expected.len()];
                shifts::patches(machine, window, &planes, step, first..first + count, &mut ours);
                prop_assert_eq!(&ours, &expected);
                let mut pixels = planes.clone();
                shifts::sum_patches(machine, window, &expected, &mut pixels, step, first..first + count);
                for (ours, expected) in pixels.iter().zip(&sums) {
                    // Up to 25 numbers below 1, added in another order.
                    prop_assert!((ours - expected).abs() < 1e-5, "{} against {}", ours, expected);
                }
            }
        }
    }
}
