//! The run: takes rounds from the timeline and does their arithmetic on the cohort.

use kith_core::{AgentId, Batches, Event, Key, Leg, Network, Position, Purpose, Round, Samples, Seeds, TaskId};
use kith_data::{BatchOrder, Scenario, TaskData, representation_indices};
use kith_engine::{Engine, initialise};
use kith_graph::{Graph, Mixing as MixingMatrix};
use kith_method::{Agreement, Cohort, ExchangeKind, LateFlow, MethodError, Mixing, Parts, Rates, Setup};
use kith_protocol::{Agent, Config, Neighbour, Peer, Plan, RoundKind};
use thiserror::Error;

use crate::check::{CheckError, Checks};
use crate::link::{Links, nanoseconds};
use crate::timeline::{RoundPlan, Settings, Step, Timeline};
use crate::{Fault, LinkSpec, Observer, Outcome, Phase, Progress, TrainSpec};

/// Everything that a run is made of.
pub struct Experiment<'a> {
    /// Who talks to whom.
    pub graph: &'a Graph,
    /// Mixing weights on it.
    pub mixing: &'a MixingMatrix,
    /// Tasks, samples, shards.
    pub scenario: &'a Scenario,
    /// What is trained.
    pub network: &'a Network,
    /// How.
    pub parts: Parts,
    /// How long, how fast.
    pub train: TrainSpec,
    /// What lies between agents.
    pub links: LinkSpec,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Randomness.
    pub seeds: Seeds,
    /// Whether global truths are checked as the run goes.
    pub checked: Checked,
}

/// Whether global truths are checked as a run goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checked {
    /// Every round: slower.
    Yes,
    /// No.
    #[default]
    No,
}

/// Why a run ended early.
#[derive(Debug, Error)]
pub enum SimError {
    /// The network does not fit together.
    #[error(transparent)]
    Network(#[from] kith_core::NetworkError),
    /// The data do not fit the run.
    #[error(transparent)]
    Data(#[from] kith_data::DataError),
    /// The method failed.
    #[error("after task {task}: {source}")]
    Method {
        /// The task.
        task: TaskId,
        /// Why.
        source: MethodError,
    },
    /// Numbers are no longer finite.
    #[error(
        "training diverged: the loss of agent {agent} is {loss} in round {round}; a smaller learning rate may help"
    )]
    Diverged {
        /// Whose.
        agent: AgentId,
        /// When.
        round: Round,
        /// What it became.
        loss: f64,
    },
    /// A global truth does not hold.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// Runs an experiment. What it leaves, and the cohort with everyone's parameters.
///
/// # Errors
/// A network that does not fit, training that diverges, a check that fails.
pub fn run<E: Engine>(
    engine: E,
    experiment: Experiment<'_>,
    observer: &mut dyn Observer,
) -> Result<(Outcome, Cohort<E>), SimError> {
    Run::new(engine, experiment)?.go(observer)
}

struct Run<'a, E: Engine> {
    experiment: Experiment<'a>,
    cohort: Cohort<E>,
    timeline: Timeline,
    checks: Option<Checks>,
    plan: Plan,
    outcome: Outcome,
    task: Option<TaskId>,
    batches: Option<BatchOrder>,
    steps_per_epoch: u64,
    basis_bytes: u64,
    phase: Option<Phase>,
    losses: (f64, u64),
    accuracy: Option<f64>,
}

