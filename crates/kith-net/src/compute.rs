//! The arithmetic of rounds, on the caller's thread, as the driver asks for it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kith_core::{AgentId, Round, Tape, TaskId};
use kith_engine::Engine;
use kith_method::{Agreement, BasisSpec, Cohort, ExchangeKind, PayloadForm, PayloadSpec, decode_basis};
use kith_protocol::{Neighbour, Peer, RoundKind, Stage};
use kith_run::{Moment, Observer, Outcome, RoundPlan, Row, Run, RunError, Traffic, Work, neighbours};
use libp2p::PeerId;
use tokio::sync::mpsc;

use crate::bodies::{Bodies, Room};
use crate::body::{Body, Shelf};
use crate::codec::Codec;
use crate::cut::Pace;
use crate::driver::{Driver, Ended, Event, Sides, Tell};
use crate::network::{self, IN_QUEUE, NetEvent, NetworkSettings, OUT_QUEUE};
use crate::{NetError, Options, Settings, peers};

/// Where a process begins.
pub(crate) struct Start {
    pub(crate) round: Round,
    pub(crate) traffic: Arc<Mutex<Traffic>>,
}

impl Start {
    /// Bytes that agents had sent by then.
    fn sent(&self, agents: &[AgentId]) -> u64 {
        let traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        agents.iter().map(|agent| traffic.total(*agent)).sum()
    }
}

/// What the driver asks for.
#[derive(Debug)]
pub(crate) enum Job {
    /// The local work of a round; then the bodies for these edges.
    Compute { round: Round, agents: Vec<AgentId>, edges: Vec<(AgentId, AgentId)> },
    /// What agents heard in a round.
    Exchange { round: Round, rows: Vec<Row>, bodies: Vec<Arrived> },
    /// What the memory gains from a task, as this agent sees it.
    Lead { agent: AgentId, task: TaskId, round: Round },
    /// What another agent found.
    Adopt { task: TaskId, round: Round, basis: Body },
    /// What an agent of another process needs to come back: the state of this one before the round.
    HandOver { agent: AgentId, round: Round },
    /// The answer to such a question.
    Join { task: TaskId, body: Body },
}

/// A payload that is mixed now.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) from: AgentId,
    pub(crate) to: AgentId,
    pub(crate) round: Round,
    pub(crate) form: PayloadForm,
    pub(crate) body: Body,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Done {
    /// What a round sends: after its local work or, where the method allows, before it, so that both go on at once.
    Offered {
        bodies: Bodies,
        spec: PayloadSpec,
        bytes: (u64, u64),
        basis: u64,
        /// In the first round of a task that ends with an agreement.
        basis_spec: Option<Box<BasisSpec>>,
    },
    /// The local work of a round, of which the offer was made.
    Computed,
    Exchanged,
    Led {
        task: TaskId,
        basis: Body,
    },
    Adopted {
        task: TaskId,
    },
    HandedOver {
        body: Body,
    },
    Joined {
        fits: Result<(), String>,
    },
    /// Whoever watches the run wants it to stop.
    Stopped,
    /// The arithmetic failed; why is kept by its thread.
    Failed,
}

