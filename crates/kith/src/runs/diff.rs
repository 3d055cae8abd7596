//! What tells two runs apart: settings and results.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{RunsError, StoredRun};

/// A key, and what stands there in each run; none where a run has no such key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Dotted key; keys of an arm begin with `arm.NAME`.
    pub key: String,
    /// In the one run.
    pub one: Option<Value>,
    /// In the other.
    pub other: Option<Value>,
}

/// Differences of versions, of settings, and of results, in that order.
///
/// # Errors
/// A resolved experiment that cannot be read.
pub fn diff(one: &StoredRun, other: &StoredRun) -> Result<[Vec<Difference>; 3], RunsError> {
    Ok([
        compare(&versions(one), &versions(other)),
        compare(&settings(&one.directory)?, &settings(&other.directory)?),
        compare(&results(one), &results(other)),
    ])
}

type Flat = BTreeMap<String, Value>;

fn compare(one: &Flat, other: &Flat) -> Vec<Difference> {
    let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differing = keys.into_iter().filter(|key| one.get(*key) != other.get(*key));
    differing
        .map(|key| Difference { key: key.clone(), one: one.get(key).cloned(), other: other.get(key).cloned() })
        .collect()
}

fn versions(run: &StoredRun) -> Flat {
    let Some(manifest) = &run.manifest else { return Flat::new() };
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::from);
    Flat::from([
        ("kith_version".to_owned(), manifest.kith_version.clone().into()),
        ("commit".to_owned(), text(&manifest.commit)),
        ("rustc".to_owned(), text(&manifest.rustc)),
        ("device".to_owned(), manifest.device.clone().into()),
        ("host_os".to_owned(), manifest.host_os.clone().into()),
    ])
}

/// The resolved experiment, flat; arms by name, so that their order and number do not matter.
fn settings(directory: &Path) -> Result<Flat, RunsError> {
    let path = directory.join("experiment.resolved.toml");
    let text = std::fs::read_to_string(&path).map_err(|source| RunsError::Files {
        operation: "read",
        path: path.clone(),
        source,
    })?;
    let broken = |message: String| RunsError::Content { path: path.clone(), message };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| broken(error.message().to_owned()))?;
    let mut value = serde_json::to_value(table).map_err(|error| broken(error.to_string()))?;
    let mut flat = Flat::new();
    if let Some(arms) = value.as_object_mut().and_then(|table| table.remove("arm")) {
        let alone = arms.as_array().is_some_and(|arms| arms.len() == 1);
        for arm in arms.as_array().into_iter().flatten() {
            let name = arm.get("name").and_then(Value::as_str).unwrap_or_default();
            // Runs of one arm are compared key by key, whatever the arm is called.
            flatten(&if alone { "arm".to_owned() } else { format!("arm.{name}") }, arm, &mut flat);
        }
    }
    for key in ["description", "output"] {
        value.as_object_mut().and_then(|table| table.remove(key));
    }
    flatten("", &value, &mut flat);
    Ok(flat)
}

fn flatten(prefix: &str, value: &Value, flat: &mut Flat) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                flatten(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, value, flat);
            }
        }
        other => drop(flat.insert(prefix.to_owned(), other.clone())),
    }
}

/// Every number of every arm; what a clock said apart, since it differs always.
fn results(run: &StoredRun) -> Flat {
    let mut flat = Flat::new();
    let arms = run.summary.iter().flat_map(|summary| &summary.arms);
    let alone = run.summary.as_ref().is_some_and(|summary| summary.arms.len() == 1);
    for arm in arms {
        let Ok(Value::Object(values)) = serde_json::to_value(arm) else { continue };
        let prefix = if alone { String::new() } else { format!("{}.", arm.arm) };
        let kept = |key: &str| {
            key == "parameter_digest"
                || crate::summary::NUMBERS.contains(&key) && !crate::summary::is_of_the_machine(key)
        };
        flat.extend(
            values.into_iter().filter(|(key, _)| kept(key)).map(|(key, value)| (format!("{prefix}{key}"), value)),
        );
    }
    flat
}
