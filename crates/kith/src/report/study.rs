//! What a report is about: runs, their arms, and which of them are one setting under several seeds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kith_core::Key;
use serde_json::Value;

use super::events::{self, Curves};
use super::settings::{Settings, labels};
use super::{ReportError, find};
use crate::metric::Metric;
use crate::run::{Setup, Setups};
use crate::stats::Spread;
use crate::summary;

/// A run directory.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) path: PathBuf,
    pub(super) experiment: String,
    pub(super) description: Option<String>,
    pub(super) manifest: Value,
    /// What could not be read, in words.
    pub(super) notes: Vec<String>,
    trials: Vec<Trial>,
}

/// Whether an arm ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Finished,
    /// The user stopped it.
    Stopped,
    /// It runs still, or was cut.
    Unfinished,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Unfinished => "unfinished",
        }
    }
}

/// One arm of one run.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// Its run, by number.
    pub(super) run: usize,
    pub(super) arm: String,
    pub(super) seed: u64,
    pub(super) state: State,
    pub(super) settings: Settings,
    /// Numbers of its summary.
    pub(super) numbers: BTreeMap<String, f64>,
    /// `[t][j]`: accuracy on task j after task t.
    pub(super) matrix: Vec<Vec<f64>>,
    /// `[t]`: bytes that an agent sent in the task.
    pub(super) bytes: Vec<f64>,
    /// `[t]`: consensus distance after the task.
    pub(super) consensus: Vec<f64>,
    /// `[t][layer]`: ranks of the memory.
    pub(super) ranks: Vec<Vec<f64>>,
    pub(super) digest: String,
    pub(super) curves: Curves,
    pub(super) setup: Option<Setup>,
}

/// One setting under several seeds.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) label: String,
    /// Numbers of its trials in [`Study::trials`], ascending by seed, each seed once.
    pub(super) trials: Vec<usize>,
}

/// Everything that a report shows.
#[derive(Clone, Debug)]
pub(super) struct Study {
    pub(super) runs: Vec<Run>,
    pub(super) trials: Vec<Trial>,
    pub(super) groups: Vec<Group>,
    /// What a reader must know to trust the rest.
    pub(super) notes: Vec<String>,
}

impl Study {
    /// Reads all runs that the paths name or hold.
    ///
    /// # Errors
    /// A path without runs, and metrics that cannot be read.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, ReportError> {
        let paths = find::directories(paths)?;
        let next = AtomicUsize::new(0);
        let read = Mutex::new(Vec::with_capacity(paths.len()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let run = Run::read(path);
                        if let Ok(mut read) = read.lock() {
                            read.push((path.clone(), run));
                        }
                    }
                });
            }
        });
        let mut read = read.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        read.sort_by(|one, other| one.0.cmp(&other.0));
        let runs = read.into_iter().map(|(_, run)| run).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(runs))
    }

    fn new(mut runs: Vec<Run>) -> Self {
        runs.sort_by(|one, other| (one.started(), &one.path).cmp(&(other.started(), &other.path)));
        let mut notes: Vec<String> = Vec::new();
        let mut trials = Vec::new();
        for (index, run) in runs.iter_mut().enumerate() {
            notes.extend(run.notes.iter().map(|note| format!("{}: {note}", run.path.display())));
            trials.extend(run.trials.drain(..).map(|trial| Trial { run: index, ..trial }));
        }
        let groups = group(&trials, &mut notes);
        let unfinished = groups.iter().flat_map(|group| &group.trials);
        let unfinished = unfinished.filter(|&&trial| trials[trial].state != State::Finished).count();
        if unfinished > 0 {
            notes.push(format!(
                "{unfinished} of the runs shown have not reached their end: numbers are of what is done"
            ));
        }
        Self { runs, trials, groups, notes }
    }

    /// The trials of a group.
    pub(super) fn of(&self, group: &Group) -> impl Iterator<Item = &Trial> {
        group.trials.iter().map(|&trial| &self.trials[trial])
    }

    /// A number over the seeds of a group.
    pub(super) fn spread(&self, group: &Group, metric: &Metric) -> Option<Spread> {
        Spread::of(self.of(group).filter_map(|trial| trial.numbers.get(metric.key).copied()))
    }

    /// Names of the experiments, each once.
    pub(super) fn experiments(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.experiment.as_str()) {
                names.push(&run.experiment);
            }
        }
        names
    }
}

