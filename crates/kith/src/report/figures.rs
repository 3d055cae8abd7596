//! The figures of results: accuracy, forgetting, bytes, agreement, memory, schedules.

use std::collections::BTreeMap;

use kith_core::Key;

use super::context;
use super::study::{Group, Study, Trial};
use crate::plot::{
    Bars, Cell, Chart, HeatMap, HeatPanel, Ink, Line, Network, Panel, Picture, Point, Timeline, Vertical,
};
use crate::stats::Spread;

/// What a figure is drawn with.
#[derive(Clone, Debug)]
pub(super) enum Art {
    Chart(Chart),
    Heat(HeatMap),
    Bars(Bars),
    Networks(Vec<Network>),
    Timelines(Vec<Timeline>),
}

/// A figure with its words.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// Part of a page's address and a file's name.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) caption: String,
    pub(super) art: Art,
}

impl Figure {
    /// The figure in this ink.
    pub(super) fn draw(&self, ink: Ink) -> Picture {
        let together = |pictures: Vec<Picture>| {
            let mut all = Picture { ink, tiles: Vec::new(), legend: Vec::new() };
            for picture in pictures {
                all.tiles.extend(picture.tiles);
                for entry in picture.legend {
                    if !all.legend.contains(&entry) {
                        all.legend.push(entry);
                    }
                }
            }
            all
        };
        match &self.art {
            Art::Chart(chart) => chart.draw(ink),
            Art::Heat(map) => map.draw(ink),
            Art::Bars(bars) => bars.draw(ink),
            Art::Networks(networks) => together(networks.iter().map(|network| network.draw(ink)).collect()),
            Art::Timelines(lines) => together(lines.iter().map(|line| line.draw(ink)).collect()),
        }
    }
}

/// All figures for which something was measured.
pub(super) fn all(study: &Study) -> Vec<Figure> {
    let all = [
        accuracy_over_tasks(study),
        accuracy_against_bytes(study),
        accuracy_matrix(study),
        accuracy_during_training(study),
        loss(study),
        consensus(study),
        basis_ranks(study),
        schedules(study),
        context::simulated_time(study),
        context::faults(study),
        context::graphs(study),
        context::labels(study),
    ];
    all.into_iter().flatten().collect()
}

/// What is said of bands, where there are any.
fn over_seeds(study: &Study) -> &'static str {
    if study.groups.iter().any(|group| group.trials.len() > 1) {
        " Lines are means over seeds, bands are one standard deviation."
    } else {
        ""
    }
}

/// The mean over trials at each place, with its spread. `x` gives the places of a trial's values.
fn mean_line(points: impl Iterator<Item = Vec<(f64, f64)>>) -> Vec<Point> {
    let mut at: Vec<Vec<(f64, f64)>> = Vec::new();
    for trial in points {
        for (place, point) in trial.into_iter().enumerate() {
            if at.len() <= place {
                at.push(Vec::new());
            }
            at[place].push(point);
        }
    }
    let point = |of: &Vec<(f64, f64)>| {
        let x = Spread::of(of.iter().map(|(x, _)| *x))?;
        let y = Spread::of(of.iter().map(|(_, y)| *y))?;
        Some(Point { x: x.mean, y: y.mean, spread: y.deviation.unwrap_or(0.0) })
    };
    at.iter().filter_map(point).collect()
}

/// A line a group, of values that stand at tasks 1, 2, ….
fn task_lines(study: &Study, values: impl Fn(&Trial) -> Vec<Option<f64>>) -> Vec<Line> {
    let of_trial = |trial: &Trial| {
        let numbered = (1_u32..).zip(values(trial));
        numbered.map(|(task, value)| (f64::from(task), value.unwrap_or(f64::NAN))).collect::<Vec<_>>()
    };
    lines(study, of_trial)
}

/// A line a group, each in its own colour.
fn lines(study: &Study, points: impl Fn(&Trial) -> Vec<(f64, f64)>) -> Vec<Line> {
    let line = |(series, group): (usize, &Group)| Line {
        name: group.label.clone(),
        series,
        points: mean_line(study.of(group).map(&points)),
    };
    study.groups.iter().enumerate().map(line).collect()
}

