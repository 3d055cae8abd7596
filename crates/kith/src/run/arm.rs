//! One arm, by whoever drives its rounds.

use std::io::Read;
use std::path::Path;

use kith_core::{Round, TaskId};
use kith_net::NetError;
use kith_sim::SimError;

use super::checkpoint::{Header, Holds, Opened};
use super::process::now;
use super::recorder::{self, Recorder};
use super::resume::Cut;
use super::{CheckpointError, Display, Done, Driver, RoundDigests, RunError, Running, Setup};
use crate::compose::{self, Parts, RunOptions};
use crate::config::{ConfigError, ResolvedArm};
use crate::processes::{self, AllLeft, Ended, Hosting, Launch, LaunchError, Launching, Leavings, Resumed, Started};
use crate::summary::ArmSummary;

impl Running<'_> {
    /// Runs one arm, from where it was cut, if it was.
    pub(super) fn arm(&mut self, arm: &ResolvedArm, cut: Option<Cut>) -> Result<Done, RunError> {
        let settings = self.settings;
        match &settings.driver {
            Driver::Simulator => self.here(arm, cut, None),
            Driver::Hosted(hosting) => self.here(arm, cut, Some(hosting)),
            Driver::Processes(launching) => self.elsewhere(arm, launching),
            Driver::Left(left) => self.before(arm, left),
        }
    }

    fn options(&self) -> RunOptions {
        RunOptions { threads: self.settings.threads, device: self.settings.device.clone(), check: self.settings.check }
    }

    /// In this process: all agents in the simulator, or some over the network.
    fn here(&mut self, arm: &ResolvedArm, cut: Option<Cut>, hosting: Option<&Hosting>) -> Result<Done, RunError> {
        let display = Display::new(&arm.name, self.settings.talk);
        let (keeper, options, interrupt) = (self.keeper(arm), self.options(), self.interrupt.clone());
        let keeper = match hosting {
            Some(_) => keeper.holding(processes::states_of(arm, &self.loaded.experiment.checkpoint)),
            None => keeper,
        };
        self.logs.begin(&arm.name, cut.as_ref().map_or(Round(0), |cut| cut.opened.header.round));
        let started = hosting.map(|hosting| Started {
            hosting,
            experiment: &self.identity.experiment,
            hash: self.identity.hash,
            arm,
            search: &self.search,
            directory: &self.directory,
            interrupt: interrupt.clone(),
            voice: display.voice(),
        });
        let (metrics, logs) = (&mut self.metrics, &mut self.logs);
        let recorder = Recorder::new(&arm.name, &self.identity, keeper, metrics, logs, display, interrupt);
        let mut recorder = recorder.digesting(self.digests.as_mut());
        let (path, mut state) = match cut {
            None => (None, None),
            Some(Cut { path, opened }) => {
                recorder.resume(&opened.header);
                (Some(path), Some(opened))
            }
        };
        let (setups, directory) = (&mut self.setups, &self.directory);
        let mut written = Ok(());
        let mut prepared = |parts: &Parts| {
            setups.add(Setup::new(&arm.name, parts));
            written = directory.write_compact("setup.json", setups);
        };
        let result = match &started {
            None => {
                let state = state.as_mut().map(|opened| opened as &mut dyn Read);
                Ok(compose::run_arm(arm, &self.search, options, state, &mut prepared, &mut recorder))
            }
            Some(started) => {
                let state = state.as_mut().map(|opened| whole(opened, path.as_deref())).transpose()?;
                processes::run_here(started, options, state, &mut prepared, &mut recorder)
            }
        };
        if let Some(error) = recorder.take_failure() {
            return Err(error);
        }
        let measured = recorder.finish();
        let logged = self.logs.end();
        match (result?, path) {
            (Ok(outcome), _) => {
                written.and(logged)?;
                let shown = match &started {
                    None => outcome,
                    Some(started) => {
                        started.end(Ended { outcome: outcome.clone(), measured })?;
                        processes::local(&outcome, &started.hosting.agents)
                    }
                };
                let summary = ArmSummary::new(arm, &shown, &measured);
                Ok(Done { summary, mean: shown.mean_parameters, left: None })
            }
            (Err(compose::RunError::Run(SimError::State(error))), Some(path))
            | (Err(compose::RunError::Net(NetError::State(error))), Some(path)) => {
                Err(CheckpointError::State(error).at(path))
            }
            (Err(error), _) => Err(self.failed(arm, error)),
        }
    }

    /// Why an arm failed, with the line of the file where one is to blame.
    fn failed(&self, arm: &ResolvedArm, error: compose::RunError) -> RunError {
        match error {
            compose::RunError::Shape(problem) => {
                ConfigError::Invalid(vec![self.loaded.explain(&arm.name, &problem)]).into()
            }
            source => RunError::Arm { arm: arm.name.clone(), source },
        }
    }

    /// In processes that this one starts; those of a run that was cut go on from what they kept.
    fn elsewhere(&mut self, arm: &ResolvedArm, launching: &Launching) -> Result<Done, RunError> {
        let options = self.options();
        let launch = Launch {
            launching,
            experiment: &self.loaded.experiment,
            arm,
            options: &options,
            digests: if self.digests.is_some() { RoundDigests::Yes } else { RoundDigests::No },
            search: &self.search,
            directory: self.directory.path(),
            interrupt: &self.interrupt,
        };
        let display = Display::new(&arm.name, self.settings.talk);
        let left = match &self.settings.resume {
            None => launch.run(display),
            Some(_) => launch.go_on(display),
        };
        let left = match left {
            Ok(left) => left,
            Err(LaunchError::Parts(error)) => return Err(self.failed(arm, error)),
            Err(LaunchError::Files(error)) => return Err(*error),
            Err(LaunchError::Processes(source)) => {
                return Err(RunError::Processes { arm: arm.name.clone(), source });
            }
        };
        let done = self.gathered(arm, &left)?;
        Ok(Done { left: Some(left), ..done })
    }

    /// From what processes left before.
    fn before(&mut self, arm: &ResolvedArm, left: &Leavings) -> Result<Done, RunError> {
        let parts = Parts::of(arm, &self.search).map_err(|error| self.failed(arm, error))?;
        self.gathered(arm, &left.with(parts))
    }

    /// One arm of what processes left.
    fn gathered(&mut self, arm: &ResolvedArm, left: &AllLeft) -> Result<Done, RunError> {
        self.logs.begin(&arm.name, Round(0));
        self.setups.add(Setup::new(&arm.name, &left.parts));
        self.directory.write_compact("setup.json", &self.setups)?;
        let options = self.options();
        let (metrics, logs) = (&mut self.metrics, &mut self.logs);
        let gathered = left.gather(arm, &options, self.digests.as_mut(), &mut |event| {
            recorder::write(metrics, logs, &arm.name, event);
        });
        self.logs.end()?;
        let gathered = gathered?;
        self.lost.extend(gathered.lost.iter().cloned());
        self.keep_weights(arm, &gathered)?;
        let summary = ArmSummary::new(arm, &gathered.outcome, &gathered.measured);
        Ok(Done { summary, mean: gathered.outcome.mean_parameters, left: None })
    }

    /// Keeps the weights that agents ended with, for `kith export`.
    fn keep_weights(&mut self, arm: &ResolvedArm, gathered: &processes::Gathered) -> Result<(), RunError> {
        let (keeper, outcome) = (self.keeper(arm), &gathered.outcome);
        let Some(rows) = gathered.rows.as_ref().filter(|_| keeper.keeps() && !outcome.stopped) else { return Ok(()) };
        let header = Header {
            kith_version: env!("CARGO_PKG_VERSION").to_owned(),
            experiment: self.identity.experiment.clone(),
            experiment_hash: self.identity.hash,
            arm: arm.name.clone(),
            holds: Holds::Weights,
            task: TaskId::from(outcome.tasks.saturating_sub(1)),
            round: Round(outcome.rounds * arm.parts().legs().len() as u64),
            rounds: outcome.rounds,
            agents: outcome.agents,
            network: gathered.network.clone(),
            metrics_bytes: self.metrics.sync()?,
            wall_seconds: gathered.measured.wall_seconds,
            phase_seconds: [
                gathered.measured.train_seconds,
                gathered.measured.consensus_seconds,
                gathered.measured.evaluate_seconds,
                0.0,
            ],
            saved: now().1,
        };
        keeper.finish(&header, &mut |tape| {
            let mean = std::iter::once(&outcome.mean_parameters);
            mean.chain(rows).try_for_each(|row| tape.row(&mut row.clone()))
        })
    }
}

/// What a checkpoint holds.
fn whole(opened: &mut Opened, path: Option<&Path>) -> Result<Resumed, RunError> {
    let mut bytes = Vec::new();
    let read = opened.read_to_end(&mut bytes).map_err(CheckpointError::io("read the checkpoint"));
    read.map_err(|error| error.at(path.unwrap_or(Path::new(""))))?;
    Ok(Resumed { round: opened.header.round, bytes })
}
