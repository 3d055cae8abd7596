//! The `[sweep]` table as editors and `kith explain` see it. What is accepted, `read.rs` says: a list of seeds may be a range, and
//! one table stands for a list of one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

/// The keys of `[sweep]`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape for the schema; values are read with their places")]
pub(in crate::config) struct SweepKeys {
    /// One run for each seed: a list, or a range `{ from = 1, count = 3 }`. The file's own seed where absent.
    #[schemars(example = [1, 2, 3])]
    seeds: Option<Seeds>,
    /// Names of the arms that take part; all where absent.
    #[schemars(example = ["codec", "d-psgd"])]
    arms: Option<Vec<String>>,
    /// Keys of a run, dotted, each with a list of values: every value with every other. Several tables are worked in one after the
    /// other; one with a `when` only where that holds.
    #[schemars(example = BTreeMap::from([("train.batch_size", [10, 20])]))]
    grid: Option<Tables>,
    /// As `grid`, but first values go with first values, second with second.
    #[schemars(example = BTreeMap::from([("train.batch_size", [10, 20]), ("train.local_steps", [2, 1])]))]
    zip: Option<Tables>,
    /// Settings that are left out: a table of keys and values that meet.
    #[schemars(example = BTreeMap::from([("arm", "d-psgd")]))]
    skip: Option<Tables>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "a shape for the schema")]
enum Seeds {
    /// Different whole numbers from 0.
    List(Vec<u64>),
    /// As many as `count`, from `from` on.
    Range(Range),
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
#[expect(dead_code, reason = "a shape for the schema")]
struct Range {
    /// The first seed.
    #[schemars(example = 1)]
    from: u64,
    /// How many.
    #[schemars(example = 3)]
    count: u64,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "a shape for the schema")]
enum Tables {
    /// One table.
    One(BTreeMap<String, Value>),
    /// Several.
    Many(Vec<BTreeMap<String, Value>>),
}
