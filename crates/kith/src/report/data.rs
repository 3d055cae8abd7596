//! The numbers behind a report, in columns: as CSV and, with its feature, as Parquet.

use std::io::Write;

use super::compare;
use super::study::{Group, Study};
use crate::metric::METRICS;
use crate::stats::Spread;

/// A column of equal values' kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Column {
    Text(Vec<String>),
    Integer(Vec<Option<i64>>),
    Number(Vec<Option<f64>>),
}

/// A table of columns with names; all columns are of one length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    /// Name of its file.
    pub(super) name: &'static str,
    pub(super) columns: Vec<(&'static str, Column)>,
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Integer(values) => values.len(),
            Self::Number(values) => values.len(),
        }
    }

    fn write(&self, row: usize, out: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::Text(values) => out.write_all(quoted(&values[row]).as_bytes()),
            Self::Integer(values) => values[row].map_or(Ok(()), |value| write!(out, "{value}")),
            // The shortest digits that read back to the same number.
            Self::Number(values) => {
                values[row].filter(|v| v.is_finite()).map_or(Ok(()), |value| write!(out, "{value}"))
            }
        }
    }
}

/// A field of CSV (RFC 4180).
pub(crate) fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

impl Frame {
    pub(super) fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| column.len())
    }

    /// As CSV with a heading.
    pub(super) fn csv(&self, out: &mut impl Write) -> std::io::Result<()> {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        writeln!(out, "{}", names.join(","))?;
        for row in 0..self.rows() {
            for (place, (_, column)) in self.columns.iter().enumerate() {
                if place > 0 {
                    out.write_all(b",")?;
                }
                column.write(row, out)?;
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// All frames of a report but its events.
pub(super) fn frames(study: &Study, baseline: &Group) -> Vec<Frame> {
    vec![comparison(study), differences(study, baseline), trials(study), accuracy(study)]
}

/// Mean and deviation of every metric of every group, in the units of `summary.json`.
fn comparison(study: &Study) -> Frame {
    let rows = study.groups.iter().flat_map(|group| METRICS.iter().map(move |metric| (group, metric)));
    let rows: Vec<_> =
        rows.filter_map(|(group, metric)| Some((&group.label, metric.key, study.spread(group, metric)?))).collect();
    Frame {
        name: "comparison",
        columns: vec![
            ("arm", Column::Text(rows.iter().map(|(label, ..)| (*label).clone()).collect())),
            ("key", Column::Text(rows.iter().map(|(_, key, _)| (*key).to_owned()).collect())),
            ("seeds", Column::Integer(rows.iter().map(|(.., spread)| Some(spread.count as i64)).collect())),
            ("mean", Column::Number(rows.iter().map(|(.., spread)| Some(spread.mean)).collect())),
            ("standard_deviation", Column::Number(rows.iter().map(|(.., spread)| spread.deviation).collect())),
        ],
    }
}

fn differences(study: &Study, baseline: &Group) -> Frame {
    let rows = compare::differences(study, baseline);
    let bound =
        |side: f64| rows.iter().map(|row| row.spread.half_width().map(|half| row.spread.mean + side * half)).collect();
    let spread =
        |value: fn(&Spread) -> Option<f64>| Column::Number(rows.iter().map(|row| value(&row.spread)).collect());
    Frame {
        name: "differences",
        columns: vec![
            ("arm", Column::Text(rows.iter().map(|row| row.group.label.clone()).collect())),
            ("baseline", Column::Text(rows.iter().map(|_| baseline.label.clone()).collect())),
            ("key", Column::Text(rows.iter().map(|row| row.metric.key.to_owned()).collect())),
            ("pairs", Column::Integer(rows.iter().map(|row| Some(row.spread.count as i64)).collect())),
            ("mean", spread(|spread| Some(spread.mean))),
            ("standard_deviation", spread(|spread| spread.deviation)),
            ("low_95", Column::Number(bound(-1.0))),
            ("high_95", Column::Number(bound(1.0))),
        ],
    }
}

/// A row an arm of a run, with every number of its summary that tables know.
fn trials(study: &Study) -> Frame {
    let all = &study.trials;
    let label = |index: usize| {
        let group = study.groups.iter().find(|group| group.trials.contains(&index));
        group.map_or_else(String::new, |group| group.label.clone())
    };
    let mut columns = vec![
        ("run", Column::Text(all.iter().map(|trial| study.runs[trial.run].path.display().to_string()).collect())),
        ("experiment", Column::Text(all.iter().map(|trial| study.runs[trial.run].experiment.clone()).collect())),
        ("arm", Column::Text(all.iter().map(|trial| trial.arm.clone()).collect())),
        ("group", Column::Text((0..all.len()).map(label).collect())),
        ("seed", Column::Integer(all.iter().map(|trial| i64::try_from(trial.seed).ok()).collect())),
        ("state", Column::Text(all.iter().map(|trial| trial.state.as_str().to_owned()).collect())),
    ];
    for metric in &METRICS {
        let values: Vec<Option<f64>> = all.iter().map(|trial| trial.numbers.get(metric.key).copied()).collect();
        if values.iter().any(Option::is_some) {
            columns.push((metric.key, Column::Number(values)));
        }
    }
    columns.push(("parameter_digest", Column::Text(all.iter().map(|trial| trial.digest.clone()).collect())));
    Frame { name: "runs", columns }
}

/// The accuracy matrix of every arm of every run, a cell a row.
fn accuracy(study: &Study) -> Frame {
    let (mut run, mut arm, mut seed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut after, mut on, mut value) = (Vec::new(), Vec::new(), Vec::new());
    for trial in &study.trials {
        for (t, row) in trial.matrix.iter().enumerate() {
            for (j, accuracy) in row.iter().enumerate() {
                run.push(study.runs[trial.run].path.display().to_string());
                arm.push(trial.arm.clone());
                seed.push(i64::try_from(trial.seed).ok());
                after.push(Some(t as i64));
                on.push(Some(j as i64));
                value.push(Some(*accuracy));
            }
        }
    }
    Frame {
        name: "accuracy",
        columns: vec![
            ("run", Column::Text(run)),
            ("arm", Column::Text(arm)),
            ("seed", Column::Integer(seed)),
            ("after_task", Column::Integer(after)),
            ("on_task", Column::Integer(on)),
            ("accuracy", Column::Number(value)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be_and_missing_values_are_empty() {
        let frame = Frame {
            name: "t",
            columns: vec![
                ("a", Column::Text(vec!["x, \"y\"".into(), "z".into()])),
                ("b", Column::Number(vec![Some(0.1), Some(f64::NAN)])),
                ("c", Column::Integer(vec![None, Some(-3)])),
            ],
        };
        let mut text = Vec::new();
        frame.csv(&mut text).expect("memory takes it");
        assert_eq!(String::from_utf8(text).expect("text"), "a,b,c\n\"x, \"\"y\"\"\",0.1,\nz,,-3\n");
    }
}
