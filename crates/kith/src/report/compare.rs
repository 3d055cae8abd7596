//! The tables of a report.

use super::study::{Group, Study};
use crate::metric::{Better, METRICS, Metric, Unit};
use crate::stats::Spread;
use crate::table::{Align, Cell, Table, Weight, dash};

/// A table with its words.
#[derive(Clone, Debug)]
pub(super) struct Titled {
    /// Part of a page's address and a table's label.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) caption: String,
    pub(super) table: Table,
}

/// Metrics that the comparison leaves out: they speak of the machine, or follow from others.
const LEFT_OUT: [&str; 5] =
    ["agent_steps_per_second", "wall_seconds", "bytes_sent_per_agent_full", "missed_exchanges", "communication_share"];

/// Metrics that somebody measured, of which the comparison speaks.
fn compared(study: &Study) -> Vec<&'static Metric> {
    let seen = |metric: &&Metric| {
        let spreads = study.groups.iter().filter_map(|group| study.spread(group, metric));
        // What is zero for everyone says nothing.
        spreads.into_iter().any(|spread| spread.mean != 0.0 || metric.unit == Unit::Percent)
    };
    METRICS.iter().filter(|metric| !LEFT_OUT.contains(&metric.key)).filter(seen).collect()
}

/// Mean ± standard deviation, in the unit of the metric.
fn cell(metric: &Metric, spread: Option<Spread>, best: Option<f64>) -> Cell {
    let Some(spread) = spread else { return dash().into() };
    let text = match spread.deviation {
        Some(deviation) => format!("{} ± {}", metric.show(Some(spread.mean)), metric.show_like(deviation, spread.mean)),
        None => metric.show(Some(spread.mean)),
    };
    // What looks equal is equally good.
    let is_best = best.is_some_and(|best| metric.show(Some(best)) == metric.show(Some(spread.mean)));
    Cell { text, weight: if is_best { Weight::Best } else { Weight::Plain } }
}

/// The best mean; none where nobody is better than anybody.
fn best(study: &Study, metric: &Metric) -> Option<f64> {
    let means: Vec<f64> =
        study.groups.iter().filter_map(|group| study.spread(group, metric)).map(|spread| spread.mean).collect();
    let (low, high) = means.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), m| (l.min(*m), h.max(*m)));
    match metric.better {
        Better::Higher if means.len() > 1 && high > low => Some(high),
        Better::Lower if means.len() > 1 && high > low => Some(low),
        _ => None,
    }
}

/// Every arm over its seeds.
pub(super) fn overview(study: &Study) -> Titled {
    let metrics = compared(study);
    let mut heading = vec![("arm", Align::Left), ("seeds", Align::Right)];
    heading.extend(metrics.iter().map(|metric| (metric.title, Align::Right)));
    let mut table = Table::new(&heading);
    let bests: Vec<Option<f64>> = metrics.iter().map(|metric| best(study, metric)).collect();
    for group in &study.groups {
        let mut cells: Vec<Cell> = vec![group.label.clone().into(), group.trials.len().to_string().into()];
        let of = metrics.iter().zip(&bests);
        cells.extend(of.map(|(metric, best)| cell(metric, study.spread(group, metric), *best)));
        table.row(cells);
    }
    let seeds = study.groups.iter().any(|group| group.trials.len() > 1);
    let mut caption =
        if seeds { "Mean ± sample standard deviation over seeds." } else { "One seed an arm." }.to_owned();
    if study.groups.len() > 1 {
        caption += " The best of each column is bold.";
    }
    Titled { name: "comparison", title: "Comparison", caption, table }
}

/// What a pair of groups differs by, seed by seed.
pub(super) struct Difference<'a> {
    pub(super) group: &'a Group,
    pub(super) metric: &'static Metric,
    pub(super) spread: Spread,
}

/// Metrics of which differences are shown.
const PAIRED: [&str; 6] = [
    "average_accuracy",
    "learning_accuracy",
    "backward_transfer",
    "forward_transfer",
    "forgetting",
    "bytes_sent_per_agent",
];

