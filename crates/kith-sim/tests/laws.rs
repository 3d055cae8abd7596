//! Laws of whole runs, on the embedded digits, with every checker on.

mod common;

use common::Small;
use kith_core::Schedule;
use kith_method::{ExchangeKind, Loss, Preset};
use kith_sim::{Checked, Fault, FaultKind, LinkRule, LinkSpec, Outcome, TrainSpec};

fn run(small: &Small) -> Outcome {
    small.run().expect("the run and its checks succeed").0
}

fn backward_transfer(outcome: &Outcome) -> f64 {
    let last = outcome.tasks - 1;
    let mut sum = 0.0;
    for agent in &outcome.accuracy_per_agent {
        sum += (0..last).map(|task| agent[last][task] - agent[task][task]).sum::<f64>() / last as f64;
    }
    sum / outcome.agents as f64
}

#[test]
fn the_same_seed_gives_the_same_bits_on_one_thread_on_two_and_again() {
    for preset in [Preset::Codec, Preset::CodecSgp, Preset::DPsgd] {
        let one = run(&Small::new(preset));
        let again = run(&Small::new(preset));
        let two = run(&Small { threads: 2, ..Small::new(preset) });
        assert_eq!(one.parameter_digest, again.parameter_digest, "{preset:?} again");
        assert_eq!(one.parameter_digest, two.parameter_digest, "{preset:?} on two threads");
        assert_eq!(one.trace_digest, two.trace_digest);
        let other = run(&Small { seed: 2, ..Small::new(preset) });
        assert_ne!(one.parameter_digest, other.parameter_digest, "{preset:?} with another seed");
    }
}

/// With checkers mixing waits until all have made their steps; without, rows of a ring are mixed on the way.
#[test]
fn mixing_along_with_steps_is_the_same_bits_as_mixing_after_them() {
    let tracking = Preset::ALL.into_iter().filter(|preset| preset.parts().exchange.tracking.is_some());
    for preset in
        [Preset::DPsgd, Preset::DPsgdCta, Preset::QgDsgdmN, Preset::D2, Preset::Codec].into_iter().chain(tracking)
    {
        for (threads, evaluate_every) in [(1, None), (2, Some(1))] {
            let mut small = Small { graph: "ring:9", threads, ..Small::new(preset) };
            small.train.rounds_per_task = Some(10);
            small.train.evaluate_every = evaluate_every;
            let apart = run(&small);
            let along = run(&Small { checked: Checked::No, ..small });
            assert_eq!(along.parameter_digest, apart.parameter_digest, "{preset:?}, {threads} threads");
            assert_eq!(along.accuracy_per_agent, apart.accuracy_per_agent, "{preset:?}, {threads} threads");
        }
    }
}

#[test]
fn codec_forgets_less_than_plain_gossip() {
    let long = |preset| {
        let mut small = Small::new(preset);
        small.train.rounds_per_task = Some(150);
        run(&small)
    };
    let (codec, plain) = (long(Preset::Codec), long(Preset::DPsgd));
    assert!(
        backward_transfer(&codec) > backward_transfer(&plain) + 0.05,
        "codec {} plain {}",
        backward_transfer(&codec),
        backward_transfer(&plain)
    );
}

#[test]
fn coefficients_lose_nothing_and_cost_less() {
    for (compressed, full) in [(Preset::Codec, Preset::CodecFull), (Preset::CodecSgp, Preset::CodecSgpFull)] {
        let (compressed, full) = (run(&Small::new(compressed)), run(&Small::new(full)));
        let accuracy = |outcome: &Outcome| {
            outcome.accuracy_per_agent.iter().map(|agent| agent[2].iter().sum::<f64>() / 3.0).sum::<f64>() / 5.0
        };
        let gap = (accuracy(&compressed) - accuracy(&full)).abs();
        assert!(gap < 0.01, "{} against {}", accuracy(&compressed), accuracy(&full));
        assert_eq!(compressed.bytes_training[0], compressed.bytes_training_full[0], "the first task has no memory");
        assert_eq!(compressed.bytes_training_full, full.bytes_training);
    }
    let compressed = run(&Small::new(Preset::Codec));
    let (d, out) = ([64.0, 32.0, 32.0], [32.0, 32.0, 10.0]);
    for task in 1..3 {
        let ranks = &compressed.basis_ranks[task - 1];
        let formula: f64 = (0..3).map(|l| out[l] * (d[l] - ranks[l] as f64)).sum::<f64>() * 4.0 * 2.0 * 40.0;
        let headers = kith_protocol::HEADER_LEN as f64 * 2.0 * 40.0;
        assert_eq!(compressed.bytes_training[task], formula + headers, "task {task}");
    }
}

