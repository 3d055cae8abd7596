//! Normalisation layers on planes `[channels, batch, pixels]`.

use super::pass::Target;
use crate::kernel::{self, affine, centred_products, combine_affine, deviation};
use crate::plan::{NORM_TINY, Places, Response, Trained, Value};

/// Adds a number's gradient to its place.
fn put(into: &mut [f32], place: usize, target: Target, gradient: f64) {
    let kept = if target.beta == 0.0 { 0.0 } else { target.beta * into[place] };
    into[place] = kept + target.alpha * gradient as f32;
}

/// Batch normalisation; `statistics` keeps mean and 1/√(variance + ε) of every channel.
pub(super) fn batch_norm(
    places: Places,
    channels: usize,
    row: &[f32],
    x: &[f32],
    y: &mut [f32],
    statistics: &mut [f32],
) {
    let count = x.len() / channels;
    let planes = x.chunks_exact(count.max(1)).zip(y.chunks_exact_mut(count.max(1))).zip(statistics.chunks_exact_mut(2));
    for (channel, ((x, y), statistics)) in planes.enumerate() {
        let (mut sum, mut squares) = (0.0, 0.0);
        kernel::sum(x, &mut sum);
        let mean = (sum / count as f64) as f32;
        deviation(x, mean, &mut squares);
        let inverse = (1.0 / (squares / count as f64 + NORM_TINY).sqrt()) as f32;
        statistics.copy_from_slice(&[mean, inverse]);
        let gain = row[places.gain + channel] * inverse;
        affine(y, x, gain, row[places.shift + channel] - gain * mean);
    }
}

/// Back through batch normalisation: `before` and the gradients of gain and shift.
pub(super) fn batch_norm_back(
    (places, channels): (Places, usize),
    row: &[f32],
    (x, statistics): (&[f32], &[f32]),
    delta: &[f32],
    mut before: Option<&mut [f32]>,
    mut found: impl FnMut(usize, f64),
) {
    let count = delta.len() / channels;
    for channel in 0..channels {
        let range = channel * count..(channel + 1) * count;
        let (x, delta) = (&x[range.clone()], &delta[range.clone()]);
        let [mean, inverse] = [statistics[2 * channel], statistics[2 * channel + 1]];
        let (mut shift, mut product) = (0.0, 0.0);
        kernel::sum(delta, &mut shift);
        centred_products(x, delta, mean, &mut product);
        let gain = product * f64::from(inverse);
        if let Some(before) = &mut before {
            // δ γ/σ − γ/(σ n) (Σδ + x̂ Σ δ x̂), written as a δ + b x + c.
            let scale = f64::from(row[places.gain + channel]) * f64::from(inverse);
            let slope = -scale * gain * f64::from(inverse) / count as f64;
            let constant = -scale * shift / count as f64 - slope * f64::from(mean);
            combine_affine(&mut before[range], delta, x, [scale as f32, slope as f32, constant as f32]);
        }
        if places.trained == Trained::Yes {
            found(places.gain + channel, gain);
            found(places.shift + channel, shift);
        }
    }
}

