//! Means over seeds and paired differences: for sweeps and for reports.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// A mean and how far values are from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many values.
    #[serde(rename = "runs")]
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Sample standard deviation, over n − 1; none of a single value.
    #[serde(rename = "std")]
    pub deviation: Option<f64>,
}

impl Spread {
    /// Of values, those that are no numbers left out; none where no value is left.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { count, mean, deviation })
    }

    /// Half the width of the 95 % confidence interval of the mean, by Student's t; none of a single value.
    #[must_use]
    pub fn half_width(&self) -> Option<f64> {
        let degrees = (self.count - 1) as f64;
        let t = StudentsT::new(0.0, 1.0, degrees).ok()?.inverse_cdf(0.975);
        Some(t * self.deviation? / (self.count as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sleep data of Student (1908) as R's `t.test(extra ~ group, data = sleep, paired = TRUE)` gives them: mean difference
    /// −1.58, 95 % confidence interval −2.4598858 to −0.7001142.
    #[test]
    fn the_interval_of_students_own_data_is_the_published_one() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let spread = Spread::of(first.iter().zip(second).map(|(one, other)| one - other)).expect("ten values");
        assert!((spread.mean + 1.58).abs() < 1e-12);
        let half = spread.half_width().expect("ten values");
        assert!((half - 0.879_885_8).abs() < 1e-6, "{half}");
    }

    #[test]
    fn the_deviation_is_the_samples() {
        let spread = Spread::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).expect("eight values");
        assert!((spread.mean - 5.0).abs() < 1e-12);
        assert!((spread.deviation.expect("there are several") - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_single_value_has_no_deviation_and_no_interval() {
        let spread = Spread::of([f64::NAN, 2.0]).expect("one value");
        assert_eq!((spread.count, spread.mean, spread.deviation, spread.half_width()), (1, 2.0, None, None));
        assert_eq!(Spread::of([f64::INFINITY]), None);
    }
}
