//! Conditions on a run's keys: `when`, `skip` and `--filter`.

use super::read::dotted;
use crate::config::ConfigError;
use crate::config::render::Problem;
use crate::config::spans::{Node, Origin, Value};
use crate::config::value_at;
use crate::config::written::{ARM_KEYS, Written};

/// Keys and the values that each may have: all keys must fit.
#[derive(Clone)]
pub(super) struct Condition {
    terms: Vec<Term>,
    pub(super) origin: Origin,
}

/// One key and its values: one must fit.
#[derive(Clone)]
pub(super) struct Term {
    pub(super) path: Vec<String>,
    pub(super) accepted: Vec<Node>,
}

impl Condition {
    /// Reads a table of keys.
    pub(super) fn read(written: &Written, shown: &str, node: &Node) -> Result<Self, ConfigError> {
        let refuse = || {
            let shape = Problem::new(shown, "expected a table of keys and values")
                .accept("accepted: { arm = \"codec\", \"graph.agents\" = [8, 16] }");
            written.error(&node.origin, shape)
        };
        let table = node.table().filter(|table| !table.0.is_empty()).ok_or_else(refuse)?;
        written.reject_unknown(shown, &first_keys(table), &[&["arm"], &ARM_KEYS[..]].concat())?;
        let mut terms = Vec::new();
        Term::read(&[], node, &mut terms);
        Ok(Self { terms, origin: node.origin.clone() })
    }

    pub(super) fn holds(&self, arm: &str, tree: &Node) -> bool {
        self.terms.iter().all(|term| term.holds(arm, tree))
    }
}

/// The table with each key cut to what stands before its first dot.
fn first_keys(table: &crate::config::spans::Table) -> crate::config::spans::Table {
    let mut first = table.clone();
    for entry in &mut first.0 {
        entry.key.truncate(entry.key.find('.').unwrap_or(entry.key.len()));
    }
    first
}

impl Term {
    /// All terms of a table; tables in it hold longer keys.
    pub(super) fn read(prefix: &[String], node: &Node, terms: &mut Vec<Self>) {
        match &node.value {
            Value::Table(table) => {
                for entry in &table.0 {
                    Self::read(&dotted(prefix, &entry.key), &entry.node, terms);
                }
            }
            Value::Array(items) => terms.push(Self { path: prefix.to_vec(), accepted: items.clone() }),
            _ => terms.push(Self { path: prefix.to_vec(), accepted: vec![node.clone()] }),
        }
    }

    /// The value that the key has in a run; the arm's name stands apart from its tree.
    pub(super) fn holds(&self, arm: &str, tree: &Node) -> bool {
        if self.path == ["arm"] {
            return self.accepted.iter().any(|accepted| accepted.text() == Some(arm));
        }
        value_at(tree, &self.path).is_some_and(|value| self.accepted.iter().any(|accepted| same(accepted, value)))
    }
}

/// Whether two values are one, wherever they were written: 1 is 1.0.
pub(super) fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Integer(one), Value::Float(other)) | (Value::Float(other), Value::Integer(one)) => {
            *one as f64 == *other
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Table(one), Value::Table(other)) => {
            one.0.len() == other.0.len()
                && one.0.iter().all(|entry| other.get(&entry.key).is_some_and(|node| same(&entry.node, node)))
        }
        (one, other) => one == other,
    }
}
