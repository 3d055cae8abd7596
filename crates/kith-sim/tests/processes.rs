//! Several cohorts that exchange bytes do what one cohort does that hosts everyone, bit for bit.

mod common;

use common::Small;
use kith_core::{AgentId, Digest, Digester, Round, Tape, TaskId};
use kith_engine::NativeEngine;
use kith_method::{Agreement, Cohort, ExchangeKind, PayloadError, PayloadForm, Preset, decode_basis};
use kith_run::{RoundPlan, Row, Run, Work, neighbours, senders};
use kith_subspace::Growth;

const PROCESSES: [&[u32]; 4] = [&[0], &[1, 4], &[2], &[3, 5]];

fn process<'a>(small: &Small, work: &Work<'a>, hosted: &[u32]) -> Run<'a, NativeEngine> {
    let hosted: Vec<AgentId> = hosted.iter().copied().map(AgentId).collect();
    let engine = small.engine(work.network).hosting(hosted.iter().copied().chain(senders(work.graph, &hosted)));
    Run::hosting(engine, work.clone(), hosted).expect("a run")
}

/// Everyone hears everyone in time.
fn whole_round(run: &Run<'_, NativeEngine>, round: Round) -> Option<RoundPlan> {
    let stage = run.plan().stage(round)?;
    let heard = |agent: AgentId| match stage.leg.exchanges() {
        true => neighbours(run.work().graph, agent).iter().map(|peer| peer.id).collect(),
        false => Vec::new(),
    };
    let row = |&agent: &AgentId| Row { agent, fresh: heard(agent), opened: heard(agent), late: Vec::new() };
    Some(RoundPlan { round, stage, rows: run.cohort().hosted().iter().map(row).collect(), joins: Vec::new() })
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

/// The digest of everyone's rows at the end, after payloads went between processes as bytes in every round; all processes
/// are started again before each of the rounds `cuts`.
fn in_processes(small: &Small, cuts: &[u64]) -> Digest {
    small.with(|work| {
        let mut runs: Vec<_> = PROCESSES.iter().map(|hosted| process(small, &work, hosted)).collect();
        let mut begins = true;
        for round in (0..).map(Round) {
            let Some(stage) = runs[0].plan().stage(round) else { break };
            if begins {
                runs.iter_mut().for_each(|run| run.begin(stage.task).expect("it begins"));
            }
            if cuts.contains(&round.0) {
                runs = runs.into_iter().map(|run| again(small, &work, run)).collect();
            }
            for run in &mut runs {
                let plan = whole_round(run, round).expect("within the run");
                run.compute(&plan, &mut ()).expect("it computes");
                run.cohort_mut().offer(round, stage.leg, &plan.agents());
            }
            let form = if begins { PayloadForm::Absolute } else { PayloadForm::Increment };
            let mut frames = Vec::new();
            for run in runs.iter().filter(|_| stage.leg.exchanges()) {
                for &from in run.cohort().hosted() {
                    let outside = |to: &AgentId| !run.cohort().hosted().contains(to);
                    for to in neighbours(work.graph, from).iter().map(|peer| peer.id).filter(outside) {
                        let body = run.cohort().payload(stage.leg, from, to, form);
                        assert_eq!(body.len() as u64, run.cohort().payload_bytes().0, "encoded and computed length");
                        frames.push((from, to, body));
                    }
                }
            }
            for (from, to, body) in &frames {
                let run = runs.iter_mut().find(|run| run.cohort().hosted().contains(to)).expect("somebody hosts it");
                run.cohort().payload_spec().check(stage.leg, form, body).expect("a payload");
                run.cohort_mut().receive(stage.leg, *from, *to, form, body);
            }
            for run in &mut runs {
                let plan = whole_round(run, round).expect("within the run");
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
    let growths = decode_basis(runs[1].cohort().layout(), &bytes).expect("growths");
    let more = [bytes.as_slice(), &[0]].concat();
    let layout = runs[1].cohort().layout();
    assert!(decode_basis(layout, &more).is_err() && decode_basis(layout, &bytes[1..]).is_err());
    runs.iter_mut().for_each(|run| run.adopt(leader, task, &growths).expect("it fits"));
}

#[test]
fn cohorts_in_several_processes_give_the_bits_of_one_for_every_exchange() {
    for preset in Preset::ALL.into_iter().filter(|preset| preset.parts().exchange.kind != ExchangeKind::None) {
        let mut small = Small { graph: "ring:6", ..Small::new(preset) };
        small.tasks = 2;
        small.train.rounds_per_task = Some(6);
        if let Some(memory) = &mut small.parts.memory {
            memory.consensus_rounds = 2;
        }
        let (one, _) = small.run().expect("the run and its checks succeed");
        assert_eq!(in_processes(&small, &[]), one.parameter_digest, "{preset:?}");
        assert_eq!(in_processes(&small, &[1, 4, 9, 14]), one.parameter_digest, "{preset:?}, processes started again");
    }
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
            let len = run.cohort().payload_bytes().0 as usize;
            assert_eq!(spec.check(leg, Increment, &vec![0; len]), Ok(()), "{preset:?}");
            let short = spec.check(leg, Absolute, &vec![0; len - 4]);
            assert_eq!(short, Err(PayloadError::Length { expected: len, found: len - 4 }));
            // For top-k, position 0 with no number, again and again.
            let nothing: Vec<u8> = [0.0, f32::NAN].into_iter().flat_map(f32::to_le_bytes).cycle().take(len).collect();
            assert!(matches!(spec.check(leg, Increment, &nothing), Err(PayloadError::NotFinite { .. })), "{preset:?}");
        });
    }
}
