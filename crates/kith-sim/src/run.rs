//! The simulator's driver: takes rounds from the timeline and hands them to the arithmetic, checkers looking on.

use std::sync::Arc;

use kith_core::{AgentId, Calendar, Event, Key, Round, Tape, TapeError, TaskId};
use kith_engine::Engine;
use kith_method::{Cohort, ExchangeKind};
use kith_protocol::{Agent, Config, Neighbour, RoundKind};
use kith_run::{Moment, Observer, Outcome, RoundPlan, Run, RunError, Work, group, neighbours};
use thiserror::Error;

use crate::check::{CheckError, Checks};
use crate::link::{Links, nanoseconds};
use crate::resume::Told;
use crate::timeline::{BodySizes, Settings, Step, Timeline};
use crate::{Fault, LinkSpec};

/// Everything that a simulated run is made of.
pub struct Experiment<'a> {
    /// What is learned, by whom, and how.
    pub work: Work<'a>,
    /// What lies between agents.
    pub links: LinkSpec,
    /// What goes wrong.
    pub faults: Vec<Fault>,
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
    /// A round's arithmetic failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A global truth does not hold.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// State to go on from cannot be read, or is not of this run.
    #[error(transparent)]
    State(#[from] TapeError),
    /// State to go on from was kept before a round that this run does not have.
    #[error("state was kept before round {round}, which this run never comes to")]
    Replay {
        /// The round.
        round: Round,
    },
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
    let mut simulation = Simulation::new(engine, experiment)?;
    simulation.begin(TaskId(0))?;
    simulation.go(None, observer)
}

/// Goes on with a run that was cut, from state that an observer kept before some round ([`Observer::before_round`]): events
/// and outcome from there on are the same bits as those of a run that was not cut.
///
/// # Errors
/// As [`run`], and state of another run.
pub fn resume<E: Engine>(
    engine: E,
    experiment: Experiment<'_>,
    state: &mut Tape<'_>,
    observer: &mut dyn Observer,
) -> Result<(Outcome, Cohort<E>), SimError> {
    let mut simulation = Simulation::new(engine, experiment)?;
    let next = simulation.play(state)?;
    simulation.go(Some(next), observer)
}

pub(crate) struct Simulation<'a, E: Engine> {
    pub(crate) run: Run<'a, E>,
    pub(crate) timeline: Timeline,
    pub(crate) checks: Option<Checks>,
    pub(crate) told: Told,
    basis_bytes: u64,
}

impl<'a, E: Engine> Simulation<'a, E> {
    fn new(engine: E, experiment: Experiment<'a>) -> Result<Self, SimError> {
        let Experiment { work, links, faults, checked } = experiment;
        let run = Run::new(engine, work)?;
        let work = run.work();
        let agents = work.graph.agents();
        let exchanges = work.parts.exchange.kind != ExchangeKind::None;
        let neighbours: Vec<Vec<Neighbour>> = (0..agents)
            .map(|agent| if exchanges { neighbours(work.graph, AgentId::from(agent)) } else { Vec::new() })
            .collect();
        let (deadline, retransmit) = (nanoseconds(links.deadline_ms), nanoseconds(links.retransmit_ms));
        let calendar = work.meetings.clone().map(|meetings| meetings as Arc<dyn Calendar>);
        let machines = neighbours.iter().enumerate().map(|(agent, neighbours)| {
            let (id, neighbours, plan) = (AgentId::from(agent), neighbours.clone(), run.plan().clone());
            let agent = Agent::new(Config { id, neighbours, plan, deadline, retransmit });
            match &calendar {
                Some(calendar) => agent.following(Arc::clone(calendar)),
                None => agent,
            }
        });
        let compute = nanoseconds(links.compute_ms_per_step * work.train.local_steps as f64);
        let leader = AgentId(work.parts.memory.as_ref().map_or(0, |memory| memory.leader));
        let calendar = calendar.clone();
        let consensus_more = run.cohort().consensus_more();
        let settings = Settings { plan: run.plan().clone(), compute, leader, faults, calendar, consensus_more };
        let links = Links::new(links, work.seeds);
        let ids = neighbours.iter().map(|peers| peers.iter().map(|peer| peer.id).collect()).collect();
        let timeline = Timeline::new(settings, machines.collect(), ids, links);
        let checks = (checked == Checked::Yes).then(Checks::default);
        Ok(Self { run, timeline, checks, told: Told::default(), basis_bytes: 0 })
    }

    /// Goes on from `next`, or from the timeline's beginning.
    fn go(
        mut self,
        mut next: Option<RoundPlan>,
        observer: &mut dyn Observer,
    ) -> Result<(Outcome, Cohort<E>), SimError> {
        loop {
            match next.take().map_or_else(|| self.timeline.step(), Step::Round) {
                Step::Round(plan) => {
                    self.begin(plan.stage.task)?;
                    self.offer(&plan, observer);
                    if observer.stop() {
                        self.run.outcome_mut().stopped = true;
                        self.run.end_task();
                        break;
                    }
                    self.round(&plan, observer)?;
                }
                Step::Basis(task, leader) => {
                    self.begin(TaskId(task.0 + 1))?;
                    self.told.basis(self.basis_bytes);
                    self.timeline.basis_ready(task, leader, self.basis_bytes);
                }
                Step::Done => break,
            }
        }
        self.finish(observer)
    }

    /// Lets the observer keep the state before a round.
    fn offer(&mut self, plan: &RoundPlan, observer: &mut dyn Observer) {
        let network = self.run.work().network;
        let rounds_done = self.run.outcome_mut().rounds;
        let agents = self.run.outcome_mut().agents;
        observer.before_round(&mut Moment {
            task: plan.stage.task,
            round: plan.round,
            rounds_done,
            begins_task: plan.stage.kind == RoundKind::Train && plan.stage.index == 0,
            agents,
            network,
            record: &mut |tape| self.record(plan.round, tape),
        });
    }

