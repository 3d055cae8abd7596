//! What is done against forgetting, orders of tasks, graphs that change and rounds that some sit out: whole small runs on
//! the embedded digits, with every check on.
#![allow(missing_docs, clippy::cast_precision_loss)]

mod common;

use common::Small;
use kith_core::AgentId;
use kith_data::TaskOrder;
use kith_graph::Sequence;
use kith_method::{ExchangeKind, Link, Parts, Preset, Replay};
use kith_protocol::HEADER_LEN;
use kith_sim::{Outcome, TrainSpec};

const AGENTS: u64 = 5;

fn small(preset: Preset) -> Small {
    let mut small = Small::new(preset);
    if let Some(consolidation) = &mut small.parts.continual.consolidation {
        consolidation.consensus_rounds = 20;
    }
    small
}

/// Long enough to learn the digits, and to forget them.
fn long(preset: Preset) -> Small {
    let mut small = small(preset);
    small.train = TrainSpec { rounds_per_task: Some(250), learning_rate: 0.1.into(), ..small.train };
    small
}

fn outcome(small: &Small) -> Outcome {
    small.run().expect("every check holds").0
}

/// Mean over agents and tasks after the last task.
fn accuracy(outcome: &Outcome) -> f64 {
    let last: Vec<f64> = outcome.accuracy_per_agent.iter().filter_map(|rows| rows.last()).flatten().copied().collect();
    last.iter().sum::<f64>() / last.len() as f64
}

#[test]
fn what_is_held_against_forgetting_helps_and_all_data_at_once_helps_most() {
    let of = |preset| accuracy(&outcome(&long(preset)));
    let (naive, replay, joint) = (of(Preset::DPsgd), of(Preset::Replay), of(Preset::Joint));
    assert!(naive + 0.02 < replay, "naive {naive}, replay {replay}");
    assert!(naive + 0.02 < joint, "naive {naive}, joint {joint}");
}

#[test]
fn a_pull_of_no_strength_is_none_and_one_of_much_strength_keeps_the_first_task() {
    let pulled = |strength: f64| {
        let mut small = long(Preset::DEwc);
        small.parts.chain = vec![Link::Consolidate, Link::Clip(1.0)];
        small.parts.continual.consolidation.as_mut().expect("there is one").strength = strength;
        outcome(&small)
    };
    let (none, strong) = (pulled(0.0), pulled(10.0));
    let first_kept = |outcome: &Outcome| {
        let kept = outcome.accuracy_per_agent.iter().map(|rows| rows[2][0] - rows[0][0]);
        kept.sum::<f64>() / AGENTS as f64
    };
    assert!(first_kept(&none) + 0.02 < first_kept(&strong), "{} {}", first_kept(&none), first_kept(&strong));
    // Importances are state that changes nothing while they do not pull.
    let mut plain = long(Preset::DPsgd);
    plain.parts = Parts { continual: plain.parts.continual.clone(), ..plain.parts };
    plain.parts.chain = vec![Link::Clip(1.0)];
    let memory = small(Preset::DEwc).parts.continual.consolidation;
    plain.parts.continual.consolidation = memory;
    assert_eq!(none.parameter_digest, outcome(&plain).parameter_digest);
}

#[test]
fn consensus_payloads_that_hold_importances_are_twice_as_long() {
    let small = small(Preset::DSi);
    let (outcome, cohort) = small.run().expect("every check holds");
    let row = 4 * cohort.row_len() as u64;
    let header = HEADER_LEN as u64;
    let consensus = 20 * 2 * (header + 2 * row);
    let training = 40 * 2 * (header + row);
    assert_eq!(outcome.bytes_consensus, vec![consensus as f64; 3]);
    assert_eq!(outcome.bytes_training, vec![training as f64; 3]);
    assert_eq!(outcome.memory_bytes, vec![2.0 * row as f64; 3]);
}

#[test]
fn kept_samples_take_the_bytes_that_the_budget_allows_and_no_more() {
    let mut small = small(Preset::AGem);
    // Inputs of 64 numbers: 264 bytes a sample; ten and a half of them.
    small.parts.continual.replay = Some(Replay { budget_bytes: 2772, batch_size: Some(4) });
    assert_eq!(outcome(&small).memory_bytes, [2640.0; 3]);
}

#[test]
fn single_task_learners_keep_what_they_learned_and_start_afresh() {
    let outcome = outcome(&small(Preset::Stl));
    for rows in &outcome.accuracy_per_agent {
        for (task, row) in rows.iter().enumerate() {
            assert_eq!(row.len(), task + 1);
            assert!((0..=task).all(|seen| row[seen].to_bits() == rows[seen][seen].to_bits()));
        }
    }
    assert_eq!(outcome.memory_bytes[0], 0.0);
    assert!(outcome.memory_bytes[2] > 0.0 && outcome.memory_bytes[2] == 2.0 * outcome.memory_bytes[1]);
}

#[test]
fn the_mean_model_and_tasks_ahead_are_tested() {
    let mut small = small(Preset::Codec);
    small.train.forward_transfer = true;
    let outcome = outcome(&small);
    assert_eq!(outcome.average_model.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 3]);
    // Consensus rounds have brought agents together, so their mean does as they do.
    let mean = outcome.average_model[2].iter().sum::<f64>() / 3.0;
    assert!((mean - accuracy(&outcome)).abs() < 0.01, "{mean}");
    assert!(outcome.untrained_per_agent.iter().all(|row| row.len() == 3 && row.iter().all(|a| *a < 0.5)));
    assert!(outcome.ahead_per_agent.iter().all(|row| row.len() == 2));
    let used = &outcome.capacity_used;
    assert!(used.iter().flatten().all(|share| (0.0..=1.0).contains(share)) && used[2][0] > used[0][0]);
}

