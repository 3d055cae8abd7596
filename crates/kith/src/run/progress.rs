//! How far a run is: a bar on a terminal, now and then a line elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kith_sim::Progress;
use serde::{Deserialize, Serialize};

use crate::table::{grouped, percent, seconds};

/// Redraws of a bar.
const BAR_EVERY: Duration = Duration::from_millis(120);
/// Lines of a log.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where progress goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// To stderr: a bar if it is a terminal, lines if not.
    Progress,
    /// To stdout, as lines of JSON, for the process that started this one.
    Json,
    /// Nowhere.
    Quiet,
}

/// A line of [`Talk::Json`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ProgressLine {
    /// Share of rounds done.
    pub(crate) share: f64,
    /// The last accuracy measured.
    pub(crate) accuracy: Option<f64>,
}

/// The progress of one arm on stderr.
pub(crate) struct Display {
    arm: String,
    kind: Kind,
    /// When rounds began, and how many were done then: reading the data is no round.
    began: Option<(Instant, u64)>,
    last: Option<Instant>,
}

enum Kind {
    Bar(ProgressBar),
    Lines,
    Json,
    Nothing,
}

impl Display {
    pub(crate) fn new(arm: &str, talk: Talk) -> Self {
        let kind = match talk {
            Talk::Quiet => Kind::Nothing,
            Talk::Json => Kind::Json,
            Talk::Progress if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::new(1);
                if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {percent:>3} %  {msg}") {
                    bar.set_style(style.progress_chars("━━╌"));
                }
                bar.set_prefix(arm.to_owned());
                Kind::Bar(bar)
            }
            Talk::Progress => Kind::Lines,
        };
        Self { arm: arm.to_owned(), kind, began: None, last: None }
    }

    /// Whether it is time to show something again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let every = match self.kind {
            Kind::Bar(_) | Kind::Json => BAR_EVERY,
            Kind::Lines => LINE_EVERY,
            Kind::Nothing => return false,
        };
        self.last.is_none_or(|last| now - last >= every)
    }

    pub(crate) fn show(&mut self, progress: &Progress, training_seconds: f64, now: Instant, new_task: bool) {
        self.last = Some(now);
        let (began, before) = *self.began.get_or_insert((now, progress.rounds_done));
        let pace = Pace {
            rounds: progress.rounds_done - before.min(progress.rounds_done),
            seconds: (now - began).as_secs_f64(),
        };
        let text = describe(progress, training_seconds, pace);
        match &self.kind {
            Kind::Bar(bar) => {
                bar.set_length(progress.rounds.max(1));
                bar.set_position(progress.rounds_done);
                bar.set_message(text);
            }
            Kind::Lines => {
                let share = 100.0 * progress.rounds_done as f64 / progress.rounds.max(1) as f64;
                let mark = if new_task { "task begins, " } else { "" };
                eprintln!("{}: {mark}{share:.0} %, {text}", self.arm);
            }
            Kind::Json => {
                let share = progress.rounds_done as f64 / progress.rounds.max(1) as f64;
                let line = ProgressLine { share, accuracy: progress.accuracy };
                // Whoever started this process may be gone; that is seen elsewhere.
                let _ = serde_json::to_string(&line).map(|line| writeln!(std::io::stdout().lock(), "{line}"));
            }
            Kind::Nothing => {}
        }
    }

    /// Says things beside the progress, from any thread.
    pub(crate) fn voice(&self) -> Voice {
        match &self.kind {
            Kind::Bar(bar) => Voice::Beside(bar.clone()),
            Kind::Lines => Voice::Plain,
            Kind::Json | Kind::Nothing => Voice::Silent,
        }
    }

    pub(crate) fn finish(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

/// Says a line now and then, without harm to a bar.
#[derive(Clone)]
pub(crate) enum Voice {
    Beside(ProgressBar),
    Plain,
    Silent,
}

impl Voice {
    pub(crate) fn say(&self, text: &str) {
        match self {
            Self::Beside(bar) => bar.suspend(|| eprintln!("{text}")),
            Self::Plain => eprintln!("{text}"),
            Self::Silent => {}
        }
    }
}

/// Rounds done, and the real seconds that they took.
#[derive(Clone, Copy)]
struct Pace {
    rounds: u64,
    seconds: f64,
}

/// Task, epoch, accuracy, speed and the time left, as far as they are known.
fn describe(progress: &Progress, training_seconds: f64, pace: Pace) -> String {
    let mut parts = vec![format!("task {}/{}", progress.task + 1, progress.tasks)];
    if progress.epochs > 1 {
        parts.push(format!("epoch {}/{}", (progress.epoch + 1).min(progress.epochs), progress.epochs));
    }
    if progress.accuracy.is_some() {
        parts.push(format!("accuracy {}", percent(progress.accuracy)));
    }
    if progress.agent_steps > 0 && training_seconds > 0.05 {
        parts.push(format!("{} steps/s", grouped(progress.agent_steps as f64 / training_seconds)));
    }
    if pace.rounds > 0 && pace.seconds > 1.0 {
        let left = progress.rounds.saturating_sub(progress.rounds_done) as f64;
        parts.push(format!("{} left", seconds(pace.seconds * left / pace.rounds as f64)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_task_epoch_accuracy_speed_and_time_left() {
        let progress = Progress {
            task: 1,
            tasks: 5,
            epoch: 0,
            epochs: 3,
            rounds_done: 100,
            rounds: 400,
            agent_steps: 24_000,
            accuracy: Some(0.9142),
        };
        let text = describe(&progress, 2.0, Pace { rounds: 100, seconds: 4.0 });
        assert_eq!(text, "task 2/5, epoch 1/3, accuracy 91.42 %, 12 000 steps/s, 12.0 s left");
        assert_eq!(
            describe(&Progress { tasks: 1, ..Progress::default() }, 0.0, Pace { rounds: 0, seconds: 0.0 }),
            "task 1/1"
        );
    }
}
