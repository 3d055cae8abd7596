//! Watches processes until all have ended: what they say, how far they are together, how they end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kith_core::{AgentId, Round};
use kith_sim::Progress;

use super::ProcessError;
use super::child::{describe, last_words};
use super::launch::title;
use super::leavings::Asked;
use super::lines::Line;
use crate::run::{Display, Interrupt};

/// How often ends of processes, Ctrl-C and the display are looked after.
const TICK: Duration = Duration::from_millis(20);
/// Lines of processes that wait to be looked at.
const LINES: usize = 1024;
/// What a process ends with that was asked to stop.
const STOPPED: i32 = 130;

/// A process that was started.
pub(super) struct Process {
    place: usize,
    agents: Vec<AgentId>,
    child: Child,
    /// Its end asks the process to stop.
    stdin: Option<ChildStdin>,
    words: Option<JoinHandle<String>>,
    progress: Option<Progress>,
    /// The round before which it was killed, because the file says so.
    crashed: Option<Round>,
    ended: Option<std::io::Result<ExitStatus>>,
}

impl Process {
    pub(super) fn new(place: usize, agents: Vec<AgentId>, mut child: Child) -> Self {
        let stderr = child.stderr.take();
        Self {
            place,
            agents,
            stdin: child.stdin.take(),
            child,
            words: Some(std::thread::spawn(move || last_words(stderr))),
            progress: None,
            crashed: None,
            ended: None,
        }
    }

    /// Sends on what it says, for as long as it does.
    fn listen(&mut self, sender: &SyncSender<(usize, Line)>) {
        let (Some(stdout), sender, place) = (self.child.stdout.take(), sender.clone(), self.place) else { return };
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // What is no such line is not ours.
                if let Ok(line) = serde_json::from_str(&line)
                    && sender.send((place, line)).is_err()
                {
                    break;
                }
            }
        });
    }

    fn words(&mut self) -> String {
        self.words.take().and_then(|words| words.join().ok()).unwrap_or_default()
    }

    fn is_over(&self) -> bool {
        self.progress.is_some_and(|progress| progress.rounds_done == progress.rounds)
    }
}

/// However this ends, no process stays behind: the end of its stdin asks it to stop, and nobody waits for it any more.
pub(super) struct Supervision<'a> {
    /// Starts a process anew that was killed before this round, where the file plans that it comes back.
    again: &'a StartAgain<'a>,
    processes: Vec<Process>,
    display: Display,
    interrupt: Interrupt,
    patience: Duration,
    began: Instant,
    first: Option<Instant>,
    task: Option<usize>,
    asked: Option<Instant>,
    sender: SyncSender<(usize, Line)>,
    receiver: Receiver<(usize, Line)>,
    lost: Vec<String>,
    /// How the first process ended that did so before the first round.
    early: Option<String>,
}

/// Starts the process of a place anew that was killed before a round; none if it is to stay away.
pub(super) type StartAgain<'a> = dyn Fn(usize, Round) -> Option<std::io::Result<Child>> + 'a;

/// How the processes ended.
pub(super) struct AllEnded {
    pub(super) lost: Vec<String>,
    pub(super) wall: Duration,
    pub(super) asked: Asked,
}

impl<'a> Supervision<'a> {
    pub(super) fn new(display: Display, interrupt: Interrupt, patience: Duration, again: &'a StartAgain<'a>) -> Self {
        let (sender, receiver) = sync_channel(LINES);
        Self {
            again,
            processes: Vec::new(),
            display,
            interrupt,
            patience,
            began: Instant::now(),
            first: None,
            task: None,
            asked: None,
            sender,
            receiver,
            lost: Vec::new(),
            early: None,
        }
    }

    pub(super) fn add(&mut self, mut process: Process) {
        process.listen(&self.sender);
        self.processes.push(process);
    }

    /// Waits for all processes. `under_way` is let go when the first of them is through a round, and at the end.
    pub(super) fn watch(mut self, under_way: Sender<()>) -> Result<AllEnded, ProcessError> {
        let mut under_way = Some(under_way);
        while self.processes.iter().any(|process| process.ended.is_none()) {
            if let Ok((place, line)) = self.receiver.recv_timeout(TICK) {
                self.line(place, line);
                while let Ok((place, line)) = self.receiver.try_recv() {
                    self.line(place, line);
                }
            }
            if self.first.is_some() {
                under_way.take();
            }
            self.look_for_ends();
            self.show();
            self.stop_if_asked();
        }
        drop(under_way);
        self.display.finish();
        match self.early {
            Some(words) => Err(ProcessError::Early(words)),
            None => {
                let asked = if self.asked.is_some() { Asked::ToStop } else { Asked::Nothing };
                Ok(AllEnded { lost: self.lost, wall: self.began.elapsed(), asked })
            }
        }
    }

