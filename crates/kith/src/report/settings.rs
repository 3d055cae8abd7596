//! What an arm was set to, as dotted keys, and names that tell arms apart.

use std::collections::{BTreeMap, BTreeSet};

/// Keys that do not tell settings apart: the seed is what a group is over.
const LEFT_OUT: [&str; 2] = ["seed", "checks.invariants"];

/// Dotted key to value, as TOML writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Those of a resolved `[[arm]]`.
    pub(super) fn new(arm: &toml::Table) -> Self {
        let mut flat = BTreeMap::new();
        for (key, value) in arm {
            flatten(key, value, &mut flat);
        }
        flat.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
        Self(flat)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

fn flatten(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(&format!("{path}.{key}"), value, into);
            }
        }
        toml::Value::String(text) => {
            into.insert(path.to_owned(), text.clone());
        }
        other => {
            into.insert(path.to_owned(), other.to_string());
        }
    }
}

/// Keys on which settings differ, ascending. The name is no setting.
pub(super) fn differing(settings: &[&Settings]) -> Vec<String> {
    let keys: BTreeSet<&String> = settings.iter().flat_map(|settings| settings.0.keys()).collect();
    let differs = |key: &&String| {
        let mut values = settings.iter().map(|settings| settings.get(key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    keys.into_iter().filter(|key| *key != "name").filter(differs).cloned().collect()
}

/// A name for each group of arms: the arm's, and where several have one name, what sets them apart.
pub(super) fn labels(arms: &[&str], settings: &[&Settings]) -> Vec<String> {
    let label = |place: usize| {
        let same: Vec<&Settings> = (0..arms.len()).filter(|&i| arms[i] == arms[place]).map(|i| settings[i]).collect();
        if same.len() < 2 {
            return arms[place].to_owned();
        }
        let apart = differing(&same);
        let values = apart.iter().take(4).map(|key| {
            // The last part of a key is enough for a reader, unless two keys end alike.
            let short = key.rsplit('.').next().unwrap_or(key);
            let alike = apart.iter().filter(|other| other.rsplit('.').next() == Some(short)).count();
            let name = if alike > 1 { key.as_str() } else { short };
            format!("{name} {}", settings[place].get(key).unwrap_or("–"))
        });
        format!("{} ({})", arms[place], values.collect::<Vec<_>>().join(", "))
    };
    (0..arms.len()).map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::new(&text.parse().expect("it is TOML"))
    }

    #[test]
    fn arms_of_one_name_are_told_apart_by_what_differs() {
        let all = [
            settings("name = 'a'\nseed = 1\ngraph.agents = 8\ntrain.batch_size = 10"),
            settings("name = 'a'\nseed = 2\ngraph.agents = 16\ntrain.batch_size = 10"),
            settings("name = 'b'\nseed = 2\ngraph.agents = 16\ntrain.batch_size = 20"),
        ];
        let all: Vec<&Settings> = all.iter().collect();
        assert_eq!(labels(&["a", "a", "b"], &all), ["a (agents 8)", "a (agents 16)", "b"]);
        assert_eq!(differing(&all), ["graph.agents", "train.batch_size"]);
    }

    #[test]
    fn the_seed_sets_nothing_apart() {
        assert_eq!(settings("seed = 1\nmethod = 'x'"), settings("seed = 2\nmethod = 'x'"));
        assert_ne!(settings("method = 'x'"), settings("method = 'y'"));
    }
}
