//! The reference pages of the book, as Markdown.

use std::fmt::Write as _;

use clap::Command;
use kith_method::Preset;

use super::{Key, keys};

const NOTE: &str =
    "<!-- Made from the code; a test holds it current: KITH_UPDATE_REFERENCE=1 cargo test -p kith --test comfort -->\n";

/// Width of the help texts.
const WIDTH: usize = 100;

/// File names below `docs/reference/`, and what stands in them.
#[must_use]
pub fn pages(command: &Command) -> Vec<(&'static str, String)> {
    let schema = serde_json::to_string_pretty(&crate::config::json_schema()).unwrap_or_default() + "\n";
    vec![
        ("keys.md", key_page(&keys())),
        ("methods.md", method_page()),
        ("commands.md", command_page(command)),
        ("experiment.schema.json", schema),
    ]
}

/// A text in which `<` opens nothing.
fn safe(text: &str) -> String {
    text.replace('<', "&lt;")
}

fn key_page(keys: &[Key]) -> String {
    let mut page = format!(
        "{NOTE}# Keys of an experiment file\n\n\
         A file is TOML. Keys of a run stand at the top for all arms, or in an `[[arm]]` for one. `kith explain KEY` prints what stands \
         here, `kith check FILE` what became of a file. \"The method's\" means: what the method's preset says \
         ([methods](methods.md)).\n"
    );
    let mut table = "";
    for key in keys {
        let top = key.path.split('.').next().unwrap_or_default();
        if top != table {
            table = top;
            let _ = write!(page, "\n## `{top}`\n");
        }
        if key.path != top {
            let _ = write!(page, "\n### `{}`\n", key.path);
        }
        let _ = write!(page, "\n{}\n\n*Takes* {}. *Default:* {}.", safe(&key.meaning), key.accepts, default(key));
        if !key.kinds.is_empty() {
            let kinds: Vec<String> = key.kinds.iter().map(|kind| format!("`{kind}`")).collect();
            let _ = write!(page, " *Only with* kind {}.", kinds.join(", "));
        }
        page.push('\n');
        if !key.choices.is_empty() {
            page.push('\n');
        }
        for choice in &key.choices {
            let meaning =
                if choice.meaning.is_empty() { String::new() } else { format!(": {}", safe(&choice.meaning)) };
            let _ = writeln!(page, "* `{}`{meaning}", choice.value);
        }
        if let Some(example) = &key.example {
            let _ = write!(page, "\n```toml\n{example}\n```\n");
        }
    }
    page
}

/// A value in quotes of code, words as they are.
fn default(key: &Key) -> String {
    let words = ["none", "absent", "the method's"].iter().any(|word| key.default.starts_with(word));
    if words { key.default.clone() } else { format!("`{}`", key.default) }
}

fn method_page() -> String {
    let all = keys();
    let meanings = all.iter().find(|key| key.path == "method").map(|key| key.choices.as_slice()).unwrap_or_default();
    let mut page = format!(
        "{NOTE}# Methods\n\n\
         `method = \"codec\"` stands for the parts below it. Each part can be changed in the file, key by key \
         ([keys](keys.md)); how a method works is in [algorithms](../algorithms.md).\n"
    );
    for preset in Preset::ALL {
        let meaning = meanings.iter().find(|choice| choice.value == preset.name()).map_or("", |choice| &choice.meaning);
        let _ = write!(page, "\n## `{}`\n\n{}\n\n```toml\n{}```\n", preset.name(), safe(meaning), parts(preset));
    }
    page
}

/// A method's parts as a file would say them.
pub(crate) fn parts(preset: Preset) -> String {
    toml::to_string(&preset.parts()).unwrap_or_default()
}

fn command_page(command: &Command) -> String {
    let mut page = format!(
        "{NOTE}# Commands\n\nWhat each command's `--help` says. [Exit codes](../exit-codes.md) are the same for all.\n"
    );
    let mut root = command.clone().term_width(WIDTH);
    root.build();
    describe(&root, "", 2, &mut page);
    page
}

fn describe(command: &Command, above: &str, level: usize, page: &mut String) {
    let name = if above.is_empty() { command.get_name().to_owned() } else { format!("{above} {}", command.get_name()) };
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let text: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(page, "\n{} `{name}`\n\n```text\n{}\n```\n", "#".repeat(level.min(4)), text.join("\n").trim_end());
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        describe(inner, &name, level + 1, page);
    }
}
