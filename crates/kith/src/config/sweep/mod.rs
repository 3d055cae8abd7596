//! The `[sweep]` table: the runs that an experiment file stands for.
//!
//! A run is one arm with one setting and one seed. Blocks of axes are worked in one after the other, in the order of the
//! file; a block whose `when` does not hold leaves a setting as it is.

mod condition;
mod filter;
mod read;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kith_core::Digest;

use super::render::Problem;
use super::resolved::{Experiment, OutputSpec};
use super::spans::{Entry, Node, Origin, Table, Value};
use super::written::{FileExpectations, Overrides, Written};
use super::{ConfigError, resolve};
use read::{Axis, Block, Combine, MOST_RUNS, SweepSpec};

pub use filter::Filter;
pub(super) use shape::SweepKeys;

/// Keys that the sweep sets, dotted, and their values.
pub type Setting = BTreeMap<String, serde_json::Value>;

/// Every run of a sweep, in the order of its table: arms, settings, seeds.
#[derive(Clone, Debug)]
pub struct SweepPlan {
    /// The experiment's name.
    pub name: String,
    /// Where run directories go.
    pub output: OutputSpec,
    /// The runs; no two have the same hash.
    pub runs: Vec<PlannedRun>,
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// What the sweep set besides.
    pub setting: Setting,
    /// The experiment: one arm, every value final. Expectations only where the sweep set nothing but the seed.
    pub experiment: Experiment,
    /// The hash of the experiment: the run's address.
    pub hash: Digest,
}

/// Reads an experiment file and resolves every run of its `[sweep]`.
///
/// # Errors
/// A file that cannot be read, a file without `[sweep]`, and every rule that a run breaks.
pub fn load_sweep(path: &Path, overrides: &Overrides) -> Result<SweepPlan, ConfigError> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    plan(&Written::read(path, overrides)?, &overrides.arms, folder)
}

/// As [`load_sweep`], from a text; `name` stands for the file in messages.
///
/// # Errors
/// Every rule that it breaks.
pub fn parse_sweep(name: &str, text: &str, overrides: &Overrides) -> Result<SweepPlan, ConfigError> {
    let source = super::render::Source { name: name.to_owned(), text: text.to_owned() };
    plan(&Written::parse(source, overrides)?, &overrides.arms, Path::new(""))
}

/// Whether the `[sweep]` of a file has the shape of one, for commands that do not look further.
pub(super) fn check_shape(written: &Written) -> Result<(), ConfigError> {
    read::read(written).map(|_| ())
}

/// The keys that a sweep lays over an arm, as they were written and as they are shown.
#[derive(Clone, Default)]
struct Choice {
    over: Table,
    setting: Setting,
}

/// What is needed to look at one arm while its settings grow.
struct Expansion<'a> {
    written: &'a Written,
    spec: &'a SweepSpec,
    /// Blocks that held, and conditions that skipped: those that never do are mistakes.
    used: BTreeSet<usize>,
    skipped: BTreeSet<usize>,
}

fn plan(written: &Written, only: &[String], folder: &Path) -> Result<SweepPlan, ConfigError> {
    let Some(spec) = read::read(written)? else {
        let missing = Problem::new("sweep", "the file has no [sweep] table").accept(
            "accepted: [sweep] with seeds, arms, grid, zip, skip; or --set sweep.seeds=[1,2,3] for this file as it is",
        );
        return Err(written.error(&Origin::Default, missing));
    };
    check_flags(written, &spec)?;
    let mut runs: Vec<PlannedRun> = Vec::new();
    let mut places = BTreeMap::new();
    let mut expansion = Expansion { written, spec: &spec, used: BTreeSet::new(), skipped: BTreeSet::new() };
    let mut head = None;
    for arm in chosen_arms(written, &spec, only)? {
        for choice in expansion.settings(arm.as_deref())? {
            for run in expansion.runs(arm.as_deref(), &choice, only, folder)? {
                head.get_or_insert_with(|| (run.experiment.name.clone(), run.experiment.output.clone()));
                let place = *places.entry(run.hash).or_insert(runs.len());
                if place == runs.len() {
                    runs.push(run);
                } else if (&runs[place].arm, &runs[place].setting) != (&run.arm, &run.setting) {
                    return Err(same_run(written, &runs[place], &run));
                }
            }
        }
    }
    expansion.all_used(only)?;
    let Some((name, output)) = head else {
        let none = Problem::new("sweep", "every run is skipped").accept("accepted: a skip that leaves some");
        return Err(written.error(&Origin::Default, none));
    };
    Ok(SweepPlan { name, output, runs })
}

