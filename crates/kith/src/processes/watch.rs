//! The observer of a process's rounds: the recorder of a run, and what others need to know of this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_core::{AgentId, Digest, Event, Key, Round, TaskId};
use kith_net::Absence;
use kith_sim::{Fault, FaultKind, Moment, Observer, Phase, Progress};

use super::faults::Begins;
use super::files::{RowsWriter, Taken};
use super::lines::Line;
use super::status::Keeping;
use crate::run::{Interrupt, Recorder, RunError};

/// Lines of progress for the process that started this one.
const LINE_EVERY: Duration = Duration::from_millis(100);

/// How long a process that is to be killed sleeps between two looks at whether it is to stop.
const SOON: Duration = Duration::from_millis(20);

pub(super) struct Watch<'w, 'a> {
    pub(super) recorder: &'w mut Recorder<'a>,
    pub(super) interrupt: Interrupt,
    pub(super) status: Arc<Keeping>,
    pub(super) rows: RowsWriter,
    /// The last test, while it is under way.
    pub(super) tested: Option<Event>,
    /// The first file of rows that could not be written.
    pub(super) failed: Option<RunError>,
    /// When the last line was said, where somebody listens.
    pub(super) lines: Option<Option<Instant>>,
    pub(super) plan: Plan,
}

/// The fault plan as far as it is this process's.
pub(super) struct Plan {
    /// What strikes its agents, or links of which they are the lower end.
    pub(super) own: Vec<Fault>,
    /// When it is to be killed, and whether it comes back.
    pub(super) crash: Option<Absence>,
    /// Rounds before this one have begun.
    pub(super) begun: Round,
    pub(super) since: Instant,
}

impl Plan {
    pub(super) fn new(faults: &[Fault], hosted: &[AgentId], crash: Option<Absence>, begins: Begins) -> Self {
        let is_own = |fault: &&Fault| hosted.contains(&AgentId(fault.peer.unwrap_or(fault.agent).min(fault.agent)));
        let own = faults.iter().filter(is_own).cloned().collect();
        Self { own, crash, begun: begins.first(), since: Instant::now() }
    }

    /// What strikes as this round begins, after the last that began.
    fn strikes(&mut self, round: Round) -> Vec<Fault> {
        let now = self.begun.0..=round.0;
        self.begun = round.next();
        self.own.iter().filter(|fault| now.contains(&fault.round)).cloned().collect()
    }
}

impl Observer for Watch<'_, '_> {
    fn event(&mut self, event: &Event) {
        if event.key == Key::Accuracy {
            self.tested = Some(*event);
        }
        self.recorder.event(event);
    }

    /// After a test it is said what was sent until then, which only the driver knows.
    fn phase(&mut self, phase: Phase) {
        if let Some(tested) = self.tested.take() {
            let status = self.status.status();
            let value = status.bytes_sent as f64 / status.agents.len().max(1) as f64;
            self.recorder.event(&Event { agent: None, key: Key::BytesSent, of: None, value, ..tested });
            // What a process that is killed has measured, others still count.
            self.recorder.make_visible();
        }
        self.recorder.phase(phase);
    }

    fn progress(&mut self, progress: &Progress) {
        self.status.progress(progress);
        self.recorder.progress(progress);
        let Some(last) = &mut self.lines else { return };
        let over = progress.rounds_done == progress.rounds;
        if over || last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            *last = Some(Instant::now());
            Line::Progress(*progress).say();
        }
    }

    fn wants_digests(&self) -> bool {
        self.recorder.wants_digests()
    }

    fn digest(&mut self, round: Round, agent: AgentId, digest: Digest) {
        self.recorder.digest(round, agent, digest);
    }

    fn wants_rows(&self) -> bool {
        true
    }

    fn row(&mut self, task: TaskId, _agent: AgentId, row: &[f32]) {
        if self.failed.is_none() {
            self.failed = self.rows.row(Taken::After(task), row).err();
        }
    }

    fn before_round(&mut self, moment: &mut Moment<'_>) {
        self.recorder.before_round(moment);
        let (task, round, value) = (moment.task, moment.round, self.plan.since.elapsed().as_secs_f64());
        for fault in self.plan.strikes(round) {
            let (agent, key) = (Some(AgentId(fault.agent)), fault.kind.key());
            // It was taken back in the round before the one with which it begins.
            let round = Round(round.0 - u64::from(fault.kind == FaultKind::Restart).min(round.0));
            self.recorder.event(&Event { agent, task, round, key, of: fault.peer, value });
        }
        if let Some(crash) = self.plan.crash.filter(|crash| crash.from <= round) {
            // What it measured until then is measured; its weights it gets from a neighbour.
            if crash.restart.is_some() && !self.recorder.keeps_state(moment) {
                return;
            }
            self.recorder.make_visible();
            Line::Crash(round).say();
            // Whoever started this process kills it now; if nobody is there any more, it is asked to stop.
            while !self.interrupt.is_asked() {
                std::thread::sleep(SOON);
            }
        }
    }

    fn ended(&mut self, moment: &mut Moment<'_>) {
        self.recorder.ended(moment);
    }

    fn stop(&mut self) -> bool {
        self.failed.is_some() || self.interrupt.is_asked() || self.recorder.stop()
    }
}
