//! Merged tables become resolved arms: presets expanded, files read in, rules checked.

use std::collections::BTreeMap;
use std::path::Path;

use kith_core::Seeds;
use kith_method::{ExchangeKind, Link, Memory, Preset};
use schemars::JsonSchema;
use serde::Deserialize;

use super::de::{TypeError, TypeErrorKind};
use super::expect::{self, Expectations};
use super::merge::merge;
use super::render::{Diagnostic, Problem, closest};
use super::resolved::{CheckpointSpec, Experiment, OutputSpec, ResolvedArm};
use super::rules::{self, Subject};
use super::spans::{Entry, Node, Origin, Table, Value};
use super::written::{ARM_KEYS, Written, bad_name, is_name};
use super::{ConfigError, Located};

/// A preset's name in a file.
pub(crate) const fn preset_name(preset: Preset) -> &'static str {
    preset.name()
}

/// Keys of the file as a whole, after flags.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKeys {
    /// The experiment's name, part of the run directory's path: letters, digits, `-`, `_` and `.`.
    #[schemars(example = "my-experiment")]
    name: String,
    /// What the experiment is for, in a sentence.
    #[serde(default)]
    #[schemars(example = "CoDeC on a ring of 8 agents")]
    description: Option<String>,
    /// Where run directories go, and which logs they have.
    #[serde(default)]
    output: OutputSpec,
    /// When a run's state is written, so that it can go on after it was cut. It changes no result.
    #[serde(default)]
    checkpoint: CheckpointSpec,
    /// What must hold of each arm's summary, for `kith run` to end with status 0: bounds by arm and number.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "codec": { "average_accuracy": { "min": 0.8 } } }))]
    expect: BTreeMap<String, Expectations>,
}

/// Resolves what was written.
pub(crate) fn resolve(written: Written, only: &[String], folder: &Path) -> Result<(Experiment, Located), ConfigError> {
    let mut shared = written.base.clone();
    merge(&mut shared, &written.set);
    merge(&mut shared, &written.over);
    let (arm_keys, file_keys) = split(shared);
    let file_node = Node { value: Value::Table(file_keys), origin: Origin::Default };
    let file: FileKeys = deserialise(&written, &file_node, "", None)?;
    if !is_name(&file.name) {
        return Err(written.error(&file_node.origin_of(&["name".to_owned()]), bad_name("name")));
    }

    let trees = arm_trees(&written, arm_keys)?;
    let names: Vec<String> = trees.iter().map(|(name, _)| name.clone()).collect();
    known_arms(&written, only, &names, &file, &file_node)?;
    let many = trees.len() > 1;
    let mut located = Located { written, trees: Vec::new() };
    let mut arms = Vec::new();
    let mut diagnostics = Vec::new();
    for (name, tree) in trees {
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        let shown = many.then_some(name.as_str());
        let (arm, tree) = resolve_arm(&located.written, &name, tree, shown, folder)?;
        located.trees.push((name.clone(), tree));
        match &arm {
            Ok(arm) => arms.push(arm.clone()),
            Err(problems) => {
                diagnostics.extend(problems.iter().map(|problem| located.diagnostic(&name, problem.clone())));
            }
        }
    }
    let expected = file.expect.iter().flat_map(|(arm, expectations)| expect::problems(arm, expectations));
    for problem in rules::check_checkpoint(&file.checkpoint).into_iter().chain(expected) {
        let path: Vec<String> = problem.path.split('.').map(str::to_owned).collect();
        diagnostics.push(located.written.diagnostic(&file_node.origin_of(&path), problem, None));
    }
    if !diagnostics.is_empty() {
        // What is wrong with a shared key is wrong with every arm: once is enough.
        let mut seen: Vec<Diagnostic> = Vec::new();
        for diagnostic in diagnostics {
            if !seen.iter().any(|other| other.same_but_arm(&diagnostic)) {
                seen.push(diagnostic);
            }
        }
        return Err(ConfigError::Invalid(seen));
    }
    let FileKeys { name, description, output, checkpoint, mut expect } = file;
    // The resolved form must stand alone: no expectation of an arm that is left out.
    expect.retain(|name, _| arms.iter().any(|arm| arm.name == *name));
    Ok((Experiment { name, description, output, checkpoint, expect, arms }, located))
}

