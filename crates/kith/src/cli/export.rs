//! `kith export`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kith_core::AgentId;

use super::{Failure, print};
use crate::run;

const EXAMPLES: &str = "\
Examples:
  kith export runs/quickstart/20260131T235959Z-1a2b3c4d --agent 3 --arm codec
  kith export RUN --agent 0 --format safetensors --out agent-0.safetensors

Writes the weights that the agent ended with, as F32 tensors under the names and shapes that `kith check` shows. Prints the
path of the file. In Python: safetensors.torch.load_file(path). train.start_from = \"agent-0.safetensors\" starts from it.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tensors by name, read by PyTorch and others
    Safetensors,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The agent
    #[arg(long, value_name = "N")]
    agent: u32,
    /// The arm, where the run has several
    #[arg(long, value_name = "NAME")]
    arm: Option<String>,
    /// Kind of file
    #[arg(long, value_enum, default_value_t = Format::Safetensors)]
    format: Format,
    /// The file to write [default: ARM-agent-N.safetensors in the run directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &ExportArgs) -> Result<ExitCode, Failure> {
    let ExportArgs { run, agent, arm, format: Format::Safetensors, out } = arguments;
    let exported = run::export(run, arm.as_deref(), AgentId(*agent), out.as_deref());
    let exported = exported.map_err(|error| Failure::new(&error))?;
    print(&format!("{}\n", exported.file.display()))?;
    Ok(ExitCode::SUCCESS)
}