#[test]
fn quantised_coefficients_take_the_bytes_of_the_narrowed_layout_and_learn_as_whole_ones_do() {
    let (quantised, whole) = (run(&Small::new(Preset::CompCodec)), run(&Small::new(Preset::Codec)));
    let (d, out) = ([64, 32, 32], [32, 32, 10]);
    for task in 0..3 {
        let rank = |layer: usize| if task == 0 { 0 } else { quantised.basis_ranks[task - 1][layer] };
        let entries: usize = (0..3).map(|layer| out[layer] * (d[layer] - rank(layer))).sum();
        // A byte an entry, and the largest of each 64 as a number.
        let body = entries + 4 * entries.div_ceil(64);
        let frames = 2 * 40 * (kith_protocol::HEADER_LEN + body);
        assert_eq!(quantised.bytes_training[task], frames as f64, "task {task}");
    }
    assert!(quantised.bytes_training[2] < 0.3 * whole.bytes_training[2]);
    let accuracy =
        |outcome: &Outcome| outcome.accuracy_per_agent.iter().flat_map(|agent| &agent[2]).sum::<f64>() / 15.0;
    let gap = (accuracy(&quantised) - accuracy(&whole)).abs();
    assert!(gap < 0.03, "{} against {}", accuracy(&quantised), accuracy(&whole));
}

#[test]
fn one_agent_alone_is_the_centralised_method_whatever_is_exchanged() {
    let alone = |preset| run(&Small { graph: "ring:1", ..Small::new(preset) });
    let (gpm, full) = (alone(Preset::Gpm), alone(Preset::CodecFull));
    assert_eq!(gpm.parameter_digest, full.parameter_digest);
    assert_eq!(alone(Preset::Local).parameter_digest, alone(Preset::DPsgd).parameter_digest);
}

#[test]
fn model_and_difference_exchange_agree_up_to_rounding() {
    let mut difference = Small::new(Preset::CodecFull);
    let mut model = Small::new(Preset::CodecFull);
    model.parts.exchange.kind = ExchangeKind::Model;
    for small in [&mut difference, &mut model] {
        small.tasks = 2;
    }
    let (difference, model) = (run(&difference), run(&model));
    for (one, other) in difference
        .accuracy_per_agent
        .iter()
        .flatten()
        .flatten()
        .zip(model.accuracy_per_agent.iter().flatten().flatten())
    {
        assert!((one - other).abs() < 0.02, "{one} {other}");
    }
}

#[test]
fn copies_that_are_mixed_before_they_grow_are_the_same_at_both_ends() {
    for loss in [0.0, 0.3] {
        let mut small = Small { tasks: 1, ..Small::new(Preset::Choco) };
        small.parts.exchange.compressor = None;
        small.links = LinkSpec { loss, deadline_ms: 3.0, retransmit_ms: 1.0, ..LinkSpec::default() };
        let outcome = run(&small);
        assert_eq!((outcome.rounds, outcome.missed_exchanges > 0), (40, loss > 0.0), "the checkers found nothing");
    }
}

#[test]
fn the_virtual_clock_charges_latency_and_bandwidth() {
    let mut small = Small::new(Preset::DPsgd);
    small.tasks = 1;
    small.links = LinkSpec { latency_ms: 4.0, bandwidth_mbps: Some(100.0), ..LinkSpec::default() };
    let outcome = run(&small);
    let bytes = 4.0 * (64.0 * 32.0 + 32.0 * 32.0 + 320.0) + kith_protocol::HEADER_LEN as f64;
    let round = 1e-3 + 4e-3 + bytes * 8.0 / 100e6;
    let expected = round * 40.0;
    // Acknowledgements may be waited for before the next payload is sent: up to one latency more a round.
    assert!(outcome.simulated_seconds >= expected * 0.999, "{} {expected}", outcome.simulated_seconds);
    assert!(outcome.simulated_seconds <= expected + 40.0 * 5e-3, "{} {expected}", outcome.simulated_seconds);
    assert!(outcome.communication_share > 0.5 && outcome.communication_share < 1.0);
}

