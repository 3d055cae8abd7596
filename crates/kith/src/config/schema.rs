//! The JSON Schema of experiment files, made from the types that read them.
//!
//! A schema knows shapes, names and choices; the rules between keys are `kith check`'s. Where presets fill a table in, and where a
//! table is laid over another, a key that the type needs may be left out in a file.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::resolve::FileKeys;
use super::resolved::ResolvedArm;
use super::sweep::SweepKeys;

/// Types that a preset fills in: of their keys a file gives those that it changes.
const FILLED_IN: [&str; 4] = ["Exchange", "Memory", "Consolidation", "Replay"];

/// Types with a `kind`, of which a table without one changes single keys of what stands below it.
const LAID_OVER: [&str; 3] = ["Moving", "Oracle", "Compressor"];

/// The JSON Schema (draft 7, which editors know) of an experiment file.
#[must_use]
pub fn json_schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let mut keys = properties::<FileKeys>(&mut generator);
    let mut arm = properties::<ResolvedArm>(&mut generator);
    let name = arm.remove("name");
    keys.extend(arm.clone());
    arm.extend(name.map(|schema| ("name".to_owned(), schema)));
    keys.insert(
        "arm".to_owned(),
        json!({
            "description": "Runs beside each other: each has a name, and any key of a run, laid over the file's own.",
            "type": "array",
            "items": { "type": "object", "properties": arm, "required": ["name"], "additionalProperties": false },
            "examples": [[{ "name": "codec", "method": "codec" }, { "name": "d-psgd", "method": "d-psgd" }]],
        }),
    );
    let sweep = generator.subschema_for::<SweepKeys>().to_value();
    let description = "Many runs of one file: seeds, grids, paired lists, conditions; `kith sweep` runs them.";
    keys.insert("sweep".to_owned(), json!({ "description": description, "allOf": [sweep] }));
    if let Some(expect) = keys.get_mut("expect") {
        expect["additionalProperties"]["propertyNames"] = json!({ "enum": crate::summary::NUMBERS });
        expect["x-names"] = json!(["ARM", "NUMBER"]);
    }
    let mut definitions = generator.take_definitions(true);
    for (name, definition) in &mut definitions {
        if FILLED_IN.contains(&name.as_str()) {
            definition.as_object_mut().map(|schema| schema.remove("required"));
        }
        if LAID_OVER.contains(&name.as_str())
            && let Some(kinds) = definition.get_mut("oneOf").and_then(Value::as_array_mut)
        {
            kinds.push(json!({ "type": "object", "not": { "required": ["kind"] } }));
        }
    }
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "kith experiment",
        "description": "An experiment of kith: what `kith run` and `kith sweep` read.",
        "type": "object",
        "properties": keys,
        "required": ["name"],
        "additionalProperties": false,
        "definitions": definitions,
    });
    tidy(&mut schema);
    schema
}

/// The schemas of a table's keys.
fn properties<T: JsonSchema>(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut schema = T::json_schema(generator).to_value();
    match schema.get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    }
}

/// TOML has no null, numbers in it have no width, and comments in code are not quite text for a reader of files.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("format").is_some_and(|format| format.as_str().is_some_and(is_width)) {
                object.remove("format");
            }
            // Of a table, its keys say what they are by themselves.
            if object.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
                object.remove("default");
            }
            if object.len() > 1
                && let Some(reference) = object.remove("$ref")
            {
                // Draft 7 ignores what stands beside a reference.
                object.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
            without_null(object);
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = plain(text);
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_width(format: &str) -> bool {
    format.starts_with("uint") || format.starts_with("int") || ["float", "double"].contains(&format)
}

/// An optional key is one that may be left out.
fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(forms)) = object.get_mut("anyOf") else { return };
    let before = forms.len();
    forms.retain(|form| form != &json!({ "type": "null" }));
    if forms.len() == before {
        return;
    }
    if let [_] = forms.as_slice() {
        // A bare reference could stand alone, but draft 7 ignores what stands beside one.
        if let Some(forms) = object.remove("anyOf") {
            object.insert("allOf".to_owned(), forms);
        }
    }
}

/// A comment as text: its lines joined, links as what they name.
fn plain(comment: &str) -> String {
    let mut text = comment.split_whitespace().collect::<Vec<_>>().join(" ").replace("\\[", "[").replace("\\]", "]");
    while let Some((before, rest)) = text.split_once("[`") {
        let Some((name, after)) = rest.split_once("`]") else { break };
        let name = name.rsplit("::").next().unwrap_or(name);
        text = format!("{before}`{name}`{after}");
    }
    text
}
