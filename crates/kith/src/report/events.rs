//! Reads `metrics.jsonl`, an event at a time, into curves of bounded size.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use kith_core::Key;
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as KeyError, StrDeserializer};

use super::ReportError;

/// A line of `metrics.jsonl`.
#[derive(Debug, Deserialize)]
pub(crate) struct EventLine<'a> {
    #[serde(borrow)]
    pub(crate) arm: Cow<'a, str>,
    #[serde(default)]
    pub(crate) agent: Option<u32>,
    pub(crate) task: u32,
    pub(crate) round: u64,
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    #[serde(default)]
    pub(crate) of: Option<u32>,
    /// None: it was no number.
    pub(crate) value: Option<f64>,
}

/// What a walk through a file met besides events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Lines that are no events.
    pub(crate) strange: u64,
}

/// Hands every event of a file to `visit`. A last line without its end is one that is being written, and left out.
///
/// # Errors
/// A file that cannot be read, and what `visit` says.
pub(super) fn walk(
    path: &Path,
    visit: impl FnMut(&EventLine<'_>) -> Result<(), ReportError>,
) -> Result<Walk, ReportError> {
    walk_until(path, u64::MAX, visit)
}

/// As [`walk`], of the first `bytes` of a file.
///
/// # Errors
/// As [`walk`].
pub(crate) fn walk_until(
    path: &Path,
    bytes: u64,
    mut visit: impl FnMut(&EventLine<'_>) -> Result<(), ReportError>,
) -> Result<Walk, ReportError> {
    let fail = |source| ReportError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(fail)?.take(bytes));
    let (mut line, mut walk) = (Vec::with_capacity(256), Walk::default());
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(fail)? == 0 || line.last() != Some(&b'\n') {
            return Ok(walk);
        }
        match serde_json::from_slice::<EventLine<'_>>(&line) {
            Ok(event) => visit(&event)?,
            Err(_) => walk.strange += 1,
        }
    }
}

/// A value of the group, or the mean over agents, after one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) round: u64,
    pub(super) task: u32,
    count: u32,
    sum: f64,
}

impl Moment {
    pub(super) fn mean(&self) -> f64 {
        self.sum / f64::from(self.count)
    }
}

/// A curve keeps at most so many moments: more are not seen in a picture.
const MOMENTS: usize = 4096;

/// One value over rounds. Runs of the same length keep the same rounds, so that their means can be taken.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    kept: Vec<Moment>,
    current: Option<Moment>,
    seen: usize,
    stride: usize,
}

impl Default for Curve {
    fn default() -> Self {
        Self { kept: Vec::new(), current: None, seen: 0, stride: 1 }
    }
}

impl Curve {
    fn add(&mut self, task: u32, round: u64, value: f64) {
        match &mut self.current {
            Some(moment) if (moment.round, moment.task) == (round, task) => {
                moment.count += 1;
                moment.sum += value;
            }
            _ => {
                self.commit();
                self.current = Some(Moment { round, task, count: 1, sum: value });
            }
        }
    }

    fn commit(&mut self) {
        let Some(moment) = self.current.take() else { return };
        if self.seen.is_multiple_of(self.stride) {
            self.kept.push(moment);
        }
        self.seen += 1;
        if self.kept.len() >= MOMENTS {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.stride *= 2;
        }
    }

    /// The moments, in order; the last one is always there.
    pub(super) fn moments(&self) -> impl DoubleEndedIterator<Item = &Moment> {
        self.kept.iter().chain(&self.current)
    }
}

/// A fault that struck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Struck {
    pub(super) key: Key,
    pub(super) agent: u32,
    /// The other end of a link.
    pub(super) peer: Option<u32>,
    pub(super) round: u64,
    /// Simulated seconds.
    pub(super) seconds: f64,
}

/// What one arm measured over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Curves {
    of: BTreeMap<(Key, Option<u32>), Curve>,
    pub(super) faults: Vec<Struck>,
    /// Events of keys that this version does not know.
    pub(super) unknown: u64,
    pub(super) events: u64,
    /// Last round seen.
    pub(super) rounds: u64,
}

impl Curves {
    fn add(&mut self, event: &EventLine<'_>) {
        self.events += 1;
        self.rounds = self.rounds.max(event.round);
        let word: StrDeserializer<'_, KeyError> = event.key.as_ref().into_deserializer();
        let Ok(key) = Key::deserialize(word) else {
            self.unknown += 1;
            return;
        };
        let Some(value) = event.value else { return };
        if key.is_fault() {
            let (agent, peer) = (event.agent.unwrap_or(0), event.of);
            self.faults.push(Struck { key, agent, peer, round: event.round, seconds: value });
        } else {
            self.of.entry((key, event.of)).or_default().add(event.task, event.round, value);
        }
    }