#[test]
fn a_run_with_lost_frames_ends_and_learns() {
    let mut small = Small::new(Preset::Codec);
    small.links = LinkSpec { loss: 0.3, latency_ms: 0.1, deadline_ms: 5.0, retransmit_ms: 2.0, ..LinkSpec::default() };
    let lossy = run(&small);
    let clean = run(&Small::new(Preset::Codec));
    assert!(lossy.missed_exchanges > 0);
    assert_eq!(lossy.rounds, clean.rounds);
    assert_ne!(lossy.trace_digest, clean.trace_digest);
    assert!((backward_transfer(&lossy) - backward_transfer(&clean)).abs() < 0.1);
}

#[test]
fn the_others_go_on_when_an_agent_crashes_and_take_it_back() {
    let fault = |kind, round| Fault { kind, round, agent: 2, peer: None, factor: None };
    let long = |faults| {
        let mut small = Small { faults, ..Small::new(Preset::Codec) };
        small.train.rounds_per_task = Some(150);
        run(&small)
    };
    let crashed = long(vec![fault(FaultKind::Crash, 160)]);
    assert_eq!(crashed.accuracy_per_agent[2].len(), 0, "it dies in the first task's consensus rounds");
    assert_eq!(crashed.accuracy_per_agent[1].len(), 3);
    let rejoined = long(vec![fault(FaultKind::Crash, 160), fault(FaultKind::Restart, 200)]);
    assert_eq!(rejoined.accuracy_per_agent[2].len(), 2, "it is back for the last two tasks");
    for (own, neighbours) in rejoined.accuracy_per_agent[2][1].iter().zip(&rejoined.accuracy_per_agent[1][2]) {
        assert!((own - neighbours).abs() < 0.05, "{own} {neighbours}");
    }
}

/// The mean of these agents' parameters, in f64.
fn mean(cohort: &kith_method::Cohort<kith_engine::NativeEngine>, agents: &[u32]) -> Vec<f64> {
    let mut mean = vec![0.0; cohort.row_len()];
    let mut row = vec![0.0; cohort.row_len()];
    for &agent in agents {
        cohort.whole_row(kith_core::AgentId(agent), &mut row);
        mean.iter_mut().zip(&row).for_each(|(mean, value)| *mean += f64::from(*value) / agents.len() as f64);
    }
    mean
}

/// What mixing must keep of these agents: their mean, or that of their numerators where models are divided.
fn kept(cohort: &kith_method::Cohort<kith_engine::NativeEngine>, agents: &[u32]) -> Vec<f64> {
    if cohort.parts().exchange.kind != ExchangeKind::PushSum {
        return mean(cohort, agents);
    }
    let agents: Vec<_> = agents.iter().copied().map(kith_core::AgentId).collect();
    cohort.conserved(&agents).into_iter().map(f64::from).collect()
}

fn largest_gap(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).fold(0.0, |most, (one, other)| f64::max(most, (one - other).abs()))
}

/// Agents that start apart and do not learn, for so many rounds.
fn still(preset: Preset, rounds: u64) -> Small {
    let mut small = Small { tasks: 1, ..Small::new(preset) };
    small.train =
        TrainSpec { rounds_per_task: Some(rounds), learning_rate: 0.0.into(), same_start: false, ..small.train };
    if let Some(memory) = &mut small.parts.memory {
        memory.consensus_rounds = 0;
    }
    if let Some(consolidation) = &mut small.parts.continual.consolidation {
        consolidation.consensus_rounds = 0;
    }
    small
}

/// Every method that sends something and says that lost frames become this of it. That the others are refused, each with its
/// reason, is a test of `kith check`.
fn under_loss(loss: Loss) -> impl Iterator<Item = Preset> {
    let sends = |preset: &Preset| preset.parts().exchange.kind != ExchangeKind::None;
    Preset::ALL.into_iter().filter(sends).filter(move |preset| preset.parts().exchange.loss() == loss)
}

/// One-way edges, of which agents have different numbers in and out.
const UNEVEN: &str =
    "family = 'edges'\ndirected = true\nedges = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0], [0, 2], [0, 3], [2, 0]]";
/// Edges that go both ways, divided by the number of neighbours that an agent has.
const DIVIDED: &str = "family = 'star'\nagents = 5\nweights = 'out-degree'";