impl<'a, E: Engine> Run<'a, E> {
    fn new(engine: E, experiment: Experiment<'a>) -> Result<Self, SimError> {
        let layout = experiment.network.layout()?;
        let agents = experiment.graph.agents();
        let exchanges = experiment.parts.exchange.kind != ExchangeKind::None;
        let weights = (0..agents).map(AgentId::from).map(|agent| {
            let others = experiment.mixing.row(agent).iter().copied().filter(|(peer, _)| *peer != agent);
            if exchanges { others.collect() } else { Vec::new() }
        });
        let setup = Setup {
            parts: experiment.parts.clone(),
            layout,
            agents,
            weights: weights.collect(),
            seeds: experiment.seeds,
        };
        let cohort = Cohort::new(engine, setup, |agent, row| initial_row(&experiment, agent, row));
        let plan = plan(&experiment);
        let neighbours: Vec<Vec<Neighbour>> = (0..agents)
            .map(|agent| if exchanges { neighbours(experiment.graph, AgentId::from(agent)) } else { Vec::new() })
            .collect();
        let machines = neighbours.iter().enumerate().map(|(agent, neighbours)| {
            Agent::new(Config {
                id: AgentId::from(agent),
                neighbours: neighbours.clone(),
                plan: plan.clone(),
                deadline: nanoseconds(experiment.links.deadline_ms),
                retransmit: nanoseconds(experiment.links.retransmit_ms),
            })
        });
        let compute = nanoseconds(experiment.links.compute_ms_per_step * experiment.train.local_steps as f64);
        let leader = AgentId(experiment.parts.memory.as_ref().map_or(0, |memory| memory.leader));
        let settings = Settings { plan: plan.clone(), compute, leader, faults: experiment.faults.clone() };
        let links = Links::new(experiment.links.clone(), experiment.seeds);
        let ids = neighbours.iter().map(|peers| peers.iter().map(|peer| peer.id).collect()).collect();
        let timeline = Timeline::new(settings, machines.collect(), ids, links);
        let checks = (experiment.checked == Checked::Yes).then(Checks::default);
        let outcome = Outcome { agents, accuracy_per_agent: vec![Vec::new(); agents], ..Outcome::default() };
        Ok(Self {
            experiment,
            cohort,
            timeline,
            checks,
            plan,
            outcome,
            task: None,
            batches: None,
            steps_per_epoch: 1,
            basis_bytes: 0,
            phase: None,
            losses: (0.0, 0),
            accuracy: None,
        })
    }

    fn go(mut self, observer: &mut dyn Observer) -> Result<(Outcome, Cohort<E>), SimError> {
        self.begin(TaskId(0))?;
        loop {
            match self.timeline.step() {
                Step::Round(plan) => {
                    self.round(&plan, observer)?;
                    if observer.stop() {
                        self.outcome.stopped = true;
                        self.cohort.end_task();
                        break;
                    }
                }
                Step::Basis(task, leader) => {
                    self.begin(TaskId(task.0 + 1))?;
                    self.timeline.basis_ready(task, leader, self.basis_bytes);
                }
                Step::Done => break,
            }
        }
        self.finish()
    }

    /// Prepares a task, once.
    fn begin(&mut self, task: TaskId) -> Result<(), SimError> {
        if self.task == Some(task) {
            return Ok(());
        }
        self.task = Some(task);
        if let Some(checks) = &mut self.checks {
            let agents: Vec<AgentId> = self.timeline.living().collect();
            checks.remember(&self.cohort, &agents);
        }
        self.cohort.begin_task(task);
        for leg in [Leg::Both, Leg::Exchange] {
            let (payload, full) = self.cohort.payload_bytes(leg);
            self.timeline.set_payload(leg, payload, full);
        }
        let data = self.data(task);
        let mut batches = BatchOrder::new(
            data.train.clone(),
            &data.shards,
            self.experiment.train.batch_size,
            &self.experiment.seeds,
            task,
        )?;
        batches.prepare(0);
        self.steps_per_epoch = batches.steps_per_epoch() as u64;
        self.batches = Some(batches);
        if let Some(checks) = &mut self.checks {
            checks.begin(&self.cohort);
        }
        Ok(())
    }

