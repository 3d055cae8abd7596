//! `kith schedule preview`: what every schedule of an experiment gives, epoch by epoch, before anything is trained.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kith_core::Position;
use kith_data::SearchPath;
use kith_method::ExchangeKind;
use serde::Serialize;

use super::check::Length;
use super::{ExperimentArgs, Failure, print, print_json, say};
use crate::compose::{Parts, RunError};
use crate::config::{Loaded, ResolvedArm};
use crate::plot::{Chart, Ink, Line, Panel, Point, Vertical};
use crate::table::{Align, Table, dash};

const EXAMPLES: &str = "\
Examples:
  kith schedule preview experiments/averaging-rate-schedules.toml
  kith schedule preview experiments/averaging-rate-schedules.toml --arm exponential --svg rates.svg
  kith schedule preview experiments/quickstart.toml --set train.learning_rate='{ kind = \"cosine\", start = 0.1, end = 0.0 }'

Shows learning rate, averaging rate, perturbation radius and energy threshold at the first step of every epoch. Trains nothing, but
reads the data: how many steps an epoch has follows from the shards.";

/// Rows of a table; of more epochs some are left out.
const ROWS: usize = 24;
/// Cells of a line of bars.
const BARS: usize = 48;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ScheduleArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every schedule of an experiment, epoch by epoch
    Preview(PreviewArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct PreviewArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON: every epoch
    #[arg(long)]
    json: bool,
    /// Also write a drawing
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What `schedule preview --json` prints.
#[derive(Serialize)]
struct Preview {
    experiment: String,
    arms: Vec<ArmPreview>,
}

#[derive(Serialize)]
struct ArmPreview {
    arm: String,
    epochs: Vec<Epoch>,
}

/// Values at the first step of an epoch; none of what the arm does not have.
#[derive(Clone, Serialize)]
struct Epoch {
    task: usize,
    /// Within the task, from 0.
    epoch: u64,
    step: u64,
    learning_rate: f64,
    averaging_rate: Option<f64>,
    radius: Option<f64>,
    /// Of the memory's growth after the task, a value a layer where layers differ.
    energy_threshold: Vec<f64>,
}

/// A value that is shown: its heading, and how to read it.
type Shown = (&'static str, fn(&Epoch) -> Option<f64>);

const SHOWN: [Shown; 4] = [
    ("learning rate", |epoch| Some(epoch.learning_rate)),
    ("averaging rate", |epoch| epoch.averaging_rate),
    ("radius", |epoch| epoch.radius),
    ("energy threshold", |epoch| epoch.energy_threshold.first().copied()),
];

pub(super) fn run(arguments: &ScheduleArgs) -> Result<ExitCode, Failure> {
    let Command::Preview(arguments) = &arguments.command;
    let loaded = arguments.experiment.load()?;
    let search = SearchPath::standard();
    let arms: Result<Vec<_>, Failure> =
        loaded.experiment.arms.iter().map(|arm| preview(&loaded, arm, &search)).collect();
    let preview = Preview { experiment: loaded.experiment.name.clone(), arms: arms? };
    if let Some(path) = &arguments.svg {
        std::fs::write(path, chart(&preview.arms).draw(Ink::Paper).document())
            .map_err(|error| Failure { text: format!("cannot write {}: {error}", path.display()) })?;
        say(&format!("drawn to {}\n", path.display()));
    }
    if arguments.json {
        print_json(&preview)?;
    } else {
        preview.arms.iter().try_for_each(|arm| print(&render(arm)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn preview(loaded: &Loaded, arm: &ResolvedArm, search: &SearchPath) -> Result<ArmPreview, Failure> {
    let parts = Parts::of(arm, search).map_err(|error| match error {
        RunError::Shape(problem) => Failure::new(&loaded.explain(&arm.name, &problem)),
        error => Failure { text: format!("arm `{}`: {error}", arm.name) },
    })?;
    let tasks = parts.scenario.tasks.len();
    let layers = parts.network.layout().map_err(|error| Failure::new(&error))?.projected().count();
    let of_task = |(task, data): (usize, &kith_data::TaskData)| {
        let Length { per_epoch, rounds, steps } = Length::of(arm, data);
        let epochs = steps.div_ceil(per_epoch.max(1)).max(1);
        let at = move |epoch: u64| {
            let step = epoch * per_epoch;
            let round = step / arm.train.local_steps.max(1);
            let totals = [steps, rounds, epochs, tasks as u64];
            epoch_at(arm, layers, &Position { step, round, epoch, task: task as u64, totals })
        };
        (0..epochs).map(at)
    };
    let epochs = parts.scenario.tasks.iter().enumerate().flat_map(of_task).collect();
    Ok(ArmPreview { arm: arm.name.clone(), epochs })
}

fn epoch_at(arm: &ResolvedArm, layers: usize, at: &Position) -> Epoch {
    let exchanges = arm.exchange.kind != ExchangeKind::None;
    let threshold = |layer| {
        let memory = arm.memory.as_ref()?;
        let first = memory.energy_threshold.get(layer)?;
        Some((first + memory.energy_increment * at.task as f64).min(1.0))
    };
    let mut energy_threshold: Vec<f64> = (0..layers).filter_map(threshold).collect();
    if energy_threshold.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits()) {
        energy_threshold.truncate(1);
    }
    Epoch {
        task: at.task as usize,
        epoch: at.epoch,
        step: at.step,
        learning_rate: arm.train.learning_rate.at(at),
        averaging_rate: exchanges.then(|| arm.exchange.averaging_rate.at(at)),
        radius: arm.oracle.radius().map(|radius| radius.at(at)),
        energy_threshold,
    }
}

/// One panel a kind of value that any arm has, one line an arm.
fn chart(arms: &[ArmPreview]) -> Chart {
    let panel = |(title, read): Shown| {
        let line = |(series, arm): (usize, &ArmPreview)| {
            let points = arm.epochs.iter().enumerate();
            let points: Vec<Point> =
                points.filter_map(|(place, epoch)| Some(Point::new(place as f64 + 1.0, read(epoch)?))).collect();
            (!points.is_empty()).then(|| Line { name: arm.arm.clone(), series, points })
        };
        let lines: Vec<Line> = arms.iter().enumerate().filter_map(line).collect();
        (!lines.is_empty()).then(|| Panel {
            title: title.to_owned(),
            lines,
            marks: Vec::new(),
            y_title: Some(title.to_owned()),
        })
    };
    Chart {
        x_title: "epoch, all tasks".to_owned(),
        y_title: String::new(),
        vertical: Vertical::FromZero,
        panels: SHOWN.into_iter().filter_map(panel).collect(),
    }
}

fn render(arm: &ArmPreview) -> String {
    let mut text = format!("── arm {} ──\n", arm.arm);
    let columns: Vec<Shown> =
        SHOWN.into_iter().filter(|(_, read)| arm.epochs.iter().any(|epoch| read(epoch).is_some())).collect();
    for (name, read) in &columns {
        let values: Vec<f64> = arm.epochs.iter().filter_map(read).collect();
        let (low, high) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
        let said = if low < high { format!("{} to {}", number(low), number(high)) } else { number(low) };
        text.push_str(&format!("{name:<18}{}  {said}\n", bars(&values)));
    }
    let heads: Vec<(&str, Align)> = [("task", Align::Right), ("epoch", Align::Right), ("step", Align::Right)]
        .into_iter()
        .chain(columns.iter().map(|(name, _)| (*name, Align::Right)))
        .collect();
    let mut table = Table::new(&heads);
    for place in chosen(arm.epochs.len(), ROWS) {
        let epoch = &arm.epochs[place];
        let places = [(epoch.task + 1).to_string(), (epoch.epoch + 1).to_string(), epoch.step.to_string()];
        let values = columns.iter().map(|(name, read)| match *name {
            "energy threshold" => epoch.energy_threshold.iter().copied().map(number).collect::<Vec<_>>().join(" "),
            _ => read(epoch).map_or_else(dash, number),
        });
        table.row(places.into_iter().chain(values));
    }
    text + "\n" + &table.render() + "\n"
}

/// Up to `most` of `count` places, evenly, the first and the last among them.
fn chosen(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let shown = count.min(most);
    (0..shown).map(move |place| if shown < 2 { 0 } else { place * (count - 1) / (shown - 1) })
}

/// A line of bars from zero to the largest value.
fn bars(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = values.iter().copied().fold(0.0, f64::max);
    let bar = |place: usize| {
        let share = if largest > 0.0 { values[place] / largest } else { 0.0 };
        LEVELS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1]
    };
    chosen(values.len(), BARS).map(bar).collect()
}

/// A rate with four digits that count.
fn number(value: f64) -> String {
    let rounded = format!("{value:.3e}").parse().unwrap_or(value);
    if rounded != 0.0 && rounded.abs() < 1e-4 { format!("{rounded:e}") } else { format!("{rounded}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_epochs_a_few_are_shown_with_both_ends() {
        assert_eq!(chosen(3, 24).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(chosen(101, 5).collect::<Vec<_>>(), [0, 25, 50, 75, 100]);
        assert_eq!((chosen(1, 5).count(), chosen(0, 5).count()), (1, 0));
    }

    #[test]
    fn bars_go_from_nothing_to_the_largest_value() {
        assert_eq!(bars(&[0.0, 0.5, 1.0]), "▁▄█");
        assert_eq!(bars(&[0.2, 0.2]), "██");
    }

    #[test]
    fn rates_have_four_digits_that_count() {
        assert_eq!([0.1, 0.090_909_09, 0.000_01, 0.0, 1.0].map(number), ["0.1", "0.09091", "1e-5", "0", "1"]);
    }
}
