//! A listed peer that takes part as it should and lies beside: what it says is refused and counted, and the run's bits are
//! those of a run with the same peer telling no lies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use kith_core::{AgentId, Digest, Round, TaskId};
use kith_method::Preset;
use kith_net::{Board, Fault, Identity, Link, NeighbourStatus, NetError, Notice, PeerEntry, PeersFile, Settings};
use kith_protocol::{FrameKind, Header, Hello};
use kith_run::Outcome;
use libp2p::PeerId;
use libp2p::identity::Keypair;

use crate::common::Small;
use crate::raw::{Frame, Heard, Life, Says, live};
use crate::support::{Watch, process, settings, small};

/// The agent of the peer that lies; the other process has all others.
const LIAR: AgentId = AgentId(5);

/// What the peer does beside taking part, once: in answer to the first payload of round 1 that comes.
type Lie = Box<dyn Fn(&Frame) -> Vec<Vec<u8>> + Send>;

struct Honest {
    outcome: Result<Outcome, NetError>,
    digests: BTreeMap<(Round, AgentId), Digest>,
    notices: Vec<Notice>,
    liar: NeighbourStatus,
    life: Life,
}

/// Runs agents 0 to 4 of a ring in one process and lets `act` be the other.
fn beside(port: u64, small: &Small, start: Settings, act: impl FnMut(Heard) -> Says + Send) -> Honest {
    let key = Keypair::generate_ed25519();
    let own = Identity::generate();
    let (board, address) = (Arc::new(Board::new()), format!("/memory/{port}"));
    let entry = |agents: &[u32], id, address| PeerEntry { agents: agents.to_vec(), id, address };
    let peers = PeersFile {
        peers: vec![
            entry(&[0, 1, 2, 3, 4], own.peer_id(), Some(address.clone())),
            entry(&[5], PeerId::from(key.public()).to_string(), None),
        ],
    };
    let to = (own.peer_id().parse().expect("a peer id"), address.parse().expect("an address"));
    let mut settings = Settings { identity: own, listen: vec![address], peers, ..start };
    settings.options.board = Some(Arc::clone(&board));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    small.with(|work| {
        std::thread::scope(|scope| {
            let peer = scope.spawn(move || live(key, to, stopped, act));
            let (mut watch, notices) = (Watch::default(), Mutex::default());
            let outcome = process(small, &work, settings, &mut watch, &notices);
            drop(stop);
            let life = peer.join().expect("the peer does not panic");
            let liar = board.status().neighbours.remove(0);
            let notices = notices.into_inner().expect("nobody panics");
            Honest { outcome, digests: watch.digests, notices, liar, life }
        })
    })
}

fn start() -> Settings {
    settings(0, &[&[0, 1, 2, 3, 4]]).remove(0)
}

fn hello() -> Vec<u8> {
    hello_of(LIAR, 1)
}

/// What a start of the process of an agent says first.
pub(crate) fn hello_of(agent: AgentId, start: u64) -> Vec<u8> {
    packed(&Hello::new(Digest::of(b"a run"), start, "cpu".to_owned(), vec![agent]))
}

/// The same where the run is under way without whom it is said to.
pub(crate) fn under_way(agent: AgentId, start: u64, round: Round) -> Vec<u8> {
    let hello = Hello::new(Digest::of(b"a run"), start, "cpu".to_owned(), vec![agent]);
    packed(&hello.knowing(Some(round), None))
}

fn packed(hello: &Hello) -> Vec<u8> {
    let hello = hello.encode().expect("it encodes");
    [&[0], &(hello.len() as u32).to_le_bytes()[..], &hello].concat()
}

/// What an honest peer answers to a frame; payloads it sends back as they came.
pub(crate) fn answer(frame: &Frame) -> Vec<Vec<u8>> {
    let back = |kind, body: &[u8]| {
        let next = frame.header.round.next();
        let header = Header { kind, next, body_len: body.len() as u32, ..frame.header };
        Frame { from: frame.to, to: frame.from, header, body: body.to_vec() }.bytes()
    };
    match frame.header.kind {
        FrameKind::Payload | FrameKind::Absolute => {
            vec![back(FrameKind::Ack, &[]), back(FrameKind::Absolute, &frame.body)]
        }
        FrameKind::Basis => vec![back(FrameKind::BasisAck, &[])],
        _ => Vec::new(),
    }
}

/// A peer that takes part, and says `lie` in the middle.
fn lying(lie: Option<Lie>) -> impl FnMut(Heard) -> Says + Send {
    let (mut lie, mut seen) = (lie, BTreeSet::new());
    move |heard| match heard {
        Heard::Up => Says { first: vec![hello()], ..Says::default() },
        Heard::Packet(packet) => {
            let Some(frame) = Frame::read(&packet) else { return Says::default() };
            let Header { kind, round, task, .. } = frame.header;
            if !seen.insert((frame.from, frame.to, kind.is_payload(), round, task, kind == FrameKind::Basis)) {
                return Says::default();
            }
            let lies = lie.take_if(|_| kind.is_payload() && round == Round(1)).map(|lie| lie(&frame));
            Says { first: lies.unwrap_or_default(), then: answer(&frame), goes: false }
        }
    }
}