    fn data(&self, task: TaskId) -> &'a TaskData {
        &self.experiment.scenario.tasks[task.index()]
    }

    fn position(&self, task: TaskId, round: u64, step: u64) -> Position {
        let per_epoch = self.steps_per_epoch;
        let rounds = self.plan.train_rounds[task.index()];
        let steps = rounds * self.experiment.train.local_steps;
        let totals = [steps, rounds, steps.div_ceil(per_epoch), self.plan.train_rounds.len() as u64];
        Position { step, round, epoch: step / per_epoch, task: u64::from(task.0), totals }
    }

    fn enter(&mut self, phase: Phase, observer: &mut dyn Observer) {
        if self.phase.replace(phase) != Some(phase) {
            observer.phase(phase);
        }
    }

    fn round(&mut self, plan: &RoundPlan, observer: &mut dyn Observer) -> Result<(), SimError> {
        self.begin(plan.stage.task)?;
        for &(agent, source) in &plan.joins {
            self.cohort.take_over(agent, source);
            if let Some(checks) = &mut self.checks {
                checks.rejoined(agent);
            }
        }
        let local_steps = self.experiment.train.local_steps;
        let index = plan.stage.index;
        if plan.stage.kind == RoundKind::Train {
            self.enter(Phase::Train, observer);
        }
        if plan.stage.kind == RoundKind::Train && plan.stage.leg.computes() {
            self.train(plan, index * local_steps..(index + 1) * local_steps, observer)?;
        }
        if plan.stage.kind == RoundKind::Consensus {
            self.enter(Phase::Consensus, observer);
        }
        let round_in_task = match plan.stage.kind {
            RoundKind::Train => index,
            RoundKind::Consensus => self.plan.train_rounds[plan.stage.task.index()].saturating_sub(1),
        };
        let position = self.position(plan.stage.task, round_in_task, round_in_task * local_steps);
        self.exchange(plan, &position)?;
        self.outcome.rounds += u64::from(plan.stage.closes);
        observer.progress(&Progress {
            task: plan.stage.task.index(),
            tasks: self.plan.train_rounds.len(),
            epoch: position.epoch,
            epochs: position.totals[2],
            rounds_done: self.outcome.rounds,
            rounds: self.plan.rounds(),
            agent_steps: self.outcome.agent_steps,
            accuracy: self.accuracy,
        });
        if plan.stage.last {
            self.end_task(plan, observer)?;
        }
        Ok(())
    }

    fn train(
        &mut self,
        plan: &RoundPlan,
        steps: std::ops::Range<u64>,
        observer: &mut dyn Observer,
    ) -> Result<(), SimError> {
        let task = plan.stage.task;
        let per_epoch = self.steps_per_epoch;
        let epoch = steps.start / per_epoch;
        let at = |step: u64| self.position(task, plan.stage.index, step);
        let oracle = &self.experiment.parts.oracle;
        let radius = |at: &Position| oracle.radius().map_or(0.0, |radius| radius.at(at));
        let schedule = &self.experiment.train.learning_rate;
        let rates: Vec<Rates> = steps
            .clone()
            .map(|step| Rates { learning_rate: schedule.at(&at(step)), radius: radius(&at(step)) })
            .collect();
        let Some(batches) = &mut self.batches else { return Ok(()) };
        if steps.start % per_epoch < steps.end - steps.start {
            batches.prepare(epoch);
        }
        let agents: Vec<AgentId> = plan.rows.iter().map(|row| row.agent).collect();
        let first = steps.start;
        let count = steps.end - steps.start;
        let losses =
            self.cohort.train(&agents, steps.clone(), &*batches as &dyn Batches, |step| rates[(step - first) as usize]);
        for (&agent, &loss) in agents.iter().zip(&losses) {
            if !loss.is_finite() {
                return Err(SimError::Diverged { agent, round: plan.round, loss });
            }
        }
        self.outcome.agent_steps += agents.len() as u64 * count;
        self.losses.0 += losses.iter().sum::<f64>();
        self.losses.1 += agents.len() as u64 * count;
        let ends_epoch = steps.end / per_epoch > epoch;
        if ends_epoch {
            self.end_epoch(plan, epoch, observer);
        }
        Ok(())
    }

    fn end_epoch(&mut self, plan: &RoundPlan, epoch: u64, observer: &mut dyn Observer) {
        let task = plan.stage.task;
        let (sum, count) = std::mem::take(&mut self.losses);
        let value = sum / count.max(1) as f64;
        observer.event(&Event { agent: None, task, round: plan.round, key: Key::TrainLoss, of: None, value });
        let ends_task = plan.stage.index + 1 >= self.plan.train_rounds[task.index()];
        let wanted = self.experiment.train.evaluate_every.is_some_and(|every| (epoch + 1).is_multiple_of(every));
        if wanted && !ends_task {
            self.enter(Phase::Evaluate, observer);
            self.evaluate(plan, observer);
            self.enter(Phase::Train, observer);
        }
    }

    fn exchange(&mut self, plan: &RoundPlan, position: &Position) -> Result<(), SimError> {
        let schedule = self.experiment.parts.exchange.averaging_rate.clone();
        let rate_of = |round: Round| {
            let stage = self.plan.stage(round);
            let index = stage.map_or(0, |stage| match stage.kind {
                RoundKind::Train => stage.index,
                RoundKind::Consensus => self.plan.train_rounds[stage.task.index()].saturating_sub(1),
            });
            let task = stage.map_or(TaskId(0), |stage| stage.task);
            schedule.at(&self.position(task, index, index * self.experiment.train.local_steps))
        };
        let rows: Vec<Mixing<'_>> = plan
            .rows
            .iter()
            .map(|row| Mixing {
                agent: row.agent,
                fresh: &row.fresh,
                opened: &row.opened,
                late: row
                    .late
                    .iter()
                    .map(|late| LateFlow { peer: late.peer, round: late.round, rate: rate_of(late.round) })
                    .collect(),
            })
            .collect();
        let rate = schedule.at(position);
        if let Some(checks) = &mut self.checks {
            checks.before_exchange(&self.cohort, plan.stage.leg, &rows);
        }
        self.cohort.exchange(plan.round, plan.stage.leg, rate, &rows);
        if let Some(checks) = &mut self.checks {
            checks.after_exchange(&self.cohort, plan.round, &rows)?;
        }
        Ok(())
    }

    /// Tests the agents of a round on every task seen.
    fn evaluate(&mut self, plan: &RoundPlan, observer: &mut dyn Observer) -> Vec<Vec<f64>> {
        let task = plan.stage.task;
        let agents: Vec<AgentId> = plan.rows.iter().map(|row| row.agent).collect();
        let mut accuracy = vec![Vec::with_capacity(task.index() + 1); agents.len()];
        for seen in (0..=task.index()).map(TaskId::from) {
            let data = self.data(seen);
            let scores = self.cohort.evaluate(&agents, data.test.as_ref() as &dyn Samples, seen);
            for ((agent, score), row) in agents.iter().zip(scores).zip(&mut accuracy) {
                let (key, of, value) = (Key::Accuracy, Some(seen.0), score.accuracy());
                observer.event(&Event { agent: Some(*agent), task, round: plan.round, key, of, value });
                row.push(value);
            }
        }
        let all: Vec<f64> = accuracy.iter().flatten().copied().collect();
        {
            self.accuracy = Some(all.iter().sum::<f64>() / all.len().max(1) as f64);
        }
        accuracy
    }

    fn end_task(&mut self, plan: &RoundPlan, observer: &mut dyn Observer) -> Result<(), SimError> {
        let task = plan.stage.task;
        let agents: Vec<AgentId> = plan.rows.iter().map(|row| row.agent).collect();
        self.cohort.end_task();
        if let Some(checks) = &self.checks {
            checks.end_task(&self.cohort, &agents, plan.round)?;
        }
        self.enter(Phase::Evaluate, observer);
        let (_, distance) = self.cohort.consensus(&agents);
        self.outcome.consensus_distance.push(distance);
        let group = |key, of, value| Event { agent: None, task, round: plan.round, key, of, value };
        observer.event(&group(Key::ConsensusDistance, None, distance));
        let accuracy = self.evaluate(plan, observer);
        for (agent, row) in agents.iter().zip(accuracy) {
            self.outcome.accuracy_per_agent[agent.index()].push(row);
        }
        self.enter(Phase::Memory, observer);
        self.grow_memory(task, &agents).map_err(|source| SimError::Method { task, source })?;
        let ranks: Vec<usize> =
            self.cohort.memory(agents.first().copied().unwrap_or_default()).iter().map(|l| l.rank()).collect();
        for (layer, rank) in ranks.iter().enumerate() {
            observer.event(&group(Key::BasisRank, Some(layer as u32), *rank as f64));
        }
        self.outcome.basis_ranks.push(ranks);
        let seconds = self.timeline.now().0 as f64 / 1e9;
        observer.event(&group(Key::SimulatedSeconds, None, seconds));
        self.outcome.tasks += 1;
        Ok(())
    }

    /// Grows the memory by what the task needs: the leader's proposal, or each agent's own.
    fn grow_memory(&mut self, task: TaskId, agents: &[AgentId]) -> Result<(), MethodError> {
        let Some(memory) = self.experiment.parts.memory.clone() else { return Ok(()) };
        let proposers: Vec<AgentId> = match memory.agreement {
            Agreement::Own => agents.to_vec(),
            Agreement::Leader => {
                let leader = AgentId(memory.leader);
                let after = agents.iter().find(|&&agent| agent >= leader);
                after.or(agents.first()).into_iter().copied().collect()
            }
        };
        let layers = self.cohort.layout().projected().count();
        let wanted = (0..layers).filter_map(|layer| memory.samples.get(layer)).max().unwrap_or(0);
        let data = self.data(task);
        self.basis_bytes = 0;
        for agent in proposers {
            let indices =
                representation_indices(&data.shards[agent.index()], wanted, &self.experiment.seeds, task, agent);
            let growths = self.cohort.propose(agent, data.train.as_ref() as &dyn Samples, &indices, task)?;
            self.basis_bytes = growths.iter().map(|growth| growth.wire_len() as u64).sum();
            self.cohort.adopt(agent, &growths)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Outcome, Cohort<E>), SimError> {
        let traffic = self.timeline.traffic();
        let agents = self.outcome.agents;
        let mean = |task: usize, pick: fn(&crate::Sent) -> u64| {
            let sum: u64 = (0..agents).map(|agent| pick(&traffic.of(AgentId::from(agent), TaskId::from(task)))).sum();
            sum as f64 / agents as f64
        };
        for task in 0..self.plan.train_rounds.len() {
            self.outcome.bytes_training.push(mean(task, |sent| sent.training));
            self.outcome.bytes_training_full.push(mean(task, |sent| sent.training_full));
            self.outcome.bytes_consensus.push(mean(task, |sent| sent.consensus));
            self.outcome.bytes_basis.push(mean(task, |sent| sent.basis));
            self.outcome.bytes_control.push(mean(task, |sent| sent.control));
        }
        self.outcome.bytes_sent_per_agent = (0..agents).map(|agent| traffic.total(AgentId::from(agent))).collect();
        if let Some(checks) = &self.checks
            && !self.outcome.stopped
        {
            checks.finish(traffic)?;
        }
        self.outcome.simulated_seconds = self.timeline.now().0 as f64 / 1e9;
        self.outcome.communication_share = self.timeline.communication_share();
        self.outcome.missed_exchanges = self.timeline.missed();
        let living: Vec<AgentId> = self.timeline.living().collect();
        self.outcome.mean_parameters = self.cohort.consensus(&living).0;
        self.outcome.parameter_digest = self.cohort.parameter_digest();
        self.outcome.trace_digest = self.timeline.trace_digest();
        Ok((self.outcome, self.cohort))
    }
}

