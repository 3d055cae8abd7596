//! Watches a run: writes its events, times its phases, draws its progress.

use std::time::{Duration, Instant};

use kith_core::{AgentId, Digest, Event, Round};
use kith_sim::{Moment, Observer, Phase, Progress};
use serde::Serialize;

use super::RunError;
use super::checkpoint::{Header, Holds, Keeper};
use super::digests::DigestFile;
use super::directory::Metrics;
use super::logs::Logs;
use super::process::{self, Interrupt};
use super::progress::Display;
use crate::summary::Measured;

/// How old what is in the files may be.
const FLUSH: Duration = Duration::from_secs(2);

/// What checkpoints say of the run that they belong to.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) experiment: String,
    pub(crate) hash: Digest,
}

/// The observer of one arm.
pub(crate) struct Recorder<'a> {
    arm: &'a str,
    identity: &'a Identity,
    keeper: Keeper,
    /// The first checkpoint that could not be written.
    failed: Option<RunError>,
    /// Whether the user asked to stop before this round began.
    stopping: bool,
    /// Seconds that the arm took before it was cut.
    before: Duration,
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
    digests: Option<&'a mut DigestFile>,
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    arm: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// Writes an event to the metrics and to live logs.
pub(super) fn write(metrics: &mut Metrics, logs: &mut Logs, arm: &str, event: &Event) {
    metrics.line(&Line { arm, event });
    logs.event(arm, event);
}

const fn place(phase: Phase) -> usize {
    match phase {
        Phase::Train => 0,
        Phase::Consensus => 1,
        Phase::Evaluate => 2,
        Phase::Memory => 3,
    }
}

/// Seconds of a file; nothing where they are none.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(
        arm: &'a str,
        identity: &'a Identity,
        keeper: Keeper,
        metrics: &'a mut Metrics,
        logs: &'a mut Logs,
        display: Display,
        interrupt: Interrupt,
    ) -> Self {
        process::reset_peak();
        Self {
            arm,
            identity,
            keeper,
            failed: None,
            stopping: false,
            before: Duration::ZERO,
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
            digests: None,
        }
    }

    /// Writes the digest of every row after every round, too.
    pub(crate) fn digesting(self, digests: Option<&'a mut DigestFile>) -> Self {
        Self { digests, ..self }
    }

    /// Goes on from a checkpoint.
    pub(crate) fn resume(&mut self, header: &Header) {
        self.before = duration(header.wall_seconds);
        self.seconds = header.phase_seconds.map(duration);
        self.keeper.resumed(header.rounds);
    }

    /// Writes a checkpoint; the time that it takes belongs to no phase.
    fn keep(&mut self, holds: Holds, moment: &mut Moment<'_>) -> Result<(), RunError> {
        let phase = self.phase.map(|(phase, _)| phase);
        let now = Instant::now();
        self.end_phase(now);
        self.logs.settle();
        self.digests.as_mut().map_or(Ok(()), |digests| digests.sync())?;
        let header = Header {
            kith_version: env!("CARGO_PKG_VERSION").to_owned(),
            experiment: self.identity.experiment.clone(),
            experiment_hash: self.identity.hash,
            arm: self.arm.to_owned(),
            holds,
            task: moment.task,
            round: moment.round,
            rounds: moment.rounds_done,
            agents: moment.agents,
            network: moment.network.clone(),
            metrics_bytes: self.metrics.sync()?,
            wall_seconds: (self.before + (now - self.started)).as_secs_f64(),
            phase_seconds: self.seconds.map(|seconds| seconds.as_secs_f64()),
            saved: process::now().1,
        };
        match holds {
            Holds::State => self.keeper.save(&header, moment.record)?,
            Holds::Weights => self.keeper.finish(&header, moment.record)?,
        }
        self.phase = phase.map(|phase| (phase, Instant::now()));
        Ok(())
    }

    /// Keeps the state before a round, whatever the file says of checkpoints. Whether it is on the disk; why not, [`Recorder::take_failure`] says.
    pub(crate) fn keeps_state(&mut self, moment: &mut Moment<'_>) -> bool {
        if self.failed.is_none() {
            self.failed = self.keep(Holds::State, moment).err();
        }
        self.failed.is_none()
    }

    /// What was measured so far is in the files, whatever becomes of the process.
    pub(crate) fn make_visible(&mut self) {
        self.flushed = Instant::now();
        self.metrics.make_visible();
        self.logs.flush();
        if let (Some(digests), None) = (&mut self.digests, &self.failed) {
            self.failed = digests.flush().err();
        }
    }

    /// What went wrong with a checkpoint.
    pub(crate) fn take_failure(&mut self) -> Option<RunError> {
        self.failed.take()
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
            wall_seconds: (self.before + (now - self.started)).as_secs_f64(),
            train_seconds: seconds(Phase::Train),
            consensus_seconds: seconds(Phase::Consensus),
            evaluate_seconds: seconds(Phase::Evaluate),
            peak_rss_bytes: process::peak_rss_bytes(),
        }
    }
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event) {
        write(self.metrics, self.logs, self.arm, event);
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
            self.make_visible();
        }
        if self.display.is_due(now) || new_task {
            self.display.show(progress, self.training(now), now, new_task);
        }
    }

    fn wants_digests(&self) -> bool {
        self.digests.is_some()
    }

    fn digest(&mut self, round: Round, agent: AgentId, digest: Digest) {
        if let (Some(digests), None) = (&mut self.digests, &self.failed) {
            self.failed = digests.line(self.arm, round, agent, digest).err();
        }
    }

    fn before_round(&mut self, moment: &mut Moment<'_>) {
        self.stopping = self.interrupt.is_asked();
        let due = self.keeper.is_due(moment.rounds_done, moment.begins_task);
        if (due || (self.stopping && self.keeper.keeps())) && self.failed.is_none() {
            self.failed = self.keep(Holds::State, moment).err();
        }
    }

    fn ended(&mut self, moment: &mut Moment<'_>) {
        if self.keeper.keeps() && self.failed.is_none() {
            self.failed = self.keep(Holds::Weights, moment).err();
        }
    }

    fn stop(&mut self) -> bool {
        // A full disk is a reason to stop too: what follows could not be recorded.
        self.stopping || self.failed.is_some() || self.metrics.has_failed() || self.logs.has_failed()
    }
}
