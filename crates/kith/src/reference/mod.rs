//! What can be looked up: every key of an experiment file, every method, every command. One source, the types and their comments,
//! stands behind the JSON Schema, `kith explain` and the reference pages.

mod keys;
mod pages;

use kith_method::Preset;

pub use keys::{Choice, Key, keys};
pub use pages::pages;
pub(crate) use pages::parts;

use crate::config::closest;

/// What a word of `kith explain` names.
#[derive(Clone, Debug)]
pub enum Found {
    /// One key.
    Key(Box<Key>),
    /// Several keys that end in the word.
    Several(Vec<Key>),
    /// A method.
    Method(Preset),
}

/// A word that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key or method is called `{word}`; {hint}")]
pub struct Unknown {
    word: String,
    hint: String,
}

/// Looks a word up: a key's path, also below an arm or in a list (`arm.codec.train.batch_size`, `faults.0.round`); the end of one; or a
/// method.
///
/// # Errors
/// A word that is none of these, with the nearest that is.
pub fn look_up(word: &str) -> Result<Found, Unknown> {
    let all = keys();
    let segments: Vec<&str> = word
        .trim_matches(['[', ']'])
        .split('.')
        .map(str::trim)
        .filter(|segment| segment.parse::<usize>().is_err())
        .collect();
    let direct = |segments: &[&str]| all.iter().find(|key| fits(&key.path, segments)).cloned();
    let below_arm = |segments: &[&str]| match segments {
        ["arm", _, rest @ ..] if !rest.is_empty() => direct(rest).or_else(|| direct(&segments[1..])),
        ["arm", rest @ ..] => direct(rest),
        _ => None,
    };
    if let Some(key) = direct(&segments).or_else(|| below_arm(&segments)) {
        return Ok(Found::Key(Box::new(key)));
    }
    let method = segments.strip_prefix(&["method"]).unwrap_or(&segments);
    if let Some(preset) = Preset::ALL.into_iter().find(|preset| method == [preset.name()]) {
        return Ok(Found::Method(preset));
    }
    let mut ending: Vec<Key> = all.iter().filter(|key| ends(&key.path, &segments)).cloned().collect();
    match ending.len() {
        0 => Err(unknown(word, &segments, &all)),
        1 => Ok(Found::Key(Box::new(ending.remove(0)))),
        _ => Ok(Found::Several(ending)),
    }
}

/// Whether a path is these segments; a part in capitals stands for any name.
fn fits(path: &str, segments: &[&str]) -> bool {
    let named = |part: &str| part.chars().all(|c| c.is_ascii_uppercase());
    path.split('.').count() == segments.len()
        && path.split('.').zip(segments).all(|(part, segment)| part == *segment || named(part))
}

fn ends(path: &str, segments: &[&str]) -> bool {
    let parts: Vec<&str> = path.split('.').collect();
    parts.ends_with(segments)
}

fn unknown(word: &str, segments: &[&str], all: &[Key]) -> Unknown {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let whole = segments.join(".");
    let by_path = closest(&whole, all.iter().map(|key| key.path.as_str())).map(str::to_owned);
    let by_end = || {
        let ends: Vec<String> = all.iter().map(|key| last(&key.path)).collect();
        let near = closest(segments.last().copied().unwrap_or_default(), ends.iter().map(String::as_str))?.to_owned();
        all.iter().find(|key| last(&key.path) == near).map(|key| key.path.clone())
    };
    let by_method = || closest(&whole, Preset::ALL.map(Preset::name)).map(str::to_owned);
    let near = by_path.or_else(by_method).or_else(by_end);
    let hint =
        near.map_or_else(String::new, |near| format!("did you mean `{near}`? ")) + "`kith explain` lists all keys";
    Unknown { word: word.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(word: &str) -> String {
        match look_up(word).expect("it is there") {
            Found::Key(key) => key.path,
            other => panic!("{other:?} is no key"),
        }
    }

    #[test]
    fn a_key_is_found_by_its_path_below_an_arm_in_a_list_and_by_its_end() {
        assert_eq!(path("train.batch_size"), "train.batch_size");
        assert_eq!(path("arm.codec.train.batch_size"), "train.batch_size");
        assert_eq!(path("faults.0.round"), "faults.round");
        assert_eq!(path("[train]"), "train");
        assert_eq!(path("epochs_per_task"), "train.epochs_per_task");
        assert_eq!(path("expect.codec.average_accuracy.min"), "expect.ARM.NUMBER.min");
        assert!(matches!(look_up("consensus_rounds"), Ok(Found::Several(keys)) if keys.len() == 2));
        assert!(matches!(look_up("method.q-saddle"), Ok(Found::Method(Preset::QSaddle))));
        assert!(matches!(look_up("codec"), Ok(Found::Method(Preset::Codec))));
    }

    #[test]
    fn a_mistyped_word_is_answered_with_the_nearest() {
        let hint = |word: &str| look_up(word).map(|_| String::new()).unwrap_or_else(|error| error.to_string());
        assert!(hint("train.bach_size").contains("did you mean `train.batch_size`?"), "{}", hint("train.bach_size"));
        assert!(hint("q-sadle").contains("did you mean `q-saddle`?"));
        assert!(hint("energy_treshold").contains("did you mean `memory.energy_threshold`?"));
        assert!(!hint("xyzzy").contains("did you mean"));
    }

    #[test]
    fn every_key_says_what_it_does_what_it_takes_and_how_it_looks() {
        let all = keys();
        assert!(all.len() > 150, "{} keys", all.len());
        let bare: Vec<&str> = all
            .iter()
            .filter(|key| key.example.is_none() || key.accepts == "any value" || key.accepts.is_empty())
            .map(|key| key.path.as_str())
            .collect();
        assert_eq!(bare, [""; 0]);
        let silent: Vec<&str> = all.iter().filter(|key| key.meaning.is_empty()).map(|key| key.path.as_str()).collect();
        assert_eq!(silent, [""; 0]);
    }
}
