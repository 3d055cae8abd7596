//! Training as a file says it.

use std::borrow::Cow;
use std::fmt;

use kith_core::{Digest, Schedule};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The `[train]` table.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// Passes over the agent's data in each task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 5)]
    pub epochs_per_task: Option<u64>,
    /// Exchanges in each task, in place of epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 200)]
    pub rounds_per_task: Option<u64>,
    /// Samples in a minibatch.
    pub batch_size: usize,
    /// Minibatch updates between exchanges.
    pub local_steps: u64,
    /// Learning rate η.
    pub learning_rate: Schedule,
    /// Evaluate after every so many epochs, for the curves; tasks' ends are always evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1)]
    pub evaluate_every: Option<u64>,
    /// Whether every agent starts with the same weights.
    pub same_start: bool,
    /// Share of the agents, drawn anew each round, that take part in it, in (0, 1]; the others stand still.
    pub participation: f64,
    /// Whether tasks are tested before they are learned too, and all before anything is: what forward transfer needs.
    pub forward_transfer: bool,
    /// Weights that all agents start with, in place of drawn ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "weights.safetensors")]
    pub start_from: Option<StartFrom>,
}

/// A file of weights. In a file of an experiment: its path, or the path and what it must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartFrom {
    /// Where it lies.
    pub file: String,
    /// SHA-256 of its bytes; filled in where an experiment does not give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// The table form of [`StartFrom`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Fields {
    /// Where it lies, relative to the experiment file.
    #[schemars(example = "weights.safetensors")]
    file: String,
    /// SHA-256 that its bytes must have.
    #[serde(default)]
    #[schemars(example = "0".repeat(64))]
    sha256: Option<Digest>,
}

impl JsonSchema for StartFrom {
    fn schema_name() -> Cow<'static, str> {
        "StartFrom".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// A safetensors file: its path, or the path and what it must hold.
        #[derive(JsonSchema)]
        #[serde(untagged)]
        #[expect(dead_code, reason = "stands for the two forms in the schema alone")]
        enum Forms {
            /// Its path, relative to the experiment file.
            Path(String),
            /// Path and checksum.
            Table(Fields),
        }
        Forms::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for StartFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = StartFrom;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file name or a table with `file` and `sha256`")
            }

            fn visit_str<E>(self, file: &str) -> Result<StartFrom, E> {
                Ok(StartFrom { file: file.to_owned(), sha256: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StartFrom, A::Error> {
                let Fields { file, sha256 } = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(StartFrom { file, sha256 })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            epochs_per_task: None,
            rounds_per_task: None,
            batch_size: 10,
            local_steps: 1,
            learning_rate: Schedule::Constant(0.01),
            evaluate_every: None,
            same_start: true,
            participation: 1.0,
            forward_transfer: false,
            start_from: None,
        }
    }
}
