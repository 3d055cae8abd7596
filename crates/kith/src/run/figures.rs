//! The two figures of a run.

use super::plot::{Figure, Line, Panel};
use super::recorder::Curve;
use crate::summary::ArmSummary;

/// What the figures show of one arm.
pub(super) struct Series {
    arm: String,
    curve: Curve,
    /// After each task: megabytes that an agent sent until then, mean accuracy over the tasks so far.
    against_bytes: Vec<(f64, f64)>,
}

impl Series {
    pub(super) fn new(summary: &ArmSummary, curve: Curve) -> Self {
        let mut sent = 0.0;
        let mut against_bytes = Vec::new();
        for (task, row) in summary.accuracy_matrix.iter().enumerate() {
            sent += summary.bytes_sent_per_task.get(task).copied().unwrap_or(0.0);
            if let Some(accuracy) = crate::summary::average_accuracy(std::slice::from_ref(row)) {
                against_bytes.push((sent / 1e6, accuracy));
            }
        }
        Self { arm: summary.arm.clone(), curve, against_bytes }
    }
}

/// Accuracy on every task as training goes on: a panel an arm, a line a task, dotted where a task ends.
pub(super) fn accuracy_over_time(series: &[Series]) -> String {
    let panels = series.iter().map(|series| Panel {
        title: series.arm.clone(),
        lines: series
            .curve
            .tasks()
            .into_iter()
            .map(|task| Line { name: format!("task {}", task + 1), points: series.curve.of(task) })
            .collect(),
        marks: series.curve.task_ends(),
    });
    Figure { x_title: "round", y_title: "test accuracy, mean over agents", panels: panels.collect() }.render()
}

/// Average accuracy after each task against what it cost to send: a line an arm.
pub(super) fn accuracy_against_bytes(series: &[Series]) -> String {
    let lines = series.iter().map(|series| Line { name: series.arm.clone(), points: series.against_bytes.clone() });
    let panel = Panel { title: "after every task".to_owned(), lines: lines.collect(), marks: Vec::new() };
    Figure {
        x_title: "megabytes sent per agent so far",
        y_title: "average accuracy over tasks so far",
        panels: vec![panel],
    }
    .render()
}