/// Arms with equal settings are one group. Of a seed that ran more than once, the last run that reached its end counts.
fn group(trials: &[Trial], notes: &mut Vec<String>) -> Vec<Group> {
    let mut keys: Vec<&Settings> = Vec::new();
    let mut members: Vec<BTreeMap<u64, usize>> = Vec::new();
    let mut repeats = 0;
    for (index, trial) in trials.iter().enumerate() {
        let place = keys.iter().position(|key| **key == trial.settings).unwrap_or_else(|| {
            keys.push(&trial.settings);
            members.push(BTreeMap::new());
            keys.len() - 1
        });
        match members[place].get_mut(&trial.seed) {
            None => {
                members[place].insert(trial.seed, index);
            }
            Some(kept) => {
                repeats += 1;
                if trial.state == State::Finished || trials[*kept].state != State::Finished {
                    *kept = index;
                }
            }
        }
    }
    if repeats > 0 {
        notes.push(format!("{repeats} repeats of a setting and seed are left out: the last run of each counts"));
    }
    let arms: Vec<&str> = members.iter().filter_map(|of| Some(trials[*of.values().next()?].arm.as_str())).collect();
    let labels = labels(&arms, &keys);
    members.into_iter().zip(labels).map(|(of, label)| Group { label, trials: of.into_values().collect() }).collect()
}

impl Run {
    /// When it began, as text that sorts.
    pub(super) fn started(&self) -> &str {
        self.manifest["started"].as_str().unwrap_or("")
    }

    fn read(path: &Path) -> Result<Self, ReportError> {
        let mut notes = Vec::new();
        let mut json = |name: &str| -> Value {
            match std::fs::read(path.join(name)) {
                Err(_) => Value::Null,
                Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                    notes.push(format!("{name} cannot be understood ({error})"));
                    Value::Null
                }),
            }
        };
        let (manifest, summary, setups) = (json("manifest.json"), json("summary.json"), json("setup.json"));
        let setups: Setups = serde_json::from_value(setups).unwrap_or_default();
        let metrics = path.join("metrics.jsonl");
        let (mut curves, walk) = if metrics.is_file() { events::curves(&metrics)? } else { Default::default() };
        if walk.strange > 0 {
            notes.push(format!("{} lines of metrics.jsonl are no events", walk.strange));
        }
        let unknown: u64 = curves.values().map(|curves| curves.unknown).sum();
        if unknown > 0 {
            notes.push(format!("{unknown} events have keys that this version of kith does not know"));
        }
        let text = std::fs::read_to_string(path.join("experiment.resolved.toml")).unwrap_or_default();
        let resolved: toml::Table = text.parse().unwrap_or_else(|error| {
            notes.push(format!("experiment.resolved.toml cannot be understood ({error})"));
            toml::Table::new()
        });
        let summaries: BTreeMap<&str, &Value> = summary["arms"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|arm| Some((arm["arm"].as_str()?, arm)))
            .collect();
        let ended = manifest["ended"].is_string();
        let mut trials = Vec::new();
        let mut add = |arm: &str, settings: Settings, seed: u64| {
            let curves = curves.remove(arm).unwrap_or_default();
            let setup = setups.arms.iter().find(|setup| setup.arm == arm).cloned();
            trials.push(Trial::new(arm, (settings, seed), summaries.get(arm).copied(), ended, curves, setup));
        };
        let arms = resolved.get("arm").and_then(toml::Value::as_array).into_iter().flatten();
        for arm in arms.filter_map(toml::Value::as_table) {
            let name = arm.get("name").and_then(toml::Value::as_str).unwrap_or("arm");
            let seed = arm.get("seed").and_then(toml::Value::as_integer).unwrap_or(0);
            add(name, Settings::new(arm), u64::try_from(seed).unwrap_or(0));
        }
        let experiment = resolved.get("name").and_then(toml::Value::as_str).or(manifest["experiment"].as_str());
        Ok(Self {
            path: path.to_owned(),
            experiment: experiment.unwrap_or("run").to_owned(),
            description: resolved.get("description").and_then(toml::Value::as_str).map(str::to_owned),
            manifest,
            notes,
            // An arm that has not begun has nothing to show.
            trials: trials.into_iter().filter(|trial| trial.curves.events > 0 || !trial.matrix.is_empty()).collect(),
        })
    }
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
}

