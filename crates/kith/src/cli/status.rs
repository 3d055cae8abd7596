//! `kith status`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, print, print_json};
use crate::processes::{self, Status, ids};
use crate::table::{Align, Table, dash, megabytes, percent};

const EXAMPLES: &str = "\
Examples:
  kith status runs/quickstart/20260131T235959Z-1a2b3c4d
  kith status --connect 127.0.0.1:9464 --connect 127.0.0.1:9465 --json

A run directory of kith launch or kith agent holds status.json of each process, which is at most a few seconds old while the process lives.
--connect asks a process that was started with kith agent --metrics-addr ADDR.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Run directory of kith launch or kith agent
    #[arg(value_name = "RUN", required_unless_present = "connect")]
    run: Option<PathBuf>,
    /// Ask a process at this address; may be given more than once
    #[arg(long, value_name = "ADDR", conflicts_with = "run")]
    connect: Vec<String>,
    /// Print JSON: a list with a table for each process
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &StatusArgs) -> Result<ExitCode, Failure> {
    let found = match &arguments.run {
        Some(run) => processes::stored(run).map_err(|error| Failure::new(&error))?,
        None => arguments.connect.iter().map(|address| ask(address)).collect::<Result<_, _>>()?,
    };
    if arguments.json {
        print_json(&found)?;
    } else {
        print(&tables(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(address: &str) -> Result<Status, Failure> {
    processes::ask(address).map_err(|error| Failure {
        text: format!(
            "cannot ask {address}: {error}\naccepted: the address of kith agent --metrics-addr, such as 127.0.0.1:9464"
        ),
    })
}

fn tables(found: &[Status]) -> String {
    let columns = ["stage", "task", "round", "accuracy %", "MB sent", "MB received", "neighbours up", "at"];
    let mut heading = vec![("arm", Align::Left), ("agents", Align::Left)];
    heading.extend(columns.map(|name| (name, Align::Right)));
    let mut table = Table::new(&heading);
    for one in found {
        let up = one.neighbours.iter().filter(|neighbour| neighbour.link == processes::Link::Up).count();
        let task = if one.tasks == 0 { dash() } else { format!("{}/{}", one.task + 1, one.tasks) };
        let round = if one.rounds == 0 { dash() } else { format!("{}/{}", one.round, one.rounds) };
        table.row([
            one.arm.clone(),
            ids(&one.agents),
            one.stage.word().to_owned(),
            task,
            round,
            percent(one.accuracy),
            megabytes(one.bytes_sent as f64),
            megabytes(one.bytes_received as f64),
            format!("{up} of {}", one.neighbours.len()),
            one.updated.clone(),
        ]);
    }
    let mut text = table.render();
    if let [one] = found {
        text += &neighbours(one);
    }
    text
}

fn neighbours(status: &Status) -> String {
    let columns = ["link", "round", "last heard", "MB sent", "MB received", "bad packets"];
    let mut heading = vec![("neighbour", Align::Left)];
    heading.extend(columns.map(|name| (name, Align::Right)));
    let mut table = Table::new(&heading);
    for one in &status.neighbours {
        table.row([
            ids(&one.agents),
            one.link.word().to_owned(),
            one.round.map_or_else(dash, |round| round.to_string()),
            one.last_heard_seconds.map_or_else(dash, |seconds| format!("{seconds:.1} s ago")),
            megabytes(one.bytes_sent as f64),
            megabytes(one.bytes_received as f64),
            one.faults.values().sum::<u64>().to_string(),
        ]);
    }
    format!("\n{}", table.render())
}
