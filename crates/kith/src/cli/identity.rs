//! `kith identity`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kith_net::Identity;

use super::{Failure, print};

const EXAMPLES: &str = "\
Examples:
  kith identity new agent-3.key
  kith identity show agent-3.key

The file is the process's secret. The peer id that is printed is what the others list in peers.toml.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct IdentityArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key, write it to a new file and print its peer id
    New {
        /// File to write; it must not be there yet
        file: PathBuf,
    },
    /// Print the peer id of a key
    Show {
        /// File that `kith identity new` wrote
        file: PathBuf,
    },
}

pub(super) fn run(arguments: &IdentityArgs) -> Result<ExitCode, Failure> {
    let identity = match &arguments.command {
        Command::New { file } => {
            let identity = Identity::generate();
            identity.write(file).map(|()| identity)
        }
        Command::Show { file } => Identity::read(file),
    };
    let identity = identity.map_err(|error| Failure::new(&error))?;
    print(&format!("{}\n", identity.peer_id()))?;
    Ok(ExitCode::SUCCESS)
}
