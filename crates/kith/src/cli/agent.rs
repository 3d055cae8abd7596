//! `kith agent`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kith_core::{AgentId, Digest, Round};
use kith_net::{Discover, Identity, PeersFile};

use super::launch::can_happen;
use super::{Failure, say};
use crate::config::{self, Loaded, Overrides};
use crate::device::Device;
use crate::processes::{Hosting, Reports, StartedBy, stop_with_parent};
use crate::run::{self, Driver, RoundDigests, Settings, Talk, use_small_pages};

const EXAMPLES: &str = "\
Examples:
  kith agent --experiment experiments/quickstart.toml --arm codec --agents 3 --identity agent-3.key \\
    --listen /ip4/0.0.0.0/tcp/4001 --peers peers.toml
  kith agent --experiment FILE --agents 0..15 --identity KEY --listen /ip4/0.0.0.0/tcp/4001 --peers peers.toml --discover mdns
  kith agent --experiment FILE --agents 3 --identity agent-3.key --listen ADDR --peers peers.toml --resume runs/quickstart/20260131T235959Z-1a2b3c4d

peers.toml has a table for each process of the run, and is the same for all of them: [[peer]] with agents = [3], id = \"12D3…\" (what
`kith identity show KEY` prints) and address = \"/ip4/10.0.0.5/tcp/4001\". Nobody else is spoken to.
The run begins when all neighbours are there. A round waits for them for links.deadline_ms of the experiment; who is later, or gone, is
left out of it. Ctrl-C ends after the round under way, writes what there is and tells the neighbours; a second Ctrl-C ends at once.
--resume goes on from what the process kept ([checkpoint] in the file says when): alone, it comes back into the run of the others; where
all were cut and go on from the same round, to the bits of a run that was not. --after chooses the round among DIR/checkpoints.";

/// How addresses of listed processes are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Discovery {
    /// As the list says
    Listed,
    /// By multicast on the local network, too
    Mdns,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AgentArgs {
    /// Experiment file, the same for all processes
    #[arg(long, value_name = "FILE")]
    experiment: PathBuf,
    /// Set a key over the file, as `kith run` does; the same for all processes
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of every random stream; the same for all processes
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Which arm, where the file has several
    #[arg(long, value_name = "NAME")]
    arm: Option<String>,
    /// The agents that this process hosts: 3, or 0..15 for the sixteen from 0 to 15, or 0,4
    #[arg(long, value_name = "IDS", value_parser = agents)]
    agents: Agents,
    /// Key of this process: a file that `kith identity new` wrote
    #[arg(long, value_name = "KEY")]
    identity: PathBuf,
    /// Address to listen on; may be given more than once
    #[arg(long, value_name = "ADDR", required = true)]
    listen: Vec<String>,
    /// The processes of the run
    #[arg(long, value_name = "FILE")]
    peers: PathBuf,
    /// How addresses of listed processes are found
    #[arg(long, value_enum, default_value_t = Discovery::Listed)]
    discover: Discovery,
    /// File with 64 hexadecimal digits that all processes share; who does not know them cannot begin to speak
    #[arg(long, value_name = "FILE")]
    pre_shared_key: Option<PathBuf>,
    /// How long to wait for the neighbours at the start, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
    /// Threads of the engine; results do not depend on them [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    /// Where the arithmetic runs; the same for all processes
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Directory of this process, instead of a new one in the file's output.dir
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on in the directory of a process that was cut; the other flags are those of that process
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "digests"])]
    resume: Option<PathBuf>,
    /// Go on from the state after so many rounds, and not from the newest: where all processes were cut, and have different newest ones
    #[arg(long, value_name = "ROUNDS", requires = "resume")]
    after: Option<u64>,
    /// Serve /status for kith status and /metrics for Prometheus here, such as 127.0.0.1:9464 [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    metrics_addr: Option<std::net::SocketAddr>,
    /// Write the digest of each agent's parameters after every round to digests.jsonl: slower
    #[arg(long)]
    digests: bool,
    /// Show no progress and no tables
    #[arg(long, short)]
    quiet: bool,
    /// Write progress to stdout as lines of JSON, and stop when stdin ends: for `kith launch`
    #[arg(long, hide = true)]
    report: bool,
    /// Come back as the file plans it, after a crash before this round: for `kith launch`
    #[arg(long, hide = true, requires = "resume")]
    back_from: Option<u64>,
}

/// Agents on the command line, ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Agents(Vec<AgentId>);

/// So many agents are on no command line.
const MOST: u32 = 1 << 20;

fn agents(text: &str) -> Result<Agents, String> {
    let wrong = |part: &str| format!("`{part}` is no agent; accepted: 3, or 0..15 from first to last, or 0,4");
    let mut all = Vec::new();
    for part in text.split(',') {
        let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id < MOST).ok_or_else(|| wrong(part));
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let range = number(first)?..=number(last)?;
        if range.is_empty() {
            return Err(wrong(part));
        }
        all.extend(range.map(AgentId));
    }
    all.sort_unstable();
    if all.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("`{text}` names an agent twice"));
    }
    Ok(Agents(all))
}

