//! Several cohorts that exchange bytes do what one cohort does that hosts everyone, bit for bit.

mod common;

use common::Small;
use kith_core::{AgentId, Calendar, Digest, Digester, Round, Tape, TaskId};
use kith_engine::NativeEngine;
use kith_method::{Agreement, Cohort, ExchangeKind, Loss, PayloadError, PayloadForm, Preset, decode_basis};
use kith_protocol::{Late, RoundKind};
use kith_run::{RoundPlan, Row, Run, Work, neighbours, senders};
use kith_subspace::Growth;

const PROCESSES: [&[u32]; 4] = [&[0], &[1, 4], &[2], &[3, 5]];

fn process<'a>(small: &Small, work: &Work<'a>, hosted: &[u32]) -> Run<'a, NativeEngine> {
    let hosted: Vec<AgentId> = hosted.iter().copied().map(AgentId).collect();
    let engine = small.engine(work.network).hosting(hosted.iter().copied().chain(senders(work.graph, &hosted)));
    Run::hosting(engine, work.clone(), hosted).expect("a run")
}

/// What happens on the way of a run.
#[derive(Clone, Copy, Default)]
struct Course<'a> {
    /// Rounds before which all processes are started again.
    cuts: &'a [u64],
    /// Rounds in which public rows go as they are.
    wholes: &'a [u64],
    /// The round whose frames between agents 0 and 1 come a round later; then these two sit out another.
    late: Option<u64>,
}

impl Course<'_> {
    /// How many rounds after the late one this is, on the edge between agents 0 and 1.
    fn after(&self, round: Round, edge: (AgentId, AgentId)) -> Option<u64> {
        let (AgentId(0), AgentId(1)) = (edge.0.min(edge.1), edge.0.max(edge.1)) else { return None };
        round.0.checked_sub(self.late?).filter(|since| *since < 3)
    }
}

/// Everyone hears everyone in time, but for what the course says.
fn round_plan(run: &Run<'_, NativeEngine>, round: Round, course: Course<'_>) -> Option<RoundPlan> {
    let stage = run.plan().stage(round)?;
    let row = |&agent: &AgentId| {
        let mut row = Row { agent, fresh: Vec::new(), opened: Vec::new(), given: Vec::new(), late: Vec::new() };
        let peers = neighbours(run.work().graph, agent).into_iter().map(|peer| peer.id);
        let peers = peers.filter(|peer| meets(run, round, agent, *peer));
        for peer in peers.filter(|_| stage.leg.exchanges()) {
            match course.after(round, (agent, peer)) {
                None => {
                    row.opened.push(peer);
                    row.fresh.push(peer);
                }
                Some(0) => row.opened.push(peer),
                Some(1) => row.late.push(Late { peer, round: Round(round.0 - 1) }),
                Some(_) => {}
            }
        }
        row
    };
    Some(RoundPlan { round, stage, rows: run.cohort().hosted().iter().map(row).collect(), joins: Vec::new() })
}

fn meets(run: &Run<'_, NativeEngine>, round: Round, one: AgentId, other: AgentId) -> bool {
    let ordinal = run.plan().ordinal(round);
    run.work().meetings.as_ref().is_none_or(|all| all.meets(ordinal, one, other))
}

/// The same process started again, from the state of the one that was there.
fn again<'a>(small: &Small, work: &Work<'a>, mut old: Run<'a, NativeEngine>) -> Run<'a, NativeEngine> {
    let hosted: Vec<u32> = old.cohort().hosted().iter().map(|agent| agent.0).collect();
    let mut bytes = Vec::new();
    old.carry(&mut Tape::recording(&mut bytes)).expect("a vector takes everything");
    let mut fresh = process(small, work, &hosted);
    fresh.begin(old.task().expect("a task has begun")).expect("it begins");
    fresh.carry(&mut Tape::playing(&mut bytes.as_slice())).expect("it is the same process");
    fresh
}