/// Each group less the baseline, over the seeds that both have.
pub(super) fn differences<'a>(study: &'a Study, baseline: &Group) -> Vec<Difference<'a>> {
    let mut all = Vec::new();
    for group in study.groups.iter().filter(|group| group.label != baseline.label) {
        for metric in PAIRED.iter().filter_map(|key| Metric::of(key)) {
            let pairs = study.of(group).filter_map(|trial| {
                let other = study.of(baseline).find(|other| other.seed == trial.seed)?;
                Some(trial.numbers.get(metric.key)? - other.numbers.get(metric.key)?)
            });
            all.extend(Spread::of(pairs).map(|spread| Difference { group, metric, spread }));
        }
    }
    all
}

/// The differences as a table; none with fewer than two groups.
pub(super) fn paired(study: &Study, baseline: &Group) -> Option<Titled> {
    let differences = differences(study, baseline);
    let mut table = Table::new(&[
        ("arm", Align::Left),
        ("what", Align::Left),
        ("pairs", Align::Right),
        ("difference", Align::Right),
        ("95 % interval", Align::Right),
    ]);
    for Difference { group, metric, spread } in &differences {
        let signed = |value: f64| {
            let text = metric.show(Some(value));
            if value > 0.0 { format!("+{text}") } else { text }
        };
        let interval = spread
            .half_width()
            .map_or_else(dash, |half| format!("{} to {}", signed(spread.mean - half), signed(spread.mean + half)));
        // An interval that leaves zero out is what a reader looks for.
        let clear = spread.half_width().is_some_and(|half| spread.mean.abs() > half);
        let weight = if clear { Weight::Best } else { Weight::Plain };
        table.row([
            group.label.clone().into(),
            metric.name.to_owned().into(),
            spread.count.to_string().into(),
            Cell { text: signed(spread.mean), weight },
            Cell { text: interval, weight },
        ]);
    }
    let caption = format!(
        "Each arm less {}, seed by seed; interval of the mean difference by Student's t, bold where it leaves out zero.",
        baseline.label
    );
    (!differences.is_empty()).then_some(Titled { name: "differences", title: "Paired differences", caption, table })
}

/// Keys on which the arms differ; none with one arm.
pub(super) fn settings(study: &Study) -> Option<Titled> {
    let of = |group: &Group| study.of(group).next().map(|trial| &trial.settings);
    let settings: Vec<_> = study.groups.iter().filter_map(of).collect();
    let keys = super::settings::differing(&settings);
    let mut heading = vec![("key", Align::Left)];
    heading.extend(study.groups.iter().map(|group| (group.label.as_str(), Align::Left)));
    let mut table = Table::new(&heading);
    for key in &keys {
        let values = settings.iter().map(|settings| settings.get(key).map_or_else(dash, str::to_owned));
        table.row(std::iter::once(key.clone()).chain(values));
    }
    let caption = "Settings in which the arms differ; all others are the same.".to_owned();
    (!keys.is_empty()).then_some(Titled { name: "settings", title: "What differs", caption, table })
}

/// Every arm of every run.
pub(super) fn runs(study: &Study) -> Titled {
    let speeds = ["agent_steps_per_second", "wall_seconds"].map(Metric::of);
    let accuracy = Metric::of("average_accuracy");
    let mut table = Table::new(&[
        ("run", Align::Left),
        ("arm", Align::Left),
        ("seed", Align::Right),
        ("state", Align::Left),
        ("accuracy %", Align::Right),
        ("steps/s", Align::Right),
        ("wall s", Align::Right),
        ("parameters", Align::Left),
    ]);
    for trial in &study.trials {
        let run = &study.runs[trial.run];
        let name =
            run.path.file_name().map_or_else(|| run.path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let number = |metric: Option<&Metric>| {
            metric.map_or_else(dash, |metric| metric.show(trial.numbers.get(metric.key).copied()))
        };
        table.row([
            name,
            trial.arm.clone(),
            trial.seed.to_string(),
            trial.state.as_str().to_owned(),
            number(accuracy),
            number(speeds[0]),
            number(speeds[1]),
            trial.digest.chars().take(12).collect(),
        ]);
    }
    let caption = "Every run that was read. Equal parameters mean equal bits.".to_owned();
    Titled { name: "runs", title: "Runs", caption, table }
}