/// Up to so many agents a process lives in small pages.
const FEW: usize = 16;

pub(super) fn run(arguments: &AgentArgs) -> Result<ExitCode, Failure> {
    if arguments.agents.0.len() <= FEW {
        use_small_pages();
    }
    let device = arguments.device.open().map_err(|error| Failure::new(&error))?;
    let loaded = load(arguments)?;
    let by = if arguments.report { StartedBy::Launch } else { StartedBy::Somebody };
    can_happen(&loaded, by, |_| vec![arguments.agents.0.clone()])?;
    let reports = match (arguments.report, arguments.quiet) {
        (true, _) => Reports::Parent,
        (false, true) => Reports::Nobody,
        (false, false) => Reports::Terminal,
    };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings {
        out: None,
        sweep: None,
        resume: arguments.resume.clone(),
        threads: arguments.threads.map_or_else(cores, usize::from),
        device,
        check: false,
        talk: if reports == Reports::Terminal { Talk::Progress } else { Talk::Quiet },
        digests: if arguments.digests { RoundDigests::Yes } else { RoundDigests::No },
        driver: Driver::Hosted(Box::new(hosting(arguments, reports)?)),
    };
    if reports == Reports::Parent {
        stop_with_parent();
    }
    let report = run::run(&loaded, &settings).map_err(|error| Failure::new(&error))?;
    match reports {
        Reports::Terminal => say(&format!("\n{}", report.render())),
        Reports::Nobody => say(&format!("{}\n", report.directory.display())),
        Reports::Parent => {}
    }
    Ok(if report.summary.stopped { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// The experiment with one arm, and hosted agents that it has.
fn load(arguments: &AgentArgs) -> Result<Loaded, Failure> {
    let arms = arguments.arm.iter().cloned().collect();
    let overrides = Overrides { set: arguments.set.clone(), seed: arguments.seed, arms };
    let loaded = config::load(&arguments.experiment, &overrides)?;
    let names: Vec<&str> = loaded.experiment.arms.iter().map(|arm| arm.name.as_str()).collect();
    let [arm] = loaded.experiment.arms.as_slice() else {
        let text =
            format!("{} has several arms; choose one with --arm: {}", arguments.experiment.display(), names.join(", "));
        return Err(Failure { text });
    };
    let count = arm.build_graph().map_err(|error| Failure::new(&error))?.agents();
    if let Some(unknown) = arguments.agents.0.iter().find(|agent| agent.index() >= count) {
        return Err(Failure { text: format!("--agents: there is no agent {unknown}; accepted: 0 to {}", count - 1) });
    }
    Ok(loaded)
}

fn hosting(arguments: &AgentArgs, reports: Reports) -> Result<Hosting, Failure> {
    let failure = |error: kith_net::NetError| Failure::new(&error);
    let identity = Identity::read(&arguments.identity).map_err(failure)?;
    let peers = PeersFile::read(&arguments.peers).map_err(failure)?;
    Ok(Hosting {
        identity,
        agents: arguments.agents.0.clone(),
        listen: arguments.listen.clone(),
        peers,
        pre_shared: arguments.pre_shared_key.as_deref().map(secret).transpose()?,
        discover: match arguments.discover {
            Discovery::Listed => Discover::Listed,
            Discovery::Mdns => Discover::Mdns,
        },
        wait: Duration::from_secs(arguments.wait),
        directory: arguments.out.clone(),
        begins_after: arguments.after,
        back_from: arguments.back_from.map(Round),
        endpoint: arguments.metrics_addr,
        reports,
    })
}

/// Reads a shared secret: it is written as a digest is.
fn secret(path: &Path) -> Result<[u8; 32], Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure { text: format!("cannot read {}: {error}", path.display()) })?;
    let digits: Result<Digest, _> = serde_json::from_value(serde_json::Value::from(text.trim()));
    digits.map(|digest| digest.0).map_err(|_| Failure {
        text: format!(
            "{} holds no secret; accepted: 64 hexadecimal digits, such as openssl rand -hex 32 prints",
            path.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_ids_ranges_and_lists_of_both() {
        let ids = |text| agents(text).map(|agents| agents.0.iter().map(|agent| agent.0).collect::<Vec<_>>());
        assert_eq!(ids("3"), Ok(vec![3]));
        assert_eq!(ids("0..3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(ids("4,0..1"), Ok(vec![0, 1, 4]));
        for wrong in ["5..3", "a", "1..", "", "1,,2", "0..9999999999", "1,0..2"] {
            assert!(ids(wrong).is_err(), "{wrong}");
        }
    }
}
