//! The networks, and rows and minibatches for them.

use kith_core::{Affine, Head, Layer, Layout, Network, Role, Shape};
use kith_engine::{Chart, Geometry};
use serde::Deserialize;

use crate::support::{Cycle, Data, basis, geometry, noise};

#[derive(Deserialize)]
struct Document {
    cases: Vec<Golden>,
}

/// A network, and what PyTorch made of it.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) name: String,
    input: Shape,
    layers: Vec<Layer>,
    classes: usize,
    pub(crate) learning_rate: f32,
    pub(crate) initial: Vec<f32>,
    pub(crate) steps: Vec<GoldenStep>,
    pub(crate) parameters: Vec<f64>,
}

#[derive(Deserialize)]
pub(crate) struct GoldenStep {
    pub(crate) x: Vec<Vec<f32>>,
    pub(crate) y: Vec<u32>,
    pub(crate) loss: f64,
    #[serde(default)]
    pub(crate) gradient: Vec<f64>,
}

impl Golden {
    pub(crate) fn network(&self) -> Network {
        Network::of(self.input, self.layers.clone(), Head::Shared, self.classes, false, 1)
    }
}

pub(crate) fn golden() -> Vec<Golden> {
    let text = include_str!("../../../../tests/golden/conv_step.json");
    let document: Document = serde_json::from_str(text).expect("the golden file is JSON");
    document.cases
}

/// A network to compare engines on.
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) network: Network,
    /// The task that is learned.
    pub(crate) task: u32,
}

/// How many agents the suite trains.
pub(crate) const AGENTS: usize = 3;

/// Samples of a minibatch: enough for batch statistics that are not near 0 / 0.
pub(crate) const BATCH: usize = 6;

pub(crate) fn families() -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for golden in golden() {
        let network = golden.network();
        if golden.name == "alexnet" {
            let mut drops = network.clone();
            let first = drops.layers.iter().position(|layer| *layer == Layer::Relu).expect("it has a ReLU");
            drops.layers.insert(first + 1, Layer::Dropout { rate: 0.2 });
            drops.layers.push(Layer::Dropout { rate: 0.5 });
            families.push(Family { name: "alexnet with dropout".to_owned(), network: drops, task: 0 });
        }
        families.push(Family { name: golden.name, network, task: 0 });
    }
    let shared = Network::mlp(12, &[9, 8], 4, true, Head::Shared, 1);
    families.push(Family { name: "perceptron".to_owned(), network: shared, task: 0 });
    let heads = Network::mlp(12, &[9, 8], 4, false, Head::PerTask, 3);
    families.push(Family { name: "perceptron with heads".to_owned(), network: heads, task: 1 });
    families
}

impl Family {
    pub(crate) fn layout(&self) -> Layout {
        self.network.layout().expect("it fits")
    }

    /// An agent's first row: gains near 1, as in a network under training.
    pub(crate) fn row(&self, agent: usize) -> Vec<f32> {
        let layout = self.layout();
        let mut row = noise(20 + agent as u64, layout.len());
        for tensor in &layout.tensors {
            let values = &mut row[tensor.range()];
            if tensor.role == Role::Affine(Affine::Gain) {
                values.iter_mut().for_each(|v| *v = 1.0 + 0.3 * *v);
            } else {
                let scale = (3.0 / tensor.cols as f32).sqrt();
                values.iter_mut().for_each(|v| *v *= scale);
            }
        }
        row
    }

    pub(crate) fn batches(&self) -> Cycle {
        let data = Data::random(4, self.network.inputs(), self.network.classes as u32, 40);
        Cycle { data, size: BATCH }
    }

    /// Every chart in turn, layer by layer, from the `first` of them on.
    pub(crate) fn geometry(&self, kinds: &[Kind], first: usize) -> Geometry {
        let layout = self.layout();
        let chart = |(layer, tensor): (usize, &kith_core::Tensor)| {
            let d = tensor.cols;
            let (core, rest) = basis(layer as u64 + 1, d, (d / 3).max(1));
            match kinds[(layer + first) % kinds.len()] {
                Kind::Whole => Chart::Whole,
                Kind::Projected => Chart::Projected { basis: core, importance: None },
                Kind::Scaled => {
                    let importance = noise(5, core.cols()).iter().map(|v| v.abs()).collect();
                    Chart::Projected { basis: core, importance: Some(importance) }
                }
                Kind::Fixed => Chart::Projected { basis: basis(1, d, d).0, importance: None },
                Kind::Confined => Chart::Confined { span: core },
                Kind::Coordinates => Chart::Coordinates { span: rest, gain: None },
                Kind::Gained => {
                    let gain = noise(6, rest.cols()).iter().map(|v| v.abs()).collect();
                    Chart::Coordinates { span: rest, gain: Some(gain) }
                }
                Kind::Constant => Chart::Coordinates { span: basis(1, d, 0).0, gain: None },
            }
        };
        let charts = layout.projected().enumerate().map(chart).collect();
        geometry(&self.network, charts, self.task)
    }
}

/// Kinds of charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Whole,
    Projected,
    Scaled,
    Fixed,
    Confined,
    Coordinates,
    Gained,
    Constant,
}

pub(crate) const WHOLE: [Kind; 1] = [Kind::Whole];
pub(crate) const PROJECTED: [Kind; 3] = [Kind::Projected, Kind::Scaled, Kind::Confined];
pub(crate) const ALL: [Kind; 8] = [
    Kind::Coordinates,
    Kind::Projected,
    Kind::Gained,
    Kind::Fixed,
    Kind::Confined,
    Kind::Constant,
    Kind::Scaled,
    Kind::Whole,
];
