//! Laying one table over another.

use super::spans::{Entry, Node, Origin, Table, Value};

/// Keys whose tables are one value: a table laid over them replaces them.
const WHOLE: [&str; 6] = ["learning_rate", "averaging_rate", "radius", "oracle", "compressor", "gradient_compressor"];

/// Lays `over` on `base`: tables merge key by key, everything else is replaced.
pub(crate) fn merge(base: &mut Table, over: &Table) {
    for entry in &over.0 {
        match base.entry_mut(&entry.key) {
            Some(under) if !replaces(&entry.key, &entry.node) => {
                // A key that only a preset had is now written somewhere.
                if under.key_origin == Origin::Default {
                    under.key_origin = entry.key_origin.clone();
                }
                merge_node(&mut under.node, entry);
            }
            _ => base.insert(entry.clone()),
        }
    }
}

/// A table under one of [`WHOLE`] replaces what was there if it says its `kind`; without, it changes single keys.
fn replaces(key: &str, over: &Node) -> bool {
    WHOLE.contains(&key) && over.table().is_none_or(|table| table.get("kind").is_some())
}

fn merge_node(under: &mut Node, over: &Entry) {
    match (&mut under.value, &over.node.value) {
        (Value::Table(under), Value::Table(over)) => merge(under, over),
        (Value::Array(items), Value::Table(by_place)) if by_place.keys().all(|key| place(key, items).is_some()) => {
            for entry in &by_place.0 {
                if let Some(place) = place(&entry.key, items) {
                    merge_node(&mut items[place], entry);
                }
            }
        }
        _ => *under = over.node.clone(),
    }
}

/// `faults.0.round`: a number as a key of a list is a place in it.
fn place(key: &str, items: &[Node]) -> Option<usize> {
    key.parse::<usize>().ok().filter(|place| *place < items.len())
}
