//! The observer of a process's rounds: the recorder of a run, and what others need to know of this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_core::{AgentId, Digest, Event, Key, Round, TaskId};
use kith_sim::{Moment, Observer, Phase, Progress};

use super::files::{RowsWriter, Taken};
use super::lines::Line;
use super::status::Keeping;
use crate::run::{Interrupt, Recorder, RunError};

/// Lines of progress for the process that started this one.
const LINE_EVERY: Duration = Duration::from_millis(100);

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
    }

    fn ended(&mut self, moment: &mut Moment<'_>) {
        self.recorder.ended(moment);
    }

    fn stop(&mut self) -> bool {
        self.failed.is_some() || self.interrupt.is_asked() || self.recorder.stop()
    }
}
