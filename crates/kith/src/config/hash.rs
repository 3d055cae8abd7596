//! The experiment hash: SHA-256 over canonical JSON.

use std::fmt::Write as _;

use kith_core::Digest;
use serde::Serialize;
use serde_json::Value;

/// The digest of a value's canonical JSON: keys sorted, no white space.
///
/// # Errors
/// A value that JSON cannot hold.
pub(crate) fn digest(value: &impl Serialize) -> Result<Digest, serde_json::Error> {
    let mut text = String::new();
    canonical(&serde_json::to_value(value)?, &mut text);
    Ok(Digest::of(text.as_bytes()))
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            text.push('{');
            for (place, key) in keys.into_iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                let _ = write!(text, "{comma}{}:", Value::from(key.as_str()));
                canonical(&map[key], text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_change_the_digest() {
        let one: Value = serde_json::from_str(r#"{"b":[1,2.5],"a":{"d":null,"c":"x"}}"#).expect("it is JSON");
        let two: Value = serde_json::from_str(r#"{"a":{"c":"x","d":null},"b":[1,2.5]}"#).expect("it is JSON");
        let digest_of = |value| digest(value).expect("JSON holds JSON");
        assert_eq!(digest_of(&one), digest_of(&two));
        assert_eq!(digest_of(&one), Digest::of(br#"{"a":{"c":"x","d":null},"b":[1,2.5]}"#));
    }
}
