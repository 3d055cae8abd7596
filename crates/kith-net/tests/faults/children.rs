//! Real processes over loopback that are killed, and come back. A child is this test binary again, running [`child`] alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use kith_core::{AgentId, Digest, Tape};
use kith_method::Preset;
use kith_net::{Board, Discover, Identity, NetError, Notice, Options, PeerEntry, PeersFile, Settings};
use kith_run::{Moment, Observer, Progress, senders};

use crate::common::Small;
use crate::support::loopback;

const DEADLINE: Duration = Duration::from_secs(2);
/// A child keeps its state every so many rounds, and says how far it is.
const EVERY: u64 = 20;

/// One at a time: a test that measures how long something takes, and one that keeps the machine busy.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a child says on stdout, a line each.
fn say(line: &str) {
    println!("\nsays {line}");
    let _ = std::io::stdout().flush();
}

struct Telling {
    place: usize,
    folder: std::path::PathBuf,
    stop: Arc<AtomicBool>,
}

impl Observer for Telling {
    fn before_round(&mut self, moment: &mut Moment<'_>) {
        if moment.round.0.is_multiple_of(EVERY) {
            let mut state = Vec::new();
            (moment.record)(&mut Tape::recording(&mut state)).expect("a vector takes everything");
            let path = self.folder.join(format!("state-{}", self.place));
            std::fs::write(path.with_extension("partial"), &state).expect("it is written");
            std::fs::rename(path.with_extension("partial"), path).expect("it is put in its place");
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if progress.rounds_done.is_multiple_of(EVERY) {
            say(&format!("round {}", progress.rounds_done));
        }
    }

    fn stop(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn small(agents: usize) -> Small {
    let graph = ["ring:4", "ring:16"][usize::from(agents > 4)];
    let mut small = Small { graph, tasks: 1, ..Small::new(Preset::DPsgd) };
    small.train.rounds_per_task = Some(10_000_000);
    small
}

/// Not a test: a process of one. Without its surroundings it does nothing.
#[test]
fn child() {
    let Ok(settings) = std::env::var("KITH_TEST_CHILD") else { return };
    let mut words = settings.split(' ');
    let place: usize = words.next().and_then(|word| word.parse().ok()).expect("a place");
    let resumes = words.next() == Some("resume");
    let folder = std::path::PathBuf::from(words.next().expect("a folder"));
    let peers = PeersFile::read(&folder.join("peers.toml")).expect("peers");
    let identity = Identity::read(&folder.join(format!("key-{place}"))).expect("a key");
    let (stop, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        // It ends when its parent does.
        let _ = std::io::stdin().read_line(&mut String::new());
        told.store(true, Ordering::Relaxed);
    });
    let state = resumes.then(|| std::fs::read(folder.join(format!("state-{place}"))).expect("state was kept"));
    let board = Arc::new(Board::new());
    let settings = Settings {
        identity,
        hosted: vec![AgentId(place as u32)],
        listen: peers.peers[place].address.clone().into_iter().collect(),
        pre_shared: Some([7; 32]),
        discover: Discover::Listed,
        run: Digest::of(b"children"),
        instance: u64::from(std::process::id()),
        engine: "cpu".to_owned(),
        deadline: DEADLINE,
        retransmit: Duration::from_millis(200),
        start: Duration::from_secs(60),
        options: Options { board: Some(Arc::clone(&board)), resume: state.map(Arc::from), ..Options::default() },
        peers: peers.clone(),
    };
    let small = small(peers.peers.len());
    let outcome = small.with(|work| {
        let hosted = settings.hosted.clone();
        let engine = small.engine(work.network).hosting(hosted.iter().copied().chain(senders(work.graph, &hosted)));
        let mut watch = Telling { place, folder, stop: Arc::clone(&stop) };
        let tell = |notice: Notice| say(&format!("{notice:?}"));
        kith_net::run(engine, work, settings, &tell, &mut watch).map(|(outcome, _)| outcome)
    });
    stopped.store(true, Ordering::Relaxed);
    match outcome {
        Ok(outcome) => {
            let heard = board.status().neighbours.iter().filter_map(|one| one.round).min().unwrap_or_default();
            say(&format!("end steps {} missed {} heard {heard}", outcome.agent_steps, outcome.missed_exchanges));
        }
        Err(NetError::Alone { round, .. }) => say(&format!("alone since {round}")),
        Err(error) => panic!("{error}"),
    }
}

/// A child as its parent sees it. It is killed when nobody holds it any more.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    fn start(folder: &Path, place: usize, from: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "children::child", "--nocapture", "--test-threads", "1"])
            .env("KITH_TEST_CHILD", format!("{place} {from} {}", folder.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = child.stdout.take().expect("it is piped");
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("says ") {
                    let _ = send.send(line.to_owned());
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line.
    fn expect(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(Duration::from_secs(120)) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) if !line.starts_with("round") => self.seen.push(line),
                Ok(_) => {}
                Err(error) => panic!("no {what} ({error}): {:?}", self.seen),
            }
        }
    }

    fn round(&mut self, at_least: u64) -> u64 {
        let round = |line: &str| line.strip_prefix("round ").and_then(|word| word.parse::<u64>().ok());
        let line = self.expect("round", |line| round(line).is_some_and(|round| round >= at_least));
        round(&line).expect("it was looked at")
    }

    fn rejoined(&mut self, agent: u32) -> u64 {
        let start = format!("Rejoined([AgentId({agent})], Round(");
        let line = self.expect(&start, |line| line.starts_with(&start));
        line[start.len()..].trim_end_matches(')').parse().expect("a round")
    }

    /// Ends the child in good order and gives the numbers of its last line.
    fn stop(mut self) -> [u64; 3] {
        drop(self.child.stdin.take());
        let line = self.expect("end", |line| line.starts_with("end"));
        assert!(self.child.wait().expect("it ends").success());
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().expect("three numbers")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with what `count` children need.
fn folder(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = |(place, address): (usize, String)| {
        let identity = Identity::generate();
        identity.write(&folder.path().join(format!("key-{place}"))).expect("it is written");
        PeerEntry { agents: vec![place as u32], id: identity.peer_id(), address: Some(address) }
    };
    let peers = PeersFile { peers: loopback(count).into_iter().enumerate().map(entry).collect() };
    std::fs::write(folder.path().join("peers.toml"), toml::to_string(&peers).expect("toml")).expect("it is written");
    folder
}

#[test]
fn others_go_on_within_the_deadline_when_a_process_is_killed_and_take_it_back_with_and_without_its_state() {
    let _alone = alone();
    let folder = folder(4);
    let mut all: Vec<Process> = (0..4).map(|place| Process::start(folder.path(), place, "fresh")).collect();
    all.iter_mut().for_each(|process| {
        process.round(40);
    });
    for from in ["fresh", "resume"] {
        all[2].child.kill().expect("it is killed");
        let killed = Instant::now();
        all[1].expect("news of the death", |line| line == "Gone([AgentId(2)])");
        let before = all[1].round(0);
        all[1].round(before + 2 * EVERY);
        assert!(killed.elapsed() < DEADLINE + Duration::from_secs(1), "{:?}", killed.elapsed());
        all[2] = Process::start(folder.path(), 2, from);
        let round = all[2].rejoined(2);
        assert_eq!((all[1].rejoined(2), all[3].rejoined(2)), (round, round));
        all.iter_mut().for_each(|process| {
            process.round(round + 3 * EVERY);
        });
    }
    let round = all[2].round(0);
    let ends: Vec<[u64; 3]> = all.into_iter().map(Process::stop).collect();
    for (place, [steps, missed, heard]) in ends.iter().enumerate() {
        // Whoever stops first leaves the others a round or two behind; two deaths cost each neighbour an exchange at most.
        assert!(*missed <= 4 && *heard + 4 >= round, "{place}: {ends:?}");
        assert!(*steps >= 3 * EVERY, "{place}: {ends:?}");
    }
    // Steps before the second death were in its state; those before the first were not.
    assert!(ends[2][0] >= 6 * EVERY && ends[2][0] < ends[1][0], "{ends:?}");
}

/// Resident memory, in KiB, and open descriptors of a process.
#[cfg(target_os = "linux")]
fn weight(process: &Process) -> (u64, usize) {
    let proc = std::path::PathBuf::from(format!("/proc/{}", process.child.id()));
    let status = std::fs::read_to_string(proc.join("status")).expect("it lives");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let resident = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    (resident, std::fs::read_dir(proc.join("fd")).expect("descriptors").count())
}

/// Processes of the soak that are never killed. Both neighbours of each may be.
#[cfg(target_os = "linux")]
const SPARED: [usize; 2] = [0, 8];

/// Sixteen processes, of which a random one is killed again and again: `KITH_SOAK_KILLS` times (12 without it). What those who stay
/// hold when they have seen the first few deaths, they hold at the end.
#[test]
#[cfg(target_os = "linux")]
fn sixteen_processes_of_which_some_die_grow_neither_in_memory_nor_in_descriptors() {
    use rand::RngExt as _;
    let kills: usize = std::env::var("KITH_SOAK_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12);
    let _alone = alone();
    let folder = folder(16);
    let mut random = kith_core::Seeds::new(5).shared(kith_core::Purpose::Fault, 0);
    let began = Instant::now();
    let mut all: Vec<Process> = (0..16).map(|place| Process::start(folder.path(), place, "fresh")).collect();
    let mut round = all.iter_mut().map(|process| process.round(100)).max().expect("sixteen");
    let mut weights = vec![SPARED.map(|place| weight(&all[place]))];
    let mortal: Vec<usize> = (0..16).filter(|place| !SPARED.contains(place)).collect();
    for kill in 0..kills {
        let place = mortal[random.random_range(0..mortal.len())];
        all[place].child.kill().expect("it is killed");
        all[0].round(round + EVERY);
        all[place] = Process::start(folder.path(), place, ["fresh", "resume"][kill % 2]);
        round = all[place].rejoined(place as u32);
        all[place].round(round + EVERY);
        weights.push(SPARED.map(|place| weight(&all[place])));
        let seconds = began.elapsed().as_secs();
        println!("{seconds} s: death {kill}, agent {place}, back in round {round}: {:?}", weights[kill + 1]);
    }
    for place in 0..SPARED.len() {
        let of: Vec<(u64, usize)> = weights.iter().map(|weights| weights[place]).collect();
        // By then every neighbour was away once or twice, and buffers are as many as they get.
        let settled = of[..=of.len() / 3].iter().map(|(resident, _)| *resident).max().expect("some");
        let (resident, descriptors) = *of.last().expect("some");
        assert!(resident < settled + 2048, "agent {}: KiB and descriptors after each death: {of:?}", SPARED[place]);
        assert!(descriptors <= of[0].1 + 1, "agent {}: KiB and descriptors after each death: {of:?}", SPARED[place]);
    }
    assert!(round >= 300, "it is long enough to see something grow: {round} rounds");
}

/// Whether what this machine sends to a multicast group comes back to it.
fn multicast_works() -> bool {
    use std::net::{Ipv4Addr, UdpSocket};
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let round_trip = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send_to(b"kith", (group, socket.local_addr()?.port()))?;
        socket.recv(&mut [0; 8])
    };
    round_trip().is_ok()
}

#[test]
fn processes_find_each_other_by_multicast_where_it_works() {
    if !multicast_works() {
        println!("skipped: multicast packets of this machine do not come back to it");
        return;
    }
    let mut small = Small { graph: "ring:3", tasks: 1, ..Small::new(Preset::DPsgd) };
    small.train.rounds_per_task = Some(4);
    let mut all = crate::support::settings_at(&vec!["/ip4/0.0.0.0/tcp/0".to_owned(); 2], &[&[0], &[1, 2]]);
    for settings in &mut all {
        settings.discover = Discover::Mdns;
        settings.peers.peers.iter_mut().for_each(|peer| peer.address = None);
    }
    for (outcome, ..) in crate::support::together(&small, all, &[]) {
        assert_eq!(outcome.expect("they find each other").rounds, 4);
    }
}
