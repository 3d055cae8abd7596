//! A run that is cut before any round and goes on from its state ends with the same bits.

mod common;

use std::collections::BTreeMap;

use common::Small;
use kith_core::{Event, Tape};
use kith_method::{Agreement, Payload, Preset};
use kith_sim::{Checked, Fault, FaultKind, LinkSpec, Moment, Observer, Outcome, SimError};

/// Keeps the state before some rounds, and every event with the round that it came before.
#[derive(Default)]
struct Keep {
    /// Every so many rounds, from this one on.
    every: u64,
    first: u64,
    stop_at: Option<u64>,
    states: BTreeMap<u64, Vec<u8>>,
    events: Vec<(u64, Event)>,
    next: u64,
    weights: Vec<u8>,
}

impl Observer for Keep {
    fn event(&mut self, event: &Event) {
        self.events.push((self.next, *event));
    }

    fn before_round(&mut self, moment: &mut Moment<'_>) {
        self.next = moment.round.0;
        if self.next >= self.first && (self.next - self.first).is_multiple_of(self.every) {
            let mut bytes = Vec::new();
            (moment.record)(&mut Tape::recording(&mut bytes)).expect("a vector takes everything");
            self.states.insert(self.next, bytes);
        }
    }

    fn ended(&mut self, moment: &mut Moment<'_>) {
        (moment.record)(&mut Tape::recording(&mut self.weights)).expect("a vector takes everything");
    }

    fn stop(&mut self) -> bool {
        self.stop_at == Some(self.next)
    }
}

fn small(preset: Preset) -> Small {
    let mut small = Small::new(preset);
    small.train.rounds_per_task = Some(9);
    small.train.evaluate_every = Some(1);
    if let Some(memory) = &mut small.parts.memory {
        memory.consensus_rounds = memory.consensus_rounds.min(3);
        if memory.agreement == Agreement::Own {
            // What the mean may do in the core space is only known where all share one.
            small.checked = Checked::No;
        }
    }
    small
}

/// Runs once in one piece, keeping states, then goes on from each of them; how many there were.
fn resumes_to_the_same_bits(name: &str, small: &Small, first: u64, every: u64) -> usize {
    let mut keep = Keep { every, first, ..Keep::default() };
    let (whole, _) = small.watched(None, &mut keep).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!keep.states.is_empty(), "{name}");
    for (&cut, state) in &keep.states {
        let threads = 1 + cut as usize % 2;
        let mut watch = Keep { every: u64::MAX, first: u64::MAX, ..Keep::default() };
        let resumed = Small { threads, ..copy(small) };
        let (outcome, _) =
            resumed.watched(Some(state), &mut watch).unwrap_or_else(|error| panic!("{name} from {cut}: {error}"));
        same(name, cut, &outcome, &whole);
        let rest: Vec<_> = keep.events.iter().filter(|(next, _)| *next >= cut).collect();
        assert_eq!(watch.events.iter().collect::<Vec<_>>(), rest, "{name} from {cut}: events");
        assert_eq!(watch.weights, keep.weights, "{name} from {cut}: weights at the end");
    }
    keep.states.len()
}

fn copy(small: &Small) -> Small {
    Small {
        graph: small.graph,
        tasks: small.tasks,
        parts: small.parts.clone(),
        train: small.train.clone(),
        links: small.links.clone(),
        faults: small.faults.clone(),
        seed: small.seed,
        threads: small.threads,
        checked: small.checked,
    }
}

fn same(name: &str, cut: u64, resumed: &Outcome, whole: &Outcome) {
    assert_eq!(resumed.parameter_digest, whole.parameter_digest, "{name} from {cut}: parameters");
    assert_eq!(resumed.trace_digest, whole.trace_digest, "{name} from {cut}: trace");
    assert_eq!(resumed, whole, "{name} from {cut}");
}

