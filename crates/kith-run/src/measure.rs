//! Tests of agents, of their mean model, and of what a task leaves.

use kith_core::{AgentId, Event, Key, Samples, TaskId};
use kith_engine::Engine;
use kith_method::Curriculum;

use crate::{Observer, Phase, RoundPlan, Run, group};

impl<E: Engine> Run<'_, E> {
    fn tests(&self, task: TaskId) -> &dyn Samples {
        self.work.scenario.tasks[task.index()].test.as_ref()
    }

    /// Each agent's accuracy on the task that it learns in `stage`, with an event for each.
    fn test_stage(
        &self,
        round: &RoundPlan,
        agents: &[AgentId],
        (stage, key): (TaskId, Key),
        observer: &mut dyn Observer,
    ) -> Vec<f64> {
        let mut values = vec![0.0; agents.len()];
        for task in (0..self.work.scenario.tasks.len()).map(TaskId::from) {
            let learns = |agent: &AgentId| self.work.scenario.task_of(*agent, stage) == task;
            let (places, group): (Vec<usize>, Vec<AgentId>) =
                agents.iter().copied().enumerate().filter(|(_, agent)| learns(agent)).unzip();
            if group.is_empty() {
                continue;
            }
            for (place, score) in places.into_iter().zip(self.cohort.evaluate(&group, self.tests(task), task)) {
                values[place] = score.accuracy();
                let (agent, of, value) = (Some(agents[place]), Some(task.0), score.accuracy());
                observer.event(&Event { agent, task: round.stage.task, round: round.round, key, of, value });
            }
        }
        values
    }

    /// Tests the agents of a round on every task seen, each in the order in which it saw them, and their mean model.
    /// Single-task learners are tested on the task under way; what they left of earlier ones stands.
    pub(crate) fn evaluate(&mut self, round: &RoundPlan, observer: &mut dyn Observer) -> (Vec<Vec<f64>>, Vec<f64>) {
        let task = round.stage.task;
        let agents = round.agents();
        let separate = self.work.parts.continual.curriculum == Curriculum::Separate;
        let of_agent = |agent: &AgentId| self.outcome.accuracy_per_agent[agent.index()].last().cloned();
        let mut accuracy: Vec<Vec<f64>> = match separate {
            true => agents.iter().map(|agent| of_agent(agent).unwrap_or_default()).collect(),
            false => vec![Vec::new(); agents.len()],
        };
        let first = if separate { task.index() } else { 0 };
        for stage in (first..=task.index()).map(TaskId::from) {
            let values = self.test_stage(round, &agents, (stage, Key::Accuracy), observer);
            accuracy.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
        }
        let mut mean =
            if separate { self.outcome.average_model.last().cloned().unwrap_or_default() } else { Vec::new() };
        // In orders of their own, some agent has seen each task from the start.
        let end = if self.work.scenario.orders.is_empty() { task.index() + 1 } else { self.work.scenario.tasks.len() };
        // A process that hosts some agents knows no mean of all.
        let everyone = self.cohort.hosted().len() == self.work.graph.agents();
        for seen in (first..end).filter(|_| everyone).map(TaskId::from) {
            let value = self.cohort.evaluate_mean(&agents, self.tests(seen), seen).accuracy();
            observer.event(&group(round, Key::AverageModelAccuracy, Some(seen.0), value));
            mean.push(value);
        }
        let all: Vec<f64> = accuracy.iter().flatten().copied().collect();
        self.tested = Some(round.round);
        self.accuracy = Some(all.iter().sum::<f64>() / all.len().max(1) as f64);
        (accuracy, mean)
    }

    /// Tests every task before anything is learned, if the file asks for it.
    pub(crate) fn test_untrained(&mut self, round: &RoundPlan, observer: &mut dyn Observer) {
        let tasks = self.work.scenario.tasks.len();
        if !self.work.train.forward_transfer || !self.outcome.untrained_per_agent.is_empty() {
            return;
        }
        self.enter(Phase::Evaluate, observer);
        let agents = round.agents();
        let mut rows = vec![Vec::with_capacity(tasks); self.outcome.agents];
        for stage in (0..tasks).map(TaskId::from) {
            let values = self.test_stage(round, &agents, (stage, Key::AccuracyUntrained), observer);
            agents.iter().zip(values).for_each(|(agent, value)| rows[agent.index()].push(value));
        }
        self.outcome.untrained_per_agent = rows;
        self.outcome.ahead_per_agent = vec![Vec::new(); self.outcome.agents];
    }

    /// Measures agents after a task: rows must be whole.
    pub fn measure(&mut self, round: &RoundPlan, observer: &mut dyn Observer) {
        let agents = round.agents();
        self.enter(Phase::Evaluate, observer);
        let (_, distance) = self.cohort.consensus(&agents);
        self.outcome.consensus_distance.push(distance);
        observer.event(&group(round, Key::ConsensusDistance, None, distance));
        self.show_rows(round, &agents, observer);
        let (accuracy, mean) = self.evaluate(round, observer);
        for (agent, row) in agents.iter().zip(accuracy) {
            self.outcome.accuracy_per_agent[agent.index()].push(row);
        }
        self.outcome.average_model.push(mean);
        let next = TaskId(round.stage.task.0 + 1);
        if !self.outcome.untrained_per_agent.is_empty() && next.index() < self.work.scenario.tasks.len() {
            let values = self.test_stage(round, &agents, (next, Key::AccuracyAhead), observer);
            for (agent, value) in agents.iter().zip(values) {
                self.outcome.ahead_per_agent[agent.index()].push(value);
            }
        }
        self.outcome.tasks += 1;
    }

    /// Shows rows to whoever measures what no process alone can: the mean of all agents.
    fn show_rows(&self, round: &RoundPlan, agents: &[AgentId], observer: &mut dyn Observer) {
        if !observer.wants_rows() {
            return;
        }
        let mut row = vec![0.0; self.cohort.row_len()];
        for &agent in agents {
            self.cohort.whole_row(agent, &mut row);
            observer.row(round.stage.task, agent, &row);
        }
    }

    /// Records what is held against forgetting, after its update.
    pub fn record_memory(&mut self, round: &RoundPlan, observer: &mut dyn Observer) {
        let agents = round.agents();
        let layers = self.cohort.memory(agents.first().copied().unwrap_or_default());
        let ranks: Vec<usize> = layers.iter().map(|layer| layer.rank()).collect();
        let used: Vec<f64> = layers.iter().map(|layer| layer.rank() as f64 / layer.dimension().max(1) as f64).collect();
        for (layer, (rank, used)) in ranks.iter().zip(&used).enumerate() {
            observer.event(&group(round, Key::BasisRank, Some(layer as u32), *rank as f64));
            observer.event(&group(round, Key::CapacityUsed, Some(layer as u32), *used));
        }
        let bytes = self.memory_bytes(&agents, round.stage.task) as f64 / agents.len().max(1) as f64;
        observer.event(&group(round, Key::MemoryBytes, None, bytes));
        self.outcome.basis_ranks.push(ranks);
        self.outcome.capacity_used.push(used);
        self.outcome.memory_bytes.push(bytes);
    }
}
