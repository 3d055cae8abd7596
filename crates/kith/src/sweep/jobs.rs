//! Starts the processes of runs, as many at a time as there are jobs, and takes note of how they end.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::live::{Live, Settled};
use super::worker::{End, SETTING};
use super::{Failed, Options, Outcome, RunState, SweepError, directory, status};
use crate::config::{PlannedRun, SweepPlan};
use crate::processes::{describe, last_words, share};
use crate::run::{Interrupt, ProgressLine, RunDirectory, RunError, claim, now};
use crate::runs::{FAILURE, RunFailure, State};

/// How often Ctrl-C and the display are looked after.
const TICK: Duration = Duration::from_millis(100);
/// How often runs of other processes are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What a process says.
enum Message {
    Progress(usize, ProgressLine),
    Ended(usize, std::io::Result<ExitStatus>, String),
}

/// A process at work.
struct Job {
    run: usize,
    /// Its end asks the process to stop.
    _stdin: Option<ChildStdin>,
    started: Instant,
}

/// The runs of a sweep on their way.
pub(super) struct Jobs<'a> {
    plan: &'a SweepPlan,
    options: &'a Options,
    interrupt: Interrupt,
    queue: VecDeque<usize>,
    /// Runs that other processes have.
    elsewhere: Vec<usize>,
    /// By slot, from 0 to jobs − 1.
    working: BTreeMap<usize, Job>,
    live: Live,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    looked: Instant,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(plan: &'a SweepPlan, options: &'a Options, before: &Outcome) -> Self {
        let (sender, receiver) = channel();
        let mut queue = VecDeque::new();
        let own = before.mine.iter().filter(|mine| **mine).count();
        let slots = usize::from(options.jobs);
        let mut live = Live::new(options.talk, own, slots);
        for (place, run) in before.runs.iter().enumerate().filter(|(place, _)| before.mine[*place]) {
            match &run.state {
                RunState::Stored(State::Done) => live.found(&run.summary, &plan.runs[place]),
                RunState::Stored(State::Failed { .. }) if options.failed == Failed::Keep => live.found_failed(),
                _ => queue.push_back(place),
            }
        }
        live.begin();
        Self {
            plan,
            options,
            interrupt: Interrupt::catch(),
            queue,
            elsewhere: Vec::new(),
            working: BTreeMap::new(),
            live,
            sender,
            receiver,
            looked: Instant::now(),
        }
    }

    /// Works until every run is done or failed, or until Ctrl-C: then true.
    pub(super) fn run(mut self) -> Result<bool, SweepError> {
        let result = self.work();
        // However this ends, no process stays behind: the end of their stdin asks them to stop.
        self.working.values_mut().for_each(|job| job._stdin = None);
        while !self.working.is_empty() {
            match self.receiver.recv() {
                Ok(Message::Ended(slot, status, words)) => self.ended(slot, status, &words)?,
                Ok(Message::Progress(..)) => {}
                Err(_) => break,
            }
        }
        self.live.finish();
        result.map(|()| self.interrupt.is_asked())
    }

    fn work(&mut self) -> Result<(), SweepError> {
        while !self.interrupt.is_asked() {
            self.fill()?;
            if self.working.is_empty() && self.queue.is_empty() && self.elsewhere.is_empty() {
                break;
            }
            match self.receiver.recv_timeout(TICK) {
                Ok(Message::Progress(slot, line)) => self.live.progress(slot, line),
                Ok(Message::Ended(slot, status, words)) => self.ended(slot, status, &words)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.live.tick(Instant::now(), self.elsewhere.len());
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.look_elsewhere()?;
            }
        }
        Ok(())
    }

    /// Starts runs while slots are free.
    fn fill(&mut self) -> Result<(), SweepError> {
        let jobs = usize::from(self.options.jobs);
        while let Some(slot) = (0..jobs).find(|slot| !self.working.contains_key(slot)) {
            let Some(run) = self.queue.pop_front() else { break };
            let threads = share(usize::from(self.options.threads), jobs, slot);
            self.start(slot, run, threads)?;
        }
        Ok(())
    }

    fn start(&mut self, slot: usize, run: usize, threads: usize) -> Result<(), SweepError> {
        let planned = &self.plan.runs[run];
        let Some(directory) = prepare(&self.options.folder, planned)? else {
            self.elsewhere.push(run);
            return Ok(());
        };
        let mut command = Command::new(&self.options.program);
        command.arg("sweep-run").arg(&directory).args(["--threads", &threads.to_string()]);
        if self.options.check {
            command.arg("--check");
        }
        if self.options.failed == Failed::Retry {
            command.arg("--retry");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|source| SweepError::Start { program: self.options.program.clone(), source })?;
        let stdin = child.stdin.take();
        let sender = self.sender.clone();
        std::thread::spawn(move || listen(slot, child, &sender));
        self.live.start(slot, planned);
        self.working.insert(slot, Job { run, _stdin: stdin, started: Instant::now() });
        Ok(())
    }

    fn ended(&mut self, slot: usize, status: std::io::Result<ExitStatus>, words: &str) -> Result<(), SweepError> {
        let Some(job) = self.working.remove(&slot) else { return Ok(()) };
        let planned = &self.plan.runs[job.run];
        let folder = &self.options.folder;
        let end = status.as_ref().ok().and_then(|status| End::of_code(status.code()));
        // It could not say why. Ctrl-C twice ends it so too, and is no failure.
        if end.is_none() && !self.interrupt.is_asked() {
            note_crash(&directory(folder, planned), &describe("the run's process", &status, words))?;
        }
        if end == Some(End::Taken) {
            self.live.free(slot);
            self.elsewhere.push(job.run);
            return Ok(());
        }
        self.settle(job.run, Some((slot, job.started.elapsed())))
    }

    /// Shows how a run ended.
    fn settle(&mut self, run: usize, worked: Option<(usize, Duration)>) -> Result<(), SweepError> {
        let planned = &self.plan.runs[run];
        let now = status(&self.options.folder, planned)?;
        let settled = match (&now.state, now.summary) {
            (RunState::Stored(State::Done), Some(summary)) => Settled::Done(summary),
            (RunState::Stored(State::Failed { reason }), _) => Settled::Failed(reason.clone()),
            _ => Settled::Cut,
        };
        self.live.settle(planned, &settled, worked);
        Ok(())
    }

    /// Runs that other processes had: done, failed, or free again.
    fn look_elsewhere(&mut self) -> Result<(), SweepError> {
        for run in std::mem::take(&mut self.elsewhere) {
            match status(&self.options.folder, &self.plan.runs[run])?.state {
                RunState::Stored(State::UnderWay { .. }) => self.elsewhere.push(run),
                RunState::Stored(State::Done | State::Failed { .. }) => self.settle(run, None)?,
                RunState::Stored(State::Cut) | RunState::New { .. } => self.queue.push_back(run),
            }
        }
        Ok(())
    }
}

