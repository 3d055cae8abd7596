//! Processes that go on from what they kept, and processes that come back into a run that went on without them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use kith_core::{AgentId, Round};
use kith_method::Preset;
use kith_net::{NetError, Notice, Settings};

use kith_run::Outcome;
use libp2p::PeerId;
use libp2p::identity::Keypair;

use crate::common::Small;
use crate::liars::{answer, hello_of, under_way};
use crate::raw::{Frame, Heard, Says, live};
use crate::support::{
    ALONE, BY_THREE, Watch, loopback, process, settings, settings_at, small, telling, together, watched,
};

fn resuming(all: Vec<Settings>, states: &[Vec<u8>]) -> Vec<Settings> {
    let with = |(mut settings, state): (Settings, &Vec<u8>)| {
        settings.options.resume = Some(state.as_slice().into());
        settings.instance = 2;
        settings
    };
    all.into_iter().zip(states).map(with).collect()
}

#[test]
fn processes_that_all_go_on_from_the_same_round_end_with_the_bits_of_an_uncut_run() {
    for (place, preset) in
        [Preset::DPsgd, Preset::Codec, Preset::Choco, Preset::GradientTracking].into_iter().enumerate()
    {
        let small = small(preset);
        for (half, hosted) in [&ALONE[..], &BY_THREE[..]].into_iter().enumerate() {
            let port = 40_000 + 100 * place as u64 + 40 * half as u64;
            let cut = Round(10);
            let keeping = |_| Watch { keep: Some(cut), ..Watch::default() };
            let whole = watched(&small, settings(port, hosted), keeping);
            let states: Vec<Vec<u8>> = whole.iter().map(|(_, watch, _)| watch.state.clone()).collect();
            let resumed = together(&small, resuming(settings(port + 20, hosted), &states), &[]);
            for ((whole, uncut, _), (resumed, watch, _)) in whole.into_iter().zip(resumed) {
                let (whole, resumed) = (whole.expect("it runs"), resumed.expect("it goes on"));
                let rest: BTreeMap<_, _> = uncut.digests.into_iter().filter(|((round, _), _)| *round >= cut).collect();
                assert!(!rest.is_empty() && watch.digests == rest, "{preset:?} with {} processes", hosted.len());
                assert_eq!(resumed.accuracy_per_agent, whole.accuracy_per_agent);
                assert_eq!((resumed.agent_steps, resumed.rounds), (whole.agent_steps, whole.rounds));
                assert_eq!(resumed.parameter_digest, whole.parameter_digest);
                // Bytes before the cut count. With a compressor the first exchange after it sends whole rows.
                let more = resumed.bytes_training[1] - whole.bytes_training[1];
                assert!(resumed.bytes_training[0] == whole.bytes_training[0], "{preset:?}");
                assert!(if preset == Preset::Choco { more > 0.0 } else { more == 0.0 }, "{preset:?}: {more}");
            }
        }
    }
}

#[test]
fn states_of_different_tasks_and_of_another_run_are_refused_with_what_they_are() {
    let small = small(Preset::DPsgd);
    let kept = |port, round| {
        let keeping = |_| Watch { keep: Some(Round(round)), ..Watch::default() };
        let all = watched(&small, settings(port, &BY_THREE), keeping);
        all.into_iter().map(|(_, watch, _)| watch.state).collect::<Vec<_>>()
    };
    let (early, late) = (kept(41_000, 3), kept(41_010, 9));
    let mut all = resuming(settings(41_020, &BY_THREE), &[early[0].clone(), late[1].clone()]);
    all.iter_mut().for_each(|settings| settings.start = Duration::from_secs(2));
    for (outcome, ..) in together(&small, all, &[]) {
        let error = outcome.expect_err("they do not fit").to_string();
        assert!(error.contains("round 3") && error.contains("round 9"), "{error}");
    }
    // State of the other process, and half of one's own.
    let cut = early[0][..early[0].len() / 2].to_vec();
    for (outcome, ..) in together(&small, resuming(settings(41_030, &BY_THREE), &[cut, early[0].clone()]), &[]) {
        assert!(matches!(outcome, Err(NetError::State(_))), "it is refused");
    }
}

/// Whether the one that was away is back.
type Back = (Mutex<bool>, Condvar);

/// From round `from` on, goes slowly until the one that was away is back; says once when it comes to `from`.
fn waiting(from: u64, here: mpsc::Sender<()>, back: Arc<Back>) -> Box<dyn FnMut(Round) + Send> {
    Box::new(move |round| {
        if round.0 == from {
            let _ = here.send(());
        }
        if round.0 >= from {
            let guard = back.0.lock().expect("nobody panics");
            let _ = back.1.wait_timeout_while(guard, Duration::from_millis(100), |back| !*back).expect("nobody panics");
        }
    })
}

