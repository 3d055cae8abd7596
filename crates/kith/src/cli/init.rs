//! `kith init`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kith_core::{AgentId, Purpose, Seeds};
use rand_distr::{Distribution as _, Normal};

use super::{Failure, print_json, say};
use crate::config::json_schema;

const EXAMPLES: &str = "\
Examples:
  kith init
  kith init --template saddle heterogeneous.toml
  kith init --template own-data

Writes a commented experiment file that runs as it is, and kith.schema.json beside it for editors. Nothing that is there is
overwritten without --force.";

/// The schema's file, which the first line of every template names.
const SCHEMA: &str = "kith.schema.json";

/// Folder of the example that `own-data` reads, beside the experiment file.
const DATA: &str = "my-data";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// What to start from
    #[arg(long, value_enum, default_value = "codec")]
    template: Template,
    /// Experiment file to write [default: TEMPLATE.toml]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
    /// Print JSON: the files that were written
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Template {
    /// Continual learning on a ring: CoDeC beside a baseline that forgets
    Codec,
    /// Agents whose classes differ: sharpness-aware gradients beside momentum
    Saddle,
    /// A schedule of the averaging rate beside a constant one
    Ars,
    /// Your own numbers, from CSV files; a small example of them is written too
    OwnData,
    /// A network of your own, layer by layer
    OwnNetwork,
}

impl Template {
    const fn text(self) -> &'static str {
        match self {
            Self::Codec => include_str!("../../templates/codec.toml"),
            Self::Saddle => include_str!("../../templates/saddle.toml"),
            Self::Ars => include_str!("../../templates/ars.toml"),
            Self::OwnData => include_str!("../../templates/own-data.toml"),
            Self::OwnNetwork => include_str!("../../templates/own-network.toml"),
        }
    }

    fn default_file(self) -> PathBuf {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        PathBuf::from(name + ".toml")
    }
}

/// What becomes of a file that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refused,
    Overwritten,
}

pub(super) fn run(arguments: &InitArgs) -> Result<ExitCode, Failure> {
    let file = arguments.file.clone().unwrap_or_else(|| arguments.template.default_file());
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let existing = if arguments.force { Existing::Overwritten } else { Existing::Refused };
    let mut files = vec![(file.clone(), arguments.template.text().to_owned())];
    if arguments.template == Template::OwnData {
        let [train, test] = example_data()?;
        let data = folder.join(DATA);
        // Paths of data are seen from where kith is started.
        let path = toml::Value::from(data.display().to_string()).to_string();
        files[0].1 = files[0].1.replace(&format!("path = \"{DATA}\" "), &format!("path = {path} "));
        files.push((data.join("train.csv"), train));
        files.push((data.join("test.csv"), test));
    }
    // All or nothing: better none than a file whose data are missing.
    if existing == Existing::Refused
        && let Some((there, _)) = files.iter().find(|(path, _)| path.exists())
    {
        return Err(Failure {
            text: format!("{} is there; --force overwrites it, or name another FILE", there.display()),
        });
    }
    for (path, text) in &files {
        write(path, text, existing)?;
    }
    let schema = folder.join(SCHEMA);
    // A schema is kith's own and may be of an older kith.
    let text = serde_json::to_string_pretty(&json_schema()).map_err(|error| Failure::new(&error))?;
    write(&schema, &(text + "\n"), Existing::Overwritten)?;
    files.push((schema, String::new()));
    if arguments.json {
        print_json(&files.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    for (path, _) in &files {
        say(&format!("wrote {}\n", path.display()));
    }
    let file = file.display();
    say(&format!("\nnext:\n  kith check {file}\n  kith run {file}\n  kith explain KEY\n"));
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str, existing: Existing) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure { text: format!("cannot write {}: {error}", path.display()) };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    let mut options = OpenOptions::new();
    options.write(true);
    match existing {
        Existing::Refused => options.create_new(true),
        Existing::Overwritten => options.create(true).truncate(true),
    };
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(fail)
}

/// Three kinds of flower that no botanist knows: four measurements each, drawn around a typical one, the same at every call.
fn example_data() -> Result<[String; 2], Failure> {
    const CLASSES: [(&str, [f64; 4]); 3] =
        [("alba", [5.0, 3.4, 1.5, 0.2]), ("rosea", [6.0, 2.8, 4.3, 1.3]), ("viridis", [6.6, 3.0, 5.6, 2.1])];
    let noise = Normal::new(0.0, 0.3).map_err(|error| Failure::new(&error))?;
    let table = |index: u64, samples: usize| {
        let mut stream = Seeds::new(1).agent(Purpose::Tasks, AgentId(0), index);
        let mut text = "height,width,petals,depth,label\n".to_owned();
        for sample in 0..samples {
            let (class, centre) = CLASSES[sample % CLASSES.len()];
            for value in centre {
                text += &format!("{:.2},", value + noise.sample(&mut stream));
            }
            text += &format!("{class}\n");
        }
        text
    };
    Ok([table(0, 240), table(1, 90)])
}
