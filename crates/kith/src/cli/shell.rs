//! `kith completions`, `kith man`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::{Failure, print};

const COMPLETIONS: &str = "\
Examples:
  kith completions bash > ~/.local/share/bash-completion/completions/kith
  kith completions zsh > ~/.zfunc/_kith
  kith completions fish > ~/.config/fish/completions/kith.fish";

const MAN: &str = "\
Examples:
  kith man ~/.local/share/man/man1
  man kith-run";

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub(super) struct ManArgs {
    /// Folder for the pages, one a command; it is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn completions(arguments: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command(), "kith", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(arguments: &ManArgs) -> Result<ExitCode, Failure> {
    let folder = &arguments.folder;
    let fail =
        |error: std::io::Error| Failure { text: format!("cannot write man pages to {}: {error}", folder.display()) };
    std::fs::create_dir_all(folder).map_err(fail)?;
    clap_mangen::generate_to(super::command(), folder).map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}
