//! An agent's weights out of a run directory.

use std::path::{Path, PathBuf};

use kith_core::{AgentId, Digest};
use serde::Serialize;
use thiserror::Error;

use super::checkpoint::{Holds, Keeper};
use super::directory::Manifest;
use super::{RunError, resume};
use crate::config::CheckpointSpec;
use crate::summary::Summary;
use crate::weights::{self, WeightsError};

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Version of kith.
    pub kith_version: String,
    /// Experiment name.
    pub experiment: String,
    /// SHA-256 of the resolved experiment.
    pub experiment_hash: Digest,
    /// The arm.
    pub arm: String,
    /// The agent.
    pub agent: AgentId,
    /// Rounds that it took part in.
    pub rounds: u64,
    /// Where it was written.
    #[serde(skip)]
    pub file: PathBuf,
}

/// Why nothing was exported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The run directory or a checkpoint cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run directory has no such arm, or none that ended.
    #[error("{}: {problem}; finished arms: {}", .run.display(), .finished.join(", "))]
    Arm {
        /// The run directory.
        run: PathBuf,
        /// What is wrong.
        problem: String,
        /// What is there.
        finished: Vec<String>,
    },
    /// There is no such agent.
    #[error("there is no agent {agent}; accepted: 0 to {}", .agents - 1)]
    Agent {
        /// Which was asked for.
        agent: AgentId,
        /// How many there are.
        agents: usize,
    },
    /// The file exists.
    #[error("{} is there already; choose another place with --out FILE", .0.display())]
    Exists(PathBuf),
    /// The weights cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Writes the weights that an agent of a finished arm ended with to `out`, a safetensors file; by default
/// `<arm>-agent-<agent>.safetensors` in the run directory. No file is overwritten.
///
/// # Errors
/// No such run, arm or agent, and files that cannot be read or written.
pub fn export(run: &Path, arm: Option<&str>, agent: AgentId, out: Option<&Path>) -> Result<Exported, ExportError> {
    let (manifest, summary): (Manifest, Summary) = resume::manifest_and_summary(run)?;
    let finished: Vec<String> = summary.arms.iter().filter(|arm| !arm.stopped).map(|arm| arm.arm.clone()).collect();
    let of = |problem: &str| ExportError::Arm {
        run: run.to_owned(),
        problem: problem.to_owned(),
        finished: if finished.is_empty() { vec!["none".to_owned()] } else { finished.clone() },
    };
    let name = match (arm, finished.as_slice()) {
        (Some(arm), _) if finished.iter().any(|name| name == arm) => arm.to_owned(),
        (Some(arm), _) => return Err(of(&format!("there is no finished arm `{arm}`"))),
        (None, [only]) => only.clone(),
        (None, []) => return Err(of("no arm has come to its end")),
        (None, _) => return Err(of("there are several arms, choose one with --arm NAME")),
    };
    let (path, opened) = Keeper::new(run, &name, &CheckpointSpec::default()).weights(&name)?;
    resume::check(&opened.header, Holds::Weights, &name, &manifest.experiment_hash).map_err(|error| error.at(&path))?;
    let header = opened.header.clone();
    if agent.index() >= header.agents {
        return Err(ExportError::Agent { agent, agents: header.agents });
    }
    let file = out.map_or_else(|| run.join(format!("{name}-agent-{agent}.safetensors")), Path::to_owned);
    if file.exists() {
        return Err(ExportError::Exists(file));
    }
    let row = opened.weights(agent).map_err(|error| error.at(&path))?;
    let exported = Exported {
        kith_version: header.kith_version,
        experiment: header.experiment,
        experiment_hash: header.experiment_hash,
        arm: name,
        agent,
        rounds: header.rounds,
        file,
    };
    let about = serde_json::to_string(&exported).unwrap_or_default();
    weights::write(&header.network, &row, &about, &exported.file)?;
    Ok(exported)
}