fn lists(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().into_iter().flatten().map(list).collect()
}

impl Trial {
    fn new(
        arm: &str,
        (settings, seed): (Settings, u64),
        summary: Option<&Value>,
        ended: bool,
        curves: Curves,
        setup: Option<Setup>,
    ) -> Self {
        let null = Value::Null;
        let state = match summary {
            Some(summary) if summary["stopped"] == Value::Bool(true) => State::Stopped,
            Some(_) => State::Finished,
            None if ended => State::Stopped,
            None => State::Unfinished,
        };
        let table = summary.unwrap_or(&null);
        let fields = table.as_object().into_iter().flatten();
        let mut numbers: BTreeMap<String, f64> =
            fields.filter_map(|(key, value)| Some((key.clone(), value.as_f64()?))).collect();
        let mut matrix = lists(&table["accuracy_matrix"]);
        if matrix.is_empty() {
            // It runs still: what its events say so far.
            matrix = curves.accuracy_matrix();
            let known = [
                ("average_accuracy", summary::average_accuracy(&matrix)),
                ("backward_transfer", summary::backward_transfer(&matrix)),
                ("forgetting", summary::forgetting(&matrix)),
            ];
            numbers.extend(known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        }
        let mut consensus = list(&table["consensus_distance_per_task"]);
        if consensus.is_empty() {
            let curve = curves.curve(Key::ConsensusDistance, None);
            consensus = curve.into_iter().flat_map(|curve| curve.moments().map(events::Moment::mean)).collect();
        }
        Self {
            run: 0,
            arm: arm.to_owned(),
            seed,
            state,
            settings,
            numbers,
            matrix,
            bytes: list(&table["bytes_sent_per_task"]),
            consensus,
            ranks: lists(&table["basis_ranks"]),
            digest: table["parameter_digest"].as_str().unwrap_or("").to_owned(),
            curves,
            setup,
        }
    }

    /// `[t]`: mean accuracy over the tasks seen after task t.
    pub(super) fn accuracy_after(&self) -> Vec<f64> {
        let after = |row: &Vec<f64>| summary::average_accuracy(std::slice::from_ref(row)).unwrap_or(f64::NAN);
        self.matrix.iter().map(after).collect()
    }

    /// `[t]`: forgetting after task t, none after the first.
    pub(super) fn forgetting_after(&self) -> Vec<Option<f64>> {
        (1..=self.matrix.len()).map(|seen| summary::forgetting(&self.matrix[..seen])).collect()
    }

    /// Bytes that an agent has sent, and mean accuracy over the tasks seen, whenever both were measured; else after each task.
    pub(super) fn accuracy_against_bytes(&self) -> Vec<(f64, f64)> {
        let mut tested: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for (_, curve) in self.curves.parts(Key::Accuracy) {
            for moment in curve.moments() {
                let (sum, count) = tested.entry(moment.round).or_default();
                *sum += moment.mean();
                *count += 1.0;
            }
        }
        let sent = self.curves.curve(Key::BytesSent, None);
        let measured = sent.into_iter().flat_map(|curve| curve.moments()).filter_map(|moment| {
            let (sum, count) = tested.get(&moment.round)?;
            Some((moment.mean(), sum / count))
        });
        let measured: Vec<(f64, f64)> = measured.collect();
        if !measured.is_empty() {
            return measured;
        }
        let add = |sum: &mut f64, bytes: &f64| {
            *sum += bytes;
            Some(*sum)
        };
        self.bytes.iter().scan(0.0, add).zip(self.accuracy_after()).collect()
    }
}