    fn line(&mut self, place: usize, line: Line) {
        let Some(process) = self.processes.get_mut(place) else { return };
        match line {
            Line::Progress(progress) => {
                self.first.get_or_insert_with(Instant::now);
                process.progress = Some(progress);
            }
            Line::Crash(round) => {
                process.crashed = Some(round);
                let _ = process.child.kill();
            }
            Line::Notice(words) => self.display.voice().say(&format!("{}: {words}", title(place, &process.agents))),
        }
    }

    fn look_for_ends(&mut self) {
        let mut ended = Vec::new();
        for process in self.processes.iter_mut().filter(|process| process.ended.is_none()) {
            if let Some(status) = process.child.try_wait().transpose() {
                ended.push(process.place);
                process.stdin = None;
                process.ended = Some(status);
            }
        }
        for place in ended {
            self.ended(place);
        }
    }

    /// Takes note of how a process ended. Before the first round the others would wait for it in vain.
    fn ended(&mut self, place: usize) {
        let process = &mut self.processes[place];
        let words = process.words();
        let Some(status) = &process.ended else { return };
        let code = status.as_ref().ok().and_then(ExitStatus::code);
        if code == Some(0) || (code == Some(STOPPED) && self.asked.is_some()) {
            return;
        }
        let name = title(process.place, &process.agents);
        if let Some(round) = process.crashed {
            self.crashed(place, round, &name);
            return;
        }
        let told = match code {
            Some(STOPPED) => format!("{name} was asked to stop by somebody else"),
            _ => describe(&name, status, &words),
        };
        if self.first.is_none() && self.asked.is_none() {
            self.early = Some(told);
            self.ask();
            return;
        }
        if self.early.is_none() {
            self.display.voice().say(&format!("{told}; the others go on"));
            self.lost.push(told);
        }
    }

    /// A process was killed as planned. Where it comes back, it starts at once: it stands ready until its round.
    fn crashed(&mut self, place: usize, round: Round, name: &str) {
        let again = if self.asked.is_some() { None } else { (self.again)(place, round) };
        let told = match again {
            None => format!("{name} was killed before round {round}, as planned; the others go on"),
            Some(Ok(child)) => {
                let mut process = Process::new(place, std::mem::take(&mut self.processes[place].agents), child);
                process.listen(&self.sender);
                self.processes[place] = process;
                format!("{name} was killed before round {round}, as planned, and starts again")
            }
            Some(Err(error)) => {
                let told = format!("{name} cannot be started again: {error}");
                self.lost.push(told.clone());
                told
            }
        };
        self.display.voice().say(&told);
    }

    /// How far the processes are together: as far as the last of those that go on.
    fn show(&mut self) {
        let now = Instant::now();
        let running = || self.processes.iter().filter(|process| process.ended.is_none() || process.is_over());
        let progress = || running().filter_map(|process| process.progress.as_ref());
        let Some(last) = progress().min_by_key(|progress| progress.rounds_done) else { return };
        let new_task = self.task != Some(last.task);
        if !new_task && !self.display.is_due(now) {
            return;
        }
        let tested = || running().filter_map(|process| Some((process.progress?.accuracy?, process.agents.len())));
        let agents: usize = tested().map(|(_, agents)| agents).sum();
        let sum: f64 = tested().map(|(accuracy, agents)| accuracy * agents as f64).sum();
        let together = Progress {
            agent_steps: progress().map(|progress| progress.agent_steps).sum(),
            accuracy: (agents > 0).then(|| sum / agents as f64),
            ..*last
        };
        self.task = Some(last.task);
        let seconds = self.first.map_or(0.0, |first| (now - first).as_secs_f64());
        self.display.show(&together, seconds, now, new_task);
    }

    fn stop_if_asked(&mut self) {
        if self.interrupt.is_asked() && self.asked.is_none() {
            self.ask();
        }
        if self.asked.is_some_and(|asked| asked.elapsed() > self.patience) {
            self.kill();
        }
    }

    /// Asks all processes to stop. Before the first round they have nothing to write, and wait for each other only.
    fn ask(&mut self) {
        self.asked = Some(Instant::now());
        self.processes.iter_mut().for_each(|process| process.stdin = None);
        if self.first.is_none() {
            self.kill();
        }
    }

    fn kill(&mut self) {
        for process in self.processes.iter_mut().filter(|process| process.ended.is_none()) {
            let _ = process.child.kill();
        }
    }
}