fn repeated(packets: &[Vec<u8>], times: usize) -> Vec<Vec<u8>> {
    packets.iter().flat_map(|packet| std::iter::repeat_n(packet.clone(), times)).collect()
}

fn one_task(preset: Preset) -> Small {
    let mut small = Small { tasks: 1, ..small(preset) };
    small.train.rounds_per_task = Some(4);
    small
}

/// The frame as its receiver would have sent it back, changed.
fn changed(frame: &Frame, change: impl FnOnce(&mut Frame)) -> Vec<Vec<u8>> {
    let mut lie = Frame { from: frame.to, to: frame.from, ..frame.clone() };
    lie.header.kind = FrameKind::Absolute;
    change(&mut lie);
    vec![lie.bytes()]
}

#[test]
fn every_kind_of_lie_is_refused_counted_told_once_and_changes_no_bit() {
    let clean = beside(20_000, &one_task(Preset::DPsgd), start(), lying(None));
    clean.outcome.expect("the clean run ends");
    assert!(clean.liar.faults.is_empty() && clean.notices.len() == 2, "{:?} {:?}", clean.liar, clean.notices);
    assert_eq!(clean.digests.len(), 4 * 5);
    let value = |value: f32| -> Lie {
        Box::new(move |frame| changed(frame, |lie| lie.body[40..44].copy_from_slice(&value.to_le_bytes())))
    };
    let lies: Vec<(&str, Fault, Lie)> = vec![
        ("not a number", Fault::Body, value(f32::NAN)),
        ("infinity", Fault::Body, value(f32::INFINITY)),
        (
            "a wrong shape",
            Fault::Body,
            Box::new(|frame| {
                changed(frame, |lie| {
                    lie.body.truncate(lie.body.len() - 4);
                    lie.header.body_len -= 4;
                })
            }),
        ),
        ("another basis", Fault::Basis, Box::new(|frame| changed(frame, |lie| lie.header.basis ^= 1))),
        ("a gigabyte", Fault::Malformed, Box::new(|frame| changed(frame, |lie| lie.header.body_len = 1 << 30))),
        ("garbage", Fault::Malformed, Box::new(|_| vec![(0..200_u8).map(|byte| byte.wrapping_mul(37) | 8).collect()])),
        ("no hello", Fault::Malformed, Box::new(|_| vec![vec![0, 4, 0, 0, 0, 9, 9, 9, 9]])),
        ("a long hello", Fault::Malformed, Box::new(|_| vec![vec![0, 255, 255, 255, 255]])),
        ("another protocol version", Fault::Malformed, Box::new(|frame| changed(frame, |lie| lie.header.version = 9))),
        (
            "a round that is none",
            Fault::Round,
            Box::new(|frame| changed(frame, |lie| lie.header.round = Round(1 << 40))),
        ),
        ("a task that is none", Fault::Round, Box::new(|frame| changed(frame, |lie| lie.header.task = TaskId(3)))),
        ("another run", Fault::Run, Box::new(|frame| changed(frame, |lie| lie.header.run ^= 1))),
        ("another's name", Fault::Agent, Box::new(|frame| changed(frame, |lie| lie.from = AgentId(3)))),
        ("an edge that is none", Fault::Agent, Box::new(|frame| changed(frame, |lie| lie.to = AgentId(2)))),
        (
            "a basis where none is agreed on",
            Fault::Basis,
            Box::new(|frame| changed(frame, |lie| lie.header.kind = FrameKind::Basis)),
        ),
        ("state that nobody asked for", Fault::State, Box::new(|_| vec![[&[5][..], &[0; 8], &[0; 4]].concat()])),
        (
            "a gigabyte of state",
            Fault::Malformed,
            Box::new(|_| vec![[&[5][..], &[0; 8], &(1_u32 << 30).to_le_bytes()].concat()]),
        ),
        ("a question that is not its to ask", Fault::Unknown, Box::new(|_| vec![vec![4, 0, 0, 0, 0]])),
    ];
    for (place, (name, fault, lie)) in lies.into_iter().enumerate() {
        let twice: Lie = Box::new(move |frame| repeated(&lie(frame), 2));
        let port = 20_001 + place as u64;
        let honest = beside(port, &one_task(Preset::DPsgd), start(), lying(Some(twice)));
        honest.outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(honest.liar.faults, BTreeMap::from([(fault, 2)]), "{name}: {:?}", honest.notices);
        let told = honest.notices.iter().filter(|notice| matches!(notice, Notice::Bad(_, found, _) if *found == fault));
        assert_eq!(told.count(), 1, "{name}: {:?}", honest.notices);
        assert_eq!(honest.digests, clean.digests, "{name}");
        assert_eq!(honest.liar.link, Link::Up, "{name}");
    }
}

