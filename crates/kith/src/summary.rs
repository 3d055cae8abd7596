//! The summary of an arm: every metric that is more than a copied number is defined here and in `docs/metrics.md`.

use kith_core::Digest;
use kith_sim::Outcome;
use serde::{Deserialize, Serialize};

use crate::config::ResolvedArm;

/// Keys of [`ArmSummary`] that are numbers: what `[expect]` can name.
pub const NUMBERS: [&str; 31] = [
    "seed",
    "agents",
    "tasks",
    "rounds",
    "average_accuracy",
    "backward_transfer",
    "forgetting",
    "average_model_accuracy",
    "learning_accuracy",
    "forward_transfer",
    "average_capacity_used",
    "memory_bytes",
    "bytes_sent_per_agent",
    "bytes_sent_per_agent_full",
    "training_bytes_per_agent",
    "training_bytes_per_agent_full",
    "consensus_bytes_per_agent",
    "basis_bytes_per_agent",
    "control_bytes_per_agent",
    "compression_ratio",
    "consensus_distance",
    "missed_exchanges",
    "agent_steps",
    "agent_steps_per_second",
    "rounds_per_second",
    "wall_seconds",
    "train_seconds",
    "simulated_seconds",
    "communication_share",
    "peak_rss_bytes",
    "evaluate_seconds",
];

/// Whether a number is of the machine and the hour, and differs when a run is repeated.
#[must_use]
pub fn is_of_the_machine(key: &str) -> bool {
    [
        "agent_steps_per_second",
        "rounds_per_second",
        "wall_seconds",
        "train_seconds",
        "evaluate_seconds",
        "peak_rss_bytes",
    ]
    .contains(&key)
}

/// What `summary.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The experiment's name.
    pub experiment: String,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// One entry an arm, in file order.
    pub arms: Vec<ArmSummary>,
}

/// One arm's results. Accuracies and transfers are fractions; bytes an agent are means over agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmSummary {
    /// The arm's name.
    pub arm: String,
    /// The method's preset.
    pub method: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Agents.
    pub agents: usize,
    /// Tasks learned to the end.
    pub tasks: usize,
    /// Rounds, consensus rounds included.
    pub rounds: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// Mean accuracy over tasks after the last one; none before the first task ends.
    pub average_accuracy: Option<f64>,
    /// Mean change of a task's accuracy since it was learned; none with one task.
    pub backward_transfer: Option<f64>,
    /// Mean loss from a task's best accuracy; none with one task.
    pub forgetting: Option<f64>,
    /// Mean accuracy over tasks of the mean of all agents' parameters after the last task; none before the first task ends.
    pub average_model_accuracy: Option<f64>,
    /// Mean accuracy on a task as soon as it is learned.
    pub learning_accuracy: Option<f64>,
    /// Mean gain on a task from those before it, over an untrained network; none unless asked for, and with one task.
    pub forward_transfer: Option<f64>,
    /// Mean over layers of `capacity_used`; none without memory.
    pub average_capacity_used: Option<f64>,
    /// `[layer]`: rank of the memory over the layer's inputs after the last task.
    pub capacity_used: Vec<f64>,
    /// Bytes that an agent keeps against forgetting after the last task.
    pub memory_bytes: Option<f64>,
    /// `[t]`: the same after every task.
    pub memory_bytes_per_task: Vec<f64>,
    /// `[t][j]`: accuracy of the mean model on task j after task t.
    pub average_model_matrix: Vec<Vec<f64>>,
    /// `[t][j]`: accuracy on task j after task t, mean over agents.
    pub accuracy_matrix: Vec<Vec<f64>>,
    /// `[agent][t][j]`.
    pub accuracy_matrix_per_agent: Vec<Vec<Vec<f64>>>,
    /// Bytes that an agent sent, of every kind.
    pub bytes_sent_per_agent: f64,
    /// The same, had every training payload been full and no basis been spread.
    pub bytes_sent_per_agent_full: f64,
    /// Bytes sent in training rounds.
    pub training_bytes_per_agent: f64,
    /// The same, had every payload been full.
    pub training_bytes_per_agent_full: f64,
    /// Bytes sent in consensus rounds.
    pub consensus_bytes_per_agent: f64,
    /// Bytes sent to agree on the memory.
    pub basis_bytes_per_agent: f64,
    /// Bytes of acknowledgements, retransmissions and resynchronisation.
    pub control_bytes_per_agent: f64,
    /// `[agent]`: bytes of every kind.
    pub bytes_sent_by_agent: Vec<u64>,
    /// Full training bytes over training bytes; none where nothing was sent.
    pub compression_ratio: Option<f64>,
    /// `[t]`: the same, task by task.
    pub compression_ratio_per_task: Vec<Option<f64>>,
    /// Distance of agents from their mean after the last task.
    pub consensus_distance: Option<f64>,
    /// `[t]`: the same after every task.
    pub consensus_distance_per_task: Vec<f64>,
    /// `[t][layer]`: rank of the memory.
    pub basis_ranks: Vec<Vec<usize>>,
    /// `[t]`: bytes to agree on the memory.
    pub basis_bytes_per_task: Vec<f64>,
    /// `[t]`: bytes of every kind.
    pub bytes_sent_per_task: Vec<f64>,
    /// `[t]`: bytes sent in training rounds.
    pub training_bytes_per_task: Vec<f64>,
    /// Exchanges that ended at the deadline.
    pub missed_exchanges: u64,
    /// Minibatch updates of all agents together.
    pub agent_steps: u64,
    /// The same over `train_seconds`.
    pub agent_steps_per_second: Option<f64>,
    /// Rounds over the seconds of training and consensus.
    pub rounds_per_second: Option<f64>,
    /// Real seconds from start to end.
    pub wall_seconds: f64,
    /// Real seconds in training phases: local steps and exchange.
    pub train_seconds: f64,
    /// Real seconds in tests.
    pub evaluate_seconds: f64,
    /// Seconds of simulated time.
    pub simulated_seconds: f64,
    /// Share of simulated time in which an agent waited for neighbours.
    pub communication_share: f64,
    /// Most memory that the process held during the arm, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// SHA-256 of all agents' parameters.
    pub parameter_digest: Digest,
    /// ‖x̄ − x̄₀‖ / ‖x̄₀‖ with the mean parameters x̄ of this arm and x̄₀ of the first: how far arms are apart. Absent for the first arm, and
    /// where networks differ.
    pub parameter_difference: Option<f64>,
    /// SHA-256 of every decision of every round.
    pub trace_digest: Digest,
}