#[test]
fn a_process_without_state_comes_back_in_a_later_task_with_a_neighbours_rows_and_memory() {
    for preset in [Preset::Codec, Preset::DPsgd] {
        let mut small = Small { graph: "ring:4", ..small(preset) };
        small.train.rounds_per_task = Some(60);
        let consensus = if preset == Preset::Codec { 2 } else { 0 };
        let again = 60 + consensus + 3;
        let all = settings_at(&loopback(4), &[&[0], &[1], &[2], &[3]]);
        let back: Arc<Back> = Arc::default();
        let (here, there) = mpsc::channel();
        let notices: Vec<Mutex<Vec<Notice>>> = (0..4).map(|_| Mutex::default()).collect();
        let tell = |place: usize| {
            let (notices, back) = (&notices[place], Arc::clone(&back));
            move |notice: Notice| {
                if matches!(&notice, Notice::Rejoined(agents, _) if place == 2 && agents == &[AgentId(2)]) {
                    *back.0.lock().expect("nobody panics") = true;
                    back.1.notify_all();
                }
                notices.lock().expect("nobody panics").push(notice);
            }
        };
        let outcomes = small.with(|work| {
            std::thread::scope(|scope| {
                let others = [0, 1, 3].map(|place| {
                    let (small, work, settings, tell) = (&small, work.clone(), all[place].clone(), tell(place));
                    let before = Some(waiting(again, here.clone(), Arc::clone(&back)));
                    scope.spawn(move || {
                        let mut watch = Watch { before, ..Watch::default() };
                        telling(small, &work, settings, &mut watch, &tell)
                    })
                });
                let mut watch = Watch { stop_after: Some(Round(5)), ..Watch::default() };
                let left = telling(&small, &work, all[2].clone(), &mut watch, &tell(2));
                assert!(left.expect("it leaves").stopped);
                there.recv_timeout(Duration::from_secs(120)).expect("the others come to the second task");
                let mut watch = Watch::default();
                let settings = Settings { instance: 2, ..all[2].clone() };
                let mut outcomes = vec![telling(&small, &work, settings, &mut watch, &tell(2))];
                outcomes.extend(others.map(|thread| thread.join().expect("no process panics")));
                (outcomes, watch)
            })
        });
        let (outcomes, watch) = outcomes;
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(|outcome| outcome.expect("it ends")).collect();
        let notices: Vec<Vec<Notice>> =
            notices.into_iter().map(|one| one.into_inner().expect("nobody panics")).collect();
        let joined = |place: usize| {
            let found = notices[place].iter().find_map(|notice| match notice {
                Notice::Rejoined(agents, round) if agents == &[AgentId(2)] => Some(*round),
                _ => None,
            });
            found.unwrap_or_else(|| panic!("{place}: {:?}", notices[place]))
        };
        let round = joined(2);
        assert!(round > Round(again) && joined(1) == round && joined(3) == round, "{round}");
        assert_eq!(watch.digests.keys().next().map(|(round, _)| *round), Some(round), "it begins where it said");
        assert!(!notices.iter().flatten().any(|notice| matches!(notice, Notice::Bad(..))), "{notices:?}");
        let mut outcomes = outcomes.into_iter();
        let returned = outcomes.next().expect("it came back");
        let accuracies = &returned.accuracy_per_agent[2];
        assert_eq!(accuracies.len(), 1, "it saw the end of one task");
        assert!(accuracies[0].iter().all(|accuracy| *accuracy > 0.2), "{accuracies:?}");
        assert!(returned.bytes_training[1] > 0.0 && returned.bytes_training[0] == 0.0);
        // How far the run is, and not how much of it an agent was there for.
        let rounds = returned.rounds;
        assert!(outcomes.all(|outcome| (outcome.tasks, outcome.rounds) == (2, rounds)), "{rounds}");
    }
}