/// Sums of numerators, and of weights, stay: agents agree on the mean of all starts, though P has no such rows.
#[test]
fn shares_that_frames_lost_or_came_late_with_are_in_the_mean_of_push_sum() {
    for graph in ["ring:5:directed", "ring:5", UNEVEN, DIVIDED] {
        for (loss, latency_ms, deadline_ms) in [(0.3, 0.0, 3.0), (0.3, 2.5, 9.0), (0.6, 0.3, 2.0), (0.3, 5.0, 4.0)] {
            let start = Small { graph, ..still(Preset::PushSum, 1) };
            let everyone = [0, 1, 2, 3, 4];
            let initial = start.with(|work| {
                let run = kith_run::Run::new(start.engine(work.network), work).expect("a run");
                mean(run.cohort(), &everyone)
            });
            let mut small = Small { graph, ..still(Preset::PushSum, 260) };
            let rule = LinkRule { last_round: Some(90), loss: Some(loss), ..LinkRule::default() };
            small.faults = vec![
                Fault { kind: FaultKind::LinkDown, round: 20, agent: 2, peer: Some(0), factor: None },
                Fault { kind: FaultKind::LinkUp, round: 40, agent: 2, peer: Some(0), factor: None },
            ];
            if graph.starts_with("ring") {
                small.faults.iter_mut().for_each(|fault| fault.peer = Some(3));
            }
            small.links =
                LinkSpec { latency_ms, deadline_ms, retransmit_ms: 1.0, rules: vec![rule], ..LinkSpec::default() };
            let (outcome, at_end) = small.run().expect("it ends");
            assert!(outcome.missed_exchanges > 0, "frames came late in some round");
            let gap = largest_gap(&initial, &kept(&at_end, &everyone));
            assert!(gap < 1e-6, "{graph} loss {loss} latency {latency_ms}: the mean moved by {gap:e}");
            // Where nothing ever comes in time, 170 rounds without loss are too few to agree.
            for agent in everyone.into_iter().filter(|_| latency_ms < deadline_ms) {
                let gap = largest_gap(&initial, &mean(&at_end, &[agent]));
                assert!(gap < 1e-6, "{graph} loss {loss} latency {latency_ms}: agent {agent} is {gap:e} off the mean");
            }
        }
    }
}

#[test]
fn an_agent_whom_nothing_reaches_for_long_keeps_a_weight_and_learns_on_with_push_sum() {
    let with = |restart: Option<u64>| {
        let mut small = Small { graph: UNEVEN, tasks: 1, ..Small::new(Preset::PushSum) };
        small.train.rounds_per_task = Some(300);
        small.links = LinkSpec { loss: 0.2, deadline_ms: 5.0, retransmit_ms: 2.0, ..LinkSpec::default() };
        let fault = |kind, round| Fault { kind, round, agent: 3, peer: None, factor: None };
        // Agent 4 hears agent 3 only.
        small.faults = vec![fault(FaultKind::Crash, 20)];
        small.faults.extend(restart.map(|round| fault(FaultKind::Restart, round)));
        run(&small)
    };
    for (restart, living) in [(None, vec![0, 1, 2, 4]), (Some(60), vec![0, 1, 2, 3, 4])] {
        let outcome = with(restart);
        for agent in living {
            let accuracy = outcome.accuracy_per_agent[agent][0][0];
            assert!(accuracy > 0.7, "agent {agent}, agent 3 back at {restart:?}: {accuracy}");
        }
    }
}

#[test]
fn nothing_is_lost_from_the_mean_on_links_that_lose_frames_once_they_recover() {
    let mut methods = 0;
    for preset in under_loss(Loss::Settles) {
        methods += 1;
        for (loss, latency_ms, deadline_ms) in [(0.3, 0.0, 3.0), (0.3, 2.5, 9.0), (0.6, 0.3, 2.0), (0.3, 5.0, 4.0)] {
            let start = still(preset, 1);
            let (_, at_start) = start.run().expect("one round");
            let mut small = still(preset, 120);
            let rule = LinkRule { last_round: Some(90), loss: Some(loss), ..LinkRule::default() };
            small.links =
                LinkSpec { latency_ms, deadline_ms, retransmit_ms: 1.0, rules: vec![rule], ..LinkSpec::default() };
            let (outcome, at_end) = small.run().expect("it ends");
            assert!(outcome.missed_exchanges > 0, "frames were lost for good in some round");
            let everyone = [0, 1, 2, 3, 4];
            let gap = largest_gap(&kept(&at_start, &everyone), &kept(&at_end, &everyone));
            assert!(gap < 1e-6, "{preset:?} loss {loss} latency {latency_ms}: the mean moved by {gap:e}");
        }
    }
    assert!(methods >= 30, "{methods}");
}

