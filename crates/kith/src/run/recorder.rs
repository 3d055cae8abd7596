//! Watches a run: writes its events, times its phases, draws its progress.

use std::time::{Duration, Instant};

use kith_core::Event;
use kith_sim::{Observer, Phase, Progress};
use serde::Serialize;

use super::directory::Metrics;
use super::logs::Logs;
use super::process::{self, Interrupt};
use super::progress::Display;
use crate::summary::Measured;

/// How old what is in the files may be.
const FLUSH: Duration = Duration::from_secs(2);

/// The observer of one arm.
pub(crate) struct Recorder<'a> {
    arm: &'a str,
    metrics: &'a mut Metrics,
    logs: &'a mut Logs,
    display: Display,
    interrupt: Interrupt,
    started: Instant,
    flushed: Instant,
    phase: Option<(Phase, Instant)>,
    seconds: [Duration; 4],
    calls: u32,
    task: Option<usize>,
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    arm: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

const fn place(phase: Phase) -> usize {
    match phase {
        Phase::Train => 0,
        Phase::Consensus => 1,
        Phase::Evaluate => 2,
        Phase::Memory => 3,
    }
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(
        arm: &'a str,
        metrics: &'a mut Metrics,
        logs: &'a mut Logs,
        display: Display,
        interrupt: Interrupt,
    ) -> Self {
        process::reset_peak();
        logs.begin(arm);
        Self {
            arm,
            metrics,
            logs,
            display,
            interrupt,
            started: Instant::now(),
            flushed: Instant::now(),
            phase: None,
            seconds: [Duration::ZERO; 4],
            calls: 0,
            task: None,
        }
    }

    /// Seconds of training so far.
    fn training(&self, now: Instant) -> f64 {
        let under_way = match self.phase {
            Some((Phase::Train, since)) => now - since,
            _ => Duration::ZERO,
        };
        (self.seconds[place(Phase::Train)] + under_way).as_secs_f64()
    }

    fn end_phase(&mut self, now: Instant) {
        if let Some((phase, since)) = self.phase.take() {
            self.seconds[place(phase)] += now - since;
        }
    }

    /// Ends the arm: what a clock and the system said of it.
    pub(crate) fn finish(mut self) -> Measured {
        let now = Instant::now();
        self.end_phase(now);
        self.display.finish();
        let seconds = |phase| self.seconds[place(phase)].as_secs_f64();
        Measured {
            wall_seconds: (now - self.started).as_secs_f64(),
            train_seconds: seconds(Phase::Train),
            consensus_seconds: seconds(Phase::Consensus),
            evaluate_seconds: seconds(Phase::Evaluate),
            peak_rss_bytes: process::peak_rss_bytes(),
        }
    }
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event) {
        self.metrics.line(&Line { arm: self.arm, event });
        self.logs.event(self.arm, event);
    }

    fn phase(&mut self, phase: Phase) {
        let now = Instant::now();
        self.end_phase(now);
        self.phase = Some((phase, now));
    }

    fn progress(&mut self, progress: &Progress) {
        // Rounds of a small network take microseconds: reading the clock each time would show.
        self.calls = self.calls.wrapping_add(1);
        let new_task = self.task != Some(progress.task);
        if !new_task && !self.calls.is_multiple_of(16) {
            return;
        }
        let now = Instant::now();
        if new_task {
            self.task = Some(progress.task);
        }
        // Whoever follows the run sees what happened until a moment ago.
        if now - self.flushed > FLUSH {
            self.flushed = now;
            self.metrics.make_visible();
            self.logs.flush();
        }
        if self.display.is_due(now) || new_task {
            self.display.show(progress, self.training(now), now, new_task);
        }
    }

    fn stop(&mut self) -> bool {
        // A full disk is a reason to stop too: what follows could not be recorded.
        self.interrupt.is_asked() || self.metrics.has_failed() || self.logs.has_failed()
    }
}