#[test]
fn replays_and_rounds_to_come_change_no_bit() {
    let small = one_task(Preset::DPsgd);
    let clean = beside(20_100, &small, start(), lying(None));
    let replays: Lie = Box::new(|frame| {
        let again = repeated(&changed(frame, |lie| lie.header.round = Round(0)), 20);
        let ahead = changed(frame, |lie| lie.header.round = Round(0));
        [again, ahead].concat()
    });
    let honest = beside(20_101, &small, start(), lying(Some(replays)));
    honest.outcome.expect("it ends");
    assert_eq!(honest.digests, clean.digests);
    assert_eq!((honest.liar.repeated, honest.liar.faults.len()), (21, 0));
}

#[test]
fn a_basis_that_does_not_continue_the_memory_is_refused_and_the_leaders_is_adopted() {
    let small = small(Preset::Codec);
    let clean = beside(20_110, &small, start(), lying(None));
    clean.outcome.expect("the clean run ends");
    let basis = |body: Vec<u8>| -> Lie {
        Box::new(move |frame| {
            changed(frame, |lie| {
                lie.header.kind = FrameKind::Basis;
                lie.header.body_len = body.len() as u32;
                lie.body.clone_from(&body);
            })
        })
    };
    // For layers of 64, 32 and 32 inputs: two equal columns each.
    let layer = |inputs: u32| {
        let counts = [inputs, 0, 2, 0].map(u32::to_le_bytes).concat();
        let column = [1.0_f32.to_le_bytes().to_vec(), vec![0; 4 * inputs as usize - 4]].concat();
        [counts, column.repeat(2)].concat()
    };
    let lies = [vec![7; 100], [layer(64), layer(32), layer(32)].concat()];
    for (place, body) in lies.into_iter().enumerate() {
        let honest = beside(20_111 + place as u64, &small, start(), lying(Some(basis(body))));
        let outcome = honest.outcome.expect("it ends");
        assert_eq!(honest.liar.faults, BTreeMap::from([(Fault::Basis, 1)]), "{:?}", honest.notices);
        assert_eq!(honest.digests, clean.digests);
        assert!(outcome.basis_ranks[0].iter().all(|rank| *rank > 0), "{:?}", outcome.basis_ranks);
    }
}

/// Says hello, then the same bad thing so many times, and nothing else.
fn insisting(times: usize) -> impl FnMut(Heard) -> Says + Send {
    move |heard| match heard {
        Heard::Up => Says { first: vec![hello()], then: vec![vec![9, 9, 9]; times], goes: false },
        Heard::Packet(_) => Says::default(),
    }
}

#[test]
fn a_peer_that_goes_on_sending_bad_packets_is_dropped_and_gets_nothing_more() {
    let mut start = start();
    start.deadline = Duration::from_secs(1);
    let mut endless = one_task(Preset::DPsgd);
    endless.train.rounds_per_task = Some(1_000_000);
    let honest = beside(20_120, &endless, start, insisting(120));
    assert_eq!(honest.liar.link, Link::Dropped, "{:?}", honest.liar);
    assert!((100..=120).contains(&honest.liar.faults[&Fault::Malformed]), "{:?}", honest.liar);
    assert_eq!(honest.notices.iter().filter(|notice| **notice == Notice::Dropped(vec![LIAR])).count(), 1);
    // It was the only neighbour.
    assert!(matches!(honest.outcome, Err(NetError::Alone { .. })), "nobody is left");
}

