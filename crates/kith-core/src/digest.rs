//! SHA-256 digests of parameters, bases and traces.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 digest; shown and stored as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut digester = Digester::default();
        digester.bytes(bytes);
        digester.finish()
    }

    /// The first eight bytes as a number: enough to tell digests apart in a frame header.
    #[must_use]
    pub fn short(&self) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(word)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl JsonSchema for Digest {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut digest = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(D::Error::custom("a digest is 64 hexadecimal digits"));
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(D::Error::custom)?;
        }
        Ok(Self(digest))
    }
}

/// Builds a digest piece by piece.
#[derive(Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// Adds numbers as little-endian bits, so that equal digests mean equal bits.
    pub fn floats(&mut self, floats: &[f32]) {
        let mut buffer = [0_u8; 4096];
        for chunk in floats.chunks(1024) {
            for (bytes, float) in buffer.chunks_exact_mut(4).zip(chunk) {
                bytes.copy_from_slice(&float.to_le_bytes());
            }
            self.0.update(&buffer[..chunk.len() * 4]);
        }
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_standards() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), expected);
        let json = serde_json::to_string(&Digest::of(b"abc")).expect("a digest serialises");
        assert_eq!(serde_json::from_str::<Digest>(&json).expect("and comes back"), Digest::of(b"abc"));
    }

    #[test]
    fn floats_are_digested_by_their_bits() {
        let digest = |floats: &[f32]| {
            let mut digester = Digester::default();
            digester.floats(floats);
            digester.finish()
        };
        assert_ne!(digest(&[0.0]), digest(&[-0.0]));
        let many: Vec<f32> = (0..3000_u16).map(f32::from).collect();
        let mut split = Digester::default();
        split.floats(&many[..1024]);
        split.floats(&many[1024..]);
        assert_eq!(digest(&many), split.finish());
    }
}