    /// Prepares a task, once.
    fn begin(&mut self, task: TaskId) -> Result<(), SimError> {
        if self.run.task() == Some(task) {
            return Ok(());
        }
        if let Some(checks) = &mut self.checks {
            let agents: Vec<AgentId> = self.timeline.living().collect();
            checks.remember(self.run.cohort(), &agents);
        }
        self.run.begin(task)?;
        self.told.sizes(&mut self.timeline, BodySizes::of(self.run.cohort()));
        if let Some(checks) = &mut self.checks {
            checks.begin(self.run.cohort());
        }
        Ok(())
    }

    fn round(&mut self, plan: &RoundPlan, observer: &mut dyn Observer) -> Result<(), SimError> {
        for &(agent, source) in &plan.joins {
            self.run.cohort_mut().take_over(agent, source);
            if let Some(checks) = &mut self.checks {
                checks.rejoined(agent);
            }
        }
        self.report_faults(plan, observer);
        let mixings = self.run.mixings(plan);
        if self.checks.is_none() {
            self.run.announce(plan, &mixings);
        }
        self.run.compute(plan, observer)?;
        if self.run.has_tested(plan.round) {
            self.report_bytes(plan, observer);
        }
        if let Some(checks) = &mut self.checks {
            checks.before_exchange(self.run.cohort(), plan.stage.leg, &mixings);
        }
        self.run.exchange(plan, &mixings);
        if let Some(checks) = &mut self.checks {
            checks.after_exchange(self.run.cohort(), plan.round, &mixings)?;
        }
        self.run.close(plan, observer);
        if plan.stage.last {
            self.end_task(plan, observer)?;
        }
        Ok(())
    }

    fn end_task(&mut self, plan: &RoundPlan, observer: &mut dyn Observer) -> Result<(), SimError> {
        let task = plan.stage.task;
        let agents = plan.agents();
        self.run.end_task();
        if let Some(checks) = &self.checks {
            checks.end_task(self.run.cohort(), &agents, plan.round)?;
        }
        self.run.measure(plan, observer);
        self.report_bytes(plan, observer);
        self.run.enter_memory(observer);
        self.basis_bytes = 0;
        for agent in self.run.proposers(&agents) {
            let growths = self.run.propose(agent, task)?;
            self.basis_bytes = growths.iter().map(|growth| growth.wire_len() as u64).sum();
            self.run.adopt(agent, task, &growths)?;
        }
        self.run.record_memory(plan, observer);
        let seconds = self.timeline.now().0 as f64 / 1e9;
        observer.event(&group(plan, Key::SimulatedSeconds, None, seconds));
        let [computed, waited] = self.timeline.split_seconds();
        observer.event(&group(plan, Key::ComputeSeconds, None, computed));
        observer.event(&group(plan, Key::WaitingSeconds, None, waited));
        Ok(())
    }

    /// Reports faults that struck as the round began.
    fn report_faults(&self, plan: &RoundPlan, observer: &mut dyn Observer) {
        for (fault, at) in self.timeline.struck(plan.round) {
            let event = group(plan, fault.kind.key(), fault.peer, at.0 as f64 / 1e9);
            observer.event(&Event { agent: Some(AgentId(fault.agent)), ..event });
        }
    }

    /// Reports what an agent has sent so far, where its accuracy is known.
    fn report_bytes(&self, plan: &RoundPlan, observer: &mut dyn Observer) {
        let agents = self.run.work().graph.agents();
        let sent: u64 = (0..agents).map(|agent| self.timeline.traffic().total(AgentId::from(agent))).sum();
        observer.event(&group(plan, Key::BytesSent, None, sent as f64 / agents as f64));
    }

    fn finish(mut self, observer: &mut dyn Observer) -> Result<(Outcome, Cohort<E>), SimError> {
        let tasks = self.run.plan().train_rounds.len();
        let outcome = self.run.outcome_mut();
        outcome.count(self.timeline.traffic(), tasks);
        if let Some(checks) = &self.checks
            && !outcome.stopped
        {
            checks.finish(self.timeline.traffic())?;
        }
        outcome.simulated_seconds = self.timeline.now().0 as f64 / 1e9;
        outcome.communication_share = self.timeline.communication_share();
        outcome.missed_exchanges = self.timeline.missed();
        outcome.trace_digest = self.timeline.trace_digest();
        let living: Vec<AgentId> = self.timeline.living().collect();
        let work = self.run.work().clone();
        let (outcome, cohort) = self.run.finish(&living);
        if !outcome.stopped {
            observer.ended(&mut Moment {
                task: TaskId::from(outcome.tasks.saturating_sub(1)),
                round: Round(outcome.rounds * work.parts.legs().len() as u64),
                rounds_done: outcome.rounds,
                begins_task: false,
                agents: outcome.agents,
                network: work.network,
                record: &mut |tape| record_weights(&outcome, &cohort, tape),
            });
        }
        Ok((outcome, cohort))
    }
}

/// The mean of the living agents' weights, then those of each agent.
fn record_weights<E: Engine>(outcome: &Outcome, cohort: &Cohort<E>, tape: &mut Tape<'_>) -> Result<(), TapeError> {
    let mut row = outcome.mean_parameters.clone();
    row.resize(cohort.row_len(), 0.0);
    tape.row(&mut row)?;
    (0..outcome.agents).map(AgentId::from).try_for_each(|agent| {
        cohort.whole_row(agent, &mut row);
        tape.row(&mut row)
    })
}
