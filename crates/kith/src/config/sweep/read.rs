//! The `[sweep]` table as written: its shape, without looking at what the values do.

use super::condition::Condition;
use crate::config::ConfigError;
use crate::config::render::Problem;
use crate::config::spans::{Entry, Node, Origin, Table, Value};
use crate::config::written::{ARM_KEYS, Written};

const KEYS: [&str; 5] = ["seeds", "arms", "grid", "zip", "skip"];
/// Most seeds of one range, and most runs of one sweep: beyond lies a mistake.
pub(super) const MOST_RUNS: usize = 100_000;

/// What a `[sweep]` table says.
pub(super) struct SweepSpec {
    /// One run a seed; the file's own seed where empty.
    pub(super) seeds: Vec<Node>,
    /// Names of arms and where they stand; all where empty.
    pub(super) arms: Vec<(String, Origin)>,
    /// In the order of the file.
    pub(super) blocks: Vec<Block>,
    pub(super) skips: Vec<Condition>,
}

/// Axes that belong together.
pub(super) struct Block {
    pub(super) how: Combine,
    pub(super) when: Option<Condition>,
    pub(super) axes: Vec<Axis>,
    start: usize,
}

/// How the values of several axes meet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    /// Every value with every other.
    Grid,
    /// First with first, second with second.
    Zip,
}

/// A key and the values that it takes.
pub(super) struct Axis {
    pub(super) path: Vec<String>,
    pub(super) key_origin: Origin,
    pub(super) values: Vec<Node>,
}

/// A key's dotted path: `"train.batch_size"` and `train.batch_size` are the same.
pub(super) fn dotted(prefix: &[String], key: &str) -> Vec<String> {
    prefix.iter().cloned().chain(key.split('.').map(str::to_owned)).collect()
}

/// Reads the table; none where the file and the flags have no `sweep`.
pub(super) fn read(written: &Written) -> Result<Option<SweepSpec>, ConfigError> {
    let Some(entry) = &written.sweep else { return Ok(None) };
    let Some(table) = entry.node.table() else {
        let shape = Problem::new("sweep", format!("expected a table, found {}", entry.node.kind()))
            .accept("accepted: [sweep] with seeds, arms, grid, zip, skip");
        return Err(written.error(&entry.node.origin, shape));
    };
    written.reject_unknown("sweep", table, &KEYS)?;
    let mut blocks = Vec::new();
    for (key, how) in [("grid", Combine::Grid), ("zip", Combine::Zip)] {
        if let Some(entry) = table.entry(key) {
            blocks.extend(read_blocks(written, entry, how)?);
        }
    }
    // Conditions see the blocks above theirs, of whichever kind.
    blocks.sort_by_key(|block| block.start);
    let spec = SweepSpec {
        seeds: table.entry("seeds").map_or_else(|| Ok(Vec::new()), |entry| seeds(written, entry))?,
        arms: table.entry("arms").map_or_else(|| Ok(Vec::new()), |entry| arms(written, entry))?,
        skips: table.entry("skip").map_or_else(|| Ok(Vec::new()), |entry| skips(written, entry))?,
        blocks,
    };
    Ok(Some(spec))
}

