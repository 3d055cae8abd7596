//! What a network's scores say of a sample: its loss and its class.

/// Cross-entropy in nats of one sample; `delta` becomes softmax − one-hot.
pub(super) fn cross_entropy(scores: &[f32], label: u32, delta: &mut [f32]) -> f64 {
    let label = label as usize;
    assert!(label < scores.len(), "class {label} of a head with {} classes", scores.len());
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (delta, score) in delta.iter_mut().zip(scores) {
        *delta = (score - largest).exp();
        sum += *delta;
    }
    let share = 1.0 / sum;
    delta.iter_mut().for_each(|value| *value *= share);
    delta[label] -= 1.0;
    f64::from(sum).ln() - f64::from(scores[label] - largest)
}

/// The first of the largest scores.
pub(super) fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}
