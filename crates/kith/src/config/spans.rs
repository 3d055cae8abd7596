//! A value tree that knows where each value was written, so that every later error finds its line.

use std::ops::Range;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the experiment file, at these bytes.
    File(Range<usize>),
    /// In the `n`-th flag of the command line.
    Flag(usize),
    /// Nowhere: a preset's or kith's own value.
    Default,
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A TOML value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Switch(bool),
    Array(Vec<Node>),
    Table(Table),
}

/// A table; keys in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table(pub(crate) Vec<Entry>);

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_origin: Origin,
    pub(crate) node: Node,
}

/// A text that is not TOML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) span: Option<Range<usize>>,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.key == key)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let place = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(place))
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        match self.0.iter_mut().find(|other| other.key == entry.key) {
            Some(other) => *other = entry,
            None => self.0.push(entry),
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.key.as_str())
    }
}

impl Node {
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value without its places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Switch(switch) => (*switch).into(),
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(table) => {
                let entries = table.0.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }

    /// What kind of value it is, with its article.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Switch(_) => "true or false",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Where the value at a path was written: the value itself, or its nearest ancestor that was written anywhere.
    pub(crate) fn origin_of(&self, path: &[String]) -> Origin {
        let mut node = self;
        let mut found = Origin::Default;
        for segment in path {
            let (next, key_origin) = match &node.value {
                Value::Table(table) => match table.entry(segment) {
                    Some(entry) => (&entry.node, &entry.key_origin),
                    None => break,
                },
                Value::Array(items) => match segment.parse::<usize>().ok().and_then(|index| items.get(index)) {
                    Some(item) => (item, &item.origin),
                    None => break,
                },
                _ => break,
            };
            let is_table = matches!(next.value, Value::Table(_));
            let origin = if is_table && *key_origin != Origin::Default { key_origin } else { &next.origin };
            if *origin != Origin::Default {
                found = origin.clone();
            }
            node = next;
        }
        found
    }

    /// Where the last key of a path was written, if it is there.
    pub(crate) fn key_origin_of(&self, path: &[String]) -> Option<Origin> {
        let (last, above) = path.split_last()?;
        let table = super::value_at(self, above)?.table()?;
        table.entry(last).map(|entry| entry.key_origin.clone())
    }

    /// A tree of a value that nobody wrote.
    pub(crate) fn from_value(value: &impl Serialize) -> Result<Self, toml::ser::Error> {
        toml::Value::try_from(value).map(Self::unwritten)
    }

    fn unwritten(value: toml::Value) -> Self {
        let value = match value {
            toml::Value::String(text) => Value::Text(text),
            toml::Value::Integer(number) => Value::Integer(number),
            toml::Value::Float(number) => Value::Float(number),
            toml::Value::Boolean(switch) => Value::Switch(switch),
            toml::Value::Datetime(time) => Value::Text(time.to_string()),
            toml::Value::Array(items) => Value::Array(items.into_iter().map(Self::unwritten).collect()),
            toml::Value::Table(table) => Value::Table(Table(
                table
                    .into_iter()
                    .map(|(key, value)| Entry { key, key_origin: Origin::Default, node: Self::unwritten(value) })
                    .collect(),
            )),
        };
        Self { value, origin: Origin::Default }
    }
}

/// Reads TOML; `origin` says where a span of this text lies.
pub(crate) fn parse(text: &str, origin: &dyn Fn(Range<usize>) -> Origin) -> Result<Table, SyntaxError> {
    let document = DeTable::parse(text)
        .map_err(|error| SyntaxError { message: error.message().replace('\n', "; "), span: error.span() })?;
    table(document.into_inner(), origin)
}

fn table(written: DeTable<'_>, origin: &dyn Fn(Range<usize>) -> Origin) -> Result<Table, SyntaxError> {
    let mut entries = Vec::with_capacity(written.len());
    for (key, value) in written {
        let key_origin = origin(key.span());
        entries.push((
            key.span().start,
            Entry { key: key.into_inner().into_owned(), key_origin, node: node(value, origin)? },
        ));
    }
    entries.sort_by_key(|(start, _)| *start);
    Ok(Table(entries.into_iter().map(|(_, entry)| entry).collect()))
}

fn node(written: Spanned<DeValue<'_>>, origin: &dyn Fn(Range<usize>) -> Origin) -> Result<Node, SyntaxError> {
    let span = written.span();
    let bad = |message: String| SyntaxError { message, span: Some(span.clone()) };
    let value = match written.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| bad(format!("{number} does not fit in a 64-bit integer")))?,
        ),
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| bad(format!("{number} is not a number")))?)
        }
        DeValue::Boolean(switch) => Value::Switch(switch),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| node(item, origin)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(entries) => Value::Table(table(entries, origin)?),
    };
    Ok(Node { value, origin: origin(span) })
}