#[test]
fn methods_that_keep_no_mean_learn_beside_neighbours_that_are_not_heard() {
    for preset in under_loss(Loss::Absent) {
        let with = |loss| {
            let mut small = Small { tasks: 1, ..Small::new(preset) };
            small.train = TrainSpec { rounds_per_task: Some(200), learning_rate: 0.02.into(), ..small.train };
            small.links = LinkSpec { loss, deadline_ms: 3.0, retransmit_ms: 1.0, ..LinkSpec::default() };
            run(&small)
        };
        let accuracy =
            |outcome: &Outcome| outcome.accuracy_per_agent.iter().map(|agent| agent[0][0]).sum::<f64>() / 5.0;
        let (clean, lossy) = (with(0.0), with(0.3));
        assert!(lossy.missed_exchanges > 100, "{preset:?}: {}", lossy.missed_exchanges);
        let gap = (accuracy(&clean) - accuracy(&lossy)).abs();
        assert!(gap < 0.1, "{preset:?}: {} with loss, {} without", accuracy(&lossy), accuracy(&clean));
    }
}

#[test]
fn gossiped_importances_keep_their_mean_where_frames_are_lost_and_settle_in_the_next_task() {
    let importances = |rules: Vec<LinkRule>| {
        let mut small = Small { tasks: 2, ..still(Preset::DEwc, 20) };
        small.train.same_start = true;
        small.parts.continual.consolidation.as_mut().expect("there is one").consensus_rounds = 10;
        small.links = LinkSpec { deadline_ms: 3.0, retransmit_ms: 1.0, rules, ..LinkSpec::default() };
        let (outcome, cohort) = small.run().expect("it ends");
        let row = |agent| cohort.importance_row(kith_core::AgentId(agent)).expect("it keeps some");
        let rows: Vec<Vec<f32>> = (0..5).map(row).collect();
        let mean = |place: usize| rows.iter().map(|row| f64::from(row[place])).sum::<f64>() / 5.0;
        (outcome.missed_exchanges, (0..rows[0].len()).map(mean).collect::<Vec<f64>>())
    };
    let (missed, clean) = importances(Vec::new());
    assert_eq!(missed, 0);
    let rule = LinkRule { first_round: Some(20), last_round: Some(29), loss: Some(0.6), ..LinkRule::default() };
    let (missed, lossy) = importances(vec![rule]);
    assert!(missed > 10, "{missed}");
    let largest = clean.iter().fold(0.0, |most, value| f64::max(most, *value));
    let gap = largest_gap(&clean, &lossy) / largest;
    assert!(largest > 0.0 && gap < 1e-5, "the mean of importances moved by a share of {gap:e}");
}

#[test]
fn a_straggler_is_caught_up_with_and_nothing_is_lost_from_the_mean() {
    let (_, at_start) = still(Preset::DPsgd, 1).run().expect("one round");
    let mut small = still(Preset::DPsgd, 100);
    let slow = |round, factor| Fault { kind: FaultKind::Straggler, round, agent: 1, peer: None, factor: Some(factor) };
    small.faults = vec![slow(10, 12.0), slow(30, 1.0)];
    small.links = LinkSpec { deadline_ms: 3.0, retransmit_ms: 1.0, ..LinkSpec::default() };
    let (outcome, at_end) = small.run().expect("it ends");
    assert!(outcome.missed_exchanges > 0);
    let everyone = [0, 1, 2, 3, 4];
    let gap = largest_gap(&mean(&at_start, &everyone), &mean(&at_end, &everyone));
    assert!(gap < 1e-6, "the mean moved by {gap:e}");
    assert!(outcome.consensus_distance[0] < 1e-3, "all agree in the end: {}", outcome.consensus_distance[0]);
}

