//! `setup.json`: what each arm was made of, as far as it follows from data and seeds and not from the file alone.

use kith_core::Layout;
use serde::{Deserialize, Serialize};

use crate::compose::Parts;

/// The arms that have begun, in file order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setups {
    pub(crate) arms: Vec<Setup>,
}

/// One arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) arm: String,
    /// Parameters of one agent.
    pub(crate) parameters: usize,
    /// Classes of one task.
    pub(crate) classes: usize,
    /// Names of the layers that a memory constrains, in the order of `basis_ranks`.
    pub(crate) layers: Vec<String>,
    pub(crate) graph: GraphSetup,
    pub(crate) tasks: Vec<TaskSetup>,
}

/// The communication graph, laid out in a unit square.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GraphSetup {
    pub(crate) label: String,
    pub(crate) directed: bool,
    pub(crate) edges: usize,
    pub(crate) points: Vec<[f64; 2]>,
    /// Empty where a graph has more edges than a drawing shows.
    pub(crate) segments: Vec<[f64; 4]>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskSetup {
    pub(crate) name: String,
    /// `[agent]`: class and number of training samples, for classes that the agent has.
    pub(crate) labels: Vec<Vec<(u32, u32)>>,
}

impl Setups {
    /// Adds an arm, in the place of what is known of it from before a run was cut.
    pub(crate) fn add(&mut self, setup: Setup) {
        match self.arms.iter_mut().find(|known| known.arm == setup.arm) {
            Some(known) => *known = setup,
            None => self.arms.push(setup),
        }
    }
}

/// Edges beyond this are not written: a drawing of them is a black disc.
const EDGES: usize = 20_000;

impl Setup {
    pub(crate) fn new(arm: &str, parts: &Parts) -> Self {
        let layout = parts.network.layout();
        let layers = |layout: &Layout| layout.projected().map(|tensor| tensor.name.clone()).collect();
        Self {
            arm: arm.to_owned(),
            parameters: layout.as_ref().map_or(0, Layout::len),
            classes: parts.scenario.classes,
            layers: layout.as_ref().map_or_else(|_| Vec::new(), layers),
            graph: GraphSetup::new(&parts.graph),
            tasks: parts.scenario.tasks.iter().map(TaskSetup::new).collect(),
        }
    }
}

impl GraphSetup {
    fn new(graph: &kith_graph::Graph) -> Self {
        let drawing = kith_graph::drawing(graph);
        let (label, directed, edges) = (graph.label().to_owned(), graph.is_directed(), graph.edges().len());
        let segments = if edges > EDGES { Vec::new() } else { drawing.segments };
        Self {
            label,
            directed,
            edges,
            points: drawing.points.into_iter().map(|point| point.map(short)).collect(),
            segments: segments.into_iter().map(|ends| ends.map(short)).collect(),
        }
    }
}

/// Enough digits for a drawing.
fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl TaskSetup {
    fn new(task: &kith_data::TaskData) -> Self {
        let labels = task.train.labels();
        let count = |shard: &Vec<u32>| {
            let mut counts: Vec<u32> = Vec::new();
            for class in shard.iter().filter_map(|&sample| labels.get(sample as usize)) {
                let class = *class as usize;
                counts.resize(counts.len().max(class + 1), 0);
                counts[class] += 1;
            }
            let present = (0_u32..).zip(counts).filter(|(_, count)| *count > 0);
            present.collect()
        };
        Self { name: task.name.clone(), labels: task.shards.iter().map(count).collect() }
    }
}