/// The digest of everyone's rows at the end, after payloads went between processes as bytes in every round.
fn in_processes(small: &Small, processes: &[&[u32]], course: Course<'_>) -> Digest {
    small.with(|work| {
        let mut runs: Vec<_> = processes.iter().map(|hosted| process(small, &work, hosted)).collect();
        let mut begins = true;
        let mut held = Vec::new();
        for round in (0..).map(Round) {
            let Some(stage) = runs[0].plan().stage(round) else { break };
            if begins {
                runs.iter_mut().for_each(|run| run.begin(stage.task).expect("it begins"));
            }
            if course.cuts.contains(&round.0) {
                runs = runs.into_iter().map(|run| again(small, &work, run)).collect();
            }
            for run in &mut runs {
                let plan = round_plan(run, round, course).expect("within the run");
                run.compute(&plan, &mut ()).expect("it computes");
                run.offer(&plan);
            }
            let late = std::mem::take(&mut held);
            let whole = course.wholes.contains(&round.0);
            let form = if begins || whole { PayloadForm::Absolute } else { PayloadForm::Increment };
            let mut frames = Vec::new();
            for run in runs.iter().filter(|_| stage.leg.exchanges()) {
                for &from in run.cohort().hosted() {
                    let outside = |to: &AgentId| !run.cohort().hosted().contains(to);
                    let met = |to: &AgentId| outside(to) && meets(run, round, from, *to);
                    for to in neighbours(work.graph, from).iter().map(|peer| peer.id).filter(met) {
                        let body = run.cohort().payload(stage.leg, from, to, form);
                        let more = match stage.kind {
                            RoundKind::Train => 0,
                            RoundKind::Consensus => run.cohort().consensus_more(),
                        };
                        let copy = run.cohort().whole_copy().filter(|_| whole);
                        let usual = run.cohort().payload_bytes(stage.leg).0 + more;
                        let computed = copy.map_or(usual, |copy| copy.bytes);
                        // There is no gradient at a model that comes later.
                        let without = body.is_empty() && course.late.is_some();
                        assert!(without || body.len() as u64 == computed, "encoded and computed length");
                        match course.after(round, (from, to)) {
                            None => frames.push((from, to, body)),
                            Some(0) => held.push((from, to, body)),
                            Some(_) => {}
                        }
                    }
                }
            }
            for (from, to, body) in &frames {
                let run = runs.iter_mut().find(|run| run.cohort().hosted().contains(to)).expect("somebody hosts it");
                run.cohort().payload_spec().check(stage.leg, form, body).expect("a payload");
                run.cohort_mut().receive(stage.leg, *from, *to, form, body);
            }
            for (from, to, body) in &late {
                let run = runs.iter_mut().find(|run| run.cohort().hosted().contains(to)).expect("somebody hosts it");
                let of = Round(round.0 - 1);
                run.cohort_mut().receive_late(of, *from, *to, PayloadForm::Increment, body);
            }
            for run in &mut runs {
                let plan = round_plan(run, round, course).expect("within the run");
                let mixings = run.mixings(&plan);
                run.exchange(&plan, &mixings);
                if stage.last {
                    run.end_task();
                }
            }
            begins = stage.last;
            if stage.last {
                grow(&mut runs, stage.task);
            }
        }
        let mut digester = Digester::default();
        let mut row = vec![0.0; runs[0].cohort().row_len()];
        for agent in (0..work.graph.agents()).map(AgentId::from) {
            let run = runs.iter().find(|run| run.cohort().hosted().contains(&agent)).expect("somebody hosts it");
            run.cohort().whole_row(agent, &mut row);
            digester.floats(&row);
        }
        digester.finish()
    })
}

