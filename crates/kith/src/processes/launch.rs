//! A run in processes of this machine, which speak over the loopback interface.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use kith_core::{AgentId, Round};
use kith_data::SearchPath;
use kith_net::{Identity, NetError, PeerEntry, PeersFile};
use thiserror::Error;

use super::again::Again;
use super::child::share;
use super::faults::comes_back;
use super::gather::LaunchError;
use super::leavings::{AllLeft, Asked};
use super::status::named;
use super::supervise::{AllEnded, Process, Supervision};
use crate::compose::{Parts, RunOptions};
use crate::config::{Experiment, ResolvedArm};
use crate::run::{Display, Interrupt, RoundDigests, RunError};

/// How long processes wait for each other at the start.
const WAIT: Duration = Duration::from_secs(120);

/// Which processes to start.
#[derive(Clone, Debug)]
pub struct Launching {
    /// The executable of kith.
    pub program: PathBuf,
    /// How agents are divided.
    pub split: Split,
    /// What they speak over.
    pub transport: Transport,
}

/// What processes speak over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// TCP, encrypted by Noise.
    #[default]
    Tcp,
    /// QUIC, where it is built in.
    Quic,
}

impl Transport {
    /// Addresses of so many free ports of the loopback interface. All are held until the last is known, so that no two are the same.
    fn addresses(self, count: usize) -> io::Result<Vec<String>> {
        let at = (Ipv4Addr::LOCALHOST, 0);
        match self {
            Self::Tcp => {
                let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind(at)).collect::<io::Result<_>>()?;
                let port = |socket: &TcpListener| Ok(format!("/ip4/127.0.0.1/tcp/{}", socket.local_addr()?.port()));
                held.iter().map(port).collect()
            }
            Self::Quic => {
                let held: Vec<UdpSocket> = (0..count).map(|_| UdpSocket::bind(at)).collect::<io::Result<_>>()?;
                let port =
                    |socket: &UdpSocket| Ok(format!("/ip4/127.0.0.1/udp/{}/quic-v1", socket.local_addr()?.port()));
                held.iter().map(port).collect()
            }
        }
    }
}

/// How the agents of a run are divided over processes: in blocks of consecutive ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Over so many processes, as evenly as can be.
    Processes(NonZeroUsize),
    /// So many agents to each process, and what is left to the last.
    AgentsEach(NonZeroUsize),
}

/// Why the processes of an arm did not come to an end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// There are not so many agents.
    #[error("{processes} processes, but the graph has {agents} agents; accepted: at most one process an agent")]
    TooMany {
        /// Processes asked for.
        processes: usize,
        /// Agents.
        agents: usize,
    },
    /// No ports.
    #[error("cannot reserve ports on the loopback interface: {0}")]
    Ports(#[source] io::Error),
    /// A process cannot be started.
    #[error("cannot start {}: {source}", .program.display())]
    Start {
        /// The executable.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key or a list cannot be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A process ended before the first round.
    #[error("before the first round, {0}")]
    Early(String),
    /// No process came to an end.
    #[error("no process came to an end:\n{}", .0.join("\n"))]
    All(Vec<String>),
    /// No process came to an end, but they kept state.
    #[error(
        "no process came to an end:\n{}\nto go on from what they kept, add --resume {} to the same command",
        .words.join("\n"), .directory.display()
    )]
    Kept {
        /// How they ended.
        words: Vec<String>,
        /// The run directory.
        directory: PathBuf,
    },
    /// Processes kept no state that they could go on from together.
    #[error(
        "there is no round of which all processes kept their state, so that they could go on together. Rounds of each:\n{}\naccepted: \
         a run that begins anew, without --resume", .0.join("\n")
    )]
    Apart(Vec<String>),
}

impl Launching {
    /// The agents of each process.
    #[must_use]
    pub fn cohorts(&self, arm: &ResolvedArm) -> Vec<Vec<AgentId>> {
        cohorts(arm, self.split)
    }
}

/// The agents of each process, if they are divided so.
pub(crate) fn cohorts(arm: &ResolvedArm, split: Split) -> Vec<Vec<AgentId>> {
    divide(arm.build_graph().map_or(0, |graph| graph.agents()), split)
}