/// Agents 0, 1 and 2 on a chain. The last one does not begin round 1 before the first, which was killed there after it had
/// acknowledged what it was sent, is back in the same round and has been sent it again.
#[test]
fn who_is_killed_and_back_within_a_round_is_sent_again_what_it_had_acknowledged() {
    let small = Small { graph: "chain:3", tasks: 1, ..small(Preset::DPsgd) };
    let (key, killed) = (Keypair::generate_ed25519(), Round(1));
    let mut all = settings(42_000, &[&[0], &[1], &[2]]);
    for settings in &mut all {
        settings.peers.peers[0].id = PeerId::from(key.public()).to_string();
        settings.peers.peers[0].address = None;
    }
    let [_, middle, last] = all.try_into().unwrap_or_else(|_| panic!("three"));
    let to = (middle.identity.peer_id().parse().expect("a peer id"), middle.listen[0].parse().expect("an address"));
    let (again, sent_again) = mpsc::channel();
    let (mut dead, mut back) = (false, false);
    let act = move |heard| {
        let hello = |start| Says { first: vec![hello_of(AgentId(0), start)], ..Says::default() };
        let packet = match heard {
            Heard::Up => return hello(1),
            Heard::Packet(packet) => packet,
        };
        if packet.first() == Some(&3) {
            let joins = [&[6][..], &killed.0.to_le_bytes()].concat();
            return Says { first: vec![joins], ..Says::default() };
        }
        let Some(frame) = Frame::read(&packet) else { return Says::default() };
        if !frame.header.kind.is_payload() {
            return Says::default();
        }
        let mut answers = answer(&frame);
        if frame.header.round == killed && !std::mem::replace(&mut dead, true) {
            answers.truncate(1);
            return Says { first: answers, then: hello(2).first, goes: false };
        }
        if frame.header.round == killed && !std::mem::replace(&mut back, true) {
            let _ = again.send(());
        }
        Says { first: answers, ..Says::default() }
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let arrived = Arc::new(AtomicBool::new(false));
    let (middle, last) = small.with(|work| {
        std::thread::scope(|scope| {
            let peer = scope.spawn(move || live(key, to, stopped, act));
            let (small, with, seen) = (&small, work.clone(), Arc::clone(&arrived));
            let last = scope.spawn(move || {
                let before = move |round: Round| {
                    if round == killed {
                        seen.store(sent_again.recv_timeout(Duration::from_secs(30)).is_ok(), Ordering::Relaxed);
                    }
                };
                let mut watch = Watch { before: Some(Box::new(before)), ..Watch::default() };
                process(small, &with, last, &mut watch, &Mutex::default())
            });
            let outcome = process(small, &work, middle, &mut Watch::default(), &Mutex::default());
            drop(stop);
            peer.join().expect("the peer does not panic");
            (outcome, last.join().expect("no process panics"))
        })
    });
    assert!(arrived.load(Ordering::Relaxed), "the payload comes again");
    for outcome in [middle, last] {
        let outcome = outcome.expect("it ends");
        assert_eq!((outcome.tasks, outcome.missed_exchanges), (1, 0));
    }
}

/// A process that came back itself, and a neighbour that is then killed and started again: whose hello the newcomer hears too late, the
/// newcomer takes for one that it could not reach, and says so. What was under way with its former start is not forgotten before it joins.
#[test]
fn a_process_that_came_back_does_not_take_a_neighbour_that_comes_back_for_one_that_was_there() {
    let small = small(Preset::DPsgd);
    let keeping = |_| Watch { keep: Some(Round(2)), ..Watch::default() };
    let state = watched(&small, settings(43_000, &[&[0, 1, 2, 3, 4], &[5]]), keeping).remove(0).1.state;
    let (key, neighbour) = (Keypair::generate_ed25519(), AgentId(5));
    let mut settings = settings(43_010, &[&[0, 1, 2, 3, 4], &[5]]).remove(0);
    settings.options.resume = Some(state.into());
    settings.peers.peers[1].id = PeerId::from(key.public()).to_string();
    settings.peers.peers[1].address = None;
    let to = (settings.identity.peer_id().parse().expect("a peer id"), settings.listen[0].parse().expect("an address"));
    let number = |kind: u8, round: u64| [&[kind][..], &round.to_le_bytes()].concat();
    let joins: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (said, mut dead) = (Arc::clone(&joins), false);
    let act = move |heard| {
        let says = |first: Vec<Vec<u8>>, then| Says { first, then, goes: false };
        let packet = match heard {
            Heard::Up => return says(vec![under_way(neighbour, 1, Round(3))], Vec::new()),
            Heard::Packet(packet) => packet,
        };
        match packet[0] {
            // It asks, and is told to join with what it has.
            4 => return says(vec![[number(5, 3), vec![0; 4]].concat()], Vec::new()),
            6 => said.lock().expect("nobody panics").push(packet.clone()),
            3 => return says(vec![number(3, 3)], vec![number(6, 5)]),
            _ => {}
        }
        let Some(frame) = Frame::read(&packet).filter(|frame| frame.header.kind.is_payload()) else {
            return Says::default();
        };
        if frame.header.round >= Round(5) {
            return says(answer(&frame), Vec::new());
        }
        let first = !std::mem::replace(&mut dead, true);
        says(if first { vec![hello_of(neighbour, 2)] } else { Vec::new() }, Vec::new())
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (news, rejoined) = mpsc::channel();
    let tell = move |notice| {
        if notice == Notice::Rejoined(vec![neighbour], Round(5)) {
            let _ = news.send(());
        }
    };
    let before = move |round: Round| {
        if round == Round(4) {
            rejoined.recv_timeout(Duration::from_secs(30)).expect("the neighbour joins, and is heard");
        }
    };
    let outcome = small.with(|work| {
        std::thread::scope(|scope| {
            let peer = scope.spawn(move || live(key, to, stopped, act));
            let mut watch = Watch { before: Some(Box::new(before)), ..Watch::default() };
            let outcome = telling(&small, &work, settings, &mut watch, &tell);
            drop(stop);
            peer.join().expect("the peer does not panic");
            outcome
        })
    });
    assert_eq!(*joins.lock().expect("nobody panics"), [number(6, 3)], "it joins once");
    let outcome = outcome.expect("it ends");
    // Of the round in which the neighbour died, one on each of its two edges.
    assert_eq!((outcome.tasks, outcome.missed_exchanges), (2, 2));
}
