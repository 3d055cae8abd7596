//! The experiment file and the command line, as written.

use std::ops::Range;
use std::path::Path;

use super::ConfigError;
use super::merge::merge;
use super::render::{Diagnostic, Problem, Source, closest};
use super::spans::{self, Entry, Node, Origin, SyntaxError, Table, Value};

/// Keys that describe a run: given for all arms at the top, or for one.
pub(crate) const ARM_KEYS: [&str; 13] = [
    "seed", "method", "oracle", "chain", "exchange", "memory", "graph", "data", "network", "train", "links", "faults",
    "checks",
];

/// Keys of the file as a whole.
const FILE_KEYS: [&str; 7] = ["name", "description", "expect", "output", "checkpoint", "sweep", "arm"];

/// What the command line adds to a file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `key.path=value` texts of `--set`, in order.
    pub set: Vec<String>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--arm`: run only these; all where empty.
    pub arms: Vec<String>,
}

/// The file's tables apart, with flags parsed but not yet worked in.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) source: Source,
    /// The flags as typed, for messages.
    pub(crate) flags: Vec<String>,
    /// Keys for all arms and for the file, flags not worked in.
    pub(crate) base: Table,
    /// `[[arm]]` tables with their names; empty where the file has none.
    pub(crate) arms: Vec<(String, Table)>,
    /// Flags for all arms.
    pub(crate) set: Table,
    /// Flags for one arm.
    pub(crate) set_arm: Vec<Entry>,
    /// The `[sweep]` table, flags worked in.
    pub(crate) sweep: Option<Entry>,
    /// What a sweep lays over every arm, after all flags.
    pub(crate) over: Table,
    /// Whether the file's expectations are set aside.
    pub(crate) expectations: FileExpectations,
}

/// What becomes of a file's `[expect]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileExpectations {
    /// They are judged, or there are none.
    Judged,
    /// They are about the file as it stands, and a `--set` changed the experiment. Those given by `--set expect…` count still.
    SetAside,
}

impl FileExpectations {
    fn under(overrides: &Overrides, base: &mut Table) -> Self {
        let changes = |text: &String| {
            !["expect", "output", "checkpoint", "sweep"].contains(&text.split(['.', '=']).next().unwrap_or("").trim())
        };
        if overrides.set.iter().any(changes) && base.remove("expect").is_some() { Self::SetAside } else { Self::Judged }
    }
}

impl Written {
    pub(crate) fn read(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(Source { name: path.display().to_string(), text }, overrides)
    }

    pub(crate) fn parse(source: Source, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut base = spans::parse(&source.text, &Origin::File).map_err(|error| {
            let problem = Problem::new("", error.message);
            let span = error.span.unwrap_or(0..0);
            ConfigError::one(Diagnostic::in_file(&source, &span, problem, None))
        })?;
        let arms = base.remove("arm");
        let expectations = FileExpectations::under(overrides, &mut base);
        let mut written = Self {
            source,
            flags: Vec::new(),
            base,
            arms: Vec::new(),
            set: Table::default(),
            set_arm: Vec::new(),
            sweep: None,
            over: Table::default(),
            expectations,
        };
        written.reject_unknown("", &written.base, &[&FILE_KEYS[..], &ARM_KEYS].concat())?;
        if let Some(arms) = arms {
            written.take_arms(arms)?;
        }
        for text in &overrides.set {
            written.take_flag(format!("--set {text}"), text)?;
        }
        if let Some(seed) = overrides.seed {
            written.take_flag(format!("--seed {seed}"), &format!("seed={seed}"))?;
        }
        written.reject_unknown("", &written.set, &[&FILE_KEYS[..6], &ARM_KEYS].concat())?;
        written.take_sweep();
        Ok(written)
    }

    /// Where a problem with this origin is shown.
    pub(crate) fn diagnostic(&self, origin: &Origin, problem: Problem, arm: Option<&str>) -> Diagnostic {
        match origin {
            Origin::File(span) => Diagnostic::in_file(&self.source, span, problem, arm),
            Origin::Flag(index) => {
                let flag = self.flags.get(*index).map_or("--set", String::as_str);
                Diagnostic::at(flag, problem, arm)
            }
            Origin::Default => Diagnostic::at(&self.source.name, problem, arm),
        }
    }