/// A flag on a key that the sweep sets would be lost.
fn check_flags(written: &Written, spec: &SweepSpec) -> Result<(), ConfigError> {
    let tables = std::iter::once(&written.set).chain(written.set_arm.iter().filter_map(|entry| entry.node.table()));
    for table in tables {
        let tree = Node { value: Value::Table(table.clone()), origin: Origin::Default };
        for axis in spec.blocks.iter().flat_map(|block| &block.axes) {
            if super::value_at(&tree, &axis.path).is_some() {
                let path = axis.path.join(".");
                let lost = Problem::new(&path, "the sweep sets this key").accept(format!(
                    "accepted: --filter {path}=VALUE for a part of the sweep, or another list in the file"
                ));
                return Err(written.error(&tree.origin_of(&axis.path), lost));
            }
        }
        if let Some(entry) = table.entry("seed").filter(|_| !spec.seeds.is_empty()) {
            let lost = Problem::new("seed", "the sweep has seeds of its own")
                .accept("accepted: --filter seed=N for a part of the sweep, or --set sweep.seeds=[N]");
            return Err(written.error(&entry.node.origin, lost));
        }
    }
    Ok(())
}

/// The arms of the sweep; one without a name where the file has no arms.
fn chosen_arms(written: &Written, spec: &SweepSpec, only: &[String]) -> Result<Vec<Option<String>>, ConfigError> {
    let names: Vec<&str> = written.arms.iter().map(|(name, _)| name.as_str()).collect();
    if let Some((unknown, origin)) = spec.arms.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        return Err(written.error(origin, resolve::unknown_arm("sweep.arms".to_owned(), unknown, &names)));
    }
    if names.is_empty() {
        return Ok(vec![None]);
    }
    resolve::known_names(only, &names)?;
    let chosen = |name: &&str| {
        (spec.arms.is_empty() || spec.arms.iter().any(|(arm, _)| arm == name))
            && (only.is_empty() || only.iter().any(|arm| arm == name))
    };
    Ok(names.into_iter().filter(chosen).map(|name| Some(name.to_owned())).collect())
}

fn same_run(written: &Written, one: &PlannedRun, other: &PlannedRun) -> ConfigError {
    let what = format!("{} and {} are the same run", one.label(), other.label());
    let twice = Problem::new("sweep", what).accept("accepted: settings that differ in what they change");
    written.error(&Origin::Default, twice)
}

impl Expansion<'_> {
    /// Every setting of an arm.
    fn settings(&mut self, arm: Option<&str>) -> Result<Vec<Choice>, ConfigError> {
        let mut choices = vec![Choice::default()];
        for (place, block) in self.spec.blocks.iter().enumerate() {
            let mut next = Vec::new();
            for choice in choices {
                let (name, tree) = resolve::arm_preview(&self.with(&choice), arm)?;
                if block.when.as_ref().is_some_and(|when| !when.holds(&name, &tree)) {
                    next.push(choice);
                    continue;
                }
                self.used.insert(place);
                // As with a `[memory]` that all arms share: an arm that has none is left alone.
                let without_memory = arm.is_some() && tree.table().is_some_and(|table| table.get("memory").is_none());
                let axes = block.axes.iter().filter(|axis| !(without_memory && axis.path[0] == "memory"));
                let combinations = combine(block, &axes.collect::<Vec<_>>());
                if next.len().saturating_add(combinations.len()) > MOST_RUNS {
                    return Err(self.too_many());
                }
                for combination in combinations {
                    next.push(self.extended(&choice, &combination)?);
                }
            }
            choices = next;
        }
        let mut seen: Vec<Setting> = Vec::new();
        choices.retain(|choice| {
            let new = !seen.contains(&choice.setting);
            seen.push(choice.setting.clone());
            new
        });
        if choices.len().saturating_mul(self.spec.seeds.len().max(1)) > MOST_RUNS {
            return Err(self.too_many());
        }
        Ok(choices)
    }

    fn too_many(&self) -> ConfigError {
        let many = Problem::new("sweep", format!("more than {MOST_RUNS} runs")).accept("accepted: shorter lists");
        self.written.error(&Origin::Default, many)
    }

    /// The file with a choice laid over it.
    fn with(&self, choice: &Choice) -> Written {
        let mut written = self.written.clone();
        written.over = choice.over.clone();
        if !choice.setting.is_empty() && written.base.remove("expect").is_some() {
            // Expectations are about the file as it stands.
            written.expectations = FileExpectations::SetAside;
        }
        written
    }

    fn extended(&self, choice: &Choice, values: &[(&Axis, &Node)]) -> Result<Choice, ConfigError> {
        let mut choice = choice.clone();
        for (axis, value) in values {
            let path = axis.path.join(".");
            if choice.setting.contains_key(&path) {
                let twice = Problem::new(path, "two blocks set this key in one run")
                    .accept("accepted: one of them, or a `when` that tells them apart");
                return Err(self.written.error(&axis.key_origin, twice));
            }
            super::merge::merge(&mut choice.over, &nested(axis, value));
            choice.setting.insert(path, value.to_json());
        }
        Ok(choice)
    }

    /// The runs of a setting, one a seed.
    fn runs(
        &mut self,
        arm: Option<&str>,
        choice: &Choice,
        only: &[String],
        folder: &Path,
    ) -> Result<Vec<PlannedRun>, ConfigError> {
        let seeds: Vec<Option<&Node>> = match self.spec.seeds.as_slice() {
            [] => vec![None],
            seeds => seeds.iter().map(Some).collect(),
        };
        let only = arm.map_or_else(|| only.to_vec(), |arm| vec![arm.to_owned()]);
        let mut runs = Vec::new();
        for seed in seeds {
            let mut written = self.with(choice);
            if let Some(seed) = seed {
                let key_origin = seed.origin.clone();
                written.over.insert(Entry { key: "seed".to_owned(), key_origin, node: seed.clone() });
            }
            let note = describe(&choice.setting);
            let (experiment, _) = resolve::resolve(written, &only, folder).map_err(|error| error.noted(&note))?;
            let Some(arm) = experiment.arms.first() else { continue };
            let tree = Node::from_value(arm).map_err(ConfigError::Write)?;
            let skip = self.spec.skips.iter().position(|skip| skip.holds(&arm.name, &tree));
            if let Some(skip) = skip {
                self.skipped.insert(skip);
                continue;
            }
            let (name, seed, hash) = (arm.name.clone(), arm.seed, experiment.hash()?);
            runs.push(PlannedRun { arm: name, seed, setting: choice.setting.clone(), experiment, hash });
        }
        Ok(runs)
    }

    /// A condition that never holds is mistyped. With `--arm`, the others' conditions have no say.
    fn all_used(&self, only: &[String]) -> Result<(), ConfigError> {
        if !only.is_empty() {
            return Ok(());
        }
        let never = |path: &str| {
            Problem::new(path, "holds for no run of the sweep")
                .accept("accepted: keys that the file, its arms or the method's preset set, with values that they have")
        };
        for (place, block) in self.spec.blocks.iter().enumerate() {
            if let Some(when) = block.when.as_ref().filter(|_| !self.used.contains(&place)) {
                return Err(self.written.error(&when.origin, never("sweep.when")));
            }
        }
        let unused = (0..self.spec.skips.len()).find(|place| !self.skipped.contains(place));
        unused.map_or(Ok(()), |place| Err(self.written.error(&self.spec.skips[place].origin, never("sweep.skip"))))
    }
}

