//! The arithmetic of rounds, on the caller's thread, as the driver asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use kith_core::{AgentId, Digest, Leg, Round, TaskId};
use kith_engine::Engine;
use kith_method::{Agreement, Cohort, ExchangeKind, PayloadForm, PayloadSpec, decode_basis};
use kith_protocol::{Neighbour, Peer, RoundKind};
use kith_run::{Observer, Outcome, RoundPlan, Row, Run, RunError, Traffic, Work, neighbours};
use libp2p::PeerId;
use tokio::sync::mpsc;

use crate::codec::Body;
use crate::driver::{Driver, Event, Sides, Tell};
use crate::network::{self, IN_QUEUE, NetEvent, NetworkSettings, OUT_QUEUE};
use crate::{Board, Discover, Identity, NetError, PeersFile, peers};

/// How a process takes part in a run.
#[derive(Clone)]
pub struct Settings {
    /// Who it is.
    pub identity: Identity,
    /// The agents that it hosts, ascending.
    pub hosted: Vec<AgentId>,
    /// Where it listens.
    pub listen: Vec<String>,
    /// All processes of the run.
    pub peers: PeersFile,
    /// A secret that all processes share; who does not know it cannot even begin to speak.
    pub pre_shared: Option<[u8; 32]>,
    /// How addresses are found.
    pub discover: Discover,
    /// Hash of the experiment, which must be the same everywhere.
    pub run: Digest,
    /// Tells this start of the process from others.
    pub instance: u64,
    /// Where the arithmetic runs, which must be the same everywhere.
    pub engine: String,
    /// How long a round waits for neighbours.
    pub deadline: Duration,
    /// After how long a frame without an answer is sent again.
    pub retransmit: Duration,
    /// How long the start waits for neighbours.
    pub start: Duration,
    /// What not every process needs.
    pub options: Options,
}

/// What not every process needs: [`Options::default`] leaves it all out.
#[derive(Clone, Default)]
pub struct Options {
    /// Where others of the program see how the process stands.
    pub board: Option<Arc<Board>>,
    /// Ends the wait for neighbours at the start, once it is set. Later, [`Observer::stop`] is asked after every round.
    pub stop: Option<Arc<AtomicBool>>,
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

/// Bodies of a round for one edge: as an increment, and standing for itself.
pub(crate) type Bodies = BTreeMap<(AgentId, AgentId), (Body, Body)>;

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Done {
    Computed {
        bodies: Bodies,
        spec: PayloadSpec,
        bytes: (u64, u64),
        basis: u64,
        ranks: Vec<usize>,
    },
    Exchanged {
        stop: bool,
    },
    Led {
        task: TaskId,
        basis: Body,
    },
    Adopted {
        task: TaskId,
    },
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
        limit: limit(&run),
        discover: settings.discover,
    };
    let (tell_driver, events) = sync_channel(IN_QUEUE);
    let (ask, jobs) = sync_channel(1);
    let (command, commands) = mpsc::channel(OUT_QUEUE);
    let driver = Driver::new(sides, &run, &settings, command, ask, tell);
    let (ended, failed) = std::thread::scope(|scope| {
        let to_driver = tell_driver.clone();
        scope.spawn(move || swarm(network, commands, &to_driver));
        let driver = scope.spawn(move || driver.go(&events));
        let failed = serve(&mut run, &jobs, &tell_driver, observer).err();
        (driver.join(), failed)
    });
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    let ended = ended.map_err(|_| NetError::Ended { part: "driver" })??;
    Ok(finish(run, &settings.hosted, &ended.traffic, ended.missed, ended.stopped))
}

