//! One process: the agents that it hosts, from the experiment to what they leave.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kith_core::{AgentId, Digest, Round};
use kith_data::SearchPath;
use kith_net::{Discover, Identity, Notice, PeersFile};
use kith_sim::Outcome;

use super::faults::{Begins, Planned};
use super::files::{Ended, ProcessFile, RowsWriter, Taken};
use super::lines::Line;
use super::serve::Endpoint;
use super::status::{Keeping, STATUS, Stage, Who, words};
use super::watch::{Plan, Watch};
use crate::compose::{self, Parts, RunOptions};
use crate::config::ResolvedArm;
use crate::run::{Interrupt, Recorder, RunDirectory, RunError, Voice};

/// How often `status.json` is written.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How a process takes part in a run.
#[derive(Clone)]
pub struct Hosting {
    /// Who it is.
    pub identity: Identity,
    /// The agents that it hosts, ascending, each once.
    pub agents: Vec<AgentId>,
    /// Where it listens.
    pub listen: Vec<String>,
    /// All processes of the run.
    pub peers: PeersFile,
    /// A secret that all processes share.
    pub pre_shared: Option<[u8; 32]>,
    /// How addresses are found.
    pub discover: Discover,
    /// How long the start waits for neighbours.
    pub wait: Duration,
    /// The process's own directory, instead of a new one.
    pub directory: Option<PathBuf>,
    /// The state of a process that goes on: the one after so many rounds, instead of the newest.
    pub begins_after: Option<u64>,
    /// The round before which it was killed, as the file plans it: it goes on where the plan has it back.
    pub back_from: Option<Round>,
    /// Where it shows how it stands, if anywhere.
    pub endpoint: Option<SocketAddr>,
    /// Who is told how it goes.
    pub reports: Reports,
}

/// Who is told how a process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// A person, on stderr.
    Terminal,
    /// The process that started this one, on stdout; it asks to stop by the end of stdin.
    Parent,
    /// Nobody.
    Nobody,
}

/// What a process was started with, arm and all.
pub(crate) struct Started<'a> {
    pub(crate) hosting: &'a Hosting,
    pub(crate) experiment: &'a str,
    pub(crate) hash: Digest,
    pub(crate) arm: &'a ResolvedArm,
    pub(crate) search: &'a SearchPath,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) interrupt: Interrupt,
    pub(crate) voice: Voice,
}

/// State that a process goes on from.
pub(crate) struct Resumed {
    /// The round that comes next, as agents count them.
    pub(crate) round: Round,
    /// What its checkpoint holds.
    pub(crate) bytes: Vec<u8>,
}

/// Runs the hosted agents to the end, from their start or from the state that a checkpoint holds. What they leave is in the directory, too.
///
/// # Errors
/// What [`compose::run_hosted`] says; `Err` of the outer result is about files.
pub(crate) fn run_here(
    started: &Started<'_>,
    options: RunOptions,
    state: Option<Resumed>,
    prepared: &mut dyn FnMut(&Parts),
    recorder: &mut Recorder<'_>,
) -> Result<Result<Outcome, compose::RunError>, RunError> {
    let Started { hosting, arm, directory, .. } = started;
    let status = Arc::new(Keeping::new(started.who()));
    started.file(None).write(directory)?;
    directory.write_json(STATUS, &status.status())?;
    let resumed = state.as_ref().map_or(Round(0), |state| state.round);
    let begins = hosting.back_from.map_or(Begins::With(resumed), Begins::BackFrom);
    let planned = Planned::new(&arm.faults, &hosting.agents, begins);
    let plan = Plan::new(&arm.faults, &hosting.agents, planned.crash, begins);
    let settings = started.settings(options.device.label(), started.net_options(&status, state, planned));
    let _endpoint = started.endpoint(&status)?;
    let mut watch = Watch {
        recorder,
        interrupt: started.interrupt.clone(),
        status: Arc::clone(&status),
        rows: RowsWriter::new(directory.path().to_owned(), hosting.agents.len()),
        tested: None,
        failed: None,
        lines: (hosting.reports == Reports::Parent).then_some(None),
        plan,
    };
    let tell = |notice: Notice| started.tell(&notice);
    let left = std::thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        scope.spawn(|| {
            let ended = ended;
            while ended.recv_timeout(STATUS_EVERY) == Err(RecvTimeoutError::Timeout) {
                // A status that cannot be written is no reason to stop; what cannot be measured is, and shows elsewhere.
                let _ = directory.write_json(STATUS, &status.status());
            }
        });
        let left = compose::run_hosted(arm, started.search, options, settings, &tell, prepared, &mut watch);
        drop(end);
        left
    });
    let failed = watch.failed.take();
    status.end(match &left {
        Ok(left) if left.outcome.stopped => Stage::Stopped,
        Ok(_) => Stage::Ended,
        Err(_) => Stage::Failed,
    });
    let written = directory.write_json(STATUS, &status.status());
    if let Some(error) = failed {
        return Err(error);
    }
    let left = match left {
        Ok(left) => left,
        Err(error) => return Ok(Err(error)),
    };
    written?;
    let mut rows = RowsWriter::new(directory.path().to_owned(), hosting.agents.len());
    left.rows.iter().try_for_each(|row| rows.row(Taken::AtEnd, row))?;
    Ok(Ok(left.outcome))
}