/// Writes gradients found on the way back to their places.
pub(super) fn write(into: &mut [f32], target: Target, found: &[(usize, f64)]) {
    for &(place, gradient) in found {
        put(into, place, target, gradient);
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// EvoNorm-S0; `statistics` keeps mean and 1/√(variance + ε) of every image's every group.
pub(super) fn evo_norm(
    (places, groups): (Places, usize),
    value: &Value,
    row: &[f32],
    x: &[f32],
    y: &mut [f32],
    statistics: &mut [f32],
) {
    let (channels, pixels) = (value.channels(), value.pixels());
    let batch = x.len() / value.len();
    let size = channels / groups;
    let numbers = (size * pixels) as f64;
    for image in 0..batch {
        for group in 0..groups {
            let plane = |channel: usize| (channel * batch + image) * pixels..(channel * batch + image + 1) * pixels;
            let own = group * size..(group + 1) * size;
            let (mut sum, mut squares) = (0.0, 0.0);
            own.clone().for_each(|channel| kernel::sum(&x[plane(channel)], &mut sum));
            let mean = (sum / numbers) as f32;
            own.clone().for_each(|channel| deviation(&x[plane(channel)], mean, &mut squares));
            let inverse = (1.0 / (squares / numbers + NORM_TINY).sqrt()) as f32;
            statistics[2 * (image * groups + group)..][..2].copy_from_slice(&[mean, inverse]);
            for channel in own {
                let inner = row[places.inner + channel];
                let (gain, shift) = (row[places.gain + channel] * inverse, row[places.shift + channel]);
                for (y, x) in y[plane(channel)].iter_mut().zip(&x[plane(channel)]) {
                    *y = x * sigmoid(inner * x) * gain + shift;
                }
            }
        }
    }
}

/// Back through EvoNorm-S0.
pub(super) fn evo_norm_back(
    (places, groups): (Places, usize),
    value: &Value,
    row: &[f32],
    (x, statistics): (&[f32], &[f32]),
    delta: &[f32],
    mut before: Option<&mut [f32]>,
    mut found: impl FnMut(usize, f64),
) {
    let (channels, pixels) = (value.channels(), value.pixels());
    let batch = x.len() / value.len();
    let size = channels / groups;
    for channel in 0..channels {
        let (mut inner, mut gain, mut shift) = (0.0, 0.0, 0.0);
        let (v, factor) = (row[places.inner + channel], row[places.gain + channel]);
        for image in 0..batch {
            let plane = (channel * batch + image) * pixels..(channel * batch + image + 1) * pixels;
            let inverse = statistics[2 * (image * groups + channel / size) + 1];
            let (mut own_inner, mut own_gain, mut own_shift) = (0.0_f32, 0.0_f32, 0.0_f32);
            for (x, delta) in x[plane.clone()].iter().zip(&delta[plane]) {
                let s = sigmoid(v * x);
                own_inner += delta * x * x * s * (1.0 - s);
                own_gain += delta * x * s;
                own_shift += delta;
            }
            inner += f64::from(own_inner * inverse * factor);
            gain += f64::from(own_gain * inverse);
            shift += f64::from(own_shift);
        }
        if places.trained == Trained::Yes {
            found(places.inner + channel, inner);
            found(places.gain + channel, gain);
            found(places.shift + channel, shift);
        }
    }
    let Some(before) = &mut before else { return };
    let numbers = (size * pixels) as f32;
    for image in 0..batch {
        for group in 0..groups {
            let [mean, inverse] = [0, 1].map(|which| statistics[2 * (image * groups + group) + which]);
            let plane = |channel: usize| (channel * batch + image) * pixels..(channel * batch + image + 1) * pixels;
            let own = group * size..(group + 1) * size;
            let mut by_inverse = 0.0_f64;
            for channel in own.clone() {
                let (v, factor) = (row[places.inner + channel], row[places.gain + channel]);
                let mut sum = 0.0_f32;
                for ((x, delta), before) in
                    x[plane(channel)].iter().zip(&delta[plane(channel)]).zip(&mut before[plane(channel)])
                {
                    let s = sigmoid(v * x);
                    sum += delta * x * s;
                    *before = delta * factor * inverse * (s + v * x * s * (1.0 - s));
                }
                by_inverse += f64::from(sum * factor);
            }
            // d(1/σ)/dx = −(x − μ) / (n σ³) with the variance taken over n numbers.
            let slope = -(by_inverse as f32) * inverse.powi(3) / numbers;
            for channel in own {
                for (before, x) in before[plane(channel)].iter_mut().zip(&x[plane(channel)]) {
                    *before += slope * (x - mean);
                }
            }
        }
    }
}

/// Local response normalisation; `scales` keeps `k + alpha · mean square`.
pub(super) fn response(response: Response, channels: usize, x: &[f32], y: &mut [f32], scales: &mut [f32]) {
    let count = x.len() / channels;
    let share = response.alpha / response.size as f32;
    for channel in 0..channels {
        let scale = &mut scales[channel * count..(channel + 1) * count];
        scale.fill(response.k);
        for other in response.neighbours(channels, channel) {
            for (scale, x) in scale.iter_mut().zip(&x[other * count..]) {
                *scale += share * x * x;
            }
        }
        let range = channel * count..(channel + 1) * count;
        for ((y, x), scale) in y[range.clone()].iter_mut().zip(&x[range]).zip(scale) {
            *y = x * scale.powf(-response.beta);
        }
    }
}

/// Back through local response normalisation.
pub(super) fn response_back(
    response: Response,
    channels: usize,
    (x, scales): (&[f32], &[f32]),
    delta: &[f32],
    before: &mut [f32],
) {
    let count = x.len() / channels;
    let share = 2.0 * response.alpha * response.beta / response.size as f32;
    for ((before, delta), scale) in before.iter_mut().zip(delta).zip(scales) {
        *before = delta * scale.powf(-response.beta);
    }
    for channel in 0..channels {
        for other in response.neighbours(channels, channel) {
            for at in 0..count {
                let (own, its) = (channel * count + at, other * count + at);
                before[its] -= share * x[its] * x[own] * delta[own] * scales[own].powf(-response.beta - 1.0);
            }
        }
    }
}
