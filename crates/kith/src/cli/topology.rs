//! `kith topology inspect`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kith_core::Seeds;
use kith_graph::{Graph, Inspection, Mixing, Spec};

use super::{Failure, print, print_json, say};
use crate::config::{self, Overrides};

const EXAMPLES: &str = "\
Examples:
  kith topology inspect ring:16
  kith topology inspect torus:4x4 --svg torus.svg
  kith topology inspect erdos-renyi:16:0.3 --seed 7 --json
  kith topology inspect experiments/codec-permuted-torus.toml

SPEC is a short form, a graph file, or an experiment file, of which the first arm's graph is shown.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TopologyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Vertices, degrees, mixing matrix, spectral gap and a picture
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct InspectArgs {
    /// ring:16, torus:4x4, … or a TOML file
    #[arg(value_name = "SPEC|FILE")]
    spec: String,
    /// Seed of random families [default: 0, or the experiment file's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write a drawing
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(super) fn run(arguments: &TopologyArgs) -> Result<ExitCode, Failure> {
    let Command::Inspect(arguments) = &arguments.command;
    let (graph, mixing) = build(arguments)?;
    let inspection = Inspection::new(&graph, &mixing);
    if let Some(path) = &arguments.svg {
        std::fs::write(path, kith_graph::svg(&graph))
            .map_err(|error| Failure { text: format!("cannot write {}: {error}", path.display()) })?;
        say(&format!("drawn to {}\n", path.display()));
    }
    if arguments.json {
        print_json(&inspection)?;
    } else {
        print(&render(&inspection))?;
        print(&kith_graph::picture(&graph, &mixing))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn build(arguments: &InspectArgs) -> Result<(Graph, Mixing), Failure> {
    let fail = |error: kith_graph::GraphError| Failure { text: format!("{}: {error}", arguments.spec) };
    let path = Path::new(&arguments.spec);
    let is_file = path.extension().is_some_and(|extension| extension == "toml") || path.is_file();
    let (spec, seed) =
        if is_file { read(path, arguments.seed)? } else { (Spec::parse_short(&arguments.spec).map_err(fail)?, 0) };
    let graph = spec.build(&Seeds::new(arguments.seed.unwrap_or(seed))).map_err(fail)?;
    let mixing = spec.mixing(&graph).map_err(fail)?;
    Ok((graph, mixing))
}

/// A graph file, or the graph of an experiment file: only the latter has a name.
fn read(path: &Path, seed: Option<u64>) -> Result<(Spec, u64), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure { text: format!("cannot read {}: {error}", path.display()) })?;
    let is_experiment = text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("name"));
    if !is_experiment {
        let spec = Spec::from_toml(&text).map_err(|error| Failure { text: format!("{}: {error}", path.display()) })?;
        return Ok((spec, 0));
    }
    let loaded = config::load(path, &Overrides { seed, ..Overrides::default() })?;
    let arm = loaded.experiment.arms.into_iter().next();
    let arm = arm.ok_or_else(|| Failure { text: format!("{} has no arm", path.display()) })?;
    Ok((arm.graph, arm.seed))
}

fn render(inspection: &Inspection) -> String {
    let yes = |truth| if truth { "yes" } else { "no" };
    format!(
        "{}\nvertices       {}\nedges          {}{}\ndegree         {} to {}, mean {:.2}\ndiameter       {}\n\
         weights        {}\nspectral gap   {:.6}\nsymmetric      {}\nrow error      {:.1e}\ncolumn error   {:.1e}\n\n",
        inspection.label,
        inspection.vertices,
        inspection.edges,
        if inspection.directed { ", one way" } else { "" },
        inspection.degree.min,
        inspection.degree.max,
        inspection.degree.mean,
        inspection.diameter,
        match inspection.weights {
            kith_graph::Weights::Metropolis => "metropolis",
            kith_graph::Weights::Uniform => "uniform",
            kith_graph::Weights::OutDegree => "out-degree",
        },
        inspection.spectral_gap,
        yes(inspection.symmetric),
        inspection.largest_row_error,
        inspection.largest_column_error,
    )
}
