//! The command line. Data goes to stdout, everything else to stderr.
//!
//! Exit codes: 0 done, 1 an expectation failed, 2 usage, configuration, data or I/O, 130 stopped by Ctrl-C.

mod agent;
mod check;
mod data;
mod deploy;
mod doctor;
mod explain;
mod export;
mod gather;
mod identity;
mod init;
mod launch;
mod report;
mod run;
mod runs;
mod schedule;
mod shell;
mod status;
mod sweep;
mod topology;

use std::ffi::OsString;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, ConfigError, Loaded, Overrides};

const EXAMPLES: &str = "\
Examples:
  kith init
  kith run experiments/quickstart.toml
  kith run experiments/quickstart.toml --set graph.agents=16 --set train.learning_rate=0.05
  kith launch -n 8 experiments/quickstart.toml
  kith check experiments/codec-permuted-ring.toml
  kith report runs/quickstart
  kith export RUN --agent 3 --arm codec
  kith schedule preview experiments/averaging-rate-schedules.toml
  kith topology inspect torus:4x4
  kith data list

Exit codes: 0 done, 1 an expectation failed, 2 usage, configuration, data or I/O, 130 stopped by Ctrl-C.";

/// Decentralized continual learning: agents that learn from their neighbours and do not forget.
#[derive(Debug, Parser)]
#[command(name = "kith", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented experiment file to start from
    Init(init::InitArgs),
    /// Run an experiment and write a run directory
    Run(run::RunArgs),
    /// Run an experiment in several processes of this machine
    Launch(launch::LaunchArgs),
    /// Run some agents of an experiment, with other processes that run the others
    Agent(agent::AgentArgs),
    /// Show how processes of a run stand
    Status(status::StatusArgs),
    /// Put together what processes of a run left
    Gather(gather::GatherArgs),
    /// Make and show the keys by which processes know each other
    Identity(identity::IdentityArgs),
    /// Run every run of an experiment's [sweep]; goes on where it was cut
    Sweep(sweep::SweepArgs),
    /// Look at run directories, compare and remove them
    Runs(runs::RunsArgs),
    /// Write the files that hand a sweep to a cluster
    Deploy(deploy::DeployArgs),
    /// Check an experiment and show its resolved form; trains nothing
    Check(check::CheckArgs),
    /// Make a page, tables or pictures of runs
    Report(report::ReportArgs),
    /// Write the weights of an agent to a file that PyTorch reads
    Export(export::ExportArgs),
    /// Say what a key of an experiment file means and takes
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of experiment files, for editors
    Schema(explain::SchemaArgs),
    /// Look at learning rates, averaging rates and the like over time
    Schedule(schedule::ScheduleArgs),
    /// Look at communication graphs
    Topology(topology::TopologyArgs),
    /// Look at datasets and how they are cut over agents
    Data(data::DataArgs),
    /// Look at this machine: devices, memory, datasets, folders
    Doctor(doctor::DoctorArgs),
    /// Print a script that completes commands in a shell
    Completions(shell::CompletionsArgs),
    /// Write man pages
    Man(shell::ManArgs),
    #[command(hide = true, about = "One run of a sweep", after_help = "Started by kith sweep.")]
    SweepRun(sweep::WorkerArgs),
}

/// The experiment file and what is laid over it.
#[derive(Debug, Args)]
struct ExperimentArgs {
    /// Experiment file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Set a key over the file and its arms: a TOML value or a bare word; arm.NAME.key sets it for one arm
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of every random stream, over the file's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only this arm; may be given more than once
    #[arg(long, value_name = "NAME")]
    arm: Vec<String>,
}

impl ExperimentArgs {
    fn overrides(&self) -> Overrides {
        Overrides { set: self.set.clone(), seed: self.seed, arms: self.arm.clone() }
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        config::load(&self.file, &self.overrides())
    }
}

/// Why a command failed: always status 2.
#[derive(Debug)]
struct Failure {
    text: String,
}

impl Failure {
    fn new(error: &dyn fmt::Display) -> Self {
        Self { text: error.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(&error)
    }
}

/// The command line as clap knows it: for completions, man pages and the reference.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Reads the process's arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    run_from(std::env::args_os())
}

fn run_from(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data and go to stdout, with status 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Launch(arguments) => launch::run(&arguments),
        Command::Agent(arguments) => agent::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Gather(arguments) => gather::run(&arguments),
        Command::Identity(arguments) => identity::run(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::SweepRun(arguments) => sweep::work(&arguments),
        Command::Runs(arguments) => runs::run(&arguments),
        Command::Deploy(arguments) => deploy::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Schema(arguments) => explain::schema(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Completions(arguments) => shell::completions(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
        Command::Schedule(arguments) => schedule::run(&arguments),
        Command::Topology(arguments) => topology::run(&arguments),
        Command::Data(arguments) => data::run(&arguments),
    };
    result.unwrap_or_else(|failure| {
        let (bold, plain) = if colour() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        say(&format!("{bold}error{plain}: {}\n", failure.text));
        ExitCode::from(2)
    })
}

/// Whether stderr takes colour: it is a terminal, and the user did not forbid it.
fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes data. A reader that has seen enough (`kith … | head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure { text: format!("cannot write to stdout: {error}") })
        }
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(&error))?;
    print(&(text + "\n"))
}

/// Writes a message; where stderr is closed there is nobody to tell.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_examples() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(subcommand.get_after_help().is_some(), "{} has no examples", subcommand.get_name());
        }
    }
}