fn initial_row(experiment: &Experiment<'_>, agent: AgentId, row: &mut [f32]) {
    let mut stream = if experiment.train.same_start {
        experiment.seeds.shared(Purpose::Initialise, 0)
    } else {
        experiment.seeds.agent(Purpose::Initialise, agent, 0)
    };
    initialise(experiment.network, &mut stream, row);
}

fn plan(experiment: &Experiment<'_>) -> Plan {
    let train = &experiment.train;
    let train_rounds = experiment.scenario.tasks.iter().map(|data| {
        let smallest = data.shards.iter().map(Vec::len).min().unwrap_or(0);
        let per_epoch = (smallest / train.batch_size.max(1)).max(1) as u64;
        match (train.rounds_per_task, train.epochs_per_task) {
            (Some(rounds), _) => rounds,
            (None, epochs) => (epochs.unwrap_or(1) * per_epoch).div_ceil(train.local_steps.max(1)),
        }
    });
    let exchanges = experiment.parts.exchange.kind != ExchangeKind::None;
    let memory = experiment.parts.memory.as_ref();
    Plan {
        train_rounds: train_rounds.collect(),
        legs: experiment.parts.legs(),
        consensus_rounds: memory.filter(|_| exchanges).map_or(0, |memory| memory.consensus_rounds),
        shared_memory: memory.is_some_and(|memory| memory.agreement == Agreement::Leader),
    }
}

/// Both kinds of neighbours of an agent, ascending, and which way payloads go.
fn neighbours(graph: &Graph, agent: AgentId) -> Vec<Neighbour> {
    let (to, from) = (graph.neighbours_out(agent), graph.neighbours_in(agent));
    let mut all: Vec<AgentId> = to.iter().chain(from).copied().collect();
    all.sort_unstable();
    all.dedup();
    let way = |id: &AgentId| match (to.contains(id), from.contains(id)) {
        (true, true) => Peer::Mutual,
        (true, false) => Peer::Sink,
        _ => Peer::Source,
    };
    all.iter().map(|id| Neighbour { id: *id, way: way(id) }).collect()
}