/// Keys of a run, and keys of the file.
fn split(table: Table) -> (Table, Table) {
    let (arm, file) = table.0.into_iter().partition(|entry| ARM_KEYS.contains(&entry.key.as_str()));
    (Table(arm), Table(file))
}

/// One merged tree an arm.
fn arm_trees(written: &Written, shared: Table) -> Result<Vec<(String, Table)>, ConfigError> {
    let mut trees = Vec::new();
    if written.arms.is_empty() {
        let method = method(written, &shared, None)?;
        let mut tree = shared;
        drop_memory(written, &mut tree, uses_memory(written, &Table::default())?);
        trees.push((preset_name(method).to_owned(), tree));
    } else {
        let uses_memory =
            written.arms.iter().map(|(_, own)| uses_memory(written, own)).collect::<Result<Vec<_>, _>>()?;
        for ((name, own), uses) in written.arms.iter().zip(&uses_memory) {
            let mut tree = written.base.clone();
            tree.0.retain(|entry| ARM_KEYS.contains(&entry.key.as_str()));
            merge(&mut tree, own);
            merge(
                &mut tree,
                &Table(written.set.0.iter().filter(|e| ARM_KEYS.contains(&e.key.as_str())).cloned().collect()),
            );
            // A memory that all arms share is for those that have one: `d-psgd` beside `codec` has none.
            if !uses && uses_memory.contains(&true) {
                tree.remove("memory");
            }
            drop_memory(written, &mut tree, *uses);
            trees.push((name.clone(), tree));
        }
    }
    for entry in &written.set_arm {
        let Some((_, tree)) = trees.iter_mut().find(|(name, _)| *name == entry.key) else {
            let names: Vec<&str> = trees.iter().map(|(name, _)| name.as_str()).collect();
            return Err(written.error(&entry.key_origin, unknown_arm(format!("arm.{}", entry.key), &entry.key, &names)));
        };
        match &entry.node.value {
            Value::Table(over) => merge(tree, over),
            _ => {
                let shape = Problem::new(format!("arm.{}", entry.key), "names no key")
                    .accept("accepted: --set arm.NAME.key.path=value");
                return Err(written.error(&entry.key_origin, shape));
            }
        }
    }
    for (_, tree) in &mut trees {
        merge(tree, &written.over);
    }
    Ok(trees)
}

/// A file's memory is for its own method: one that a flag or a sweep puts in its place, and that has none, does without.
fn drop_memory(written: &Written, tree: &mut Table, uses: bool) {
    let changed = |key| written.set.entry(key).is_some() || written.over.entry(key).is_some();
    if !uses && changed("method") && !changed("memory") {
        tree.remove("memory");
    }
}

/// An arm's name and its keys so far, the preset's parts among them, before types and rules are looked at. Without a name, of the
/// one arm of a file without arms.
pub(crate) fn arm_preview(written: &Written, name: Option<&str>) -> Result<(String, Node), ConfigError> {
    let mut shared = written.base.clone();
    merge(&mut shared, &written.set);
    merge(&mut shared, &written.over);
    let trees = arm_trees(written, split(shared).0)?;
    let arm = trees.into_iter().find(|(arm, _)| name.is_none_or(|name| name == arm));
    let (name, tree) = arm.unwrap_or_default();
    let mut full = defaults(method(written, &tree, Some(&name))?, tree.get("memory").is_some())?;
    merge(&mut full, &tree);
    Ok((name, Node { value: Value::Table(full), origin: Origin::Default }))
}

/// Whether an arm has a memory of its own, by its method or by its tables.
fn uses_memory(written: &Written, own: &Table) -> Result<bool, ConfigError> {
    if own.get("memory").is_some() {
        return Ok(true);
    }
    let mut tree = written.base.clone();
    merge(&mut tree, own);
    merge(&mut tree, &written.set);
    merge(&mut tree, &written.over);
    let projects = tree.get("chain").is_some_and(|chain| match &chain.value {
        Value::Array(links) => links.iter().any(|link| link.text() == Some("project")),
        _ => false,
    });
    Ok(projects || method(written, &tree, None)?.parts().memory.is_some())
}

