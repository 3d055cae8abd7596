//! The driver: the hosted agents' state machines, fed by what arrives, by the clock and by finished work.

mod agents;
mod arrivals;
mod judge;
mod notice;
mod rejoin;
mod sides;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_core::{AgentId, Calendar, Round, TaskId};
use kith_engine::Engine;
use kith_method::{BasisSpec, PayloadSpec};
use kith_protocol::{Agent, Config, Hello, Input, Neighbour, Plan, Time};
use kith_run::{Row, Run, Traffic, neighbours};
use libp2p::PeerId;
use tokio::sync::mpsc;

use crate::absence::{Away, work_out};
use crate::body::Body;
use crate::codec::Packet;
use crate::compute::{Done, Job, Start};
use crate::faults::Faults;
use crate::network::{Command, NetEvent};
use crate::{Board, Cut, NetError, Settings, Standing, inbox::Inbox};

pub(crate) use judge::form;
pub use notice::{Notice, Tell};
use rejoin::{Coming, follow};
use sides::Process;
pub(crate) use sides::Sides;

/// What the driver waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Net(NetEvent),
    Done(Done),
    NetworkFailed(NetError),
}

/// What is left when the run is over.
pub(crate) struct Ended {
    pub(crate) missed: u64,
    pub(crate) stopped: bool,
}

/// See the module.
pub(crate) struct Driver<'t> {
    sides: Sides,
    agents: BTreeMap<AgentId, Agent>,
    plan: Plan,
    leader: AgentId,
    everyone: u32,
    hello: Hello,
    run: u64,
    deadline: Duration,
    start: Duration,
    began: Instant,
    started: bool,
    /// A job is under way.
    busy: bool,
    /// The round that is mixed next, and whether its local work is done. What it sends may have gone before.
    current: Round,
    computed: bool,
    asked: BTreeSet<AgentId>,
    rows: BTreeMap<Round, Vec<Row>>,
    /// Since when a round that ends a task waits for its last flows.
    held: Option<Instant>,
    local: VecDeque<(AgentId, Input)>,
    inbox: Inbox,
    outgoing: BTreeMap<(AgentId, AgentId), BTreeMap<Round, (Body, Body)>>,
    spec: Option<(TaskId, PayloadSpec)>,
    bytes: (u64, u64),
    basis: u64,
    /// What a basis must continue, and after which task.
    basis_spec: Option<(TaskId, BasisSpec)>,
    bases: BTreeMap<TaskId, Body>,
    adopted: BTreeSet<TaskId>,
    task_ended: Instant,
    faults: Faults,
    traffic: Arc<Mutex<Traffic>>,
    calendar: Option<Arc<dyn Calendar>>,
    cuts: Vec<Cut>,
    /// The round before which the process is to be killed.
    crash: Option<Round>,
    /// Agents that are away for some rounds, as planned.
    away: Vec<Away>,
    /// Agents that came back, and at which round.
    back: BTreeSet<(AgentId, Round)>,
    /// The absence from which this process comes back.
    returning: Option<Away>,
    /// Since when a round waits for an agent that is to be back in it.
    awaited: Option<Instant>,
    /// Edges that are cut now, at the end of the first.
    cut: BTreeSet<(AgentId, AgentId)>,
    /// Whether there was state to go on from.
    resumed: bool,
    coming: Option<Coming>,
    /// The round at which this process came back.
    joined: Option<Round>,
    /// Processes that want to come back, with the task of which they have state.
    asks: BTreeMap<PeerId, Option<TaskId>>,
    /// For whom state is being made, to join at which round.
    handing: Option<(PeerId, Round)>,
    alone: Option<Instant>,
    stopping: bool,
    commands: mpsc::Sender<Command>,
    jobs: SyncSender<Job>,
    tell: Tell<'t>,
    board: Arc<Board>,
    stop: Option<Arc<AtomicBool>>,
}