#[test]
fn a_peer_that_is_not_listed_hears_nothing_and_changes_no_bit() {
    let small = one_task(Preset::DPsgd);
    let mut all = settings(20_130, &[&[0, 1, 2], &[3, 4, 5]]);
    let to: (PeerId, libp2p::Multiaddr) =
        (all[0].identity.peer_id().parse().expect("a peer id"), "/memory/20130".parse().expect("an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (connected, seen) = std::sync::mpsc::channel();
    let peer = std::thread::spawn(move || {
        live(Keypair::generate_ed25519(), to, stopped, |heard| {
            if matches!(heard, Heard::Up) {
                let _ = connected.send(());
            }
            Says { first: vec![hello(), vec![2]], ..Says::default() }
        })
    });
    all.iter_mut().for_each(|settings| settings.start = Duration::from_secs(120));
    let seen = Mutex::new(Some(seen));
    let results = crate::support::watched(&small, all, |place| {
        // The first process does not begin before the stranger was there.
        let seen = seen.lock().expect("nobody panics").take_if(|_| place == 0);
        let held = seen.map(|seen| -> Box<dyn FnMut(Round) + Send> {
            Box::new(move |round| {
                if round == Round(0) {
                    seen.recv_timeout(Duration::from_secs(60)).expect("the stranger connects");
                }
            })
        });
        Watch { before: held, ..Watch::default() }
    });
    let clean = crate::support::together(&small, settings(20_140, &[&[0, 1, 2], &[3, 4, 5]]), &[]);
    for ((outcome, watch, notices), (_, clean, _)) in results.into_iter().zip(clean) {
        outcome.expect("the run ends");
        assert_eq!(watch.digests, clean.digests);
        assert!(!notices.iter().any(|notice| matches!(notice, Notice::Bad(..))), "{notices:?}");
    }
    drop(stop);
    let life = peer.join().expect("it does not panic");
    assert_eq!(life.packets, 0);
}

#[test]
fn when_every_neighbour_is_gone_without_a_word_the_run_ends_with_an_error_after_the_deadline() {
    let mut start = start();
    start.deadline = Duration::from_millis(300);
    let mut takes_part = lying(None);
    let mut endless = one_task(Preset::DPsgd);
    endless.train.rounds_per_task = Some(1_000_000);
    let honest = beside(20_150, &endless, start, move |heard| {
        let third = matches!(&heard, Heard::Packet(packet) if Frame::read(packet).is_some_and(|frame| frame.header.round == Round(2)));
        if third { Says { goes: true, ..Says::default() } } else { takes_part(heard) }
    });
    assert!(honest.life.packets > 0);
    match honest.outcome {
        Err(NetError::Alone { agents, round }) => assert_eq!((agents, round >= 2), (vec![0, 1, 2, 3, 4], true)),
        other => panic!("{:?}", other.map(|outcome| outcome.rounds)),
    }
}

/// A machine that goes down says nothing, and its connection stays: who is started there anew has another one, and is greeted on it.
#[test]
fn a_peer_that_is_started_anew_before_its_old_connection_breaks_is_heard_and_answered() {
    let (small, key, own) = (one_task(Preset::DPsgd), Keypair::generate_ed25519(), Identity::generate());
    let address = "/memory/44000".to_owned();
    let entry = |agents: &[u32], id, address| PeerEntry { agents: agents.to_vec(), id, address };
    let peers = vec![
        entry(&[0, 1, 2, 3, 4], own.peer_id(), Some(address.clone())),
        entry(&[5], PeerId::from(key.public()).to_string(), None),
    ];
    let to = (own.peer_id().parse().expect("a peer id"), address.parse().expect("an address"));
    let settings = Settings { identity: own, listen: vec![address], peers: PeersFile { peers }, ..start() };
    let (frozen, freezes) = mpsc::channel();
    let (ended, end) = mpsc::channel::<()>();
    let mut honest = lying(None);
    let old = move |heard| match &heard {
        Heard::Packet(packet) if Frame::read(packet).is_some_and(|frame| frame.header.round == Round(1)) => {
            let _ = frozen.send(());
            // Its connection is not read any more, and not closed.
            let _ = end.recv_timeout(Duration::from_secs(60));
            Says { goes: true, ..Says::default() }
        }
        _ => honest(heard),
    };
    let (greeted, mut said) = (Arc::new(Mutex::new(false)), false);
    let seen = Arc::clone(&greeted);
    let new = move |heard| match heard {
        Heard::Up => Says { first: vec![hello_of(LIAR, 2)], ..Says::default() },
        Heard::Packet(packet) => {
            *seen.lock().expect("nobody panics") |= packet.first() == Some(&0);
            let joins = packet.first() == Some(&0) && !std::mem::replace(&mut said, true);
            let joins = joins.then(|| [&[6][..], &3_u64.to_le_bytes()].concat());
            let answers = Frame::read(&packet).map(|frame| answer(&frame)).unwrap_or_default();
            Says { first: joins.into_iter().chain(answers).collect(), ..Says::default() }
        }
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (_stop_old, stopped_old) = tokio::sync::oneshot::channel();
    let outcome = small.with(|work| {
        std::thread::scope(|scope| {
            let (keys, at) = (key.clone(), to.clone());
            let first = scope.spawn(move || live(keys, at, stopped_old, old));
            let second = scope.spawn(move || {
                freezes.recv_timeout(Duration::from_secs(60)).expect("it takes part until then");
                live(key, to, stopped, new)
            });
            let outcome = process(&small, &work, settings, &mut Watch::default(), &Mutex::default());
            drop((stop, ended));
            first.join().expect("the peer does not panic");
            second.join().expect("the peer does not panic");
            outcome
        })
    });
    assert!(*greeted.lock().expect("nobody panics"), "the new start hears a hello");
    assert_eq!(outcome.expect("it ends").tasks, 1);
}
