//! Normalisation layers on planes `[agents, channels, batch · pixels]`; statistics are each agent's own.

use burn::tensor::{Tensor, activation};
use kith_engine::plan::{NORM_TINY, Places, Response, Trained, Value};

use crate::engine::rows::{Piece, Rows, matrices};

/// What a normalisation keeps for the way back: its numbers without mean, and 1/√(variance + ε).
#[derive(Clone, Debug)]
pub(crate) struct KeptNorm<const D: usize> {
    centred: Tensor<D>,
    inverse: Tensor<D>,
}

fn piece(start: usize, gradient: Tensor<3>) -> Piece {
    let [agents, rows, cols] = gradient.dims();
    (start, gradient.reshape([agents, rows * cols]))
}

/// Batch normalisation.
pub(crate) fn batch_norm(places: Places, row: &Rows, x: Tensor<3>) -> (Tensor<3>, KeptNorm<3>) {
    let channels = x.dims()[1];
    let mean = x.clone().mean_dim(2);
    let centred = x.sub(mean);
    let variance = centred.clone().mul(centred.clone()).mean_dim(2);
    let inverse = variance.add_scalar(NORM_TINY as f32).sqrt().recip();
    let gain = matrices(row, places.gain, [channels, 1]).mul(inverse.clone());
    let y = centred.clone().mul(gain).add(matrices(row, places.shift, [channels, 1]));
    (y, KeptNorm { centred, inverse })
}

/// Back through batch normalisation: `γ/σ (δ − mean δ − x̂ mean(δ x̂))`.
pub(crate) fn batch_norm_back(
    places: Places,
    row: &Rows,
    kept: KeptNorm<3>,
    delta: Tensor<3>,
    pieces: &mut Vec<Piece>,
) -> Tensor<3> {
    let [_, channels, count] = delta.dims();
    let normal = kept.centred.mul(kept.inverse.clone());
    let by_gain = delta.clone().mul(normal.clone()).sum_dim(2);
    let by_shift = delta.clone().sum_dim(2);
    if places.trained == Trained::Yes {
        pieces.push(piece(places.gain, by_gain.clone()));
        pieces.push(piece(places.shift, by_shift.clone()));
    }
    let share = 1.0 / count as f32;
    let inner = delta.sub(by_shift.mul_scalar(share)).sub(normal.mul(by_gain.mul_scalar(share)));
    inner.mul(matrices(row, places.gain, [channels, 1]).mul(kept.inverse))
}

/// Planes by group: `[agents, groups, channels of a group, batch, pixels]`.
fn by_group(x: Tensor<3>, groups: usize, pixels: usize) -> Tensor<5> {
    let [agents, channels, numbers] = x.dims();
    x.reshape([agents, groups, channels / groups, numbers / pixels, pixels])
}

/// A number a channel, against planes by group.
fn a_channel(row: &Rows, start: usize, channels: usize, groups: usize) -> Tensor<5> {
    let agents = row.dims()[0];
    row.clone().narrow(1, start, channels).reshape([agents, groups, channels / groups, 1, 1])
}

/// Sums over the images and pixels of a channel, as a piece of the row.
fn sum_a_channel(start: usize, x: Tensor<5>) -> Piece {
    let [agents, groups, size, _, _] = x.dims();
    (start, x.sum_dim(4).sum_dim(3).reshape([agents, groups * size]))
}

/// Means over the numbers of a group in an image.
fn mean_a_group(x: Tensor<5>) -> Tensor<5> {
    x.mean_dim(4).mean_dim(2)
}

/// EvoNorm-S0.
pub(crate) fn evo_norm(
    (places, groups): (Places, usize),
    value: &Value,
    row: &Rows,
    x: Tensor<3>,
) -> (Tensor<3>, KeptNorm<5>) {
    let shape = x.dims();
    let number = |start| a_channel(row, start, value.channels(), groups);
    let x = by_group(x, groups, value.pixels());
    let centred = x.clone().sub(mean_a_group(x.clone()));
    let variance = mean_a_group(centred.clone().mul(centred.clone()));
    let inverse = variance.add_scalar(NORM_TINY as f32).sqrt().recip();
    let active = activation::sigmoid(x.clone().mul(number(places.inner))).mul(x);
    let y = active.mul(inverse.clone()).mul(number(places.gain)).add(number(places.shift));
    (y.reshape(shape), KeptNorm { centred, inverse })
}

/// Back through EvoNorm-S0.
pub(crate) fn evo_norm_back(
    (places, groups): (Places, usize),
    value: &Value,
    row: &Rows,
    (x, kept): (Tensor<3>, KeptNorm<5>),
    delta: Tensor<3>,
    pieces: &mut Vec<Piece>,
) -> Tensor<3> {
    let shape = x.dims();
    let number = |start| a_channel(row, start, value.channels(), groups);
    let (inner, gain) = (number(places.inner), number(places.gain));
    let [x, delta] = [x, delta].map(|planes| by_group(planes, groups, value.pixels()));
    let KeptNorm { centred, inverse } = kept;
    let gate = activation::sigmoid(x.clone().mul(inner.clone()));
    // x s (1 − s), s being the gate.
    let slope = x.clone().mul(gate.clone()).mul(gate.clone().neg().add_scalar(1.0));
    let active = x.clone().mul(gate.clone());
    if places.trained == Trained::Yes {
        let by_inner = delta.clone().mul(x).mul(slope.clone()).mul(inverse.clone()).mul(gain.clone());
        pieces.push(sum_a_channel(places.inner, by_inner));
        pieces.push(sum_a_channel(places.gain, delta.clone().mul(active.clone()).mul(inverse.clone())));
        pieces.push(sum_a_channel(places.shift, delta.clone()));
    }
    let scaled = delta.mul(gain);
    // d(1/σ)/dx = −(x − μ) / (n σ³), the variance being taken over n numbers.
    let cube = inverse.clone().mul(inverse.clone()).mul(inverse.clone());
    let by_inverse = mean_a_group(scaled.clone().mul(active)).mul(cube);
    let direct = scaled.mul(inverse).mul(gate.add(inner.mul(slope)));
    direct.sub(centred.mul(by_inverse)).reshape(shape)
}

/// Local response normalisation, and its `k + alpha · mean square`; `band` adds up neighbouring channels.
pub(crate) fn response(response: Response, band: Tensor<3>, x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let share = response.alpha / response.size as f32;
    let scales = across(band, x.clone().mul(x.clone())).mul_scalar(share).add_scalar(response.k);
    (x.mul(scales.clone().powf_scalar(-response.beta)), scales)
}

/// Back through local response normalisation.
pub(crate) fn response_back(
    response: Response,
    band: Tensor<3>,
    (x, scales): (Tensor<3>, Tensor<3>),
    delta: Tensor<3>,
) -> Tensor<3> {
    let share = 2.0 * response.alpha * response.beta / response.size as f32;
    let by_scale = x.clone().mul(delta.clone()).mul(scales.clone().powf_scalar(-response.beta - 1.0));
    let around = across(band.transpose(), by_scale).mul(x).mul_scalar(share);
    delta.mul(scales.powf_scalar(-response.beta)).sub(around)
}

/// One matrix `[1, channels, channels]` times the planes of every agent.
fn across(band: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    let [agents, channels, _] = x.dims();
    band.expand([agents, channels, channels]).matmul(x)
}
