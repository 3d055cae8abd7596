//! Every key of an experiment file, read off the JSON Schema.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::json_schema;

/// Tables that a method's preset fills in where a file says nothing.
const OF_THE_METHOD: [&str; 5] = ["oracle", "chain", "exchange", "memory", "continual"];

/// One key of an experiment file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Key {
    /// Dotted path. Capitals stand for a name that a file chooses.
    pub path: String,
    /// What it does.
    pub meaning: String,
    /// What kind of value it takes.
    pub accepts: String,
    /// What it is where a file says nothing.
    pub default: String,
    /// The values that it takes, if they are few.
    pub choices: Vec<Choice>,
    /// Kinds of its table that have it; empty if all do.
    pub kinds: Vec<String>,
    /// How it looks in a file.
    pub example: Option<String>,
}

/// A value that a key takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// As a file writes it, without quotes.
    pub value: String,
    /// What it means.
    pub meaning: String,
}

/// Every key, tables among them, in the order of their paths.
#[must_use]
pub fn keys() -> Vec<Key> {
    let root = json_schema();
    let mut walk = Walk { root: &root, keys: Vec::new(), open: Vec::new() };
    if let Some(all) = root.as_object() {
        walk.table(all, &Place { up: None, key: "", shape: Shape::Table });
    }
    let mut keys = walk.keys;
    keys.sort_by(|one, other| one.path.cmp(&other.path));
    keys
}

/// Where a key stands in a file.
struct Place<'a> {
    up: Option<&'a Place<'a>>,
    key: &'a str,
    shape: Shape,
}

/// How the keys of a place are written.
#[derive(Clone)]
enum Shape {
    /// Under a header `[a.b]`.
    Table,
    /// Under a header `[[a.b]]`, beside these.
    List(Map<String, Value>),
    /// In braces, beside these.
    Braces(Map<String, Value>),
    /// In braces in a list.
    BracesInList(Map<String, Value>),
}

impl Place<'_> {
    fn path(&self) -> String {
        match self.up.map(Place::path) {
            Some(up) if !up.is_empty() => format!("{up}.{}", self.key),
            _ => self.key.to_owned(),
        }
    }

    /// Whether its keys stand in braces, where there are no headers.
    fn in_braces(&self) -> bool {
        matches!(self.shape, Shape::Braces(_) | Shape::BracesInList(_))
    }

    /// The path with names where a file chooses them.
    fn header(&self) -> String {
        let named = |part| match part {
            "ARM" => "codec",
            "NUMBER" => "average_accuracy",
            part => part,
        };
        self.path().split('.').map(named).collect::<Vec<_>>().join(".")
    }

    /// `key = value` here, as a file has it.
    fn written(&self, key: &str, value: &Value) -> String {
        let beside = |others: &Map<String, Value>| {
            let mut all = others.clone();
            all.insert(key.to_owned(), value.clone());
            all
        };
        let header = match &self.shape {
            Shape::Table if self.up.is_none() => String::new(),
            Shape::Table => format!("[{}]\n", self.header()),
            Shape::List(others) => return self.entry(&beside(others)),
            Shape::Braces(others) => return self.outer(&Value::Object(beside(others))),
            Shape::BracesInList(others) => return self.outer(&json!([beside(others)])),
        };
        format!("{header}{key} = {}", inline(value))
    }

    fn outer(&self, value: &Value) -> String {
        self.up.map_or_else(String::new, |up| up.written(self.key, value))
    }

    /// The keys of an entry that must be there, one a line.
    fn entry(&self, keys: &Map<String, Value>) -> String {
        let lines: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
        format!("[[{}]]\n{}", self.path(), lines.join("\n"))
    }
}

/// A value on one line of TOML.
pub(super) fn inline(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(inline).collect::<Vec<_>>().join(", ");
    match value {
        Value::Array(items) => format!("[{}]", list(items)),
        Value::Object(entries) => {
            let plain = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let name = |key: &String| if plain(key) { key.clone() } else { format!("\"{key}\"") };
            // What says which table it is comes first.
            let (first, rest): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| *key == "kind");
            let entry = |(key, value): &(&String, &Value)| format!("{} = {}", name(key), inline(value));
            let entries: Vec<String> = first.iter().chain(&rest).map(entry).collect();
            if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
        }
        scalar => scalar.to_string(),
    }
}