impl<'t> Driver<'t> {
    pub(crate) fn new<E: Engine>(
        sides: Sides,
        run: &Run<'_, E>,
        settings: &Settings,
        start: &Start,
        (commands, jobs): (mpsc::Sender<Command>, SyncSender<Job>),
        tell: Tell<'t>,
    ) -> Self {
        let plan = run.plan().clone();
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let calendar = run.work().meetings.clone().map(|meetings| meetings as Arc<dyn Calendar>);
        let machine = |(&id, neighbours): (&AgentId, &Vec<Neighbour>)| {
            let config = Config {
                id,
                neighbours: neighbours.clone(),
                plan: plan.clone(),
                deadline: nanoseconds(settings.deadline),
                retransmit: nanoseconds(settings.retransmit),
            };
            (id, follow(Agent::new(config), calendar.as_ref()))
        };
        let board = settings.options.board.clone().unwrap_or_default();
        sides.processes.iter().for_each(|(peer, process)| board.list(*peer, &process.agents));
        let everyone = run.work().graph.agents();
        let ids = |agent| neighbours(run.work().graph, agent).iter().map(|one| one.id).collect::<Vec<_>>();
        let mut away = work_out(&settings.options.absences, &plan, ids);
        // Whoever was back by then begins with everybody else.
        away.retain(|away| away.back.is_none_or(|back| back.round > start.round));
        let begun = settings.options.back_from;
        let returning = away.iter().find(|away| settings.hosted.contains(&away.agent) && Some(away.from) == begun);
        let now = Instant::now();
        Self {
            agents: sides.around.iter().map(machine).collect(),
            sides,
            leader: AgentId(run.work().parts.memory.as_ref().map_or(0, |memory| memory.leader)),
            everyone: everyone as u32,
            hello: Hello::new(settings.run, settings.instance, settings.engine.clone(), settings.hosted.clone())
                .beginning(start.round),
            run: settings.run.short(),
            deadline: settings.deadline,
            start: settings.start,
            began: now,
            started: false,
            busy: false,
            current: start.round,
            computed: false,
            asked: BTreeSet::new(),
            rows: BTreeMap::new(),
            held: None,
            local: VecDeque::new(),
            inbox: Inbox::default(),
            outgoing: BTreeMap::new(),
            spec: None,
            bytes: (0, 0),
            basis: 0,
            basis_spec: None,
            bases: BTreeMap::new(),
            adopted: BTreeSet::new(),
            task_ended: now,
            faults: Faults::default(),
            traffic: Arc::clone(&start.traffic),
            calendar,
            cuts: settings.options.cuts.clone(),
            crash: settings.options.crash,
            returning: returning.copied(),
            away,
            back: BTreeSet::new(),
            awaited: None,
            cut: BTreeSet::new(),
            resumed: settings.options.resume.is_some(),
            coming: None,
            joined: None,
            asks: BTreeMap::new(),
            handing: None,
            plan,
            alone: None,
            stopping: false,
            commands,
            jobs,
            tell,
            board,
            stop: settings.options.stop.clone(),
        }
    }

    /// Bytes by agent and task; the compute thread looks at them only to keep them.
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn go(mut self, events: &Receiver<Event>) -> Result<Ended, NetError> {
        loop {
            self.settle_local();
            self.begin_if_ready()?;
            self.schedule();
            if !self.busy && (self.stopping || self.is_over()) {
                break;
            }
            self.wait(events)?;
        }
        if !self.stopping {
            self.linger(events)?;
        }
        self.leave();
        self.board.stands(Standing::Ended);
        let missed = self.agents.values().map(Agent::missed).sum();
        Ok(Ended { missed, stopped: self.stopping })
    }

    /// Waits for the next event or for an agent's time.
    fn wait(&mut self, events: &Receiver<Event>) -> Result<(), NetError> {
        let now = self.now();
        let next = self.agents.values().filter_map(Agent::wake_at).min();
        let until = next.map_or(Duration::from_millis(100), |at| Duration::from_nanos(at.0.saturating_sub(now.0)));
        match events.recv_timeout(until.min(Duration::from_millis(100))) {
            Ok(event) => self.event(event)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(NetError::Ended { part: "network" }),
        }
        let now = self.now();
        let due: Vec<AgentId> = self
            .agents
            .iter()
            .filter(|(_, agent)| agent.wake_at().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        due.into_iter().for_each(|agent| self.handle(agent, Input::Wake));
        self.see_who_is_left()
    }

    fn see_who_is_left(&mut self) -> Result<(), NetError> {
        let gone = |process: &Process| !process.greeted && !self.is_expected(process);
        let processes = self.sides.processes.values();
        let nobody = self.started && !self.sides.processes.is_empty() && processes.clone().all(gone);
        if !nobody || processes.clone().all(|process| process.left) {
            self.alone = None;
            return Ok(());
        }
        if self.alone.get_or_insert_with(Instant::now).elapsed() <= self.deadline {
            return Ok(());
        }
        Err(NetError::Alone { agents: self.agents.keys().map(|agent| agent.0).collect(), round: self.current.0 })
    }

    fn begin_if_ready(&mut self) -> Result<(), NetError> {
        if self.started {
            return Ok(());
        }
        let comes_back = self.comes_back()?;
        if !comes_back && self.sides.processes.values().all(|process| process.greeted) {
            self.start_at(self.current);
            let agents: Vec<AgentId> = self.agents.keys().copied().collect();
            agents.into_iter().for_each(|agent| self.handle(agent, Input::Start(self.current)));
            return Ok(());
        }
        self.stopping |= self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed));
        if self.stopping || self.began.elapsed() <= self.start || self.stands_ready() {
            return Ok(());
        }
        let missing = self.sides.processes.values().filter(|process| !process.greeted);
        let refusals = missing.clone().filter_map(|process| {
            let agents: Vec<u32> = process.agents.iter().map(|agent| agent.0).collect();
            process.refused.as_ref().map(|reason| format!("; agents {agents:?}: {reason}"))
        });
        Err(NetError::Start {
            waited_s: self.start.as_secs(),
            refusals: refusals.collect(),
            missing: missing.flat_map(|process| process.agents.iter().map(|agent| agent.0)).collect(),
        })
    }

    fn is_over(&self) -> bool {
        self.started && self.plan.stage(self.current).is_none()
    }

    /// Everything is mixed; neighbours may still need an answer.
    fn linger(&mut self, events: &Receiver<Event>) -> Result<(), NetError> {
        let until = Instant::now() + self.deadline;
        while Instant::now() < until && !self.agents.values().all(Agent::is_settled) {
            self.wait(events)?;
            self.settle_local();
        }
        Ok(())
    }

    fn leave(&mut self) {
        for (peer, process) in &self.sides.processes {
            if process.up {
                let _ = self.commands.try_send(Command::Send(*peer, Packet::Bye));
            }
        }
    }
}
