//! As much of JSON Schema, draft 7, as the schema of experiment files uses; any other word in it is an error here.

use serde_json::{Map, Value};

/// Words that say nothing about validity.
const SILENT: [&str; 8] =
    ["$schema", "title", "description", "default", "examples", "definitions", "x-names", "format"];

/// Why a value does not fit, or nothing.
pub(crate) fn problem(root: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    let rules = match schema {
        Value::Bool(true) => return None,
        Value::Bool(false) => return Some(format!("{path}: nothing is accepted")),
        Value::Object(rules) => rules,
        other => panic!("{other} is no schema"),
    };
    rules.iter().filter(|(word, _)| !SILENT.contains(&word.as_str())).find_map(|(word, rule)| {
        let inner = |schema: &Value| problem(root, schema, value, path);
        let refuse = |holds: bool| (!holds).then(|| format!("{path}: {value} against {word} = {rule}"));
        let list = || rule.as_array().expect("a list").iter();
        let accepted = || list().filter(|schema| inner(schema).is_none()).count();
        match word.as_str() {
            "$ref" => {
                inner(root.pointer(rule.as_str().expect("a text").trim_start_matches('#')).expect("it is defined"))
            }
            "allOf" => list().find_map(inner),
            "anyOf" => refuse(accepted() > 0),
            "oneOf" => refuse(accepted() == 1),
            "not" => refuse(inner(rule).is_some()),
            "type" => refuse(is(value, rule.as_str().expect("one type"))),
            "const" => refuse(value == rule),
            "enum" => refuse(list().any(|one| one == value)),
            "minimum" => refuse(value.as_f64().is_none_or(|number| Some(number) >= rule.as_f64())),
            "maximum" => refuse(value.as_f64().is_none_or(|number| Some(number) <= rule.as_f64())),
            "minItems" => refuse(value.as_array().is_none_or(|items| Some(items.len() as u64) >= rule.as_u64())),
            "maxItems" => refuse(value.as_array().is_none_or(|items| Some(items.len() as u64) <= rule.as_u64())),
            "pattern" => {
                assert_eq!(rule, "^[0-9a-fA-F]{64}$");
                let hex = |text: &str| text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
                refuse(value.as_str().is_none_or(hex))
            }
            "items" => items(root, rule, value, path),
            "required" => match value.as_object() {
                Some(table) => refuse(list().all(|key| table.contains_key(key.as_str().expect("a text")))),
                None => None,
            },
            "properties" | "additionalProperties" | "propertyNames" if !value.is_object() => None,
            "properties" | "additionalProperties" => keys(root, rules, word, value, path),
            "propertyNames" => value
                .as_object()
                .into_iter()
                .flatten()
                .find_map(|(key, _)| problem(root, rule, &Value::from(key.as_str()), &format!("{path}.{key}"))),
            word => panic!("{path}: the validator does not know {word}"),
        }
    })
}

fn items(root: &Value, rule: &Value, value: &Value, path: &str) -> Option<String> {
    let entries = value.as_array()?.iter().enumerate();
    entries.into_iter().find_map(|(place, entry)| {
        let schema = rule.as_array().map_or(Some(rule), |each| each.get(place))?;
        problem(root, schema, entry, &format!("{path}[{place}]"))
    })
}

fn keys(root: &Value, rules: &Map<String, Value>, word: &str, value: &Value, path: &str) -> Option<String> {
    let known = rules.get("properties").and_then(Value::as_object);
    value.as_object()?.iter().find_map(|(key, entry)| {
        let own = known.and_then(|known| known.get(key));
        let schema = if word == "properties" { own } else { own.map_or(Some(&rules[word]), |_| None) };
        problem(root, schema?, entry, &format!("{path}.{key}"))
    })
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no such type: {other}"),
    }
}
