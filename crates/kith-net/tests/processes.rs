//! Processes of a run in one test, over libp2p's in-memory transport: same state machines, same frames, no sockets.

#[path = "../../kith-sim/tests/common/mod.rs"]
#[allow(dead_code, reason = "the simulator's tests use more of it")]
mod common;
#[allow(dead_code, reason = "tests of faults use more of it")]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Small;
use kith_core::{AgentId, Digest, Round};
use kith_method::Preset;
use kith_net::{Board, Identity, NeighbourStatus, NetError, Notice};
use kith_run::Outcome;
use support::{ALONE, BY_THREE, Watch, settings, small, together, watched};

/// Bytes of payloads, of all agents together.
fn payloads(outcome: &Outcome) -> f64 {
    outcome.bytes_training.iter().chain(&outcome.bytes_consensus).sum::<f64>() * outcome.agents as f64
}

/// D1.
#[test]
fn processes_in_lock_step_have_the_simulators_bits_after_every_round() {
    let presets = [
        Preset::DPsgd,
        Preset::Codec,
        Preset::CodecSgpFull,
        Preset::QSaddle,
        Preset::Ngc,
        Preset::NSaddle,
        Preset::Choco,
        Preset::PushSum,
        Preset::Ccl,
    ];
    for (place, preset) in presets.into_iter().enumerate() {
        let small = small(preset);
        let mut simulated = Watch::default();
        let one = small.watched(None, &mut simulated).expect("the simulator runs").0;
        for (half, hosted) in [&ALONE[..], &BY_THREE[..]].into_iter().enumerate() {
            let port = 1000 + 100 * place as u64 + 50 * half as u64;
            let mut digests = BTreeMap::new();
            let mut sent = 0.0;
            for (outcome, watch, notices) in together(&small, settings(port, hosted), &[]) {
                let outcome = outcome.expect("the process runs");
                assert!(!notices.iter().any(|notice| matches!(notice, Notice::Bad(..))), "{notices:?}");
                assert_eq!((outcome.missed_exchanges, outcome.tasks), (0, 2));
                sent += payloads(&outcome);
                digests.extend(watch.digests);
            }
            let differs = simulated.digests.iter().find(|(at, digest)| digests.get(at) != Some(digest));
            assert_eq!(differs, None, "{preset:?} with {} processes", hosted.len());
            assert_eq!(digests.len(), simulated.digests.len());
            // How often a basis goes over an edge that two floods meet on depends on who is first; payloads do not.
            if hosted.len() == 6 {
                let counted = payloads(&one);
                assert!((sent - counted).abs() < 0.5, "{preset:?}: {sent} bytes on the wire, {counted} counted");
            }
        }
    }
}

/// CHOCO-SGD as published mixes what arrived a round before: what a round sends needs nothing of the round's own work.
#[test]
fn what_does_not_wait_for_local_work_goes_out_during_it() {
    let small = Small { graph: "ring:3", tasks: 1, ..small(Preset::Choco) };
    let boards: Vec<Arc<Board>> = (0..3).map(|_| Arc::default()).collect();
    let heard = Arc::new(AtomicBool::new(false));
    let mut all = settings(6000, &[&[0], &[1], &[2]]);
    all.iter_mut().zip(&boards).for_each(|(settings, board)| settings.options.board = Some(Arc::clone(board)));
    let results = watched(&small, all, |place| {
        let (there, heard) = (Arc::clone(&boards[1]), Arc::clone(&heard));
        let at_work = move |round: Round| {
            let of = |one: &NeighbourStatus| one.agents == [AgentId(0)] && one.round == Some(round);
            let until = Instant::now() + Duration::from_secs(20);
            while !there.status().neighbours.iter().any(of) && Instant::now() < until {
                std::thread::yield_now();
            }
            heard.store(there.status().neighbours.iter().any(of), Ordering::Relaxed);
        };
        Watch { at_work: (place == 0).then(|| Box::new(at_work) as _), ..Watch::default() }
    });
    assert!(heard.load(Ordering::Relaxed), "the neighbour has the payload while this agent still works");
    for (outcome, ..) in results {
        assert_eq!(outcome.expect("the process runs").missed_exchanges, 0);
    }
}

#[test]
fn others_go_on_when_a_process_leaves_in_the_middle() {
    let small = small(Preset::DPsgd);
    let results = together(&small, settings(3000, &ALONE), &[(2, Round(4))]);
    for (place, (outcome, watch, notices)) in results.into_iter().enumerate() {
        let outcome = outcome.expect("the process ends well");
        assert_eq!(
            (outcome.stopped, outcome.tasks),
            if place == 2 { (true, 0) } else { (false, 2) },
            "process {place}"
        );
        let gone = notices.contains(&Notice::Gone(vec![AgentId(2)]));
        assert_eq!(gone, place == 1 || place == 3 || gone && place == 2, "{notices:?}");
        if place != 2 {
            assert_eq!(watch.last, Round(11));
            assert!(outcome.accuracy_per_agent[place][1].iter().sum::<f64>() / 2.0 > 0.15);
        }
    }
}

#[test]
fn a_process_of_another_experiment_is_told_both_hashes() {
    let small = Small { graph: "ring:3", ..small(Preset::DPsgd) };
    let mut all = settings(4000, &[&[0], &[1, 2]]);
    all.iter_mut().for_each(|settings| settings.start = Duration::from_secs(3));
    all[1].run = Digest::of(b"another run");
    for (outcome, ..) in together(&small, all, &[]) {
        let error = outcome.expect_err("they do not fit").to_string();
        assert!(error.contains(&Digest::of(b"a run").to_string()), "{error}");
        assert!(error.contains(&Digest::of(b"another run").to_string()), "{error}");
    }
}

#[test]
fn a_peer_that_is_not_listed_and_one_with_another_secret_get_nothing() {
    let small = Small { graph: "ring:3", ..small(Preset::DPsgd) };
    for stranger in [true, false] {
        let mut all = settings(if stranger { 5000 } else { 5100 }, &[&[0], &[1, 2]]);
        all.iter_mut().for_each(|settings| settings.start = Duration::from_secs(3));
        if stranger {
            all[1].identity = Identity::generate();
        } else {
            (all[0].pre_shared, all[1].pre_shared) = (Some([1; 32]), Some([2; 32]));
        }
        for (outcome, _, notices) in together(&small, all, &[]) {
            let error = outcome.expect_err("nobody to speak to");
            assert!(matches!(error, NetError::Start { .. }), "{error}");
            assert!(!notices.iter().any(|notice| matches!(notice, Notice::Connected(_))), "{notices:?}");
        }
    }
}