fn chart(x: &str, y: &str, vertical: Vertical, panels: Vec<Panel>) -> Option<Art> {
    let chart = Chart { x_title: x.to_owned(), y_title: y.to_owned(), vertical, panels };
    (!chart.is_empty()).then_some(Art::Chart(chart))
}

fn accuracy_over_tasks(study: &Study) -> Option<Figure> {
    let accuracy = task_lines(study, |trial| trial.accuracy_after().into_iter().map(Some).collect());
    let forgetting = task_lines(study, Trial::forgetting_after);
    let panel = |title: &str, y: &str, lines| Panel {
        title: title.to_owned(),
        lines,
        y_title: Some(y.to_owned()),
        ..Panel::default()
    };
    let mut panels = vec![panel("Average accuracy", "mean over tasks so far", accuracy)];
    if forgetting.iter().any(|line| !line.points.is_empty()) {
        panels.push(panel("Forgetting", "mean loss from the best", forgetting));
    }
    let art = chart("tasks learned", "", Vertical::FromZero, panels)?;
    let caption = format!("After each task, on all tasks learned so far.{}", over_seeds(study));
    Some(Figure { name: "accuracy-over-tasks", title: "Accuracy and forgetting over tasks", caption, art })
}

fn accuracy_against_bytes(study: &Study) -> Option<Figure> {
    let points = |trial: &Trial| {
        let measured = trial.accuracy_against_bytes().into_iter();
        measured.map(|(bytes, accuracy)| (bytes / 1e6, accuracy)).collect::<Vec<_>>()
    };
    let panel = Panel { lines: lines(study, points), ..Panel::default() };
    let art =
        chart("megabytes sent per agent so far", "average accuracy over tasks so far", Vertical::Share, vec![panel])?;
    let caption = format!(
        "What accuracy cost to reach: every byte counts, headers, consensus rounds and bases among them.{}",
        over_seeds(study)
    );
    Some(Figure { name: "accuracy-against-bytes", title: "Accuracy against bytes", caption, art })
}

/// More tasks than this make a map unreadable on a page.
const TASKS: usize = 40;

fn accuracy_matrix(study: &Study) -> Option<Figure> {
    let panel = |group: &Group| {
        let matrices: Vec<&Vec<Vec<f64>>> = study.of(group).map(|trial| &trial.matrix).collect();
        let tasks = matrices.iter().map(|matrix| matrix.len()).max().unwrap_or(0).min(TASKS);
        let cell = |t: usize, j: usize| {
            let values = matrices.iter().filter_map(|matrix| Some(*matrix.get(t)?.get(j)?));
            let spread = Spread::of(values)?;
            let deviation = spread.deviation.map_or_else(String::new, |d| format!(" ± {:.2}", d * 100.0));
            let percent = spread.mean * 100.0;
            Some(Cell {
                share: spread.mean,
                text: format!("{percent:.1}"),
                hint: format!("after task {}, on task {}: {percent:.2}{deviation} %", t + 1, j + 1),
            })
        };
        let rows = (0..tasks).map(|t| ((t + 1).to_string(), (0..=t).map(|j| cell(t, j)).collect()));
        let columns = (1..=tasks).map(|task| task.to_string()).collect();
        HeatPanel { title: group.label.clone(), columns, rows: rows.collect() }
    };
    let panels: Vec<HeatPanel> = study.groups.iter().map(panel).filter(|panel| !panel.rows.is_empty()).collect();
    let map = HeatMap { x_title: "tested on task".to_owned(), y_title: "after task".to_owned(), panels };
    let caption =
        "Test accuracy in percent, mean over agents and seeds. Down a column: what becomes of a task while others \
                   are learned."
            .to_owned();
    (!map.is_empty()).then_some(Figure {
        name: "accuracy-matrix",
        title: "Accuracy matrix",
        caption,
        art: Art::Heat(map),
    })
}