/// Runs the hosted agents to the end, with everybody else's processes. What these agents leave, and their rows; bytes are those
/// that left the process.
///
/// # Errors
/// Settings that do not fit, neighbours that never appear or are all gone, training that diverges.
pub fn run<E: Engine>(
    engine: E,
    work: Work<'_>,
    settings: Settings,
    tell: Tell<'_>,
    observer: &mut dyn Observer,
) -> Result<(Outcome, Cohort<E>), NetError> {
    let exchanges = work.parts.exchange.kind != ExchangeKind::None;
    let around = |agent: AgentId| if exchanges { neighbours(work.graph, agent) } else { Vec::new() };
    let around: BTreeMap<AgentId, Vec<Neighbour>> =
        settings.hosted.iter().map(|agent| (*agent, around(*agent))).collect();
    let own = PeerId::from(settings.identity.0.public());
    let peers = settings.peers.parse(own)?;
    let sides = Sides::new(around, &peers)?;
    let listen: Vec<_> = settings.listen.iter().map(|text| peers::address(text)).collect::<Result<_, _>>()?;
    let mut run = Run::hosting(engine, work, settings.hosted.clone())?;
    let network = NetworkSettings {
        key: settings.identity.0.clone(),
        listen,
        peers: peers.into_iter().filter(|(id, _)| sides.speaks_to(*id)).collect(),
        pre_shared: settings.pre_shared,
        codec: limits(&mut run),
        discover: settings.discover,
    };
    let start = begin(&mut run, &settings.options)?;
    let shelf = network.codec.shelf.clone();
    if let Some(board) = &settings.options.board {
        board.sent_before(start.sent(&settings.hosted));
    }
    let (tell_driver, events) = sync_channel(IN_QUEUE);
    let (ask, jobs) = sync_channel(1);
    let (command, commands) = mpsc::channel(OUT_QUEUE);
    let driver = Driver::new(sides, &run, &settings, &start, (command, ask), tell);
    if settings.options.back_from.is_some() && !driver.comes_back_in_time() {
        return Err(NetError::TooLate { agents: settings.hosted.iter().map(|agent| agent.0).collect() });
    }
    let (room, pace) = (Room::new(shelf), Pace::new(settings.options.straggles, settings.options.stop));
    let (traffic, driver_too) = (start.traffic, tell_driver.clone());
    let mut desk = Desk { run, observer, traffic, told: None, driver: driver_too, room, pace };
    let (ended, failed) = std::thread::scope(|scope| {
        let to_driver = tell_driver.clone();
        scope.spawn(move || swarm(network, commands, &to_driver));
        let driver = scope.spawn(move || driver.go(&events));
        let failed = desk.serve(&jobs).err();
        (driver.join(), failed)
    });
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    let ended = ended.map_err(|_| NetError::Ended { part: "driver" })??;
    Ok(desk.finish(&settings.hosted, &ended))
}

/// The swarm's thread.
fn swarm(settings: NetworkSettings, commands: mpsc::Receiver<network::Command>, driver: &SyncSender<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tell = |event: NetEvent| {
        // A packet too many is lost and sent again; what links do is not said twice.
        let _ = match event {
            NetEvent::Packet(..) | NetEvent::Malformed(..) => driver.try_send(Event::Net(event)).is_ok(),
            _ => driver.send(Event::Net(event)).is_ok(),
        };
    };
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(network::run(settings, commands, tell)),
        Err(error) => Err(NetError::Setup { operation: "start the network", reason: error.to_string() }),
    };
    if let Err(error) = ended {
        let _ = driver.send(Event::NetworkFailed(error));
    }
}

/// Most bytes of a body in this run: two whole rows, or the memory of all layers; and of a process's state.
fn limits<E: Engine>(run: &mut Run<'_, E>) -> Codec {
    let most = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).min(kith_protocol::MAX_BODY_LEN);
    let layout = run.cohort().layout();
    let memory: usize = layout.projected().map(|tensor| 16 + 4 * tensor.cols * (tensor.cols + 1)).sum();
    let body = most((8 * layout.len() + 8).max(memory));
    Codec { body, state: most(run.cohort_mut().longest_handover()), shelf: Shelf::new() }
}

/// Takes up the state that was kept, if there is some.
fn begin<E: Engine>(run: &mut Run<'_, E>, options: &Options) -> Result<Start, NetError> {
    let agents = run.work().graph.agents();
    let mut traffic = Traffic::new(agents, run.plan().train_rounds.len());
    let mut round = Round(0);
    if let Some(state) = &options.resume {
        let mut bytes: &[u8] = state;
        let mut tape = Tape::playing(&mut bytes);
        tape.number(&mut round.0)?;
        let rounds = (0..run.plan().train_rounds.len()).map(|task| run.plan().rounds_of(TaskId::from(task))).sum();
        let stage = run.plan().stage(round).ok_or(NetError::Replay { round: round.0, rounds })?;
        traffic.carry(&mut tape)?;
        run.begin(stage.task)?;
        run.carry(&mut tape)?;
    }
    Ok(Start { round, traffic: Arc::new(Mutex::new(traffic)) })
}