/// What a clock and the system said of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds from start to end.
    pub wall_seconds: f64,
    /// Seconds in training phases.
    pub train_seconds: f64,
    /// Seconds in consensus phases.
    pub consensus_seconds: f64,
    /// Seconds in tests.
    pub evaluate_seconds: f64,
    /// Most memory held, bytes.
    pub peak_rss_bytes: Option<u64>,
}

/// Mean over agents of their accuracy matrices `[agent][t][j]`. The row after task t has t + 1 entries; an agent that has
/// no such row (it was down) does not count.
#[must_use]
pub fn mean_matrix(per_agent: &[Vec<Vec<f64>>]) -> Vec<Vec<f64>> {
    let tasks = per_agent.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let row = |rows: &Vec<Vec<f64>>, t: usize| rows.iter().find(|row| row.len() == t + 1).cloned();
    (0..tasks)
        .map(|t| {
            let rows: Vec<Vec<f64>> = per_agent.iter().filter_map(|rows| row(rows, t)).collect();
            (0..=t).filter_map(|j| mean(rows.iter().map(|row| row[j]).filter(|a| a.is_finite()))).collect()
        })
        .collect()
}

/// Average accuracy: mean of the last row of the accuracy matrix.
#[must_use]
pub fn average_accuracy(matrix: &[Vec<f64>]) -> Option<f64> {
    mean(matrix.last()?.iter().copied())
}

/// Backward transfer (Lopez-Paz and Ranzato 2017): mean over tasks but the last of `A[T-1, i] − A[i, i]`.
#[must_use]
pub fn backward_transfer(matrix: &[Vec<f64>]) -> Option<f64> {
    let (last, before) = matrix.split_last()?;
    mean(before.iter().enumerate().filter_map(|(i, row)| Some(last.get(i)? - row.get(i)?)))
}

/// Forgetting (Chaudhry et al. 2018): mean over tasks but the last of `max_t A[t, i] − A[T-1, i]`, t up to the last task.
#[must_use]
pub fn forgetting(matrix: &[Vec<f64>]) -> Option<f64> {
    let (last, before) = matrix.split_last()?;
    mean((0..before.len()).filter_map(|i| {
        let best = matrix.iter().filter_map(|row| row.get(i)).copied().fold(f64::NEG_INFINITY, f64::max);
        Some(best - last.get(i)?)
    }))
}

