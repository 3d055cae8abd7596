//! `kith explain`, `kith schema`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, print, print_json};
use crate::config::json_schema;
use crate::reference::{Choice, Found, Key, keys, look_up, parts};

const EXAMPLES: &str = "\
Examples:
  kith explain
  kith explain train.learning_rate
  kith explain batch_size
  kith explain method.q-saddle

Without a key, every key is listed. docs/reference/keys.md is the same as a page.";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  kith schema > kith.schema.json

Editors that know TOML schemas complete and check a file whose first line is
  #:schema kith.schema.json
`kith init` writes both.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// Key of an experiment file, its end, or a method
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = SCHEMA_EXAMPLES)]
pub(super) struct SchemaArgs {}

pub(super) fn schema(_: &SchemaArgs) -> Result<ExitCode, Failure> {
    print_json(&json_schema())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run(arguments: &ExplainArgs) -> Result<ExitCode, Failure> {
    let Some(word) = &arguments.key else {
        let all = keys();
        if arguments.json {
            print_json(&all)?
        } else {
            print(&list(&all))?
        }
        return Ok(ExitCode::SUCCESS);
    };
    match look_up(word).map_err(|error| Failure::new(&error))? {
        Found::Key(key) if arguments.json => print_json(&[&*key])?,
        Found::Several(keys) if arguments.json => print_json(&keys)?,
        Found::Method(preset) if arguments.json => print_json(&preset.parts())?,
        Found::Key(key) => print(&describe(&key))?,
        Found::Several(keys) => print(&list(&keys))?,
        Found::Method(preset) => {
            let all = keys();
            let choices = all.iter().find(|key| key.path == "method").map(|key| key.choices.as_slice());
            let named = |choice: &&Choice| choice.value == preset.name();
            let meaning = choices.and_then(|choices| choices.iter().find(named)).map_or("", |choice| &choice.meaning);
            let text = wrapped(meaning, "  ");
            print(&format!("method = \"{}\"\n{text}\n  stands for\n\n{}", preset.name(), indented(&parts(preset))))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line a key: path and the first sentence of what it does.
fn list(keys: &[Key]) -> String {
    let width = keys.iter().map(|key| key.path.chars().count()).max().unwrap_or(0);
    let line = |key: &Key| {
        let first = key.meaning.split_inclusive(['.', ';', ':']).next().unwrap_or_default();
        let first = if first.chars().count() < 12 { key.meaning.as_str() } else { first };
        let indent = " ".repeat(width + 2);
        let text = wrapped(first.trim_end_matches([';', ':']), &indent);
        format!("{:width$}  {}\n", key.path, text.trim())
    };
    keys.iter().map(line).collect()
}

fn describe(key: &Key) -> String {
    let mut text = format!("{}\n{}\n", key.path, wrapped(&key.meaning, "  "));
    let _ = writeln!(text, "  takes     {}", key.accepts);
    let _ = writeln!(text, "  default   {}", key.default);
    if !key.kinds.is_empty() {
        let _ = writeln!(text, "  only with kind {}", key.kinds.join(", "));
    }
    if !key.choices.is_empty() {
        let _ = writeln!(text, "\n  accepted");
        let width = key.choices.iter().map(|choice| choice.value.chars().count()).max().unwrap_or(0).min(24);
        for Choice { value, meaning } in &key.choices {
            let meaning = wrapped(meaning, &" ".repeat(width + 6));
            let _ =
                write!(text, "    {value:width$}  {}", if meaning.is_empty() { "\n" } else { meaning.trim_start() });
        }
    }
    if let Some(example) = &key.example {
        let _ = write!(text, "\n  example\n{}", indented(example));
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect()
}

/// Columns of running text.
const WIDTH: usize = 120;

/// Text in lines of at most [`WIDTH`] columns, each after the indent and with its end.
fn wrapped(text: &str, indent: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        let wide = indent.chars().count() + line.chars().count() + 1 + word.chars().count() > WIDTH;
        if wide && !line.is_empty() {
            let _ = writeln!(lines, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(lines, "{indent}{line}");
    }
    lines
}
