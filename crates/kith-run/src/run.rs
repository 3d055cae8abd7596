//! The arithmetic of a run: what a round, a task's start and a task's end do to the rows of a cohort. Which agents exchange
//! with whom, and when, is a driver's to say.

use std::sync::Arc;

use kith_core::{AgentId, Batches, Digest, Event, Key, Network, Position, Round, Samples, Seeds, TaskId};
use kith_data::{BatchOrder, Recall, Scenario, TaskData, representation_indices};
use kith_engine::Engine;
use kith_graph::{Graph, Meetings, Mixing as MixingMatrix};
use kith_method::{Agreement, Cohort, ExchangeKind, LateFlow, MethodError, Mixing, Parts, Rates, Rehearsal, Setup};
use kith_protocol::{Plan, RoundKind};
use kith_subspace::Growth;
use thiserror::Error;

use crate::stage::initial_row;
use crate::{Observer, Outcome, Phase, Progress, RoundPlan, TrainSpec, plan, rates};

/// What is learned, by whom, and how.
#[derive(Clone)]
pub struct Work<'a> {
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
    /// Who meets whom in which round, where that changes.
    pub meetings: Option<Arc<Meetings>>,
    /// Randomness.
    pub seeds: Seeds,
    /// Weights that all agents start with, instead of drawn ones.
    pub start: Option<&'a [f32]>,
}

/// Why a round could not be done.
#[derive(Debug, Error)]
pub enum RunError {
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
}

/// The rows of the agents that one process hosts, and how far they are.
pub struct Run<'a, E: Engine> {
    pub(crate) work: Work<'a>,
    pub(crate) cohort: Cohort<E>,
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
    pub(crate) task: Option<TaskId>,
    pub(crate) batches: Option<BatchOrder>,
    /// Kept samples of the tasks before.
    pub(crate) recall: Option<Recall>,
    /// The task that was taken last into what is held against forgetting.
    pub(crate) consolidated: Option<TaskId>,
    pub(crate) steps_per_epoch: u64,
    pub(crate) phase: Option<Phase>,
    pub(crate) losses: (f64, u64),
    pub(crate) accuracy: Option<f64>,
    pub(crate) tested: Option<Round>,
}

impl<'a, E: Engine> Run<'a, E> {
    /// A run at its start, before the first task.
    ///
    /// # Errors
    /// A network that does not fit together.
    pub fn new(engine: E, work: Work<'a>) -> Result<Self, RunError> {
        let hosted = (0..work.graph.agents()).map(AgentId::from).collect();
        Self::hosting(engine, work, hosted)
    }

    /// A run of some of the agents, ascending; the engine has rows for them and for all of [`senders`].
    ///
    /// # Errors
    /// A network that does not fit together.
    pub fn hosting(engine: E, work: Work<'a>, hosted: Vec<AgentId>) -> Result<Self, RunError> {
        let layout = work.network.layout()?;
        let agents = work.graph.agents();
        let exchanges = work.parts.exchange.kind != ExchangeKind::None;
        let weights = (0..agents).map(AgentId::from).map(|agent| {
            let others = work.mixing.row(agent).iter().copied().filter(|(peer, _)| *peer != agent);
            if exchanges { others.collect() } else { Vec::new() }
        });
        let setup = Setup { parts: work.parts.clone(), layout, agents, weights: weights.collect(), seeds: work.seeds };
        let cohort = Cohort::hosting(engine, setup, hosted, |agent, row| initial_row(&work, agent, TaskId(0), row));
        let outcome = Outcome { agents, accuracy_per_agent: vec![Vec::new(); agents], ..Outcome::default() };
        Ok(Self {
            plan: plan(&work),
            work,
            cohort,
            outcome,
            task: None,
            batches: None,
            recall: None,
            consolidated: None,
            steps_per_epoch: 1,
            phase: None,
            losses: (0.0, 0),
            accuracy: None,
            tested: None,
        })
    }

    /// The rounds of the run.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The rows.
    #[must_use]
    pub const fn cohort(&self) -> &Cohort<E> {
        &self.cohort
    }

    /// The rows, to change what a round's arithmetic does not: neighbours' rows, rows of agents that come back.
    pub const fn cohort_mut(&mut self) -> &mut Cohort<E> {
        &mut self.cohort
    }

