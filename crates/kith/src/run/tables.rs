//! The tables at the end of a run.

use super::{Report, Resumable};
use crate::config::FileExpectations;
use crate::metric::Metric;
use crate::summary::ArmSummary;
use crate::table::{Align, Table, dash, megabytes, percent};

pub(super) fn render(report: &Report) -> String {
    let arms = &report.summary.arms;
    let mut text = String::new();
    if !arms.is_empty() {
        text += &overview(arms);
    }
    for arm in arms {
        text += &accuracies(arm);
        text += &memory(arm);
    }
    text += &expectations(report);
    if report.summary.stopped {
        text += "\nstopped before the end: numbers are of what was done until then\n";
        if report.resumable == Resumable::Yes {
            text += "to go on, add --resume and the directory to the same command\n";
        }
    }
    if !report.lost.is_empty() {
        text += "\nnot every process came to its end: numbers are of what the others did\n";
    }
    text += &format!("\n{}\n", report.directory.display());
    text
}

/// Metrics of the overview, as far as somebody measured them.
const OVERVIEW: [&str; 12] = [
    "average_accuracy",
    "average_model_accuracy",
    "learning_accuracy",
    "backward_transfer",
    "forward_transfer",
    "forgetting",
    "bytes_sent_per_agent",
    "bytes_sent_per_agent_full",
    "compression_ratio",
    "consensus_distance",
    "agent_steps_per_second",
    "wall_seconds",
];

/// The arms' numbers, a row an arm.
pub(crate) fn overview(arms: &[ArmSummary]) -> String {
    let numbers: Vec<serde_json::Value> =
        arms.iter().map(|arm| serde_json::to_value(arm).unwrap_or_default()).collect();
    let measured = |metric: &&Metric| numbers.iter().any(|arm| arm[metric.key].is_number());
    let metrics: Vec<&Metric> = OVERVIEW.iter().filter_map(|key| Metric::of(key)).filter(measured).collect();
    let mut heading = vec![("arm", Align::Left)];
    heading.extend(metrics.iter().map(|metric| (metric.title, Align::Right)));
    let mut table = Table::new(&heading);
    for (arm, numbers) in arms.iter().zip(&numbers) {
        let cells = metrics.iter().map(|metric| metric.show(numbers[metric.key].as_f64()));
        table.row(std::iter::once(arm.arm.clone()).chain(cells));
    }
    table.render()
}

/// Row: after this task. Column: on this task.
fn accuracies(arm: &ArmSummary) -> String {
    if arm.accuracy_matrix.is_empty() {
        return String::new();
    }
    let names: Vec<String> = (1..=arm.accuracy_matrix.len()).map(|task| format!("task {task}")).collect();
    let mut heading = vec![("after", Align::Left)];
    heading.extend(names.iter().map(|name| (name.as_str(), Align::Right)));
    let mut table = Table::new(&heading);
    for (name, row) in names.iter().zip(&arm.accuracy_matrix) {
        let cells = row.iter().map(|accuracy| percent(Some(*accuracy)));
        table.row(std::iter::once(name.clone()).chain(cells));
    }
    format!("\n{}: accuracy, mean over {} agents\n{}", arm.arm, arm.agents, table.render())
}

fn memory(arm: &ArmSummary) -> String {
    if arm.basis_ranks.iter().all(Vec::is_empty) {
        return String::new();
    }
    let headings = [
        ("after", Align::Left),
        ("basis ranks", Align::Left),
        ("training MB", Align::Right),
        ("reduction", Align::Right),
        ("basis MB", Align::Right),
    ];
    let mut table = Table::new(&headings);
    for (task, ranks) in arm.basis_ranks.iter().enumerate() {
        let ranks: Vec<String> = ranks.iter().map(ToString::to_string).collect();
        let bytes = |values: &[f64]| values.get(task).map_or_else(dash, |bytes| megabytes(*bytes));
        let ratio = arm.compression_ratio_per_task.get(task).copied().flatten();
        table.row([
            format!("task {}", task + 1),
            ranks.join(" "),
            bytes(&arm.training_bytes_per_task),
            ratio.map_or_else(dash, |ratio| format!("{ratio:.2}×")),
            bytes(&arm.basis_bytes_per_task),
        ]);
    }
    format!("\n{}: memory and what an agent sent\n{}", arm.arm, table.render())
}

fn expectations(report: &Report) -> String {
    let note = match report.file_expectations {
        FileExpectations::Judged => "",
        FileExpectations::SetAside => "\nThe file's expectations are not judged: --set changed the experiment.\n",
    };
    if report.verdicts.is_empty() {
        return note.to_owned();
    }
    let headings = [("", Align::Left), ("arm", Align::Left), ("expected", Align::Left), ("measured", Align::Right)];
    let mut table = Table::new(&headings);
    for verdict in &report.verdicts {
        let bounds = match (verdict.bounds.min, verdict.bounds.max) {
            (Some(min), Some(max)) => format!("{min} ≤ {} ≤ {max}", verdict.key),
            (Some(min), None) => format!("{} ≥ {min}", verdict.key),
            (None, Some(max)) => format!("{} ≤ {max}", verdict.key),
            (None, None) => verdict.key.clone(),
        };
        let mark = if verdict.holds() { "holds" } else { "FAILS" };
        let measured = verdict.actual.map_or_else(dash, |actual| format!("{actual:.6}"));
        table.row([mark.to_owned(), verdict.arm.clone(), bounds, measured]);
    }
    format!("\nexpectations\n{}{note}", table.render())
}