/// The run directory, with what the process of the run reads; none where another process has it.
fn prepare(folder: &Path, run: &PlannedRun) -> Result<Option<PathBuf>, SweepError> {
    let path = directory(folder, run);
    std::fs::create_dir_all(&path).map_err(|source| RunError::output("create", &path, source))?;
    let Some(_lock) = claim(&path)? else { return Ok(None) };
    let files = RunDirectory::given(&path);
    let text = run.experiment.to_toml()?;
    if std::fs::read_to_string(path.join("experiment.resolved.toml")).ok().as_ref() != Some(&text) {
        files.write("experiment.resolved.toml", &text)?;
    }
    if !run.setting.is_empty() && !path.join(SETTING).is_file() {
        files.write_json(SETTING, &run.setting)?;
    }
    Ok(Some(path))
}

/// Hands on what a process says, and its end.
fn listen(slot: usize, mut child: Child, sender: &Sender<Message>) {
    let stderr = child.stderr.take();
    let words = std::thread::spawn(move || last_words(stderr));
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(line) = serde_json::from_str(&line) {
                // Nobody listens any more: the child's end is still waited for.
                let _ = sender.send(Message::Progress(slot, line));
            }
        }
    }
    let status = child.wait();
    let _ = sender.send(Message::Ended(slot, status, words.join().unwrap_or_default()));
}

fn note_crash(directory: &Path, reason: &str) -> Result<(), SweepError> {
    // If another process has the run by now, it goes on there.
    if let Some(_lock) = claim(directory)? {
        RunDirectory::given(directory).write_json(FAILURE, &RunFailure { reason: reason.to_owned(), at: now().1 })?;
    }
    Ok(())
}