/// The swarm's thread.
fn swarm(settings: NetworkSettings, commands: mpsc::Receiver<network::Command>, driver: &SyncSender<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tell = |event: NetEvent| {
        // A packet too many is lost and sent again; what links do is not said twice.
        let _ = match event {
            NetEvent::Packet(..) => driver.try_send(Event::Net(event)).is_ok(),
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

/// Most bytes of a body in this run: two whole rows, or the memory of all layers.
fn limit<E: Engine>(run: &Run<'_, E>) -> u32 {
    let layout = run.cohort().layout();
    let memory: usize = layout.projected().map(|tensor| 16 + 4 * tensor.cols * (tensor.cols + 1)).sum();
    u32::try_from((8 * layout.len() + 8).max(memory)).unwrap_or(u32::MAX).min(kith_protocol::MAX_BODY_LEN)
}

fn serve<E: Engine>(
    run: &mut Run<'_, E>,
    jobs: &Receiver<Job>,
    driver: &SyncSender<Event>,
    observer: &mut dyn Observer,
) -> Result<(), RunError> {
    while let Ok(job) = jobs.recv() {
        match work(run, job, observer) {
            Ok(done) => {
                let _ = driver.send(Event::Done(done));
            }
            Err(error) => {
                let _ = driver.send(Event::Done(Done::Failed));
                return Err(error);
            }
        }
    }
    Ok(())
}

fn work<E: Engine>(run: &mut Run<'_, E>, job: Job, observer: &mut dyn Observer) -> Result<Done, RunError> {
    match job {
        Job::Compute { round, agents, edges } => compute(run, round, agents, &edges, observer),
        Job::Exchange { round, rows, bodies } => exchange(run, round, rows, &bodies, observer),
        Job::Lead { agent, task, round } => {
            let growths = run.propose(agent, task)?;
            run.adopt(agent, task, &growths)?;
            record(run, round, observer);
            Ok(Done::Led { task, basis: Cohort::<E>::encode_basis(&growths).into() })
        }
        Job::Adopt { task, round, basis } => {
            let growths = decode_basis(run.cohort().layout(), &basis);
            let growths = growths.map_err(|source| RunError::Method { task, source })?;
            let first = run.cohort().hosted().first().copied().unwrap_or_default();
            run.adopt(first, task, &growths)?;
            record(run, round, observer);
            Ok(Done::Adopted { task })
        }
    }
}

fn compute<E: Engine>(
    run: &mut Run<'_, E>,
    round: Round,
    agents: Vec<AgentId>,
    edges: &[(AgentId, AgentId)],
    observer: &mut dyn Observer,
) -> Result<Done, RunError> {
    let Some(stage) = run.plan().stage(round) else { return Ok(Done::Exchanged { stop: true }) };
    if run.task() != Some(stage.task) {
        run.begin(stage.task)?;
    }
    let row = |agent| Row { agent, fresh: Vec::new(), opened: Vec::new(), late: Vec::new() };
    let plan = RoundPlan { round, stage, rows: agents.into_iter().map(row).collect(), joins: Vec::new() };
    run.compute(&plan, observer)?;
    run.cohort_mut().offer(round, stage.leg, &plan.agents());
    let cohort = run.cohort();
    let mut bodies = Bodies::new();
    if stage.leg.exchanges() {
        let mut last: Option<(AgentId, (Body, Body))> = None;
        // Rows, unlike gradients and relayed sums, are the same for every neighbour.
        let one_each = match cohort.parts().exchange.kind {
            ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures => stage.leg == Leg::Both,
            kind => kind == ExchangeKind::Relay,
        };
        for &(from, to) in edges {
            let made = match &last {
                Some((agent, made)) if *agent == from && !one_each => made.clone(),
                _ => made(cohort, stage.leg, from, to),
            };
            last = Some((from, made.clone()));
            bodies.insert((from, to), made);
        }
    }
    let first = cohort.hosted().first().copied().unwrap_or_default();
    let (bytes, full) = cohort.payload_bytes(stage.leg);
    let more = if stage.kind == RoundKind::Consensus { cohort.consensus_more() } else { 0 };
    Ok(Done::Computed {
        bodies,
        spec: cohort.payload_spec(),
        bytes: (bytes + more, full),
        basis: cohort.basis_digest(first).short(),
        ranks: cohort.memory(first).iter().map(|layer| layer.rank()).collect(),
    })
}

fn made<E: Engine>(cohort: &Cohort<E>, leg: Leg, from: AgentId, to: AgentId) -> (Body, Body) {
    let increment: Body = cohort.payload(leg, from, to, PayloadForm::Increment).into();
    let absolute = match cohort.parts().exchange.compressor {
        Some(_) => cohort.payload(leg, from, to, PayloadForm::Absolute).into(),
        None => Arc::clone(&increment),
    };
    (increment, absolute)
}

fn exchange<E: Engine>(
    run: &mut Run<'_, E>,
    round: Round,
    rows: Vec<Row>,
    bodies: &[Arrived],
    observer: &mut dyn Observer,
) -> Result<Done, RunError> {
    let Some(stage) = run.plan().stage(round) else { return Ok(Done::Exchanged { stop: true }) };
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
    Ok(Done::Exchanged { stop: observer.stop() })
}

/// Records the memory that was agreed on after a task's last round.
fn record<E: Engine>(run: &mut Run<'_, E>, round: Round, observer: &mut dyn Observer) {
    let Some(stage) = run.plan().stage(round) else { return };
    let row = |&agent: &AgentId| Row { agent, fresh: Vec::new(), opened: Vec::new(), late: Vec::new() };
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

fn finish<E: Engine>(
    mut run: Run<'_, E>,
    hosted: &[AgentId],
    traffic: &Traffic,
    missed: u64,
    stopped: bool,
) -> (Outcome, Cohort<E>) {
    let tasks = run.plan().train_rounds.len();
    if stopped {
        run.end_task();
    }
    let outcome = run.outcome_mut();
    outcome.stopped = stopped;
    outcome.missed_exchanges = missed;
    outcome.count(traffic, tasks);
    run.finish(hosted)
}

/// Whether payloads go from here to the neighbour.
pub(crate) const fn sends(way: Peer) -> bool {
    !matches!(way, Peer::Source)
}
