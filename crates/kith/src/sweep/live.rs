//! How far a sweep is: a live table on a terminal, a line a run elsewhere. On stderr.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::config::PlannedRun;
use crate::run::{ProgressLine, Talk};
use crate::summary::ArmSummary;
use crate::table::{percent, seconds};

/// Lines of a log while no run ends.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Steps of a run's bar.
const STEPS: u64 = 1000;

/// How a run ended.
pub(super) enum Settled {
    Done(Box<ArmSummary>),
    Failed(String),
    Cut,
}

/// What is shown of a sweep.
pub(super) struct Live {
    kind: Kind,
    /// This process's runs.
    own: usize,
    done: usize,
    failed: usize,
    cut: usize,
    best: Option<(f64, String)>,
    /// By slot: share of the run that is done.
    shares: Vec<Option<f64>>,
    /// Runs done by this process since it began.
    worked: f64,
    began: Instant,
    last: Instant,
    elsewhere: usize,
}

enum Kind {
    Bars { head: ProgressBar, slots: Vec<ProgressBar>, best: ProgressBar },
    Lines,
    Nothing,
}

impl Live {
    pub(super) fn new(talk: Talk, own: usize, slots: usize) -> Self {
        let kind = match talk {
            Talk::Quiet | Talk::Json => Kind::Nothing,
            Talk::Progress if std::io::stderr().is_terminal() => bars(own, slots),
            Talk::Progress => Kind::Lines,
        };
        let now = Instant::now();
        Self {
            kind,
            own,
            done: 0,
            failed: 0,
            cut: 0,
            best: None,
            shares: vec![None; slots],
            worked: 0.0,
            began: now,
            last: now,
            elsewhere: 0,
        }
    }

    /// A run that was done before.
    pub(super) fn found(&mut self, summary: &Option<Box<ArmSummary>>, run: &PlannedRun) {
        self.done += 1;
        if let Some(summary) = summary {
            self.consider(summary, run);
        }
    }

    pub(super) fn found_failed(&mut self) {
        self.failed += 1;
    }

    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
        if matches!(self.kind, Kind::Lines) && self.done + self.failed > 0 {
            eprintln!("{} of {} runs are done{}", self.done, self.own, failed_before(self.failed));
        }
        self.redraw();
    }

    pub(super) fn start(&mut self, slot: usize, run: &PlannedRun) {
        self.shares[slot] = Some(0.0);
        if let Kind::Bars { slots, .. } = &self.kind {
            slots[slot].reset();
            slots[slot].set_message(run.label());
        }
    }

    pub(super) fn progress(&mut self, slot: usize, line: ProgressLine) {
        let share = line.share.clamp(0.0, 1.0);
        self.shares[slot] = Some(share);
        if let Kind::Bars { slots, .. } = &self.kind {
            slots[slot].set_position((share * STEPS as f64) as u64);
            slots[slot].set_prefix(line.accuracy.map_or_else(String::new, |accuracy| percent(Some(accuracy))));
        }
    }

    /// A slot whose run is another process's.
    pub(super) fn free(&mut self, slot: usize) {
        self.shares[slot] = None;
        if let Kind::Bars { slots, .. } = &self.kind {
            slots[slot].set_message("");
            slots[slot].set_prefix("");
            slots[slot].set_position(0);
        }
    }

    /// How a run ended; `worked` where it was this process's, with its slot and its time.
    pub(super) fn settle(&mut self, run: &PlannedRun, settled: &Settled, worked: Option<(usize, Duration)>) {
        if let Some((slot, _)) = worked {
            self.free(slot);
        }
        match settled {
            Settled::Done(summary) => {
                self.done += 1;
                self.worked += if worked.is_some() { 1.0 } else { 0.0 };
                self.consider(summary, run);
            }
            Settled::Failed(_) => self.failed += 1,
            Settled::Cut => self.cut += 1,
        }
        let took = worked.map_or_else(|| "by another process".to_owned(), |(_, took)| seconds(took.as_secs_f64()));
        let what = match settled {
            Settled::Done(summary) => format!("accuracy {}, {took}", percent(summary.average_accuracy)),
            Settled::Failed(reason) => format!("FAILED: {}", reason.lines().next().unwrap_or("without a reason")),
            Settled::Cut => "stopped before its end".to_owned(),
        };
        let width = self.own.to_string().len();
        let line = format!("[{:width$}/{}] {}: {what}", self.done + self.failed, self.own, run.label());
        match (&self.kind, settled) {
            (Kind::Bars { head, .. }, Settled::Failed(_)) => head.println(line),
            (Kind::Lines, _) => eprintln!("{line}{}", self.left().map(|left| format!(", {left}")).unwrap_or_default()),
            _ => {}
        }
        self.last = Instant::now();
        self.redraw();
    }

    pub(super) fn tick(&mut self, now: Instant, elsewhere: usize) {
        self.elsewhere = elsewhere;
        match self.kind {
            Kind::Bars { .. } => self.redraw(),
            Kind::Lines if now - self.last >= LINE_EVERY => {
                self.last = now;
                eprintln!("{}", self.headline());
            }
            Kind::Lines | Kind::Nothing => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Kind::Bars { head, slots, best } = &self.kind {
            slots.iter().chain([best, head]).for_each(ProgressBar::finish_and_clear);
        }
    }

    fn consider(&mut self, summary: &ArmSummary, run: &PlannedRun) {
        let Some(accuracy) = summary.average_accuracy else { return };
        if self.best.as_ref().is_none_or(|(best, _)| accuracy > *best) {
            self.best = Some((accuracy, run.label()));
        }
    }

    /// `3 min 20 s left`, once there is something to tell from.
    fn left(&self) -> Option<String> {
        let under_way: f64 = self.shares.iter().flatten().sum();
        let worked = self.worked + under_way;
        let left = (self.own - (self.done + self.failed + self.cut).min(self.own)) as f64 - under_way;
        let elapsed = self.began.elapsed().as_secs_f64();
        (worked > 0.05 && elapsed > 0.5 && left > 0.0).then(|| format!("{} left", seconds(elapsed * left / worked)))
    }

    /// `7 of 24 runs done, 1 failed, 2 under way, 3 min 20 s left`.
    fn headline(&self) -> String {
        let mut parts = vec![format!("{} of {} runs done", self.done, self.own)];
        let under_way = self.shares.iter().flatten().count();
        let counts =
            [(self.failed, "failed"), (under_way, "under way"), (self.elsewhere, "under way in other processes")];
        parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        parts.extend(self.left());
        parts.join(", ")
    }

    fn redraw(&self) {
        let Kind::Bars { head, best, .. } = &self.kind else { return };
        head.set_position((self.done + self.failed) as u64);
        head.set_message(self.headline());
        if let Some((accuracy, label)) = &self.best {
            best.set_message(format!("best so far: {}, {label}", percent(Some(*accuracy))));
        }
    }
}

fn failed_before(failed: usize) -> String {
    if failed == 0 { String::new() } else { format!(", {failed} failed before (--retry runs them again)") }
}

fn bars(own: usize, slots: usize) -> Kind {
    let all = MultiProgress::new();
    let bar = |length: u64, template: &str| {
        let bar = all.add(ProgressBar::new(length));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━╌"));
        }
        bar
    };
    let head = bar(own as u64, "{bar:24.green/dim} {msg}");
    let slots = (0..slots).map(|_| bar(STEPS, "{bar:24.cyan/dim} {prefix:>9} {wide_msg}")).collect();
    let best = bar(1, "{msg:.bold}");
    Kind::Bars { head, slots, best }
}