fn divide(agents: usize, split: Split) -> Vec<Vec<AgentId>> {
    let block = |from: usize, to: usize| (from..to).map(AgentId::from).collect();
    match split {
        Split::Processes(count) => {
            let count = usize::from(count);
            (0..count).map(|place| block(place * agents / count, (place + 1) * agents / count)).collect()
        }
        Split::AgentsEach(each) => {
            let each = usize::from(each);
            (0..agents.div_ceil(each)).map(|place| block(place * each, ((place + 1) * each).min(agents))).collect()
        }
    }
}

/// An arm that is about to run in processes.
pub(crate) struct Launch<'a> {
    pub(crate) launching: &'a Launching,
    pub(crate) experiment: &'a Experiment,
    pub(crate) arm: &'a ResolvedArm,
    pub(crate) options: &'a RunOptions,
    pub(crate) digests: RoundDigests,
    pub(crate) search: &'a SearchPath,
    /// The run directory, which has the resolved experiment.
    pub(crate) directory: &'a Path,
    pub(crate) interrupt: &'a Interrupt,
}

/// A process's folder, and the agents that it hosts.
pub(super) type Place = (PathBuf, Vec<AgentId>);

impl Launch<'_> {
    /// Starts the processes and waits for all of them.
    pub(crate) fn run(&self, display: Display) -> Result<AllLeft, LaunchError> {
        self.start(self.places()?, &Again::Anew, display)
    }

    /// Starts the processes of an arm that was cut from what they kept, and waits for all of them.
    pub(crate) fn go_on(&self, display: Display) -> Result<AllLeft, LaunchError> {
        let places = self.places()?;
        let again = self.again(&places)?;
        match again {
            Again::Ended => {
                let parts = Parts::of(self.arm, self.search)?;
                return Ok(AllLeft { parts, folders: places, lost: Vec::new(), wall: None, asked: Asked::Nothing });
            }
            Again::Anew if self.folder().exists() => {
                let folder = self.folder();
                std::fs::remove_dir_all(&folder).map_err(|source| RunError::output("remove", &folder, source))?;
            }
            Again::Anew | Again::After(_) => {}
        }
        self.start(places, &again, display)
    }

    /// Where the arm's processes leave what they leave.
    fn folder(&self) -> PathBuf {
        self.directory.join("processes").join(&self.arm.name)
    }

    fn places(&self) -> Result<Vec<Place>, LaunchError> {
        let agents = self.arm.build_graph().map_err(crate::compose::RunError::from)?.agents();
        let cohorts = divide(agents, self.launching.split);
        if cohorts.iter().any(Vec::is_empty) {
            return Err(ProcessError::TooMany { processes: cohorts.len(), agents }.into());
        }
        let folder = |place: usize| self.folder().join(place.to_string());
        Ok(cohorts.into_iter().enumerate().map(|(place, agents)| (folder(place), agents)).collect())
    }

    fn start(&self, places: Vec<Place>, again: &Again, display: Display) -> Result<AllLeft, LaunchError> {
        let peers = self.introduce(&places)?;
        let back = |place: usize, killed: Round| {
            let returns = comes_back(&self.arm.faults, &places[place].1, killed);
            returns.then(|| self.command(place, &places, &peers, Begin::BackFrom(killed)).spawn())
        };
        let mut supervision = Supervision::new(display, self.interrupt.clone(), self.patience(), &back);
        for (place, (_, agents)) in places.iter().enumerate() {
            let begin = match again {
                Again::After(rounds) => Begin::After(rounds[place]),
                Again::Anew | Again::Ended => Begin::Anew,
            };
            let child = self.command(place, &places, &peers, begin).spawn();
            let program = || self.launching.program.clone();
            let child = child.map_err(|source| ProcessError::Start { program: program(), source })?;
            supervision.add(Process::new(place, agents.clone(), child));
        }
        let (ended, parts) = self.watch(supervision);
        for (folder, _) in &places {
            // A key is of no use without its process.
            let _ = std::fs::remove_file(folder.join(KEY));
        }
        // What is wrong with the data is said better here than by a process that could not begin.
        let (parts, AllEnded { lost, wall, asked }) = (parts?, ended?);
        // Processes that went on say how long they took with what was before.
        let wall = matches!(again, Again::Anew).then_some(wall);
        Ok(AllLeft { parts, folders: places, lost, wall, asked })
    }

    /// Waits for the processes. What is needed to put together what they leave is read once they are under way: before, all of
    /// them read the same.
    fn watch(
        &self,
        supervision: Supervision<'_>,
    ) -> (Result<AllEnded, ProcessError>, Result<Parts, crate::compose::RunError>) {
        let (arm, search) = (self.arm, self.search);
        let (under_way, begun) = channel();
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                // An end before the first round is a beginning, too.
                let _ = begun.recv();
                Parts::of(arm, search)
            });
            let ended = supervision.watch(under_way);
            let parts = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (ended, parts)
        })
    }

    /// How long a process that was asked to stop may take: it may wait for a neighbour that is gone.
    fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.arm.links.deadline_ms / 1e3).unwrap_or(Duration::MAX) + Duration::from_secs(30)
    }

    /// Makes keys and ports, and the list that all processes read.
    fn introduce(&self, places: &[Place]) -> Result<Introduced, LaunchError> {
        let addresses = self.launching.transport.addresses(places.len()).map_err(ProcessError::Ports)?;
        let mut peers = PeersFile::default();
        for ((folder, agents), address) in places.iter().zip(&addresses) {
            std::fs::create_dir_all(folder).map_err(|source| RunError::output("create", folder, source))?;
            let identity = Identity::generate();
            // One is there still where this process was killed, too.
            let _ = std::fs::remove_file(folder.join(KEY));
            identity.write(&folder.join(KEY)).map_err(ProcessError::from)?;
            peers.peers.push(PeerEntry {
                agents: agents.iter().map(|agent| agent.0).collect(),
                id: identity.peer_id(),
                address: Some(address.clone()),
            });
        }
        let file = self.folder().join("peers.toml");
        peers.write(&file).map_err(ProcessError::from)?;
        Ok(Introduced { file, addresses })
    }

    fn command(&self, place: usize, places: &[Place], peers: &Introduced, begin: Begin) -> Command {
        let mut command = Command::new(&self.launching.program);
        let (folder, agents) = &places[place];
        let (first, last) = (agents[0], agents[agents.len() - 1]);
        let threads = share(self.options.threads, places.len(), place);
        command
            .arg("agent")
            .arg("--experiment")
            .arg(self.directory.join("experiment.resolved.toml"))
            .args(["--arm", &self.arm.name])
            .args(["--agents", &format!("{first}..{last}")])
            .arg("--identity")
            .arg(folder.join(KEY))
            .args(["--listen", &peers.addresses[place]])
            .arg("--peers")
            .arg(&peers.file)
            .args(["--threads", &threads.to_string()])
            .args(["--device", self.options.device.flag()])
            .args(["--wait", &WAIT.as_secs().to_string()])
            .arg("--report");
        match begin {
            Begin::Anew => command.arg("--out").arg(folder),
            Begin::After(rounds) => command.arg("--resume").arg(folder).args(["--after", &rounds.to_string()]),
            Begin::BackFrom(round) => command.arg("--resume").arg(folder).args(["--back-from", &round.0.to_string()]),
        };
        if begin == Begin::Anew && self.digests == RoundDigests::Yes {
            command.arg("--digests");
        }
        piped(command)
    }
}