/// Learning accuracy (Riemer et al. 2019): mean over tasks of `A[i, i]`.
#[must_use]
pub fn learning_accuracy(matrix: &[Vec<f64>]) -> Option<f64> {
    mean(matrix.iter().enumerate().filter_map(|(task, row)| row.get(task)).copied())
}

/// Forward transfer (Lopez-Paz and Ranzato 2017): mean over tasks but the first, and over agents, of `A[i − 1, i] − b_i`, with
/// b the accuracy before anything was learned. `ahead[agent][i − 1]`, `untrained[agent][i]`; an agent that missed a task's end does
/// not count.
#[must_use]
pub fn forward_transfer(ahead: &[Vec<f64>], untrained: &[Vec<f64>]) -> Option<f64> {
    let whole = ahead.iter().zip(untrained).filter(|(ahead, untrained)| ahead.len() + 1 == untrained.len());
    mean(whole.flat_map(|(ahead, untrained)| ahead.iter().zip(&untrained[1..]).map(|(ahead, before)| ahead - before)))
}

/// Compression ratio: bytes of full payloads over bytes sent.
#[must_use]
pub fn compression_ratio(full: f64, sent: f64) -> Option<f64> {
    (sent > 0.0).then(|| full / sent)
}

/// `[t]`: bytes of all kinds together.
fn sent_per_task(outcome: &Outcome) -> Vec<f64> {
    let kinds = [&outcome.bytes_training, &outcome.bytes_consensus, &outcome.bytes_basis, &outcome.bytes_control];
    let tasks = kinds.iter().map(|kind| kind.len()).max().unwrap_or(0);
    (0..tasks).map(|task| kinds.iter().filter_map(|kind| kind.get(task)).sum()).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_usize, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

fn per_second(count: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| count as f64 / seconds)
}

