//! Initial parameters, drawn alike for every engine.

use kith_core::{Affine, Network, Role};
use rand::Rng;

/// Draws a whole parameter row as PyTorch's layers do by default: every weight and bias from U(−1/√fan_in, 1/√fan_in), fan_in
/// being the columns of the weight's matrix view (He et al. 2015 with a = √5); gains of normalisation layers are 1, shifts 0.
///
/// `row` is in the network's layout; numbers are drawn in row order, one 32-bit word each.
///
/// # Panics
/// If the network's layers do not fit, or `row` has another length than its layout.
pub fn initialise(network: &Network, rng: &mut impl Rng, row: &mut [f32]) {
    let layout = match network.layout() {
        Ok(layout) => layout,
        Err(error) => panic!("parameters of a network that does not fit: {error}"),
    };
    assert_eq!(row.len(), layout.len(), "numbers in a whole row");
    let mut fan_in = 1;
    for tensor in &layout.tensors {
        let values = &mut row[tensor.range()];
        let is_bias = tensor.name.ends_with(".bias");
        match tensor.role {
            Role::Affine(Affine::Gain) => values.fill(1.0),
            Role::Affine(Affine::Shift) => values.fill(0.0),
            Role::Projected(_) | Role::Free | Role::Head(_) => {
                if !is_bias {
                    fan_in = tensor.cols;
                }
                draw(values, fan_in, rng);
            }
        }
    }
}

fn draw(values: &mut [f32], fan_in: usize, rng: &mut impl Rng) {
    let bound = 1.0 / (fan_in as f32).sqrt();
    for value in values {
        // 24 bits fill a mantissa, so that the draw is exact and uniform on [0, 1).
        let unit = (rng.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0);
        *value = bound * (2.0 * unit - 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::{AgentId, Head, Network, Purpose, Seeds};

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