/// Where a process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Anew,
    /// From its state after so many rounds.
    After(u64),
    /// Where the plan has it back; it was killed before this round.
    BackFrom(Round),
}

/// The command as a process of its own, which speaks to this one.
fn piped(mut command: Command) -> Command {
    // Ctrl-C reaches this process alone, which asks the others to stop.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process's key, for as long as it runs.
const KEY: &str = "identity.key";

/// What processes know of each other.
struct Introduced {
    file: PathBuf,
    addresses: Vec<String>,
}

/// A process as messages name it.
pub(super) fn title(place: usize, agents: &[AgentId]) -> String {
    format!("process {place} ({})", named(agents))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(agents: usize, split: Split) -> Vec<usize> {
        let cohorts = divide(agents, split);
        let all: Vec<usize> = cohorts.iter().flatten().map(|agent| agent.index()).collect();
        assert_eq!(all, (0..agents).collect::<Vec<_>>(), "every agent once, in order");
        cohorts.iter().map(Vec::len).collect()
    }

    #[test]
    fn agents_are_divided_evenly_or_so_many_each() {
        let of = |count| NonZeroUsize::new(count).expect("not zero");
        assert_eq!(sizes(8, Split::Processes(of(3))), [2, 3, 3]);
        assert_eq!(sizes(8, Split::Processes(of(8))), [1; 8]);
        assert_eq!(sizes(8, Split::AgentsEach(of(3))), [3, 3, 2]);
        assert_eq!(sizes(2, Split::Processes(of(3))), [0, 1, 1]);
    }
}