struct Walk<'a> {
    root: &'a Value,
    keys: Vec<Key>,
    /// Definitions that the walk is inside of: a schedule may hold a schedule.
    open: Vec<String>,
}

impl<'a> Walk<'a> {
    /// A schema and what it refers to, from the outside in, with the names of definitions on the way.
    fn chain(&self, schema: &'a Value) -> (Vec<&'a Map<String, Value>>, Vec<String>) {
        let (mut chain, mut names) = (Vec::new(), Vec::new());
        let mut next = Some(schema);
        while let Some(object) = next.and_then(Value::as_object) {
            chain.push(object);
            let inner = object.get("allOf").and_then(|all| all.get(0));
            next = match object.get("$ref").or_else(|| inner?.get("$ref")).and_then(Value::as_str) {
                Some(reference) => {
                    names.push(reference.to_owned());
                    self.root.pointer(reference.trim_start_matches('#'))
                }
                None => inner,
            };
        }
        (chain, names)
    }

    /// The definitions that a key's values are made of.
    fn names(&self, schema: &'a Value) -> Vec<String> {
        let mut names = self.chain(schema).1;
        names.extend(self.facet(schema, "items").map(|items| self.chain(items).1).into_iter().flatten());
        names
    }

    fn facet(&self, schema: &'a Value, name: &str) -> Option<&'a Value> {
        self.chain(schema).0.iter().find_map(|object| object.get(name))
    }

    /// The alternatives of a schema, each without alternatives of its own.
    fn forms(&self, schema: &'a Value) -> Vec<&'a Value> {
        let alternatives =
            self.facet(schema, "anyOf").or_else(|| self.facet(schema, "oneOf")).and_then(Value::as_array);
        match alternatives {
            Some(alternatives) => {
                let real = alternatives.iter().filter(|form| form.get("not").is_none());
                real.flat_map(|form| self.forms(form)).collect()
            }
            None => vec![schema],
        }
    }

    /// The keys of a table, and all below them.
    fn table(&mut self, object: &'a Map<String, Value>, place: &Place<'_>) {
        let required = object.get("required").and_then(Value::as_array);
        for (key, schema) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if key == "kind" && schema.get("const").is_some() {
                continue;
            }
            let must = required.is_some_and(|required| required.iter().any(|one| one == key));
            // `{ clip = 1.0 }`: what the table is for is what its one key is for.
            let above = object.get("description").and_then(Value::as_str);
            self.key((key, above), schema, must, place);
        }
    }

    /// One key; `above` is what its table does, for a key that does not say.
    fn key(&mut self, (key, above): (&str, Option<&str>), schema: &'a Value, must: bool, place: &Place<'_>) {
        let here = Place { up: Some(place), key, shape: Shape::Table };
        let path = here.path();
        let kinds = match &place.shape {
            Shape::Braces(others) | Shape::BracesInList(others) => others.get("kind").and_then(Value::as_str),
            _ => None,
        };
        let kinds: Vec<String> = kinds.into_iter().map(str::to_owned).collect();
        let own = self.facet(schema, "description").and_then(Value::as_str);
        let meaning = own.or(above).unwrap_or_default().to_owned();
        if let Some(known) = self.keys.iter_mut().find(|known| known.path == path) {
            if !known.meaning.starts_with(&meaning) {
                known.meaning = format!("{} For {}: {meaning}", known.meaning, kinds.join(", "));
            }
            known.kinds.extend(kinds);
            return;
        }
        let example = match self.example(schema) {
            Some(Value::Array(items)) if !place.in_braces() && self.is_list_of_tables(schema) => {
                items.first().and_then(Value::as_object).map(|entry| here.entry(entry))
            }
            value => value.map(|value| place.written(key, &value)),
        };
        let default = self.default(&path, schema, must);
        let (accepts, choices) = (self.accepts(schema), self.choices(schema));
        self.keys.push(Key { path, meaning, accepts, default, choices, kinds, example });
        let names = self.names(schema);
        if names.iter().any(|name| self.open.contains(name)) {
            // A schedule that holds a schedule, a layer that holds layers: its keys are listed above.
            return;
        }
        let before = self.open.len();
        self.open.extend(names);
        self.below(schema, place, key);
        self.open.truncate(before);
    }

    /// What can be written below a key.
    fn below(&mut self, schema: &'a Value, up: &Place<'_>, key: &str) {
        let list = self.facet(schema, "items").filter(|_| self.facet(schema, "prefixItems").is_none());
        let inner = list.unwrap_or(schema);
        let forms = self.forms(inner);
        let alone = forms.len() == 1;
        for form in forms {
            let chain = self.chain(form).0;
            if let Some(object) = chain.iter().find(|object| object.contains_key("properties")).copied() {
                let fixed = self.required(object);
                let shape = match (alone && !up.in_braces(), list.is_some()) {
                    (true, false) => Shape::Table,
                    (true, true) if key != "arm" => Shape::List(fixed),
                    (true, true) => {
                        // An arm has every key of a run; only its name is its own.
                        self.arm_name(object, up);
                        continue;
                    }
                    (false, false) => Shape::Braces(fixed),
                    (false, true) => Shape::BracesInList(fixed),
                };
                self.table(object, &Place { up: Some(up), key, shape });
            } else if let Some(names) = self.facet(schema, "x-names").and_then(Value::as_array) {
                self.named(schema, names, &Place { up: Some(up), key, shape: Shape::Table });
            }
        }
    }

    fn arm_name(&mut self, object: &'a Map<String, Value>, up: &Place<'_>) {
        if let Some(name) = object.get("properties").and_then(|keys| keys.get("name")) {
            self.key(("name", None), name, true, &Place { up: Some(up), key: "arm", shape: Shape::List(Map::new()) });
        }
    }

    /// Tables whose keys a file chooses.
    fn named(&mut self, schema: &'a Value, names: &[Value], place: &Place<'_>) {
        let (Some((name, rest)), Some(inner)) = (names.split_first(), self.facet(schema, "additionalProperties"))
        else {
            return;
        };
        let name = name.as_str().unwrap_or("NAME");
        let below = Place { up: Some(place), key: name, shape: Shape::Table };
        if rest.is_empty() {
            self.below(inner, place, name);
        } else {
            self.named(inner, rest, &below);
        }
    }

    /// Values of the keys that a table must have.
    fn required(&self, object: &'a Map<String, Value>) -> Map<String, Value> {
        let names = object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let value = |name| Some((str::to_owned(name), self.example(object.get("properties")?.get(name)?)?));
        names.filter_map(value).collect()
    }

    fn is_list_of_tables(&self, schema: &'a Value) -> bool {
        let Some(items) = self.facet(schema, "items") else { return false };
        let forms = self.forms(items);
        forms.iter().all(|form| self.facet(form, "properties").is_some())
            && forms.iter().all(|form| self.facet(form, "additionalProperties") == Some(&Value::Bool(false)))
            && (forms.len() == 1 || forms.iter().all(|form| self.constant(form, "kind").is_some()))
    }

    fn constant(&self, form: &'a Value, key: &str) -> Option<&'a Value> {
        self.facet(form, "properties")?.get(key)?.get("const")
    }

    /// A value that is good, if the schema knows one.
    fn example(&self, schema: &'a Value) -> Option<Value> {
        if let Some(example) = self.facet(schema, "examples").and_then(|all| all.get(0)) {
            return Some(example.clone());
        }
        let forms = self.forms(schema);
        let whole = |value: &&Value| {
            !value.as_object().is_some_and(Map::is_empty) && !value.as_array().is_some_and(Vec::is_empty)
        };
        if let Some(default) = self.facet(schema, "default").filter(whole).filter(|value| !value.is_object()) {
            return Some(default.clone());
        }
        let form = forms.first()?;
        if let Some(value) = self.facet(form, "const").or_else(|| self.facet(form, "enum")?.get(0)) {
            return Some(value.clone());
        }
        match self.facet(form, "type")?.as_str()? {
            "boolean" => Some(true.into()),
            "array" => Some(json!([self.example(self.facet(form, "items")?)?])),
            "object" => {
                let object = self.chain(form).0.into_iter().find(|object| object.contains_key("properties"))?;
                let required = self.required(object);
                if !required.is_empty() {
                    return Some(Value::Object(required));
                }
                let (key, schema) = object.get("properties")?.as_object()?.iter().next()?;
                Some(json!({ key: self.example(schema)? }))
            }
            _ => None,
        }
    }

    fn default(&self, path: &str, schema: &'a Value, must: bool) -> String {
        if must {
            return "none: it must be given".to_owned();
        }
        match self.facet(schema, "default") {
            _ if OF_THE_METHOD.iter().any(|table| path.split('.').next() == Some(table)) => "the method's".to_owned(),
            Some(Value::Object(_)) | None if path == "method" => {
                "none: it must be given, for all arms or for each".to_owned()
            }
            Some(Value::Object(_)) | None => "absent".to_owned(),
            Some(value) => inline(value),
        }
    }

    fn choices(&self, schema: &'a Value) -> Vec<Choice> {
        let mut choices = Vec::new();
        let items = self.facet(schema, "items").unwrap_or(schema);
        for form in self.forms(items) {
            let meaning = self.facet(form, "description").and_then(Value::as_str).unwrap_or_default();
            let one = |value: &Value| Choice {
                value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
                meaning: meaning.to_owned(),
            };
            if let Some(value) = self.facet(form, "const") {
                choices.push(one(value));
            } else if let Some(values) = self.facet(form, "enum").and_then(Value::as_array) {
                choices.extend(values.iter().map(|value| Choice { meaning: String::new(), ..one(value) }));
            } else if let Some(kind) = self.constant(form, "kind").or_else(|| self.constant_free(form)) {
                choices.push(one(kind));
            } else if let Some(name) = self.only_key(form) {
                choices.push(Choice { value: format!("{{ {name} = … }}"), meaning: meaning.to_owned() });
            }
        }
        choices
    }

    /// The kind of a table that has no other keys.
    fn constant_free(&self, form: &'a Value) -> Option<&'a Value> {
        self.facet(form, "properties")?.get("kind")?.get("enum")?.get(0)
    }

    /// The one key of a table that says by it what it is: `{ clip = 1.0 }`.
    fn only_key(&self, form: &'a Value) -> Option<&'a str> {
        let [one] = self.facet(form, "required")?.as_array()?.as_slice() else { return None };
        let keys = self.facet(form, "properties")?.as_object()?;
        (keys.len() == 1).then_some(one.as_str()).flatten()
    }

    /// The kind of value in words.
    fn accepts(&self, schema: &'a Value) -> String {
        let mut words: Vec<String> = Vec::new();
        for form in self.forms(schema) {
            let word = self.word(form);
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(", or ")
    }

    fn word(&self, form: &'a Value) -> String {
        if self.facet(form, "const").or_else(|| self.facet(form, "enum")).is_some() {
            return "a name".to_owned();
        }
        match self.facet(form, "type").and_then(Value::as_str) {
            Some("integer") if self.facet(form, "minimum").is_some() => "a whole number from 0".to_owned(),
            Some("integer") => "a whole number".to_owned(),
            Some("number") => "a number".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("string") if self.facet(form, "pattern").is_some() => "64 hexadecimal digits".to_owned(),
            Some("string") => "a text".to_owned(),
            Some("array") => {
                let items = self.facet(form, "items");
                let count = self.facet(form, "minItems").filter(|least| Some(*least) == self.facet(form, "maxItems"));
                let of = match items {
                    Some(Value::Array(items)) => items.first().map(|item| self.accepts(item)),
                    items => items.map(|item| self.accepts(item)),
                };
                let count = count.map_or_else(String::new, |count| format!("{count} of "));
                of.map_or_else(|| "a list".to_owned(), |of| format!("a list of {count}({of})"))
            }
            Some("object") => "a table".to_owned(),
            _ => "any value".to_owned(),
        }
    }
}