/// The leader's process says as bytes what the memory gains; the others read it.
fn grow(runs: &mut [Run<'_, NativeEngine>], task: TaskId) {
    let Some(memory) = runs[0].work().parts.memory.clone() else { return };
    assert_eq!(memory.agreement, Agreement::Leader);
    let leader = AgentId(memory.leader);
    let proposed = runs[0].propose(leader, task).expect("a proposal");
    let bytes = Cohort::<NativeEngine>::encode_basis(&proposed);
    assert_eq!(bytes.len(), proposed.iter().map(Growth::wire_len).sum::<usize>(), "encoded and computed length");
    let growths = decode_basis(runs[runs.len() - 1].cohort().layout(), &bytes).expect("growths");
    let more = [bytes.as_slice(), &[0]].concat();
    let layout = runs[runs.len() - 1].cohort().layout();
    assert!(decode_basis(layout, &more).is_err() && decode_basis(layout, &bytes[1..]).is_err());
    runs.iter_mut().for_each(|run| run.adopt(leader, task, &growths).expect("it fits"));
}

#[test]
fn cohorts_in_several_processes_give_the_bits_of_one_for_every_exchange() {
    for preset in Preset::ALL.into_iter().filter(|preset| preset.parts().exchange.kind != ExchangeKind::None) {
        let graph = if preset == Preset::RelaySgd { "chain:6" } else { "ring:6" };
        let mut small = Small { graph, ..Small::new(preset) };
        small.tasks = 2;
        small.train.rounds_per_task = Some(6);
        if let Some(memory) = &mut small.parts.memory {
            memory.consensus_rounds = 2;
        }
        if let Some(consolidation) = &mut small.parts.continual.consolidation {
            consolidation.consensus_rounds = 2;
        }
        let (one, _) = small.run().expect("the run and its checks succeed");
        let digest = |course| in_processes(&small, &PROCESSES, course);
        assert_eq!(digest(Course::default()), one.parameter_digest, "{preset:?}");
        let again = digest(Course { cuts: &[1, 4, 9, 14], ..Course::default() });
        assert_eq!(again, one.parameter_digest, "{preset:?}, processes started again");
        if small.parts.exchange.kind == ExchangeKind::Difference {
            let whole = digest(Course { cuts: &[4], wholes: &[3, 4, 10], ..Course::default() });
            assert_eq!(whole, one.parameter_digest, "{preset:?}, copies sent as they are");
        }
    }
}

#[test]
fn cohorts_whose_agents_take_turns_give_the_bits_of_one_for_every_exchange_that_may_change_neighbours() {
    let mut exchanges = 0;
    for preset in Preset::ALL {
        let exchange = preset.parts().exchange;
        if exchange.kind == ExchangeKind::None || exchange.changing_neighbours().is_err() {
            continue;
        }
        let mut small = Small { graph: "ring:6", tasks: 2, ..Small::new(preset) };
        small.train.rounds_per_task = Some(6);
        small.train.participation = 0.7;
        small.parts.memory.iter_mut().for_each(|memory| memory.consensus_rounds = 2);
        small.parts.continual.consolidation.iter_mut().for_each(|one| one.consensus_rounds = 2);
        let (one, _) = small.run().expect("the run and its checks succeed");
        let course = Course { cuts: &[4, 9], ..Course::default() };
        assert_eq!(in_processes(&small, &PROCESSES, course), one.parameter_digest, "{preset:?}");
        exchanges += 1;
    }
    assert!(exchanges > 20, "{exchanges}");
}

#[test]
fn frames_that_come_after_their_task_ended_give_the_bits_of_one_process() {
    for preset in [
        Preset::DPsgd,
        Preset::GradientTracking,
        Preset::DeepSqueeze,
        Preset::Choco,
        Preset::CompQSaddle,
        Preset::PushSum,
    ] {
        let mut small = Small { graph: "ring:6", tasks: 2, ..Small::new(preset) };
        small.train.rounds_per_task = Some(6);
        // The last round of the first task; after it, the copies of agents 0 and 1 begin anew.
        let course = Course { cuts: &[6], wholes: &[8], late: Some(5) };
        let one = in_processes(&small, &[&[0, 1, 2, 3, 4, 5]], course);
        assert_eq!(in_processes(&small, &PROCESSES, course), one, "{preset:?}");
        let never_late = in_processes(&small, &PROCESSES, Course { late: None, ..course });
        assert_ne!(never_late, one, "{preset:?}: it makes a difference");
    }
}

#[test]
fn frames_that_come_late_within_a_task_give_the_bits_of_one_process_for_every_exchange_that_settles() {
    let mut exchanges = 0;
    for preset in Preset::ALL {
        let exchange = preset.parts().exchange;
        if exchange.kind == ExchangeKind::None || exchange.loss() != Loss::Settles {
            continue;
        }
        let mut small = Small { graph: "ring:6", tasks: 1, ..Small::new(preset) };
        small.train.rounds_per_task = Some(8);
        small.parts.memory.iter_mut().for_each(|memory| memory.consensus_rounds = 0);
        small.parts.continual.consolidation.iter_mut().for_each(|one| one.consensus_rounds = 0);
        // Models of round 2 come in round 3, before which all are started again; round 4 is sat out, and copies begin anew.
        let course = Course { cuts: &[3], wholes: &[5], late: Some(2) };
        let one = in_processes(&small, &[&[0, 1, 2, 3, 4, 5]], course);
        assert_eq!(in_processes(&small, &PROCESSES, course), one, "{preset:?}");
        let never_late = in_processes(&small, &PROCESSES, Course { late: None, ..course });
        assert_ne!(never_late, one, "{preset:?}: it makes a difference");
        exchanges += 1;
    }
    assert!(exchanges > 20, "{exchanges}");
}

#[test]
fn a_payload_of_a_wrong_length_and_one_with_numbers_that_are_none_are_refused() {
    use PayloadForm::{Absolute, Increment};
    for preset in [Preset::DPsgd, Preset::Choco, Preset::Ngc, Preset::GradientTracking] {
        let small = Small::new(preset);
        small.with(|work| {
            let mut run = process(&small, &work, PROCESSES[0]);
            run.begin(TaskId(0)).expect("it begins");
            let spec = run.cohort().payload_spec();
            let leg = run.plan().legs[0];
            let len = run.cohort().payload_bytes(leg).0 as usize;
            assert_eq!(spec.check(leg, Increment, &vec![0; len]), Ok(()), "{preset:?}");
            let short = spec.check(leg, Absolute, &vec![0; len - 4]);
            assert_eq!(short, Err(PayloadError::Length { expected: len, found: len - 4 }));
            // For top-k, position 0 with no number, again and again.
            let nothing: Vec<u8> = [0.0, f32::NAN].into_iter().flat_map(f32::to_le_bytes).cycle().take(len).collect();
            assert!(matches!(spec.check(leg, Increment, &nothing), Err(PayloadError::NotFinite { .. })), "{preset:?}");
        });
    }
}