fn method(written: &Written, tree: &Table, arm: Option<&str>) -> Result<Preset, ConfigError> {
    let names = Preset::ALL.map(preset_name).join(", ");
    let Some(entry) = tree.entry("method") else {
        let missing = Problem::new("method", "missing").accept(format!("accepted: {names}"));
        return Err(ConfigError::one(Diagnostic::at(&written.source.name, missing, arm)));
    };
    let text = entry.node.text();
    if let Some(preset) = Preset::ALL.into_iter().find(|preset| text == Some(preset_name(*preset))) {
        return Ok(preset);
    }
    let mut problem = match text {
        Some(text) => Problem::new("method", format!("unknown method `{text}`")),
        None => Problem::new("method", format!("expected a name, found {}", entry.node.kind())),
    };
    if let Some(near) = text.and_then(|text| closest(text, Preset::ALL.map(preset_name))) {
        problem = problem.accept(format!("did you mean `{near}`?"));
    }
    Err(written.error(&entry.node.origin, problem.accept(format!("accepted: {names}"))))
}

pub(crate) fn unknown_arm(path: String, name: &str, names: &[&str]) -> Problem {
    let mut problem = Problem::new(path, format!("there is no arm `{name}`"));
    if let Some(near) = closest(name, names.iter().copied()) {
        problem = problem.accept(format!("did you mean `{near}`?"));
    }
    problem.accept(format!("accepted: {}", names.join(", ")))
}

fn known_arms(
    written: &Written,
    only: &[String],
    names: &[String],
    file: &FileKeys,
    file_node: &Node,
) -> Result<(), ConfigError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    known_names(only, &names)?;
    if let Some(unknown) = file.expect.keys().find(|name| !names.contains(&name.as_str())) {
        let origin = file_node.origin_of(&["expect".to_owned(), unknown.clone()]);
        return Err(written.error(&origin, unknown_arm(format!("expect.{unknown}"), unknown, &names)));
    }
    Ok(())
}

/// `--arm` names arms of the file.
pub(crate) fn known_names(only: &[String], names: &[&str]) -> Result<(), ConfigError> {
    let unknown = only.iter().find(|name| !names.contains(&name.as_str()));
    unknown.map_or(Ok(()), |unknown| {
        let problem = unknown_arm(String::new(), unknown, names);
        Err(ConfigError::one(Diagnostic::at(format!("--arm {unknown}"), problem, None)))
    })
}

type Checked = Result<ResolvedArm, Vec<Problem>>;

/// Expands the preset, reads the arm's types, and checks its rules.
fn resolve_arm(
    written: &Written,
    name: &str,
    tree: Table,
    shown: Option<&str>,
    folder: &Path,
) -> Result<(Checked, Node), ConfigError> {
    let preset = method(written, &tree, shown)?;
    let mut full = defaults(preset, tree.get("memory").is_some())?;
    merge(&mut full, &tree);
    full.insert(Entry {
        key: "name".to_owned(),
        key_origin: Origin::Default,
        node: Node { value: Value::Text(name.to_owned()), origin: Origin::Default },
    });
    let node = Node { value: Value::Table(full), origin: Origin::Default };
    let mut arm: ResolvedArm = deserialise(written, &node, "", shown)?;
    if arm.train.epochs_per_task.is_none() && arm.train.rounds_per_task.is_none() {
        arm.train.epochs_per_task = Some(1);
    }
    if arm.data.dataset == "synthetic" && arm.data.synthetic.is_none() {
        arm.data.synthetic = Some(kith_data::SyntheticSpec::default());
    }
    arm.network.fill();
    if let Some(start) = &mut arm.train.start_from
        && let Err(problem) = super::start::resolve(start, folder)
    {
        return Ok((Err(vec![problem]), node));
    }
    let graph = match super::topology::resolve(&mut arm.graph, folder, &Seeds::new(arm.seed)) {
        Ok(graph) => graph,
        Err(problem) => return Ok((Err(vec![problem]), node)),
    };
    let problems = rules::check(&Subject { arm: &arm, graph: &graph });
    Ok((if problems.is_empty() { Ok(arm) } else { Err(problems) }, node))
}

