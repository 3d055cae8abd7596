//! Axes: where a value stands, and which values are labelled.

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Evenly, from low to high.
    Linear(f64, f64),
    /// By powers of ten; both ends above zero.
    Log(f64, f64),
}

impl Scale {
    /// A scale over all of these values; evenly divided, and one wide where they give no width.
    pub(crate) fn linear(low: f64, high: f64) -> Self {
        if low.is_finite() && high.is_finite() && high > low { Self::Linear(low, high) } else { Self::Linear(0.0, 1.0) }
    }

    /// By powers of ten around these values; those that are not above zero have no place.
    pub(crate) fn log(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = positive.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        if high <= 0.0 {
            return Self::Log(0.1, 1.0);
        }
        let (floor, ceiling) = (low.log10().floor(), high.log10().ceil());
        Self::Log(10_f64.powf(floor), 10_f64.powf(if ceiling > floor { ceiling } else { floor + 1.0 }))
    }

    /// The value's place between the ends, 0 to 1; none where it has no place.
    pub(crate) fn share(self, value: f64) -> Option<f64> {
        let share = match self {
            Self::Linear(low, high) => (value - low) / (high - low),
            Self::Log(low, high) => (value.log10() - low.log10()) / (high.log10() - low.log10()),
        };
        share.is_finite().then_some(share)
    }

    /// The labelled values, ascending, about `count` of them.
    pub(crate) fn ticks(self, count: f64) -> Vec<f64> {
        match self {
            Self::Linear(low, high) => linear_ticks(low, high, count),
            Self::Log(low, high) => {
                let (first, last) = (low.log10().round() as i32, high.log10().round() as i32);
                let step = ((f64::from(last - first) / count).ceil() as i32).max(1);
                (first..=last).step_by(step as usize).map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

/// Even steps of an axis, each 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let rough = ((high - low) / count).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|unit| unit * power).find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    let steps = (last - first).clamp(0.0, 50.0) as u32;
    (0..=steps).map(|index| (first + f64::from(index)) * step).collect()
}

/// A value at an axis.
pub(crate) fn label(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1e9 {
        format!("{value:.0e}")
    } else if magnitude >= 1e6 {
        format!("{}M", trim(format!("{:.2}", value / 1e6)))
    } else if magnitude >= 1e4 {
        format!("{}k", trim(format!("{:.1}", value / 1e3)))
    } else if magnitude > 0.0 && magnitude < 1e-3 {
        trim_exponent(&format!("{value:.1e}"))
    } else {
        trim(format!("{value:.4}"))
    }
}

fn trim(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn trim_exponent(text: &str) -> String {
    text.replace(".0e", "e").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_axis() {
        let shown = |low, high| Scale::linear(low, high).ticks(5.0).into_iter().map(label).collect::<Vec<_>>();
        assert_eq!(shown(0.7, 1.0), ["0.7", "0.8", "0.9", "1"]);
        assert_eq!(shown(0.0, 27_000.0), ["0", "10k", "20k"]);
        assert_eq!(shown(0.0, 3.1), ["0", "1", "2", "3"]);
        assert_eq!(shown(0.0, 0.01), ["0", "0.002", "0.004", "0.006", "0.008", "0.01"]);
    }

    #[test]
    fn powers_of_ten_are_even_on_a_logarithmic_axis() {
        let scale = Scale::log([3e-6, 0.0, f64::NAN, 2e-2].into_iter());
        assert_eq!(
            scale.ticks(9.0).into_iter().map(label).collect::<Vec<_>>(),
            ["1e−6", "1e−5", "1e−4", "0.001", "0.01", "0.1"]
        );
        assert!((scale.share(1e-3).expect("it has a place") - 0.6).abs() < 1e-9);
        assert_eq!(scale.share(0.0), None);
        assert_eq!(Scale::log([0.0].into_iter()), Scale::Log(0.1, 1.0));
    }
}