    /// One curve: `of` says which, where the key has several.
    pub(super) fn curve(&self, key: Key, of: Option<u32>) -> Option<&Curve> {
        self.of.get(&(key, of))
    }

    /// Which curves a key has, ascending.
    pub(super) fn parts(&self, key: Key) -> impl Iterator<Item = (Option<u32>, &Curve)> {
        self.of.range((key, None)..=(key, Some(u32::MAX))).map(|((_, of), curve)| (*of, curve))
    }

    /// `[t][j]`: accuracy on task j when task t was last tested, mean over agents; as far as it goes.
    pub(super) fn accuracy_matrix(&self) -> Vec<Vec<f64>> {
        let mut matrix: Vec<Vec<f64>> = Vec::new();
        for (of, curve) in self.parts(Key::Accuracy) {
            let of = of.unwrap_or(0) as usize;
            for moment in curve.moments().filter(|moment| moment.task as usize >= of) {
                let task = moment.task as usize;
                // Nobody learns so many tasks: the file is not what it should be.
                if task > 10_000 {
                    continue;
                }
                matrix.resize_with(matrix.len().max(task + 1), Vec::new);
                let row = &mut matrix[task];
                row.resize(row.len().max(of + 1), f64::NAN);
                row[of] = moment.mean();
            }
        }
        matrix
    }

    /// Last round of every task that was tested.
    pub(super) fn task_ends(&self) -> Vec<f64> {
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, curve) in self.parts(Key::Accuracy) {
            for moment in curve.moments() {
                let end = ends.entry(moment.task).or_default();
                *end = moment.round.max(*end);
            }
        }
        ends.into_values().map(|round| round as f64).collect()
    }
}

/// The curves of each arm of a run.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn curves(path: &Path) -> Result<(BTreeMap<String, Curves>, Walk), ReportError> {
    let mut arms: Vec<(String, Curves)> = Vec::new();
    let walk = walk(path, |event| {
        // Events of an arm follow each other.
        let place = match arms.last() {
            Some((name, _)) if *name == event.arm => arms.len() - 1,
            _ => arms.iter().position(|(name, _)| *name == event.arm).unwrap_or_else(|| {
                arms.push((event.arm.clone().into_owned(), Curves::default()));
                arms.len() - 1
            }),
        };
        arms[place].1.add(event);
        Ok(())
    })?;
    Ok((arms.into_iter().collect(), walk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (BTreeMap<String, Curves>, Walk) {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        std::fs::write(file.path(), text).expect("it can be written");
        curves(file.path()).expect("it can be read")
    }

    #[test]
    fn agents_are_averaged_and_a_line_that_is_being_written_is_left_out() {
        let (arms, walk) = read(concat!(
            "{\"arm\":\"a\",\"agent\":0,\"task\":0,\"round\":4,\"key\":\"accuracy\",\"of\":0,\"value\":0.5}\n",
            "{\"arm\":\"a\",\"agent\":1,\"task\":0,\"round\":4,\"key\":\"accuracy\",\"of\":0,\"value\":0.7}\n",
            "not an event\n",
            "{\"arm\":\"a\",\"task\":0,\"round\":4,\"key\":\"of_a_later_version\",\"value\":1.0}\n",
            "{\"arm\":\"a\",\"task\":1,\"round\":9,\"key\":\"train_loss\",\"value\":null}\n",
            "{\"arm\":\"a\",\"agent\":0,\"task\":1,\"round\":9,\"key\":\"accuracy\",\"of\":0,\"val",
        ));
        let curves = &arms["a"];
        assert_eq!((walk.strange, curves.unknown, curves.events), (1, 1, 4));
        let matrix = curves.accuracy_matrix();
        assert_eq!(matrix.len(), 1);
        assert!((matrix[0][0] - 0.6).abs() < 1e-12);
        assert_eq!(curves.task_ends(), [4.0]);
    }

    #[test]
    fn a_long_curve_stays_small_and_keeps_its_ends() {
        let mut curve = Curve::default();
        for round in 0..100_000 {
            curve.add(0, round, round as f64);
        }
        let rounds: Vec<u64> = curve.moments().map(|moment| moment.round).collect();
        assert!(rounds.len() <= MOMENTS + 1, "{}", rounds.len());
        assert_eq!((rounds[0], rounds[rounds.len() - 1]), (0, 99_999));
        assert!(rounds.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