    /// What is learned, by whom, and how.
    #[must_use]
    pub const fn work(&self) -> &Work<'a> {
        &self.work
    }

    /// The task under way.
    #[must_use]
    pub const fn task(&self) -> Option<TaskId> {
        self.task
    }

    /// Prepares rows and minibatches for a task.
    ///
    /// # Errors
    /// Shards too small for a minibatch.
    pub fn begin(&mut self, task: TaskId) -> Result<(), RunError> {
        self.task = Some(task);
        self.restart(task);
        self.cohort.begin_task(task);
        let (batches, per_epoch) = self.order(task)?;
        self.steps_per_epoch = per_epoch;
        self.batches = Some(batches);
        self.recall = self.recall(task);
        Ok(())
    }

    /// The task under way, as it stands, for an agent that comes back without state of its own: see [`Run::rejoin`].
    #[must_use]
    pub fn hand_over(&mut self, agent: AgentId) -> Vec<u8> {
        self.cohort.hand_over(agent)
    }

    /// Begins a task in the middle, with what another process handed over.
    ///
    /// # Errors
    /// State of another run, with which nothing can be done; and as [`Run::begin`].
    pub fn rejoin(&mut self, task: TaskId, bytes: &[u8]) -> Result<(), RunError> {
        let failed = |source| RunError::Method { task, source };
        let handover = self.cohort.read_handover(bytes).map_err(failed)?;
        self.cohort.remember(&handover);
        self.begin(task)?;
        self.cohort.take_rows(&handover).map_err(failed)
    }

    fn data(&self, task: TaskId) -> &'a TaskData {
        &self.work.scenario.tasks[task.index()]
    }

    fn position(&self, task: TaskId, round: u64, step: u64) -> Position {
        let per_epoch = self.steps_per_epoch;
        let rounds = self.plan.train_rounds[task.index()];
        let steps = rounds * self.work.train.local_steps;
        let totals = [steps, rounds, steps.div_ceil(per_epoch), self.plan.train_rounds.len() as u64];
        Position { step, round, epoch: step / per_epoch, task: u64::from(task.0), totals }
    }

    /// Where schedules stand in a round: consensus rounds go by the last training round.
    fn position_of(&self, round: Round) -> Position {
        let (task, index) = self.plan.stage(round).map_or((TaskId(0), 0), |stage| match stage.kind {
            RoundKind::Train => (stage.task, stage.index),
            RoundKind::Consensus => (stage.task, self.plan.train_rounds[stage.task.index()].saturating_sub(1)),
        });
        self.position(task, index, index * self.work.train.local_steps)
    }

    pub(crate) fn enter(&mut self, phase: Phase, observer: &mut dyn Observer) {
        if self.phase.replace(phase) != Some(phase) {
            observer.phase(phase);
        }
    }

    /// The local work of a round, if it has any, for the agents of `round.rows`.
    ///
    /// # Errors
    /// Training that diverges.
    pub fn compute(&mut self, round: &RoundPlan, observer: &mut dyn Observer) -> Result<(), RunError> {
        if round.stage.kind == RoundKind::Consensus {
            self.consolidate(&round.agents());
            self.enter(Phase::Consensus, observer);
            return Ok(());
        }
        self.test_untrained(round, observer);
        self.enter(Phase::Train, observer);
        self.meet(round);
        if round.stage.leg.computes() {
            let local_steps = self.work.train.local_steps;
            let first = round.stage.index * local_steps;
            let at = |index: u64| self.position(round.stage.task, index, index * local_steps);
            rates::report(&self.work, round, self.plan.train_rounds[round.stage.task.index()], at, observer);
            self.train(round, first..first + local_steps, observer)?;
        }
        Ok(())
    }

    fn train(
        &mut self,
        round: &RoundPlan,
        steps: std::ops::Range<u64>,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        let task = round.stage.task;
        let per_epoch = self.steps_per_epoch;
        let epoch = steps.start / per_epoch;
        let at = |step: u64| self.position(task, round.stage.index, step);
        let radius = |at: &Position| self.work.parts.oracle.radius().map_or(0.0, |radius| radius.at(at));
        let schedule = &self.work.train.learning_rate;
        let rates: Vec<Rates> = steps
            .clone()
            .map(|step| Rates { learning_rate: schedule.at(&at(step)), radius: radius(&at(step)) })
            .collect();
        let agents = self.present(round);
        let Some(batches) = &mut self.batches else { return Ok(()) };
        batches.prepare_for(steps.clone());
        let first = steps.start;
        let count = steps.end - steps.start;
        let heads: Vec<TaskId> =
            self.recall.iter().flat_map(|kept| steps.clone().map(|step| kept.head(step))).collect();
        let rehearsal = self.recall.as_ref().map(|kept| Rehearsal { batches: kept, heads: &heads });
        let rates = |step: u64| rates[(step - first) as usize];
        let losses = self.cohort.train_rehearsing(&agents, steps.clone(), &*batches as &dyn Batches, rehearsal, rates);
        for (&agent, &loss) in agents.iter().zip(&losses) {
            if !loss.is_finite() {
                return Err(RunError::Diverged { agent, round: round.round, loss });
            }
        }
        self.outcome.agent_steps += agents.len() as u64 * count;
        self.losses.0 += losses.iter().sum::<f64>();
        self.losses.1 += agents.len() as u64 * count;
        if steps.end / per_epoch > epoch {
            self.end_epoch(round, epoch, observer);
        }
        Ok(())
    }

    fn end_epoch(&mut self, round: &RoundPlan, epoch: u64, observer: &mut dyn Observer) {
        let task = round.stage.task;
        let (sum, count) = std::mem::take(&mut self.losses);
        let value = sum / count.max(1) as f64;
        observer.event(&Event { agent: None, task, round: round.round, key: Key::TrainLoss, of: None, value });
        if self.tests_after(round, epoch) {
            self.enter(Phase::Evaluate, observer);
            self.evaluate(round, observer);
            self.enter(Phase::Train, observer);
        }
    }

    /// Whether agents are tested when an epoch ends in this round, within a task: between steps and mixing.
    fn tests_after(&self, round: &RoundPlan, epoch: u64) -> bool {
        let ends_task = round.stage.index + 1 >= self.plan.train_rounds[round.stage.task.index()];
        let wanted = self.work.train.evaluate_every.is_some_and(|every| (epoch + 1).is_multiple_of(every));
        wanted && !ends_task
    }

    /// Says before [`Run::compute`] what [`Run::exchange`] will mix, if nothing looks at the rows in between: the two may then
    /// go through the rows together. Results are the same bits as without.
    pub fn announce(&mut self, round: &RoundPlan, mixings: &[Mixing<'_>]) {
        let steps = self.work.train.local_steps;
        let first = round.stage.index * steps;
        let [epoch, next] = [first, first + steps].map(|step| step / self.steps_per_epoch);
        let trains = round.stage.kind == RoundKind::Train && self.work.meetings.is_none();
        if trains && !(next > epoch && self.tests_after(round, epoch)) {
            let rate = self.work.parts.exchange.averaging_rate.at(&self.position_of(round.round));
            self.cohort.announce(round.stage.leg, rate, mixings);
        }
    }

    /// What every agent of a round mixes, with the averaging rates of late flows.
    #[must_use]
    pub fn mixings<'p>(&self, round: &'p RoundPlan) -> Vec<Mixing<'p>> {
        let schedule = &self.work.parts.exchange.averaging_rate;
        let rate_of = |round: Round| schedule.at(&self.position_of(round));
        let flow =
            |late: &kith_protocol::Late| LateFlow { peer: late.peer, round: late.round, rate: rate_of(late.round) };
        let rows = round.rows.iter().filter(|row| self.takes_part(round, row.agent)).map(|row| Mixing {
            agent: row.agent,
            fresh: &row.fresh,
            opened: &row.opened,
            given: &row.given,
            late: row.late.iter().map(flow).collect(),
        });
        rows.collect()
    }

    /// Takes the round's mixing weights, where they change: a leg that follows a cut needs them as much as the leg before did.
    fn meet(&mut self, round: &RoundPlan) {
        if let Some(meetings) = &self.work.meetings {
            self.cohort.set_weights(meetings.at(self.plan.ordinal(round.round)).rows());
        }
    }

    /// Makes ready what agents that take part in a round send, once their local work is done: before [`Cohort::payload`].
    pub fn offer(&mut self, round: &RoundPlan) {
        let agents = self.present(round);
        self.cohort.offer(round.round, round.stage.leg, &agents);
    }

    /// Mixes what agents of a round heard.
    pub fn exchange(&mut self, round: &RoundPlan, mixings: &[Mixing<'_>]) {
        let rate = self.work.parts.exchange.averaging_rate.at(&self.position_of(round.round));
        self.meet(round);
        self.cohort.exchange(round.round, round.stage.leg, rate, mixings);
    }

    /// The round is over: says how far the run is.
    pub fn close(&mut self, round: &RoundPlan, observer: &mut dyn Observer) {
        // Those of the whole run: agents that were away have not done them all.
        self.outcome.rounds = self.plan.ordinal(round.round) + u64::from(round.stage.closes);
        let position = self.position_of(round.round);
        observer.progress(&Progress {
            task: round.stage.task.index(),
            tasks: self.plan.train_rounds.len(),
            epoch: position.epoch,
            epochs: position.totals[2],
            rounds_done: self.outcome.rounds,
            rounds: self.plan.rounds(),
            agent_steps: self.outcome.agent_steps,
            accuracy: self.accuracy,
        });
        if observer.wants_digests() {
            round.rows.iter().for_each(|row| observer.digest(round.round, row.agent, self.row_digest(row.agent)));
        }
    }

    /// Whether agents were tested in this round.
    #[must_use]
    pub fn has_tested(&self, round: Round) -> bool {
        self.tested == Some(round)
    }

    /// Makes rows whole again, after a task's last round or where a run stops within a task.
    pub fn end_task(&mut self) {
        if !self.outcome.stopped {
            let hosted = self.cohort.hosted().to_vec();
            self.consolidate(&hosted);
        }
        self.cohort.end_task();
    }

    /// What the memory of `agent` would gain from a task that it has just learned.
    ///
    /// # Errors
    /// Representations that are not finite.
    pub fn propose(&self, agent: AgentId, task: TaskId) -> Result<Vec<Growth>, RunError> {
        let Some(memory) = &self.work.parts.memory else { return Ok(Vec::new()) };
        let layers = self.cohort.layout().projected().count();
        let wanted = (0..layers).filter_map(|layer| memory.samples.get(layer)).max().unwrap_or(0);
        let data = self.data(self.work.scenario.task_of(agent, task));
        let shard = self.work.scenario.shard(agent, task);
        let indices = representation_indices(shard, wanted, &self.work.seeds, task, agent);
        let growths = self.cohort.propose(agent, data.train.as_ref() as &dyn Samples, &indices, task);
        growths.map_err(|source| RunError::Method { task, source })
    }

    /// Grows the memory of `agent`, or the one that all share.
    ///
    /// # Errors
    /// A growth that does not fit the memory.
    pub fn adopt(&mut self, agent: AgentId, task: TaskId, growths: &[Growth]) -> Result<(), RunError> {
        self.cohort.adopt(agent, growths).map_err(|source| RunError::Method { task, source })
    }

    /// Who computes what the memory gains: each agent for itself, or the leader; if it is gone, the next in id order.
    #[must_use]
    pub fn proposers(&self, agents: &[AgentId]) -> Vec<AgentId> {
        let Some(memory) = &self.work.parts.memory else { return Vec::new() };
        match memory.agreement {
            Agreement::Own => agents.to_vec(),
            Agreement::Leader => {
                let leader = AgentId(memory.leader);
                let after = agents.iter().find(|&&agent| agent >= leader);
                after.or(agents.first()).into_iter().copied().collect()
            }
        }
    }

    /// Says that the memory is about to be updated.
    pub fn enter_memory(&mut self, observer: &mut dyn Observer) {
        self.enter(Phase::Memory, observer);
    }

    /// What the run leaves, less what only its driver knows, and the cohort. `living` are agents that ran to the end.
    #[must_use]
    pub fn finish(mut self, living: &[AgentId]) -> (Outcome, Cohort<E>) {
        self.outcome.mean_parameters = self.cohort.consensus(living).0;
        self.outcome.parameter_digest = self.cohort.parameter_digest();
        (self.outcome, self.cohort)
    }

    /// What was measured so far.
    pub const fn outcome_mut(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    /// Digest of an agent's trained row.
    #[must_use]
    pub fn row_digest(&self, agent: AgentId) -> Digest {
        let mut row = vec![0.0; self.cohort.payload_len()];
        self.cohort.trained_row(agent, &mut row);
        let mut digester = kith_core::Digester::default();
        digester.floats(&row);
        digester.finish()
    }
}

/// A value of the whole group after a round.
#[must_use]
pub const fn group(round: &RoundPlan, key: Key, of: Option<u32>, value: f64) -> Event {
    Event { agent: None, task: round.stage.task, round: round.round, key, of, value }
}

/// Agents that send to some of these, themselves left out: a process that hosts these has rows for those, too.
#[must_use]
pub fn senders(graph: &Graph, hosted: &[AgentId]) -> Vec<AgentId> {
    let mut all: Vec<AgentId> = hosted.iter().flat_map(|agent| graph.neighbours_in(*agent)).copied().collect();
    all.retain(|agent| !hosted.contains(agent));
    all.sort_unstable();
    all.dedup();
    all
}