    pub(crate) fn error(&self, origin: &Origin, problem: Problem) -> ConfigError {
        ConfigError::one(self.diagnostic(origin, problem, None))
    }

    pub(crate) fn reject_unknown(&self, path: &str, table: &Table, known: &[&str]) -> Result<(), ConfigError> {
        let Some(entry) = table.0.iter().find(|entry| !known.contains(&entry.key.as_str())) else { return Ok(()) };
        let hint = closest(&entry.key, known.iter().copied())
            .map_or_else(|| format!("accepted: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        Err(self.error(&entry.key_origin, Problem::new(path, "unknown key").accept(hint)))
    }

    fn take_arms(&mut self, arms: Entry) -> Result<(), ConfigError> {
        let shape =
            || Problem::new("arm", "arms are tables").accept("accepted: [[arm]] with a name and any key of a run");
        let Value::Array(items) = arms.node.value else {
            return Err(self.error(&arms.key_origin, shape()));
        };
        for item in items {
            let Node { value: Value::Table(mut table), origin } = item else {
                return Err(self.error(&item.origin, shape()));
            };
            let Some(name) = table.remove("name") else {
                let missing = Problem::new("arm", "an arm has no name").accept("accepted: name = \"codec\"");
                return Err(self.error(&origin, missing));
            };
            let text = name.node.text().unwrap_or_default().to_owned();
            if !is_name(&text) {
                return Err(self.error(&name.node.origin, bad_name("arm.name")));
            }
            if self.arms.iter().any(|(other, _)| *other == text) {
                let twice = Problem::new("arm.name", format!("two arms are called `{text}`"));
                return Err(self.error(&name.node.origin, twice));
            }
            self.reject_unknown(&format!("arm.{text}"), &table, &ARM_KEYS)?;
            self.arms.push((text, table));
        }
        Ok(())
    }

    /// Takes `[sweep]` out of the file, with the flags that change it.
    fn take_sweep(&mut self) {
        let mut table = Table(self.base.remove("sweep").into_iter().collect());
        merge(&mut table, &Table(self.set.remove("sweep").into_iter().collect()));
        self.sweep = table.remove("sweep");
    }

    /// Reads one `key.path=value`. A bare word that is not TOML is a string.
    fn take_flag(&mut self, shown: String, text: &str) -> Result<(), ConfigError> {
        let index = self.flags.len();
        self.flags.push(shown);
        let mut table = parse_flag(text, &|_| Origin::Flag(index)).map_err(|message| {
            let accepted = if text.contains('=') {
                "accepted: a TOML value or a bare word"
            } else {
                "accepted: --set key.path=value, e.g. --set train.batch_size=32"
            };
            self.error(&Origin::Flag(index), Problem::new("", message).accept(accepted))
        })?;
        if let Some(arms) = table.remove("arm") {
            match arms.node.value {
                Value::Table(Table(entries)) => self.set_arm.extend(entries),
                _ => {
                    let shape = Problem::new("arm", "names no arm").accept("accepted: --set arm.NAME.key.path=value");
                    return Err(self.error(&Origin::Flag(index), shape));
                }
            }
        }
        merge(&mut self.set, &table);
        Ok(())
    }
}

/// Reads `key.path=value`; the value is TOML or a bare word. The error says what is wrong.
pub(crate) fn parse_flag(text: &str, origin: &dyn Fn(Range<usize>) -> Origin) -> Result<Table, String> {
    let (key, value) = text.split_once('=').ok_or("no `=` in it")?;
    let value = value.trim();
    let bare = !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_./~".contains(c));
    let table = match spans::parse(text, origin) {
        Err(_) if bare => spans::parse(&format!("{key}=\"{value}\""), origin),
        result => result,
    };
    table.map_err(|SyntaxError { message, .. }| message)
}

/// Names become file names: letters, digits, `-`, `_` and `.`.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

pub(crate) fn bad_name(path: &str) -> Problem {
    Problem::new(path, "a name is a string that can be part of a path")
        .accept("accepted: ASCII letters, digits, `-`, `_` and `.`, not starting with `.`")
}
