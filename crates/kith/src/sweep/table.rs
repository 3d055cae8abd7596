//! The comparison at the end of a sweep: each arm and setting, mean ± standard deviation over seeds.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Outcome, RunState, RunStatus};
use crate::config::Setting;
use crate::runs::State;
use crate::stats::Spread;
use crate::summary::{NUMBERS, is_of_the_machine};
use crate::table::{Align, Table, dash};

/// One arm with one setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The arm.
    pub arm: String,
    /// What the sweep set.
    pub setting: Setting,
    /// Seeds that are done, in the order of the sweep.
    pub seeds: Vec<u64>,
    /// Runs of this row that the sweep has.
    pub planned: usize,
    /// Every number of the summary that does not depend on the machine, by key.
    pub numbers: BTreeMap<String, Spread>,
}

/// The rows, in the order of the sweep.
#[must_use]
pub fn rows(outcome: &Outcome) -> Vec<Row> {
    let mut groups: Vec<(&RunStatus, Vec<&RunStatus>)> = Vec::new();
    for run in &outcome.runs {
        match groups.iter_mut().find(|(first, _)| (&first.arm, &first.setting) == (&run.arm, &run.setting)) {
            Some((_, runs)) => runs.push(run),
            None => groups.push((run, vec![run])),
        }
    }
    groups.into_iter().map(|(first, runs)| row(first, &runs)).collect()
}

fn row(first: &RunStatus, runs: &[&RunStatus]) -> Row {
    let done: Vec<&&RunStatus> =
        runs.iter().filter(|run| run.state == RunState::Stored(State::Done) && run.summary.is_some()).collect();
    let values: Vec<serde_json::Value> =
        done.iter().map(|run| serde_json::to_value(&run.summary).unwrap_or_default()).collect();
    let spread = |key: &&str| {
        let numbers = values.iter().filter_map(|value| value.get(*key)?.as_f64());
        Some(((*key).to_owned(), Spread::of(numbers)?))
    };
    Row {
        arm: first.arm.clone(),
        setting: first.setting.clone(),
        seeds: done.iter().map(|run| run.seed).collect(),
        planned: runs.len(),
        numbers: NUMBERS.iter().filter(|key| **key != "seed" && !is_of_the_machine(key)).filter_map(spread).collect(),
    }
}

/// How a number is written.
#[derive(Clone, Copy)]
enum Form {
    /// Times a factor, with two digits behind the point.
    Times(f64),
    /// `1.2e-3`.
    Scientific,
}

/// A column: heading, key of the summary, form.
const COLUMNS: [(&str, &str, Form); 6] = [
    ("avg accuracy %", "average_accuracy", Form::Times(100.0)),
    ("backward %", "backward_transfer", Form::Times(100.0)),
    ("forgetting %", "forgetting", Form::Times(100.0)),
    ("MB/agent", "bytes_sent_per_agent", Form::Times(1e-6)),
    ("reduction ×", "compression_ratio", Form::Times(1.0)),
    ("consensus", "consensus_distance", Form::Scientific),
];

/// The comparison for a terminal. A column stands where a row has its number.
pub(crate) fn render(rows: &[Row]) -> String {
    let keys: BTreeSet<&String> = rows.iter().flat_map(|row| row.setting.keys()).collect();
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let short = |key: &str| {
        let alone = keys.iter().filter(|other| last(other) == last(key)).count() == 1;
        if alone { last(key) } else { key.to_owned() }
    };
    let columns: Vec<_> =
        COLUMNS.iter().filter(|(_, key, ..)| rows.iter().any(|row| row.numbers.contains_key(*key))).collect();
    let names: Vec<String> = keys.iter().map(|key| short(key)).collect();
    let mut heading = vec![("arm", Align::Left)];
    heading.extend(names.iter().map(|name| (name.as_str(), Align::Right)));
    heading.push(("seeds", Align::Right));
    heading.extend(columns.iter().map(|(name, ..)| (*name, Align::Right)));
    let mut table = Table::new(&heading);
    for row in rows {
        let mut cells = vec![row.arm.clone()];
        for key in &keys {
            let value = row.setting.get(*key);
            cells
                .push(value.map_or_else(dash, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
        let all = row.seeds.len() == row.planned;
        cells.push(if all { row.planned.to_string() } else { format!("{} of {}", row.seeds.len(), row.planned) });
        for (_, key, form) in &columns {
            cells.push(row.numbers.get(*key).map_or_else(dash, |spread| shown(*spread, *form)));
        }
        table.row(cells);
    }
    table.render()
}

/// `88.76 ± 0.31`.
fn shown(spread: Spread, form: Form) -> String {
    let number = |value: f64| match form {
        Form::Times(factor) => format!("{:.2}", value * factor),
        Form::Scientific => format!("{value:.1e}"),
    };
    spread
        .deviation
        .map_or_else(|| number(spread.mean), |deviation| format!("{} ± {}", number(spread.mean), number(deviation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_settings_by_their_last_key_where_that_is_enough() {
        let row = |setting: &[(&str, f64)], seeds: usize, accuracy: &[f64]| Row {
            arm: "codec".to_owned(),
            setting: setting.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect(),
            seeds: (0..seeds as u64).collect(),
            planned: 2,
            numbers: Spread::of(accuracy.iter().copied())
                .map(|spread| ("average_accuracy".to_owned(), spread))
                .into_iter()
                .collect(),
        };
        let rows = [
            row(&[("train.learning_rate", 0.05), ("a.count", 1.0), ("b.count", 2.0)], 2, &[0.5, 0.6]),
            row(&[("train.learning_rate", 0.1)], 0, &[]),
        ];
        let expected = "arm    a.count  b.count  learning_rate   seeds  avg accuracy %\n\
                        ─────  ───────  ───────  ─────────────  ──────  ──────────────\n\
                        codec      1.0      2.0           0.05       2    55.00 ± 7.07\n\
                        codec        –        –            0.1  0 of 2               –\n";
        assert_eq!(render(&rows), expected);
    }
}