impl Started<'_> {
    fn who(&self) -> Who {
        Who {
            experiment: self.experiment.to_owned(),
            arm: self.arm.name.clone(),
            agents: self.hosting.agents.clone(),
            peer_id: self.hosting.identity.peer_id(),
        }
    }

    fn endpoint(&self, status: &Arc<Keeping>) -> Result<Option<Endpoint>, RunError> {
        let Some(address) = self.hosting.endpoint else { return Ok(None) };
        let endpoint =
            Endpoint::open(address, Arc::clone(status)).map_err(|source| RunError::Endpoint { address, source })?;
        self.voice.say(&format!("status and metrics at http://{}", endpoint.address()));
        Ok(Some(endpoint))
    }

    fn file(&self, ended: Option<Ended>) -> ProcessFile {
        ProcessFile {
            kith_version: env!("CARGO_PKG_VERSION").to_owned(),
            experiment_hash: self.hash,
            arm: self.arm.name.clone(),
            agents: self.hosting.agents.clone(),
            ended,
        }
    }

    /// Notes what the process left.
    pub(crate) fn end(&self, ended: Ended) -> Result<(), RunError> {
        self.file(Some(ended)).write(self.directory)
    }

    fn settings(&self, engine: String, options: kith_net::Options) -> kith_net::Settings {
        let Hosting { identity, agents, listen, peers, pre_shared, discover, wait, .. } = self.hosting;
        let deadline = Duration::try_from_secs_f64(self.arm.links.deadline_ms / 1e3).unwrap_or(Duration::MAX);
        let retransmit = Duration::try_from_secs_f64(self.arm.links.retransmit_ms / 1e3).unwrap_or(Duration::MAX);
        kith_net::Settings {
            identity: identity.clone(),
            hosted: agents.clone(),
            listen: listen.clone(),
            peers: peers.clone(),
            pre_shared: *pre_shared,
            discover: *discover,
            run: self.hash,
            instance: instance(),
            engine,
            deadline,
            // A neighbour that computes does not answer, and a connection loses nothing: what is sent again meets a queue that was
            // full. In the simulator the time is that of a lost frame.
            retransmit: retransmit.max(deadline / 3),
            start: *wait,
            options,
        }
    }

    fn net_options(&self, status: &Keeping, state: Option<Resumed>, planned: Planned) -> kith_net::Options {
        kith_net::Options {
            board: Some(Arc::clone(&status.board)),
            stop: Some(self.interrupt.flag()),
            resume: state.map(|state| Arc::from(state.bytes)),
            cuts: planned.cuts,
            straggles: planned.straggles,
            crash: planned.crash.map(|crash| crash.from),
            absences: planned.absences,
            back_from: planned.back_from,
        }
    }

    fn tell(&self, notice: &Notice) {
        let Some(words) = words(notice) else { return };
        match (self.hosting.reports, notice) {
            // Who started all processes sees how they end.
            (Reports::Parent, Notice::Listening(_) | Notice::Connected(_) | Notice::Gone(_)) | (Reports::Nobody, _) => {
            }
            (Reports::Parent, _) => Line::Notice(words).say(),
            (Reports::Terminal, _) => self.voice.say(&words),
        }
    }
}

/// Tells this start of the process from others: the time, which only has to differ.
fn instance() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) ^ u64::from(std::process::id()).rotate_left(48)
}

/// What a process measured as a run of its own agents alone: means over them.
pub(crate) fn local(outcome: &Outcome, agents: &[AgentId]) -> Outcome {
    let share = outcome.agents as f64 / agents.len().max(1) as f64;
    let mean = |values: &[f64]| values.iter().map(|value| value * share).collect();
    fn pick<T: Clone>(values: &[T], agents: &[AgentId]) -> Vec<T> {
        agents.iter().filter_map(|agent| values.get(agent.index()).cloned()).collect()
    }
    Outcome {
        agents: agents.len(),
        accuracy_per_agent: pick(&outcome.accuracy_per_agent, agents),
        ahead_per_agent: pick(&outcome.ahead_per_agent, agents),
        untrained_per_agent: pick(&outcome.untrained_per_agent, agents),
        bytes_training: mean(&outcome.bytes_training),
        bytes_training_full: mean(&outcome.bytes_training_full),
        bytes_consensus: mean(&outcome.bytes_consensus),
        bytes_basis: mean(&outcome.bytes_basis),
        bytes_control: mean(&outcome.bytes_control),
        bytes_sent_per_agent: pick(&outcome.bytes_sent_per_agent, agents),
        ..outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_alone_shows_means_over_its_own_agents() {
        let outcome = Outcome {
            agents: 4,
            accuracy_per_agent: vec![vec![], vec![vec![0.5]], vec![vec![0.7]], vec![]],
            bytes_training: vec![50.0],
            bytes_sent_per_agent: vec![0, 90, 110, 0],
            ..Outcome::default()
        };
        let local = local(&outcome, &[AgentId(1), AgentId(2)]);
        assert_eq!((local.agents, local.bytes_training), (2, vec![100.0]));
        assert_eq!(local.accuracy_per_agent, [vec![vec![0.5]], vec![vec![0.7]]]);
        assert_eq!(local.bytes_sent_per_agent, [90, 110]);
    }
}