/// Does the arithmetic, as the driver asks for it.
struct Desk<'a, 'o, E: Engine> {
    run: Run<'a, E>,
    observer: &'o mut dyn Observer,
    traffic: Arc<Mutex<Traffic>>,
    /// The last task of which the driver knows what a basis must continue.
    told: Option<TaskId>,
    driver: SyncSender<Event>,
    room: Room,
    pace: Pace,
}

impl<E: Engine> Desk<'_, '_, E> {
    fn serve(&mut self, jobs: &Receiver<Job>) -> Result<(), RunError> {
        while let Ok(job) = jobs.recv() {
            match self.work(job) {
                Ok(done) => self.tell(done),
                Err(error) => {
                    self.tell(Done::Failed);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A driver that is gone needs to know nothing.
    fn tell(&self, done: Done) {
        let _ = self.driver.send(Event::Done(done));
    }

    fn work(&mut self, job: Job) -> Result<Done, RunError> {
        let run = &mut self.run;
        match job {
            Job::Compute { round, agents, edges } => self.compute(round, agents, &edges),
            Job::Exchange { round, rows, bodies } => exchange(run, round, rows, &bodies, self.observer),
            Job::Lead { agent, task, round } => {
                let growths = run.propose(agent, task)?;
                run.adopt(agent, task, &growths)?;
                record(run, round, self.observer);
                Ok(Done::Led { task, basis: Cohort::<E>::encode_basis(&growths).into() })
            }
            Job::Adopt { task, round, basis } => {
                let growths = decode_basis(run.cohort().layout(), &basis);
                let growths = growths.map_err(|source| RunError::Method { task, source })?;
                let first = run.cohort().hosted().first().copied().unwrap_or_default();
                run.adopt(first, task, &growths)?;
                record(run, round, self.observer);
                Ok(Done::Adopted { task })
            }
            Job::HandOver { agent, round } => {
                if let Some(stage) = run.plan().stage(round).filter(|stage| run.task() != Some(stage.task)) {
                    run.begin(stage.task)?;
                }
                Ok(Done::HandedOver { body: run.hand_over(agent).into() })
            }
            Job::Join { task, body } => match run.rejoin(task, &body) {
                Err(error @ RunError::Method { .. }) => Ok(Done::Joined { fits: Err(error.to_string()) }),
                Err(error) => Err(error),
                Ok(()) => Ok(Done::Joined { fits: Ok(()) }),
            },
        }
    }

    /// Lets the observer keep the state before a round.
    fn show(&mut self, round: Round, stage: Stage) {
        let (run, traffic) = (&mut self.run, &self.traffic);
        let (network, agents) = (run.work().network, run.work().graph.agents());
        let rounds_done = run.outcome_mut().rounds;
        self.observer.before_round(&mut Moment {
            task: stage.task,
            round,
            rounds_done,
            begins_task: stage.kind == RoundKind::Train && stage.index == 0,
            agents,
            network,
            record: &mut |tape| {
                tape.number(&mut { round.0 })?;
                traffic.lock().unwrap_or_else(PoisonError::into_inner).carry(tape)?;
                run.carry(tape)
            },
        });
    }

    fn compute(&mut self, round: Round, agents: Vec<AgentId>, edges: &[(AgentId, AgentId)]) -> Result<Done, RunError> {
        let Some(stage) = self.run.plan().stage(round) else { return Ok(Done::Stopped) };
        if self.run.task() != Some(stage.task) {
            self.run.begin(stage.task)?;
        }
        self.show(round, stage);
        if self.observer.stop() {
            return Ok(Done::Stopped);
        }
        let row = |agent| Row { agent, fresh: Vec::new(), opened: Vec::new(), given: Vec::new(), late: Vec::new() };
        let plan = RoundPlan { round, stage, rows: agents.into_iter().map(row).collect(), joins: Vec::new() };
        let ahead = stage.kind == RoundKind::Train && self.run.cohort().parts().exchange.sends_ahead();
        if ahead {
            self.offer(&plan, edges);
        }
        let began = Instant::now();
        self.run.compute(&plan, self.observer)?;
        self.pace.keep(round, began.elapsed());
        if !ahead {
            self.offer(&plan, edges);
        }
        Ok(Done::Computed)
    }

    /// Hands out what goes over these edges in a round, and what it takes to judge payloads of it.
    fn offer(&mut self, plan: &RoundPlan, edges: &[(AgentId, AgentId)]) {
        let Self { run, room, told, .. } = self;
        let stage = plan.stage;
        run.offer(plan);
        let cohort = run.cohort();
        let first = cohort.hosted().first().copied().unwrap_or_default();
        let (bytes, full) = cohort.payload_bytes(stage.leg);
        let more = if stage.kind == RoundKind::Consensus { cohort.consensus_more() } else { 0 };
        let news = run.plan().agrees_after(stage.task) && told.replace(stage.task) != Some(stage.task);
        let offered = Done::Offered {
            bodies: room.bodies(cohort, stage.leg, edges),
            spec: cohort.payload_spec(),
            bytes: (bytes + more, full),
            basis: cohort.basis_digest(first).short(),
            basis_spec: news.then(|| Box::new(cohort.basis_spec(first))),
        };
        self.tell(offered);
    }

    fn finish(self, hosted: &[AgentId], ended: &Ended) -> (Outcome, Cohort<E>) {
        let Self { mut run, traffic, .. } = self;
        let tasks = run.plan().train_rounds.len();
        if ended.stopped {
            run.end_task();
        }
        let outcome = run.outcome_mut();
        outcome.stopped = ended.stopped;
        outcome.missed_exchanges = ended.missed;
        outcome.count(&traffic.lock().unwrap_or_else(PoisonError::into_inner), tasks);
        run.finish(hosted)
    }
}

fn exchange<E: Engine>(
    run: &mut Run<'_, E>,
    round: Round,
    rows: Vec<Row>,
    bodies: &[Arrived],
    observer: &mut dyn Observer,
) -> Result<Done, RunError> {
    let Some(stage) = run.plan().stage(round) else { return Ok(Done::Stopped) };
    for arrived in bodies {
        let Arrived { from, to, round: of, form, body } = arrived;
        if *of == round {
            run.cohort_mut().receive(stage.leg, *from, *to, *form, body);
        } else {
            run.cohort_mut().receive_late(*of, *from, *to, *form, body);
        }
    }
    let plan = RoundPlan { round, stage, rows, joins: Vec::new() };
    let mixings = run.mixings(&plan);
    run.exchange(&plan, &mixings);
    run.close(&plan, observer);
    if stage.last {
        run.end_task();
        run.measure(&plan, observer);
        run.enter_memory(observer);
        grow_alone(run, &plan)?;
        if !run.plan().agrees_after(stage.task) {
            run.record_memory(&plan, observer);
        }
    }
    Ok(Done::Exchanged)
}

/// Records the memory that was agreed on after a task's last round.
fn record<E: Engine>(run: &mut Run<'_, E>, round: Round, observer: &mut dyn Observer) {
    let Some(stage) = run.plan().stage(round) else { return };
    let row =
        |&agent: &AgentId| Row { agent, fresh: Vec::new(), opened: Vec::new(), given: Vec::new(), late: Vec::new() };
    let rows = run.cohort().hosted().iter().map(row).collect();
    run.record_memory(&RoundPlan { round, stage, rows, joins: Vec::new() }, observer);
}

/// What memories gain without anybody being told: those that agents keep for themselves, and after the last task the leader's.
fn grow_alone<E: Engine>(run: &mut Run<'_, E>, plan: &RoundPlan) -> Result<(), RunError> {
    let task = plan.stage.task;
    let agents = plan.agents();
    let Some(memory) = run.work().parts.memory.clone() else { return Ok(()) };
    let proposers = match memory.agreement {
        Agreement::Own => agents,
        Agreement::Leader if run.plan().agrees_after(task) => Vec::new(),
        Agreement::Leader => agents.into_iter().filter(|agent| agent.0 == memory.leader).collect(),
    };
    for agent in proposers {
        let growths = run.propose(agent, task)?;
        run.adopt(agent, task, &growths)?;
    }
    Ok(())
}

/// Whether payloads go from here to the neighbour.
pub(crate) const fn sends(way: Peer) -> bool {
    !matches!(way, Peer::Source)
}