/// The preset's parts as a tree that nobody wrote. A memory that the preset lacks, but the file has, starts from the one
/// of CoDeC (of gradient projection memory alone, where nothing is exchanged).
fn defaults(preset: Preset, wants_memory: bool) -> Result<Table, ConfigError> {
    let mut parts = preset.parts();
    if parts.memory.is_none() && wants_memory {
        let like = if parts.exchange.kind == ExchangeKind::None { Preset::Gpm } else { Preset::CodecFull };
        parts.memory = like.parts().memory;
    }
    #[derive(serde::Serialize)]
    struct Tree<'a> {
        oracle: kith_method::Oracle,
        chain: &'a [Link],
        exchange: &'a kith_method::Exchange,
        #[serde(skip_serializing_if = "Option::is_none")]
        memory: Option<&'a Memory>,
        #[serde(skip_serializing_if = "kith_method::Continual::is_default")]
        continual: kith_method::Continual,
    }
    let tree = Tree {
        oracle: parts.oracle,
        chain: &parts.chain,
        exchange: &parts.exchange,
        memory: parts.memory.as_ref(),
        continual: parts.continual,
    };
    match Node::from_value(&tree).map_err(ConfigError::Write)?.value {
        Value::Table(table) => Ok(table),
        _ => Ok(Table::default()),
    }
}

/// Reads a type from a tree; an error names its key and line.
fn deserialise<'de, T: Deserialize<'de>>(
    written: &Written,
    node: &'de Node,
    prefix: &str,
    arm: Option<&str>,
) -> Result<T, ConfigError> {
    T::deserialize(node).map_err(|error| {
        let unknown_key = matches!(error.kind, TypeErrorKind::UnknownKey { .. });
        let (path, problem) = describe(node, prefix, error);
        let key = node.key_origin_of(&path).filter(|_| unknown_key);
        ConfigError::one(written.diagnostic(&key.unwrap_or_else(|| node.origin_of(&path)), problem, arm))
    })
}

fn describe(node: &Node, prefix: &str, error: TypeError) -> (Vec<String>, Problem) {
    let TypeError { mut path, kind } = error;
    let dotted = |path: &[String]| [prefix, &path.join(".")].concat();
    let problem = match kind {
        TypeErrorKind::UnknownKey { key, accepted } => {
            path.push(key.clone());
            let hint = closest(&key, accepted.iter().copied())
                .map_or_else(|| format!("accepted: {}", accepted.join(", ")), |near| format!("did you mean `{near}`?"));
            Problem::new(dotted(&path), "unknown key").accept(hint)
        }
        TypeErrorKind::UnknownChoice { choice, accepted } => {
            let mut problem = Problem::new(dotted(&path), format!("unknown value `{choice}`"));
            if let Some(near) = closest(&choice, accepted.iter().copied()) {
                problem = problem.accept(format!("did you mean `{near}`?"));
            }
            problem.accept(format!("accepted: {}", accepted.join(", ")))
        }
        TypeErrorKind::Missing { key } => {
            let mut full = path.clone();
            full.push(key.to_owned());
            Problem::new(dotted(&full), "missing")
        }
        TypeErrorKind::Mismatch { expected, found } => {
            Problem::new(dotted(&path), format!("expected {}, found {found}", plain(&expected)))
        }
        TypeErrorKind::Other { message } => untagged(&path, node, message, &dotted(&path)),
    };
    (path, problem)
}

/// Rust's names of types in the file's words.
fn plain(expected: &str) -> &str {
    match expected {
        "u32" | "u64" | "usize" => "a whole number from 0",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "newtype variant" | "struct variant" => "a value: { name = value }",
        other => other,
    }
}

/// Serde says of a value with several shapes only that none fits; here stands what the shapes are.
fn untagged(path: &[String], node: &Node, message: String, dotted: &str) -> Problem {
    if !message.contains("did not match any variant") {
        return Problem::new(dotted, message);
    }
    let found = super::value_at(node, path).map_or("nothing", Node::kind);
    match path.last().map(String::as_str) {
        Some("learning_rate" | "averaging_rate") => Problem::new(
            dotted,
            format!("expected a number or a schedule, found {found} that is neither"),
        )
        .accept(
            "accepted: 0.01, or { kind = \"linear\" | \"exponential\" | \"cosine\" | \"multi-step\" | \"warm-up\", … }",
        ),
        _ => {
            Problem::new(dotted, format!("expected one value for all layers or a list with one a layer, found {found}"))
        }
    }
}
