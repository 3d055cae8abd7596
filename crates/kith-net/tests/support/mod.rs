//! Processes of a run in one test, over libp2p's in-memory transport.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use kith_core::{AgentId, Digest, Event, Key, Round, Tape};
use kith_method::Preset;
use kith_net::{Discover, Identity, NetError, Notice, PeerEntry, PeersFile, Settings, Tell};
use kith_run::{Moment, Observer, Outcome, Work, senders};

use crate::common::Small;

/// Everyone's digests by round, and when to stop.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) digests: BTreeMap<(Round, AgentId), Digest>,
    pub(crate) stop_after: Option<Round>,
    pub(crate) last: Round,
    /// Keep the state before this round, and what was kept.
    pub(crate) keep: Option<Round>,
    pub(crate) state: Vec<u8>,
    /// Called before every round.
    pub(crate) before: Option<Box<dyn FnMut(Round) + Send>>,
    /// Called in the middle of the local work of a task's first round.
    pub(crate) at_work: Option<Box<dyn FnMut(Round) + Send>>,
}

impl Observer for Watch {
    fn event(&mut self, event: &Event) {
        if let Some(at_work) = self.at_work.as_mut().filter(|_| event.key == Key::LearningRate) {
            at_work(event.round);
        }
    }

    fn wants_digests(&self) -> bool {
        true
    }

    fn digest(&mut self, round: Round, agent: AgentId, digest: Digest) {
        self.digests.insert((round, agent), digest);
        self.last = round;
    }

    fn before_round(&mut self, moment: &mut Moment<'_>) {
        if let Some(before) = &mut self.before {
            before(moment.round);
        }
        if self.keep == Some(moment.round) {
            (moment.record)(&mut Tape::recording(&mut self.state)).expect("a vector takes everything");
        }
    }

    fn stop(&mut self) -> bool {
        self.stop_after.is_some_and(|round| self.last >= round)
    }
}

/// Settings of processes that host these agents each, at addresses of their own.
pub(crate) fn settings(port: u64, hosted: &[&[u32]]) -> Vec<Settings> {
    let addresses: Vec<String> = (0..hosted.len() as u64).map(|place| format!("/memory/{}", port + place)).collect();
    settings_at(&addresses, hosted)
}

/// Addresses on this machine that nobody listens at.
pub(crate) fn loopback(count: usize) -> Vec<String> {
    let bound: Vec<_> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let port = |listener: &std::net::TcpListener| listener.local_addr().expect("it is bound").port();
    bound.iter().map(|listener| format!("/ip4/127.0.0.1/tcp/{}", port(listener))).collect()
}

/// As [`settings`], at these addresses.
pub(crate) fn settings_at(addresses: &[String], hosted: &[&[u32]]) -> Vec<Settings> {
    let identities: Vec<Identity> = hosted.iter().map(|_| Identity::generate()).collect();
    let entry = |(place, agents): (usize, &&[u32])| PeerEntry {
        agents: agents.to_vec(),
        id: identities[place].peer_id(),
        address: Some(addresses[place].clone()),
    };
    let peers = PeersFile { peers: hosted.iter().enumerate().map(entry).collect() };
    let of = |(place, agents): (usize, &&[u32])| Settings {
        identity: identities[place].clone(),
        hosted: agents.iter().copied().map(AgentId).collect(),
        listen: vec![addresses[place].clone()],
        peers: peers.clone(),
        pre_shared: None,
        discover: Discover::Listed,
        run: Digest::of(b"a run"),
        instance: 1,
        engine: "cpu".to_owned(),
        deadline: Duration::from_secs(60),
        retransmit: Duration::from_secs(20),
        start: Duration::from_secs(60),
        options: kith_net::Options::default(),
    };
    hosted.iter().enumerate().map(of).collect()
}

pub(crate) fn process(
    small: &Small,
    work: &Work<'_>,
    settings: Settings,
    watch: &mut Watch,
    notices: &Mutex<Vec<Notice>>,
) -> Result<Outcome, NetError> {
    let tell = |notice| notices.lock().expect("nobody panics").push(notice);
    telling(small, work, settings, watch, &tell)
}

pub(crate) fn telling(
    small: &Small,
    work: &Work<'_>,
    settings: Settings,
    watch: &mut Watch,
    tell: Tell<'_>,
) -> Result<Outcome, NetError> {
    let hosted = settings.hosted.clone();
    let engine = small.engine(work.network).hosting(hosted.iter().copied().chain(senders(work.graph, &hosted)));
    kith_net::run(engine, work.clone(), settings, tell, watch).map(|(outcome, _)| outcome)
}

pub(crate) type Left = (Result<Outcome, NetError>, Watch, Vec<Notice>);

/// Runs all processes, each on threads of its own.
pub(crate) fn together(small: &Small, all: Vec<Settings>, stops: &[(usize, Round)]) -> Vec<Left> {
    watched(small, all, |place| {
        let stop_after = stops.iter().find(|(at, _)| *at == place).map(|(_, round)| *round);
        Watch { stop_after, ..Watch::default() }
    })
}

/// Runs all processes, each on threads of its own and watched like this.
pub(crate) fn watched(small: &Small, all: Vec<Settings>, watch: impl Fn(usize) -> Watch) -> Vec<Left> {
    small.with(|work| {
        std::thread::scope(|scope| {
            let spawn = |(place, settings): (usize, Settings)| {
                let (work, mut watch) = (work.clone(), watch(place));
                scope.spawn(move || {
                    let notices = Mutex::default();
                    let outcome = process(small, &work, settings, &mut watch, &notices);
                    (outcome, watch, notices.into_inner().expect("nobody panics"))
                })
            };
            let threads: Vec<_> = all.into_iter().enumerate().map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().expect("no process panics")).collect()
        })
    })
}

pub(crate) fn small(preset: Preset) -> Small {
    let mut small = Small { graph: "ring:6", tasks: 2, ..Small::new(preset) };
    small.train.rounds_per_task = Some(6);
    if let Some(memory) = &mut small.parts.memory {
        memory.consensus_rounds = 2;
    }
    small
}

pub(crate) const ALONE: [&[u32]; 6] = [&[0], &[1], &[2], &[3], &[4], &[5]];
pub(crate) const BY_THREE: [&[u32]; 2] = [&[0, 1, 2], &[3, 4, 5]];