/// The points of one curve of a trial.
fn curve(trial: &Trial, key: Key, of: Option<u32>) -> Vec<(f64, f64)> {
    let moments = trial.curves.curve(key, of).into_iter().flat_map(|curve| curve.moments());
    moments.map(|moment| (moment.round as f64, moment.mean())).collect()
}

/// A mean over trials may be taken only of values at the same rounds: others have a point each round that all have.
fn curve_line(trials: &[&Trial], key: Key, of: Option<u32>) -> Vec<Point> {
    let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for trial in trials {
        for (round, value) in curve(trial, key, of) {
            at.entry(round as u64).or_default().push(value);
        }
    }
    let most = at.values().map(Vec::len).max().unwrap_or(0);
    let point = |(round, values): (u64, Vec<f64>)| {
        let spread = Spread::of(values.iter().copied().filter(|_| values.len() == most))?;
        Some(Point { x: round as f64, y: spread.mean, spread: spread.deviation.unwrap_or(0.0) })
    };
    at.into_iter().filter_map(point).collect()
}

fn accuracy_during_training(study: &Study) -> Option<Figure> {
    let panel = |group: &Group| {
        let trials: Vec<&Trial> = study.of(group).collect();
        let parts = trials.iter().flat_map(|trial| trial.curves.parts(Key::Accuracy)).filter_map(|(of, _)| of);
        let tasks: std::collections::BTreeSet<u32> = parts.collect();
        let line = |task: u32| Line {
            name: format!("task {}", task + 1),
            series: task as usize,
            points: curve_line(&trials, Key::Accuracy, Some(task)),
        };
        let marks = trials.first().map_or_else(Vec::new, |trial| trial.curves.task_ends());
        Panel { title: group.label.clone(), lines: tasks.into_iter().map(line).collect(), marks, y_title: None }
    };
    let panels = study.groups.iter().map(panel).filter(|panel| !panel.lines.is_empty()).collect();
    let art = chart("round", "test accuracy, mean over agents", Vertical::Share, panels)?;
    let caption = format!("A line a task; dotted where a task ends.{}", over_seeds(study));
    Some(Figure { name: "accuracy-over-time", title: "Accuracy during training", caption, art })
}

fn group_curves(study: &Study, key: Key) -> Vec<Line> {
    let line = |(series, group): (usize, &Group)| {
        let trials: Vec<&Trial> = study.of(group).collect();
        Line { name: group.label.clone(), series, points: curve_line(&trials, key, None) }
    };
    study.groups.iter().enumerate().map(line).collect()
}

fn loss(study: &Study) -> Option<Figure> {
    let lines = group_curves(study, Key::TrainLoss);
    let art = chart("round", "training loss", Vertical::FromZero, vec![Panel { lines, ..Panel::default() }])?;
    let caption = format!("Mean over agents and the steps of an epoch.{}", over_seeds(study));
    Some(Figure { name: "training-loss", title: "Training loss", caption, art })
}

fn consensus(study: &Study) -> Option<Figure> {
    let lines = task_lines(study, |trial| trial.consensus.iter().map(|distance| Some(*distance)).collect());
    let lines: Vec<Line> = lines
        .into_iter()
        .map(|mut line| {
            line.points.retain(|point| point.y > 0.0);
            line
        })
        .collect();
    let panel = Panel { lines, ..Panel::default() };
    let art = chart("tasks learned", "distance from the mean of agents", Vertical::Log, vec![panel])?;
    let caption = format!("Root mean square distance of agents' parameters from their mean.{}", over_seeds(study));
    Some(Figure { name: "consensus-distance", title: "Consensus distance", caption, art })
}

