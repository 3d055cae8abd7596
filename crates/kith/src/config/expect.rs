//! Expectations: what must hold of an arm's summary.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::render::{Problem, closest};

/// Bounds by summary key: `average_accuracy = { min = 0.88 }`.
pub type Expectations = BTreeMap<String, Bounds>;

/// A closed interval; an absent end is open.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The least value that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.8)]
    pub min: Option<f64>,
    /// The greatest value that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.95)]
    pub max: Option<f64>,
}

impl Bounds {
    /// Whether a value lies inside. A value that is not a number does not.
    #[must_use]
    pub fn hold(&self, value: f64) -> bool {
        !value.is_nan() && self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// One expectation and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The arm.
    pub arm: String,
    /// The summary key.
    pub key: String,
    /// What was expected.
    pub bounds: Bounds,
    /// What was measured; none where the summary has no such number.
    pub actual: Option<f64>,
}

impl Verdict {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.actual.is_some_and(|actual| self.bounds.hold(actual))
    }
}

/// Judges one arm's summary, in key order.
#[must_use]
pub fn judge(arm: &str, expectations: &Expectations, summary: &Value) -> Vec<Verdict> {
    expectations
        .iter()
        .map(|(key, bounds)| Verdict {
            arm: arm.to_owned(),
            key: key.clone(),
            bounds: *bounds,
            actual: summary.get(key).and_then(Value::as_f64),
        })
        .collect()
}

/// Checks expectations before the run: that the key is a number of the summary, and that the interval is not empty.
pub(crate) fn problems(arm: &str, expectations: &Expectations) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, bounds) in expectations {
        let path = format!("expect.{arm}.{key}");
        if !crate::summary::NUMBERS.contains(&key.as_str()) {
            let hint = closest(key, crate::summary::NUMBERS).map_or_else(
                || format!("accepted: {}", crate::summary::NUMBERS.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            problems.push(Problem::new(path, "no number of the summary has this name").accept(hint));
        } else if bounds.min.is_none() && bounds.max.is_none() {
            problems
                .push(Problem::new(path, "neither min nor max is given").accept("accepted: { min = 0.8, max = 0.9 }"));
        } else if bounds.min.zip(bounds.max).is_some_and(|(min, max)| min > max) {
            problems.push(Problem::new(path, "min is above max, so that no value passes"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_the_bound_passes_and_nan_never_does() {
        let bounds = Bounds { min: Some(-0.02), max: Some(0.0) };
        assert!(bounds.hold(0.0) && bounds.hold(-0.02));
        assert!(!bounds.hold(0.001) && !bounds.hold(f64::NAN));
        assert!(!Bounds { min: None, max: None }.hold(f64::NAN));
    }

    #[test]
    fn a_missing_number_fails_its_expectation() {
        let expectations = Expectations::from([("average_accuracy".to_owned(), Bounds { min: Some(0.5), max: None })]);
        let verdicts = judge("codec", &expectations, &serde_json::json!({"average_accuracy": null}));
        assert_eq!(verdicts.len(), 1);
        assert!(!verdicts[0].holds());
        assert!(judge("codec", &expectations, &serde_json::json!({"average_accuracy": 0.5}))[0].holds());
    }
}