/// All combinations of a block's values; one empty combination where no axis is left.
fn combine<'a>(block: &Block, axes: &[&'a Axis]) -> Vec<Vec<(&'a Axis, &'a Node)>> {
    if block.how == Combine::Zip {
        let length = axes.iter().map(|axis| axis.values.len()).min().unwrap_or(0);
        let rows = (0..length).map(|place| axes.iter().map(|axis| (*axis, &axis.values[place])).collect());
        return if axes.is_empty() { vec![Vec::new()] } else { rows.collect() };
    }
    let mut rows = vec![Vec::new()];
    for axis in axes {
        let longer = |row: &Vec<(&'a Axis, &'a Node)>| {
            let row = row.clone();
            axis.values.iter().map(move |value| row.iter().copied().chain([(*axis, value)]).collect::<Vec<_>>())
        };
        // One more than the limit is enough for the caller to see.
        rows = rows.iter().flat_map(longer).take(MOST_RUNS + 1).collect();
    }
    rows
}

/// `train.batch_size` and 10 as the table `{ train = { batch_size = 10 } }`.
fn nested(axis: &Axis, value: &Node) -> Table {
    let entry = |key: &String, node: Node| Entry { key: key.clone(), key_origin: axis.key_origin.clone(), node };
    let mut path = axis.path.iter().rev();
    let Some(last) = path.next() else { return Table::default() };
    let mut table = Table(vec![entry(last, value.clone())]);
    for key in path {
        let node = Node { value: Value::Table(table), origin: axis.key_origin.clone() };
        table = Table(vec![entry(key, node)]);
    }
    table
}

/// `graph.agents=8, train.batch_size=10`.
pub(crate) fn describe(setting: &Setting) -> String {
    let value = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    setting.iter().map(|(key, it)| format!("{key}={}", value(it))).collect::<Vec<_>>().join(", ")
}

impl PlannedRun {
    /// Arm, setting and seed in one line.
    #[must_use]
    pub fn label(&self) -> String {
        let setting = if self.setting.is_empty() { String::new() } else { format!(" {}", describe(&self.setting)) };
        format!("{}{setting} seed {}", self.arm, self.seed)
    }

    /// The run's address: what its directory is called.
    #[must_use]
    pub fn address(&self) -> String {
        self.hash.to_string()[..16].to_owned()
    }
}