fn basis_ranks(study: &Study) -> Option<Figure> {
    let panel = |group: &Group| {
        let trials: Vec<&Trial> = study.of(group).collect();
        let layers = trials.iter().flat_map(|trial| &trial.ranks).map(Vec::len).max().unwrap_or(0);
        let name = |layer: usize| {
            let named = trials.iter().find_map(|trial| trial.setup.as_ref()?.layers.get(layer));
            named.cloned().unwrap_or_else(|| format!("layer {}", layer + 1))
        };
        let of_trial = |trial: &&Trial, layer: usize| {
            let ranks = (1_u32..).zip(&trial.ranks);
            ranks.map(|(task, row)| (f64::from(task), row.get(layer).copied().unwrap_or(f64::NAN))).collect()
        };
        let lines = (0..layers).map(|layer| Line {
            name: name(layer),
            series: layer,
            points: mean_line(trials.iter().map(|trial| of_trial(trial, layer))),
        });
        Panel { title: group.label.clone(), lines: lines.collect(), ..Panel::default() }
    };
    let panels = study.groups.iter().map(panel).filter(|panel| !panel.lines.is_empty()).collect();
    let art = chart("tasks learned", "rank of the basis", Vertical::FromZero, panels)?;
    let caption =
        format!("Directions of each layer's input space that the memory keeps for past tasks.{}", over_seeds(study));
    Some(Figure { name: "basis-ranks", title: "Basis ranks", caption, art })
}

fn schedules(study: &Study) -> Option<Figure> {
    let kinds = [
        (Key::LearningRate, "Learning rate"),
        (Key::AveragingRate, "Averaging rate"),
        (Key::PerturbationRadius, "Perturbation radius"),
    ];
    let panel = |(key, title): (Key, &str)| {
        // Schedules do not depend on the seed.
        let line = |(series, group): (usize, &Group)| {
            let trial = study.of(group).next()?;
            Some(Line {
                name: group.label.clone(),
                series,
                points: steps(&curve(trial, key, None), trial.curves.rounds),
            })
        };
        let lines = study.groups.iter().enumerate().filter_map(line).collect();
        Panel { title: title.to_owned(), lines, y_title: Some(String::new()), ..Panel::default() }
    };
    let panels: Vec<Panel> = kinds.into_iter().map(panel).collect();
    let shown = panels.into_iter().filter(|panel| panel.lines.iter().any(|line| !line.points.is_empty()));
    let art = chart("round", "", Vertical::FromZero, shown.collect())?;
    let caption = "Rates as they were used, round by round.".to_owned();
    Some(Figure { name: "schedules", title: "Schedules", caption, art })
}

/// A value holds until the next one is written: a step stays a step.
fn steps(points: &[(f64, f64)], last: u64) -> Vec<Point> {
    let mut steps = Vec::with_capacity(2 * points.len() + 1);
    for (place, &(x, y)) in points.iter().enumerate() {
        steps.push(Point::new(x, y));
        let end = points.get(place + 1).map_or(last as f64, |next| next.0);
        if end - x > 1.0 {
            steps.push(Point::new(end - if place + 1 < points.len() { 1.0 } else { 0.0 }, y));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_does_not_move_is_drawn_to_the_end() {
        let drawn = |points: &[(f64, f64)], last| -> Vec<(f64, f64)> {
            steps(points, last).into_iter().map(|point| (point.x, point.y)).collect()
        };
        assert_eq!(drawn(&[(0.0, 0.1)], 100), [(0.0, 0.1), (100.0, 0.1)]);
        assert_eq!(drawn(&[(0.0, 0.1), (50.0, 0.2)], 100), [(0.0, 0.1), (49.0, 0.1), (50.0, 0.2), (100.0, 0.2)]);
        assert_eq!(drawn(&[(0.0, 0.1), (1.0, 0.2)], 1), [(0.0, 0.1), (1.0, 0.2)]);
    }

    #[test]
    fn a_mean_line_carries_the_deviation_of_its_trials() {
        let line = mean_line([vec![(1.0, 0.4), (2.0, 0.8)], vec![(1.0, 0.6)]].into_iter());
        assert_eq!(line.len(), 2);
        assert!((line[0].y - 0.5).abs() < 1e-12 && (line[0].spread - 0.02_f64.sqrt()).abs() < 1e-12);
        assert_eq!((line[1].y, line[1].spread), (0.8, 0.0));
    }
}
