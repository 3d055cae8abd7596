//! The numbers that tables show: their names, units, and which way is better. One list for runs and reports.

use crate::table::{dash, grouped};

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A fraction, shown in percent.
    Percent,
    /// Bytes, shown in 10⁶.
    Megabytes,
    /// So many times.
    Times,
    /// A small number over many magnitudes.
    Scientific,
    /// So many.
    Count,
    /// Seconds.
    Seconds,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
    /// Neither: how fast a machine is says nothing of a method.
    Neither,
}

/// A number of an arm's summary as tables show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// Its key in `summary.json`.
    pub(crate) key: &'static str,
    /// Heading of its column, with the unit.
    pub(crate) title: &'static str,
    /// The same in full.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
}

const fn metric(key: &'static str, title: &'static str, name: &'static str, unit: Unit, better: Better) -> Metric {
    Metric { key, title, name, unit, better }
}

/// In the order of the columns. A table leaves out what nobody measured.
pub(crate) const METRICS: [Metric; 15] = [
    metric("average_accuracy", "accuracy %", "average accuracy (%)", Unit::Percent, Better::Higher),
    metric("average_model_accuracy", "mean model %", "accuracy of the mean model (%)", Unit::Percent, Better::Higher),
    metric("learning_accuracy", "learning %", "learning accuracy (%)", Unit::Percent, Better::Higher),
    metric("backward_transfer", "backward %", "backward transfer (%)", Unit::Percent, Better::Higher),
    metric("forward_transfer", "forward %", "forward transfer (%)", Unit::Percent, Better::Higher),
    metric("forgetting", "forgetting %", "forgetting (%)", Unit::Percent, Better::Lower),
    metric("bytes_sent_per_agent", "MB/agent", "sent per agent (MB)", Unit::Megabytes, Better::Lower),
    metric("bytes_sent_per_agent_full", "full MB", "the same, whole payloads (MB)", Unit::Megabytes, Better::Neither),
    metric("compression_ratio", "reduction", "compression ratio", Unit::Times, Better::Higher),
    metric("consensus_distance", "consensus", "consensus distance", Unit::Scientific, Better::Lower),
    metric("missed_exchanges", "missed", "missed exchanges", Unit::Count, Better::Lower),
    metric("simulated_seconds", "simulated s", "simulated time (s)", Unit::Seconds, Better::Lower),
    metric(
        "communication_share",
        "waiting %",
        "share of simulated time spent waiting (%)",
        Unit::Percent,
        Better::Lower,
    ),
    metric("agent_steps_per_second", "steps/s", "agent steps per second", Unit::Count, Better::Neither),
    metric("wall_seconds", "wall s", "wall time (s)", Unit::Seconds, Better::Neither),
];

impl Metric {
    /// The metric of this key.
    pub(crate) fn of(key: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.key == key)
    }

    /// The value in the unit of the heading.
    pub(crate) fn scaled(&self, value: f64) -> f64 {
        match self.unit {
            Unit::Percent => value * 100.0,
            Unit::Megabytes => value / 1e6,
            Unit::Times | Unit::Scientific | Unit::Count | Unit::Seconds => value,
        }
    }

    /// The value without its unit, which the heading has.
    pub(crate) fn show(&self, value: Option<f64>) -> String {
        value.map_or_else(dash, |value| self.show_like(value, value))
    }

    /// The same, with as many digits as `like` has.
    pub(crate) fn show_like(&self, value: f64, like: f64) -> String {
        if !value.is_finite() {
            return dash();
        }
        let scaled = self.scaled(value);
        let text = match self.unit {
            Unit::Percent | Unit::Times => format!("{scaled:.2}"),
            Unit::Megabytes => format!("{scaled:.*}", decimals(self.scaled(like))),
            Unit::Scientific => format!("{scaled:.1e}"),
            Unit::Count => grouped(scaled),
            Unit::Seconds => format!("{scaled:.1}"),
        };
        text.replace('-', "−")
    }
}

/// Small amounts keep three digits.
fn decimals(value: f64) -> usize {
    match value.abs() {
        small if small > 0.0 && small < 0.1 => 4,
        small if small < 1.0 => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_unit_of_their_heading() {
        let show = |key, value| Metric::of(key).expect("it is a metric").show(Some(value));
        assert_eq!(show("average_accuracy", 0.91234), "91.23");
        assert_eq!(show("backward_transfer", -0.0123), "−1.23");
        assert_eq!(show("bytes_sent_per_agent", 1_234_567.0), "1.23");
        assert_eq!(show("bytes_sent_per_agent", 1234.0), "0.0012");
        assert_eq!(show("consensus_distance", 0.000_12), "1.2e−4");
        assert_eq!(show("agent_steps_per_second", 12_345.6), "12 346");
        assert_eq!(show("wall_seconds", f64::NAN), "–");
    }

    #[test]
    fn keys_are_told_apart() {
        let mut keys: Vec<_> = METRICS.iter().map(|metric| metric.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), METRICS.len());
    }
}