#[test]
fn the_mean_of_the_living_stays_when_an_agent_is_killed() {
    for preset in under_loss(Loss::Settles) {
        let crash = Fault { kind: FaultKind::Crash, round: 5, agent: 2, peer: None, factor: None };
        let living = [0, 1, 3, 4];
        // Legs are rounds to the fault plan.
        let crash = Fault { round: crash.round * preset.parts().legs().len() as u64, ..crash };
        let (_, at_death) = still(preset, 5).run().expect("up to its death");
        let (_, at_end) = Small { faults: vec![crash], ..still(preset, 60) }.run().expect("beyond");
        let gap = largest_gap(&kept(&at_death, &living), &kept(&at_end, &living));
        assert!(gap < 1e-6, "{preset:?}: the mean of the living moved by {gap:e}");
    }
}

#[test]
fn a_copy_that_missed_compressed_differences_is_sent_whole_and_counted_so() {
    let link = |kind, round| Fault { kind, round, agent: 0, peer: Some(1), factor: None };
    for (preset, settled) in [(Preset::Choco, 2), (Preset::CompQSaddle, 1)] {
        let sent = |faults: Vec<Fault>| {
            let mut small = Small { tasks: 1, faults, ..Small::new(preset) };
            small.train.rounds_per_task = Some(20);
            let (outcome, cohort) = small.run().expect("the run and its checks succeed");
            (outcome.bytes_training[0] * 5.0, 4.0 * cohort.row_len() as f64)
        };
        let (unbroken, whole) = sent(Vec::new());
        let frame = unbroken / (5.0 * 2.0 * 20.0);
        let body = frame - kith_protocol::HEADER_LEN as f64;
        let (broken, _) = sent(vec![link(FaultKind::LinkDown, 8), link(FaultKind::LinkUp, 12)]);
        assert_eq!(broken, unbroken - 2.0 * 4.0 * frame + 2.0 * (whole - body), "{preset:?}: four rounds sat out");
        // A copy that holds one difference or none is not yet longer than a difference.
        let (early, _) = sent(vec![link(FaultKind::LinkDown, 0), link(FaultKind::LinkUp, settled - 1)]);
        assert_eq!(early, unbroken - 2.0 * (settled - 1) as f64 * frame, "{preset:?}: at the beginning");
    }
}

#[test]
fn an_agent_that_comes_back_without_copies_goes_on_with_compressed_differences() {
    let fault = |kind, round| Fault { kind, round, agent: 2, peer: None, factor: None };
    let mut small = Small { tasks: 1, ..Small::new(Preset::CompQSaddle) };
    small.train.rounds_per_task = Some(200);
    small.faults = vec![fault(FaultKind::Crash, 60), fault(FaultKind::Restart, 90)];
    let outcome = run(&small);
    assert_eq!(outcome.missed_exchanges, 0);
    let accuracy: Vec<f64> = outcome.accuracy_per_agent.iter().map(|agent| agent[0][0]).collect();
    assert!(accuracy.iter().all(|one| (one - accuracy[0]).abs() < 0.06 && *one > 0.7), "{accuracy:?}");
}

#[test]
fn a_partition_heals() {
    let (_, at_start) = still(Preset::DPsgd, 1).run().expect("one round");
    let link = |kind, round, agent, peer| Fault { kind, round, agent, peer: Some(peer), factor: None };
    let mut small = still(Preset::DPsgd, 150);
    small.faults = vec![
        link(FaultKind::LinkDown, 5, 0, 1),
        link(FaultKind::LinkDown, 6, 2, 3),
        link(FaultKind::LinkUp, 50, 0, 1),
        link(FaultKind::LinkUp, 52, 2, 3),
    ];
    let (outcome, at_end) = small.run().expect("it ends");
    let everyone = [0, 1, 2, 3, 4];
    let gap = largest_gap(&mean(&at_start, &everyone), &mean(&at_end, &everyone));
    assert!(gap < 1e-6, "the mean moved by {gap:e}");
    assert!(outcome.consensus_distance[0] < 1e-3, "all agree in the end: {}", outcome.consensus_distance[0]);
}

#[test]
fn when_the_leader_is_gone_the_next_agent_computes_the_basis() {
    let crash = Fault { kind: FaultKind::Crash, round: 10, agent: 0, peer: None, factor: None };
    let outcome = run(&Small { faults: vec![crash], ..Small::new(Preset::Codec) });
    assert_eq!(outcome.tasks, 3);
    assert!(outcome.basis_ranks[2].iter().all(|&rank| rank > 0), "{:?}", outcome.basis_ranks);
    assert!(outcome.bytes_basis[0] > 0.0);
}