impl ArmSummary {
    /// The summary of one arm.
    #[must_use]
    pub fn new(arm: &ResolvedArm, outcome: &Outcome, measured: &Measured) -> Self {
        let matrix = mean_matrix(&outcome.accuracy_per_agent);
        let sum = |values: &[f64]| values.iter().sum::<f64>();
        let training = sum(&outcome.bytes_training);
        let training_full = sum(&outcome.bytes_training_full);
        let consensus = sum(&outcome.bytes_consensus);
        let control = sum(&outcome.bytes_control);
        let by_task = outcome.bytes_training_full.iter().zip(&outcome.bytes_training);
        Self {
            arm: arm.name.clone(),
            method: crate::config::preset_name(arm.method).to_owned(),
            seed: arm.seed,
            agents: outcome.agents,
            tasks: outcome.tasks,
            rounds: outcome.rounds,
            stopped: outcome.stopped,
            average_accuracy: average_accuracy(&matrix),
            backward_transfer: backward_transfer(&matrix),
            forgetting: forgetting(&matrix),
            average_model_accuracy: average_accuracy(&outcome.average_model),
            learning_accuracy: learning_accuracy(&matrix),
            forward_transfer: forward_transfer(&outcome.ahead_per_agent, &outcome.untrained_per_agent),
            average_capacity_used: outcome.capacity_used.last().and_then(|used| mean(used.iter().copied())),
            capacity_used: outcome.capacity_used.last().cloned().unwrap_or_default(),
            memory_bytes: outcome.memory_bytes.last().copied(),
            memory_bytes_per_task: outcome.memory_bytes.clone(),
            average_model_matrix: outcome.average_model.clone(),
            accuracy_matrix: matrix,
            accuracy_matrix_per_agent: outcome.accuracy_per_agent.clone(),
            bytes_sent_per_agent: mean(outcome.bytes_sent_per_agent.iter().map(|bytes| *bytes as f64)).unwrap_or(0.0),
            bytes_sent_per_agent_full: training_full + consensus + control,
            training_bytes_per_agent: training,
            training_bytes_per_agent_full: training_full,
            consensus_bytes_per_agent: consensus,
            basis_bytes_per_agent: sum(&outcome.bytes_basis),
            control_bytes_per_agent: control,
            bytes_sent_by_agent: outcome.bytes_sent_per_agent.clone(),
            compression_ratio: compression_ratio(training_full, training),
            compression_ratio_per_task: by_task.map(|(full, sent)| compression_ratio(*full, *sent)).collect(),
            consensus_distance: outcome.consensus_distance.last().copied(),
            consensus_distance_per_task: outcome.consensus_distance.clone(),
            basis_ranks: outcome.basis_ranks.clone(),
            basis_bytes_per_task: outcome.bytes_basis.clone(),
            bytes_sent_per_task: sent_per_task(outcome),
            training_bytes_per_task: outcome.bytes_training.clone(),
            missed_exchanges: outcome.missed_exchanges,
            agent_steps: outcome.agent_steps,
            agent_steps_per_second: per_second(outcome.agent_steps, measured.train_seconds),
            rounds_per_second: per_second(outcome.rounds, measured.train_seconds + measured.consensus_seconds),
            wall_seconds: measured.wall_seconds,
            train_seconds: measured.train_seconds,
            evaluate_seconds: measured.evaluate_seconds,
            simulated_seconds: outcome.simulated_seconds,
            communication_share: outcome.communication_share,
            peak_rss_bytes: measured.peak_rss_bytes,
            parameter_digest: outcome.parameter_digest,
            parameter_difference: None,
            trace_digest: outcome.trace_digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Vec<Vec<f64>> {
        vec![vec![0.9], vec![0.95, 0.8], vec![0.7, 0.85, 0.6]]
    }

    fn close(actual: Option<f64>, expected: f64) {
        let actual = actual.expect("there is a value");
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn average_accuracy_is_the_mean_of_the_last_row() {
        close(average_accuracy(&matrix()), (0.7 + 0.85 + 0.6) / 3.0);
        assert_eq!(average_accuracy(&[]), None);
    }

    #[test]
    fn backward_transfer_compares_the_last_row_with_the_diagonal() {
        close(backward_transfer(&matrix()), ((0.7 - 0.9) + (0.85 - 0.8)) / 2.0);
        assert_eq!(backward_transfer(&[vec![0.9]]), None);
    }

    #[test]
    fn forgetting_compares_the_last_row_with_the_best() {
        close(forgetting(&matrix()), ((0.95 - 0.7) + 0.0) / 2.0);
        assert_eq!(forgetting(&[vec![0.9]]), None);
    }

    #[test]
    fn learning_accuracy_is_the_mean_of_the_diagonal() {
        close(learning_accuracy(&matrix()), (0.9 + 0.8 + 0.6) / 3.0);
        assert_eq!(learning_accuracy(&[]), None);
    }

    #[test]
    fn forward_transfer_compares_a_task_before_it_is_learned_with_an_untrained_network() {
        let untrained = vec![vec![0.1, 0.1, 0.2], vec![0.1, 0.2, 0.1], vec![0.1, 0.1, 0.1]];
        // The third agent missed the second task's beginning.
        let ahead = vec![vec![0.3, 0.5], vec![0.2, 0.1], vec![0.9]];
        close(forward_transfer(&ahead, &untrained), (0.2 + 0.3 + 0.0 + 0.0) / 4.0);
        assert_eq!(forward_transfer(&[], &[]), None);
    }

    #[test]
    fn an_agent_that_was_down_does_not_count_in_the_mean() {
        // The second agent left after the first task, the third came back for the second.
        let per_agent = vec![vec![vec![0.5], vec![0.4, 0.6]], vec![vec![0.7]], vec![vec![0.2, 0.8]]];
        let mean = mean_matrix(&per_agent);
        close(mean[0].first().copied(), 0.6);
        close(mean[1].first().copied(), 0.3);
        close(mean[1].get(1).copied(), 0.7);
    }

    #[test]
    fn every_number_of_the_summary_can_be_expected_and_nothing_else() {
        let arm =
            crate::config::parse("x.toml", "name = \"x\"\nmethod = \"codec\"\ngraph.agents = 4", &Default::default());
        let arm = arm.expect("it resolves").experiment.arms.remove(0);
        let outcome = Outcome {
            agents: 1,
            accuracy_per_agent: vec![matrix()],
            consensus_distance: vec![0.1],
            bytes_training: vec![1.0],
            average_model: vec![vec![0.5]],
            ahead_per_agent: vec![vec![0.5]],
            untrained_per_agent: vec![vec![0.1, 0.1]],
            capacity_used: vec![vec![0.5]],
            memory_bytes: vec![8.0],
            agent_steps: 1,
            ..Outcome::default()
        };
        let measured =
            Measured { wall_seconds: 1.0, train_seconds: 1.0, peak_rss_bytes: Some(1), ..Measured::default() };
        let summary = ArmSummary::new(&arm, &outcome, &measured);
        let json = serde_json::to_value(&summary).expect("it serialises");
        let mut numbers: Vec<_> =
            json.as_object().expect("a table").iter().filter(|(_, v)| v.is_number()).map(|(k, _)| k.as_str()).collect();
        let mut known = NUMBERS.to_vec();
        numbers.sort_unstable();
        known.sort_unstable();
        assert_eq!(numbers, known);
    }
}