#[test]
fn with_an_order_of_its_own_each_agent_has_learned_every_task_in_the_end() {
    let mut small = long(Preset::Local);
    small.order = TaskOrder::PerAgent;
    let outcome = outcome(&small);
    for rows in &outcome.accuracy_per_agent {
        // A lone learner does well on the task that it has just learned, whichever that was.
        assert!((0..3).all(|stage| rows[stage][stage] > 0.6), "{rows:?}");
    }
    assert!(outcome.average_model.iter().all(|row| row.len() == 3), "the mean model is tested on every task");
}

#[test]
fn of_agents_that_take_turns_only_those_present_step_and_send() {
    let mut small = small(Preset::DPsgd);
    small.train = TrainSpec { participation: 0.6, ..small.train };
    let (outcome, cohort) = small.run().expect("every check holds, the mean's too");
    assert_eq!(outcome.agent_steps, 3 * 40 * 3, "three of five in each of 40 rounds of 3 tasks");
    let whole = 40.0 * 2.0 * (HEADER_LEN + 4 * cohort.row_len()) as f64;
    // Of three among five on a ring, two or four of ten directed edges have both ends: two or three fifths less.
    assert!(outcome.bytes_training.iter().all(|bytes| (0.2..0.4).contains(&(bytes / whole))), "{outcome:?}");
}

#[test]
fn in_a_random_matching_of_an_odd_ring_all_but_one_send_once() {
    let mut small = small(Preset::DPsgd);
    small.sequence = Some(Sequence::RandomMatching);
    let (outcome, cohort) = small.run().expect("every check holds, the mean's too");
    let payload = (HEADER_LEN + 4 * cohort.row_len()) as f64;
    assert_eq!(outcome.bytes_training, [40.0 * payload * 4.0 / 5.0; 3]);
    assert_eq!(outcome.missed_exchanges, 0);
}

#[test]
fn one_peer_a_round_takes_an_exponential_graph_of_eight_to_agreement() {
    let mut small = small(Preset::DPsgd);
    small.graph = "exponential:8:directed";
    small.sequence = Some(Sequence::OnePeer);
    small.train = TrainSpec { learning_rate: 0.0.into(), same_start: false, ..small.train };
    let (outcome, cohort) = small.run().expect("every check holds, the mean's too");
    assert_eq!(outcome.bytes_training, [40.0 * (HEADER_LEN + 4 * cohort.row_len()) as f64; 3]);
    assert!(outcome.consensus_distance[0] < 1e-5, "{}", outcome.consensus_distance[0]);
}

/// Every method whose neighbours may change; the others are refused, each with its reason (a test of `kith check`).
fn changing() -> impl Iterator<Item = Preset> {
    let fits = |preset: &Preset| {
        let exchange = preset.parts().exchange;
        exchange.kind != ExchangeKind::None && exchange.changing_neighbours().is_ok()
    };
    Preset::ALL.into_iter().filter(fits)
}

#[test]
fn where_agents_take_turns_every_method_keeps_the_mean_and_gives_the_same_bits_on_two_threads() {
    let mut methods = 0;
    for preset in changing() {
        let with = |rounds, participation, sequence, learning_rate: f64, threads| {
            let mut small = Small { tasks: 1, threads, sequence, ..small(preset) };
            small.parts.continual.consolidation.iter_mut().for_each(|one| one.consensus_rounds = 3);
            small.train = TrainSpec {
                participation,
                rounds_per_task: Some(rounds),
                learning_rate: learning_rate.into(),
                same_start: false,
                ..small.train
            };
            // Its checks hold the mean in every round that must keep it.
            outcome(&small)
        };
        for (share, sequence) in [(0.6, None), (1.0, Some(Sequence::RandomMatching))] {
            let apart = |rounds| with(rounds, share, sequence, 0.0, 1).consensus_distance[0];
            assert!(apart(25) < 0.9 * apart(1), "{preset:?}: {} {}", apart(25), apart(1));
            let moving = with(25, share, sequence, 0.02, 1);
            let two = with(25, share, sequence, 0.02, 2);
            assert_eq!(moving.parameter_digest, two.parameter_digest, "{preset:?}");
            assert_eq!(moving.missed_exchanges, 0, "{preset:?}");
        }
        methods += 1;
    }
    assert!(methods > 20, "{methods}");
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for preset in [Preset::DEwc, Preset::DSi, Preset::AGem] {
        let mut small = small(preset);
        small.tasks = 2;
        small.train = TrainSpec { participation: 0.8, rounds_per_task: Some(15), ..small.train };
        let one = outcome(&small);
        small.threads = 2;
        assert_eq!(one.parameter_digest, outcome(&small).parameter_digest, "{preset:?}");
    }
    let mut small = small(Preset::Codec);
    small.order = TaskOrder::PerAgent;
    small.sequence = Some(Sequence::RandomMatching);
    small.train = TrainSpec { rounds_per_task: Some(15), ..small.train };
    let (one, cohort) = small.run().expect("every check holds");
    assert!(cohort.memory(AgentId(0)).iter().all(|layer| layer.rank() > 0));
    small.threads = 2;
    assert_eq!(one.parameter_digest, outcome(&small).parameter_digest);
}