#[test]
fn an_averaging_rate_below_one_keeps_agents_further_apart() {
    let at = |rate| {
        let mut small = Small::new(Preset::DPsgd);
        small.tasks = 1;
        small.parts.exchange.averaging_rate = Schedule::Constant(rate);
        run(&small).consensus_distance[0]
    };
    assert!(at(0.2) > 1.5 * at(1.0), "{} {}", at(0.2), at(1.0));
}

#[test]
fn flows_that_settle_after_a_task_ends_are_not_lost() {
    for preset in [Preset::DPsgd, Preset::Codec] {
        let (_, at_start) = still(preset, 1).run().expect("one round");
        let mut small = Small { tasks: 2, ..still(preset, 40) };
        let rule = LinkRule { last_round: Some(39), loss: Some(0.5), ..LinkRule::default() };
        small.links = LinkSpec { deadline_ms: 2.0, retransmit_ms: 1.5, rules: vec![rule], ..LinkSpec::default() };
        let (_, at_end) = small.run().expect("it ends");
        let everyone = [0, 1, 2, 3, 4];
        let gap = largest_gap(&mean(&at_start, &everyone), &mean(&at_end, &everyone));
        assert!(gap < 1e-6, "{preset:?}: the mean moved by {gap:e}");
    }
}

#[test]
fn a_partition_at_the_end_of_a_task_waits_for_its_links_to_come_back() {
    let link = |kind, round, agent, peer| Fault { kind, round, agent, peer: Some(peer), factor: None };
    let mut small = Small::new(Preset::Codec);
    small.faults = vec![link(FaultKind::LinkDown, 55, 0, 1), link(FaultKind::LinkDown, 55, 2, 3)];
    let cut_off = run(&small);
    assert_eq!(cut_off.accuracy_per_agent[0].len(), 3, "the leader's part goes on");
    assert_eq!(cut_off.accuracy_per_agent[1].len(), 1, "no basis reaches the others, who stop");
    small.faults.extend([link(FaultKind::LinkUp, 5000, 0, 1), link(FaultKind::LinkUp, 5000, 2, 3)]);
    let healed = run(&small);
    assert!(healed.accuracy_per_agent.iter().all(|agent| agent.len() == 3), "links come back before the basis");
}

#[test]
fn an_agent_that_comes_back_as_a_task_ends_learns_the_next_one_with_the_others() {
    let fault = |kind, round| Fault { kind, round, agent: 0, peer: None, factor: None };
    let faults = vec![fault(FaultKind::Crash, 20), fault(FaultKind::Restart, 59)];
    let outcome = run(&Small { faults, ..Small::new(Preset::Codec) });
    assert!(outcome.simulated_seconds < 1.0, "nobody waits for a deadline: {} s", outcome.simulated_seconds);
    assert_eq!(outcome.accuracy_per_agent[0].len(), 2);
}

#[test]
fn on_a_directed_ring_agents_learn_and_send_half_as_much() {
    let mut both_ways = Small::new(Preset::Codec);
    both_ways.train.rounds_per_task = Some(150);
    let mut one_way = Small { graph: "ring:5:directed", ..Small::new(Preset::Codec) };
    one_way.train.rounds_per_task = Some(150);
    let (both_ways, one_way) = (run(&both_ways), run(&one_way));
    assert_eq!(one_way.bytes_training_full[1] * 2.0, both_ways.bytes_training_full[1]);
    let accuracy = |outcome: &Outcome| outcome.accuracy_per_agent[3][2].iter().sum::<f64>() / 3.0;
    assert!(
        (accuracy(&one_way) - accuracy(&both_ways)).abs() < 0.05,
        "{} {}",
        accuracy(&one_way),
        accuracy(&both_ways)
    );
    assert_eq!(one_way.missed_exchanges, 0);
}

/// Every method without a memory that exchanges something.
fn decentralized() -> impl Iterator<Item = Preset> {
    Preset::ALL.into_iter().filter(|preset| {
        let parts = preset.parts();
        parts.memory.is_none() && parts.exchange.kind != ExchangeKind::None
    })
}

