//! Initial parameters, drawn alike for every engine.

use kith_core::{Head, Layer, Network};
use rand::Rng;

/// Draws a whole parameter row as PyTorch's `nn.Linear` does by default: every weight and bias from
/// U(−1/√fan_in, 1/√fan_in), fan_in being the layer's number of inputs (He et al. 2015 with a = √5).
///
/// `row` is in the network's layout; numbers are drawn in row order, one 32-bit word each.
///
/// # Panics
/// If `row` has another length than the network's layout.
pub fn initialise(network: &Network, rng: &mut impl Rng, row: &mut [f32]) {
    let length = row.len();
    let mut rest = row;
    let mut features = network.inputs;
    for layer in &network.layers {
        if let Layer::Linear { inputs, outputs, bias } = *layer {
            draw(&mut rest, linear_len(inputs, outputs, bias), inputs, rng);
            features = outputs;
        }
    }
    let heads = match network.head {
        Head::Shared => 1,
        Head::PerTask => network.tasks,
    };
    draw(&mut rest, heads * linear_len(features, network.classes, network.head_bias), features, rng);
    assert!(rest.is_empty(), "a row of {length} numbers is longer than the network's layout");
}

fn linear_len(inputs: usize, outputs: usize, bias: bool) -> usize {
    outputs * inputs + if bias { outputs } else { 0 }
}

#[allow(clippy::cast_precision_loss)]
fn draw(rest: &mut &mut [f32], len: usize, fan_in: usize, rng: &mut impl Rng) {
    let bound = 1.0 / (fan_in as f32).sqrt();
    let (now, later) = std::mem::take(rest).split_at_mut(len);
    for value in now {
        // 24 bits fill a mantissa, so that the draw is exact and uniform on [0, 1).
        let unit = (rng.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0);
        *value = bound * (2.0 * unit - 1.0);
    }
    *rest = later;
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::{AgentId, Purpose, Seeds};

    #[test]
    fn weights_and_biases_are_uniform_within_one_over_root_fan_in() {
        let network = Network::mlp(100, &[64], 4, true, Head::PerTask, 3);
        let layout = network.layout().expect("it fits");
        let mut row = vec![0.0; layout.len()];
        initialise(&network, &mut Seeds::new(5).agent(Purpose::Initialise, AgentId(0), 0), &mut row);
        for tensor in &layout.tensors {
            let fan_in: f32 = if tensor.name.starts_with("fc1") { 100.0 } else { 64.0 };
            let bound = 1.0 / fan_in.sqrt();
            let values = &row[tensor.range()];
            assert!(values.iter().all(|value| value.abs() <= bound && *value != 0.0), "{}", tensor.name);
        }
        let weight = &row[layout.tensors[0].range()];
        let variance = weight.iter().map(|w| f64::from(w * w)).sum::<f64>() / 6400.0;
        assert!((variance - 0.01 / 3.0).abs() < 1e-4, "a uniform on ±0.1 has variance 0.01 / 3, got {variance}");
    }
}