fn seeds(written: &Written, entry: &Entry) -> Result<Vec<Node>, ConfigError> {
    let shape = || {
        Problem::new("sweep.seeds", "expected different whole numbers from 0")
            .accept("accepted: [1, 2, 3], or { from = 1, count = 3 }")
    };
    let refuse = |origin: &Origin| written.error(origin, shape());
    let whole = |node: Option<&Node>| match node.map(|node| &node.value) {
        Some(Value::Integer(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    match &entry.node.value {
        Value::Array(items) if !items.is_empty() => {
            for (place, item) in items.iter().enumerate() {
                if whole(Some(item)).is_none() || items[..place].iter().any(|other| other.value == item.value) {
                    return Err(refuse(&item.origin));
                }
            }
            Ok(items.clone())
        }
        Value::Table(range) => {
            let (from, count) = (whole(range.get("from")), whole(range.get("count")));
            let (Some(from), Some(count @ 1..), 2) = (from, count, range.0.len()) else {
                return Err(refuse(&entry.node.origin));
            };
            let end = from.checked_add(count).filter(|end| i64::try_from(*end).is_ok() && count <= MOST_RUNS as u64);
            let Some(end) = end else { return Err(refuse(&entry.node.origin)) };
            let node = |seed: u64| Node { value: Value::Integer(seed as i64), origin: entry.node.origin.clone() };
            Ok((from..end).map(node).collect())
        }
        _ => Err(refuse(&entry.node.origin)),
    }
}

fn arms(written: &Written, entry: &Entry) -> Result<Vec<(String, Origin)>, ConfigError> {
    let shape = || Problem::new("sweep.arms", "expected names of arms").accept("accepted: [\"codec\", \"d-psgd\"]");
    let Value::Array(items) = &entry.node.value else { return Err(written.error(&entry.node.origin, shape())) };
    if items.is_empty() {
        return Err(written.error(&entry.node.origin, shape()));
    }
    let name = |item: &Node| match item.text() {
        Some(text) => Ok((text.to_owned(), item.origin.clone())),
        None => Err(written.error(&item.origin, shape())),
    };
    items.iter().map(name).collect()
}

fn skips(written: &Written, entry: &Entry) -> Result<Vec<Condition>, ConfigError> {
    tables(written, entry, "sweep.skip")?.into_iter().map(|node| Condition::read(written, "sweep.skip", node)).collect()
}

/// One table, or a list of tables.
fn tables<'a>(written: &Written, entry: &'a Entry, path: &str) -> Result<Vec<&'a Node>, ConfigError> {
    let items = match &entry.node.value {
        Value::Table(_) => vec![&entry.node],
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    if items.is_empty() || items.iter().any(|item| item.table().is_none()) {
        let shape = Problem::new(path, format!("expected tables, found {}", entry.node.kind()))
            .accept(format!("accepted: [{path}], or [[{path}]] more than once"));
        return Err(written.error(&entry.key_origin, shape));
    }
    Ok(items)
}

fn read_blocks(written: &Written, entry: &Entry, how: Combine) -> Result<Vec<Block>, ConfigError> {
    let path = match how {
        Combine::Grid => "sweep.grid",
        Combine::Zip => "sweep.zip",
    };
    tables(written, entry, path)?.into_iter().map(|node| read_block(written, node, path, how)).collect()
}

fn read_block(written: &Written, node: &Node, path: &str, how: Combine) -> Result<Block, ConfigError> {
    let mut block = Block { how, when: None, axes: Vec::new(), start: start(&node.origin) };
    for entry in node.table().into_iter().flat_map(|table| &table.0) {
        if entry.key == "when" {
            block.when = Some(Condition::read(written, &format!("{path}.when"), &entry.node)?);
        } else {
            read_axes(written, path, &[], entry, &mut block.axes)?;
        }
    }
    if block.axes.is_empty() {
        let empty = Problem::new(path, "no key and values").accept("accepted: \"train.batch_size\" = [10, 20]");
        return Err(written.error(&node.origin, empty));
    }
    let lengths = || block.axes.iter().map(|axis| axis.values.len());
    if how == Combine::Zip && lengths().min() != lengths().max() {
        let lengths: Vec<String> =
            block.axes.iter().map(|axis| format!("{} of {}", axis.values.len(), axis.path.join("."))).collect();
        let uneven = Problem::new(path, format!("lists of different lengths: {}", lengths.join(", ")))
            .accept("accepted: as many values for each key, or [sweep.grid] for every combination");
        return Err(written.error(&node.origin, uneven));
    }
    Ok(block)
}

fn start(origin: &Origin) -> usize {
    match origin {
        Origin::File(span) => span.start,
        Origin::Flag(_) | Origin::Default => usize::MAX,
    }
}

/// A key with a list is an axis; a table holds longer keys.
fn read_axes(
    written: &Written,
    shown: &str,
    prefix: &[String],
    entry: &Entry,
    axes: &mut Vec<Axis>,
) -> Result<(), ConfigError> {
    let path = dotted(prefix, &entry.key);
    let shown_path = format!("{shown}.{}", path.join("."));
    if prefix.is_empty() {
        let first = Table(vec![Entry { key: path[0].clone(), ..entry.clone() }]);
        if path[0] == "seed" {
            let twice =
                Problem::new(shown_path, "seeds are their own list").accept("accepted: sweep.seeds = [1, 2, 3]");
            return Err(written.error(&entry.key_origin, twice));
        }
        written.reject_unknown(shown, &first, &ARM_KEYS)?;
    }
    match &entry.node.value {
        Value::Array(values) if !values.is_empty() => {
            axes.push(Axis { path, key_origin: entry.key_origin.clone(), values: values.clone() });
            Ok(())
        }
        Value::Table(table) => table.0.iter().try_for_each(|inner| read_axes(written, shown, &path, inner, axes)),
        value => {
            let found = if matches!(value, Value::Array(_)) { "an empty list" } else { entry.node.kind() };
            let shape = Problem::new(shown_path, format!("expected a list of values, found {found}"))
                .accept("accepted: [0.01, 0.05]");
            Err(written.error(&entry.node.origin, shape))
        }
    }
}