#[test]
fn every_preset_goes_on_to_the_same_bits_wherever_it_is_cut() {
    for (place, preset) in Preset::ALL.into_iter().enumerate() {
        let cuts = resumes_to_the_same_bits(preset.name(), &small(preset), 1 + place as u64 % 5, 11);
        assert!(cuts >= 2, "{}: {cuts} cuts", preset.name());
    }
}

#[test]
fn coordinates_in_the_middle_of_a_task_and_every_other_round_resume() {
    let small = Small { tasks: 2, ..small(Preset::Codec) };
    assert!(resumes_to_the_same_bits("codec", &small, 0, 1) >= 18);
    let mut sgp = Small { tasks: 2, ..self::small(Preset::CodecSgp) };
    sgp.train.rounds_per_task = Some(5);
    resumes_to_the_same_bits("codec-sgp", &sgp, 4, 3);
}

#[test]
fn memories_of_their_own_resume() {
    let mut own = small(Preset::CodecFull);
    if let Some(memory) = &mut own.parts.memory {
        memory.agreement = Agreement::Own;
    }
    own.checked = Checked::No;
    own.parts.exchange.payload = Payload::Full;
    own.train.local_steps = 3;
    assert!(resumes_to_the_same_bits("own memories", &own, 2, 7) >= 3);
}

#[test]
fn faults_and_lost_frames_resume_with_what_was_not_settled() {
    let fault = |kind, round, agent, peer| Fault { kind, round, agent, peer, factor: None };
    let faults = vec![
        fault(FaultKind::Crash, 5, 2, None),
        fault(FaultKind::Restart, 13, 2, None),
        fault(FaultKind::LinkDown, 6, 0, Some(1)),
        fault(FaultKind::LinkUp, 10, 0, Some(1)),
        Fault { factor: Some(4.0), ..fault(FaultKind::Straggler, 3, 3, None) },
    ];
    let links = LinkSpec {
        loss: 0.3,
        latency_ms: 0.3,
        bandwidth_mbps: Some(50.0),
        deadline_ms: 5.0,
        retransmit_ms: 2.0,
        ..LinkSpec::default()
    };
    for preset in [Preset::Codec, Preset::DPsgd, Preset::GradientTracking] {
        let mut small = Small { faults: faults.clone(), links: links.clone(), tasks: 2, ..small(preset) };
        small.train.rounds_per_task = Some(20);
        assert!(resumes_to_the_same_bits(preset.name(), &small, 3, 4) >= 5);
    }
}

#[test]
fn a_run_that_stops_says_so_and_goes_on_from_where_it_stopped() {
    let small = small(Preset::QgDsgdmN);
    let (whole, _) = small.run().expect("it runs");
    let mut keep = Keep { every: 1, first: 14, stop_at: Some(14), ..Keep::default() };
    let (stopped, _) = small.watched(None, &mut keep).expect("it stops");
    assert!(stopped.stopped && stopped.rounds == 14);
    assert!(keep.weights.is_empty(), "weights are kept at the end only");
    let state = &keep.states[&14];
    let (resumed, _) = small.watched(Some(state), &mut ()).expect("it goes on");
    same("stopped", 14, &resumed, &whole);
}

#[test]
fn state_of_another_run_or_a_part_of_it_is_refused() {
    let codec = small(Preset::Codec);
    let mut keep = Keep { every: 8, first: 12, ..Keep::default() };
    codec.watched(None, &mut keep).expect("it runs");
    let state = keep.states.values().next().expect("one was kept");
    let refused = |small: &Small, state: &[u8]| {
        let error = small.watched(Some(state), &mut ()).err().expect("it is refused");
        assert!(matches!(error, SimError::State(_) | SimError::Replay { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(&Small { graph: "ring:6", ..copy(&codec) }, state).contains("decisions until then"));
    let full = Small { parts: Preset::Local.parts(), ..copy(&codec) };
    refused(&full, state);
    for len in [0, 9, state.len() / 2, state.len() - 1] {
        refused(&codec, &state[..len]);
    }
}