#[test]
fn every_decentralized_method_learns_and_gives_the_same_bits_on_two_threads() {
    for preset in decentralized() {
        // Relayed sums hold models that are as many rounds old as they came edges far, which slows the mean down by so much.
        let train_rounds = if preset == Preset::RelaySgd { 600 } else { 200 };
        let with = |threads| {
            let mut small = Small { tasks: 1, threads, ..Small::new(preset) };
            if preset == Preset::RelaySgd {
                small.graph = "chain:5";
            }
            small.train.learning_rate = 0.02.into();
            small.train.rounds_per_task = Some(train_rounds);
            run(&small)
        };
        let (one, two) = (with(1), with(2));
        assert_eq!(one.parameter_digest, two.parameter_digest, "{preset:?}");
        let rounds = train_rounds + preset.parts().consensus_rounds();
        assert_eq!(one.rounds, rounds, "{preset:?}: legs of a round are one round");
        let accuracy = one.accuracy_per_agent.iter().map(|agent| agent[0][0]).sum::<f64>() / 5.0;
        assert!(accuracy > 0.4, "{preset:?}: {accuracy}");
    }
}

#[test]
fn without_a_pull_features_across_edges_take_the_local_steps_of_mixing_first() {
    for steps in [1, 3] {
        let with = |pull: Option<f64>| {
            let mut small = Small { tasks: 1, ..Small::new(Preset::Ccl) };
            small.parts.exchange.data_variant_strength = Some(0.0);
            small.parts.exchange.model_variant_strength = pull;
            if pull.is_none() {
                small.parts.exchange = Preset::DPsgdCta.parts().exchange;
            }
            small.train.local_steps = steps;
            small.run().expect("the run and its checks succeed")
        };
        let ((none, at_none), (mixed, at_mixed), (_, at_pulled)) = (with(Some(0.0)), with(None), with(Some(0.5)));
        assert_eq!((none.agent_steps, none.rounds), (mixed.agent_steps, mixed.rounds));
        assert_eq!(none.agent_steps, 5 * 40 * steps);
        let apart = |other| largest_gap(&mean(&at_none, &[3]), &mean(other, &[3]));
        assert!(apart(&at_mixed) < 1e-3, "{steps} steps: {:e}", apart(&at_mixed));
        assert!(apart(&at_pulled) > 1e-2, "{steps} steps: {:e}", apart(&at_pulled));
    }
}

#[test]
fn what_a_method_sends_is_counted_to_the_byte() {
    let sent = |preset| {
        let mut small = Small { tasks: 1, ..Small::new(preset) };
        small.train.rounds_per_task = Some(10);
        run(&small).bytes_training[0]
    };
    let network = kith_core::Network::mlp(64, &[32, 32], 10, false, kith_core::Head::Shared, 1);
    let layout = network.layout().expect("it fits together");
    let (header, entries) = (kith_protocol::HEADER_LEN, 64 * 32 + 32 * 32 + 320);
    let frames = |count: usize, body: usize| (10 * 2 * count * (header + body)) as f64;
    assert_eq!(sent(Preset::DPsgd), frames(1, 4 * entries));
    for preset in [Preset::DPsgdCta, Preset::QSaddle, Preset::D2, Preset::Ngm, Preset::Gut] {
        assert_eq!(sent(preset), frames(1, 4 * entries), "{preset:?}");
    }
    assert_eq!(sent(Preset::Ngc), frames(2, 4 * entries), "a gradient comes back for every model");
    assert_eq!(sent(Preset::GradientTracking), frames(1, 8 * entries), "models and trackers");
    for preset in [Preset::Choco, Preset::DeepSqueeze] {
        let compressor = preset.parts().exchange.compressor.expect("it compresses");
        assert_eq!(sent(preset), frames(1, compressor.wire_len(&layout)), "{preset:?}");
    }
    let signs = preset_gradients(Preset::CompNgc).wire_len(&layout);
    assert_eq!(sent(Preset::CompNgc), frames(1, 4 * entries) + frames(1, signs), "whole models, signs of gradients");
    let bytes = preset_gradients(Preset::CompNSaddle).wire_len(&layout);
    assert_eq!(sent(Preset::CompNSaddle), frames(2, bytes), "models and gradients at 8 bits");
}

fn preset_gradients(preset: Preset) -> kith_method::Compressor {
    preset.parts().exchange.gradient_compressor.expect("it compresses gradients")
}
