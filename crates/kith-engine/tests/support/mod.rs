//! What the engine's tests share: small data, bases, and a network in f64 to hold the engine against.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod plain;

use kith_core::{AgentId, Batches, Head, Layout, Matrix, Network, Purpose, Role, Samples, Seeds, TaskId};
use kith_engine::{Chart, Engine, Geometry, NativeBlock, NativeEngine, Objective};
use plain::{Reader, Values};
use rand::Rng;

/// Numbers in (−1, 1) from a labelled stream.
pub fn noise(label: u64, len: usize) -> Vec<f32> {
    let mut rng = Seeds::new(label).shared(Purpose::Synthetic, 0);
    (0..len).map(|_| (f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0) as f32).collect()
}

/// A few samples in memory.
pub struct Data {
    pub width: usize,
    pub inputs: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Data {
    pub fn random(label: u64, width: usize, classes: u32, count: usize) -> Self {
        let labels = noise(label + 1, count).iter().map(|v| ((v + 1.0) * 1000.0) as u32 % classes).collect();
        Self { width, inputs: noise(label, width * count), labels }
    }
}

impl Samples for Data {
    fn input_len(&self) -> usize {
        self.width
    }
    fn len(&self) -> usize {
        self.labels.len()
    }
    fn read(&self, index: u32, out: &mut [f32]) {
        out.copy_from_slice(&self.inputs[index as usize * self.width..][..self.width]);
    }
    fn label(&self, index: u32) -> u32 {
        self.labels[index as usize]
    }
}

/// Minibatches of `size`, round and round, each agent from another place.
pub struct Cycle {
    pub data: Data,
    pub size: usize,
}

impl Batches for Cycle {
    fn samples(&self) -> &dyn Samples {
        &self.data
    }
    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>) {
        out.clear();
        let first = agent.index() * 3 + step as usize * self.size;
        out.extend((first..first + self.size).map(|i| (i % self.data.len()) as u32));
    }
}

/// `cols` orthonormal columns of height `rows`, and those that complete them: `([rows, cols], [rows, rows − cols])`.
pub fn basis(label: u64, rows: usize, cols: usize) -> (Matrix, Matrix) {
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for column in noise(label, rows * rows).chunks(rows) {
        let mut column: Vec<f64> = column.iter().map(|v| f64::from(*v)).collect();
        for _ in 0..2 {
            for other in &columns {
                let dot: f64 = column.iter().zip(other).map(|(a, b)| a * b).sum();
                column.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = column.iter().map(|v| v * v).sum::<f64>().sqrt();
        columns.push(column.iter().map(|v| v / norm).collect());
    }
    let pick = |from: usize, count: usize| Matrix::from_fn(rows, count, |row, col| columns[from + col][row] as f32);
    (pick(0, cols), pick(cols, rows - cols))
}

pub fn geometry(network: &Network, charts: Vec<Chart>, task: u32) -> Geometry {
    let layout = network.layout().expect("the network fits");
    let widths: Vec<_> = layout
        .projected()
        .zip(&charts)
        .map(|(tensor, chart)| if let Chart::Coordinates { span, .. } = chart { span.cols() } else { tensor.cols })
        .collect();
    Geometry { layout: layout.with_projected_columns(&widths), charts, task: TaskId(task) }
}

pub fn whole(network: &Network, task: u32) -> Geometry {
    let layers = network.layout().expect("the network fits").projected().count();
    geometry(network, vec![Chart::Whole; layers], task)
}

pub fn engine(network: &Network, threads: usize) -> NativeEngine {
    NativeEngine::new(Objective::Network(network.clone()), threads).expect("the engine starts")
}

pub fn row(engine: &NativeEngine, block: &NativeBlock, agent: u32) -> Vec<f32> {
    let mut row = vec![0.0; block.row_len()];
    engine.download(block, AgentId(agent), &mut row);
    row
}

/// A block of one agent with this row.
pub fn block_of(engine: &NativeEngine, row: &[f32]) -> NativeBlock {
    let mut block = engine.block(1, row.len());
    engine.upload(&mut block, AgentId(0), row);
    block
}

/// Mean cross-entropy of a whole row in f64: the network written out plainly.
pub fn loss(network: &Network, layout: &Layout, row: &[f64], task: u32, data: &Data, indices: &[u32]) -> f64 {
    let read = |&index: &u32| {
        let mut value = vec![0.0_f32; data.width];
        data.read(index, &mut value);
        value.iter().map(|v| f64::from(*v)).collect()
    };
    let values = Values { shape: network.input, samples: indices.iter().map(read).collect() };
    let mut reader = Reader { layout, row, tensor: 0 };
    let values = plain::run(&network.layers, &mut reader, values);
    let head = if network.head == Head::PerTask { task as usize } else { 0 };
    reader.tensor += head * (1 + usize::from(network.head_bias));
    let scores = plain::linear(&mut reader, network.head_bias, network.classes, &values);
    let one = |(scores, &index): (&Vec<f64>, &u32)| {
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        sum.ln() - scores[data.label(index) as usize]
    };
    scores.samples.iter().zip(indices).map(one).sum::<f64>() / indices.len() as f64
}

/// The gradient of [`loss`] by central differences.
pub fn gradient(network: &Network, row: &[f32], task: u32, data: &Data, indices: &[u32]) -> Vec<f64> {
    let layout = network.layout().expect("the network fits");
    let mut row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
    let step = 1e-6;
    (0..row.len())
        .map(|i| {
            let here = row[i];
            row[i] = here + step;
            let above = loss(network, &layout, &row, task, data, indices);
            row[i] = here - step;
            let below = loss(network, &layout, &row, task, data, indices);
            row[i] = here;
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// `a b` for row-major f64 `a: [rows, b.rows]`.
pub fn times(a: &[f64], b: &Matrix) -> Vec<f64> {
    a.chunks(b.rows())
        .flat_map(|row| {
            (0..b.cols()).map(move |col| row.iter().enumerate().map(|(k, v)| v * f64::from(b.get(k, col))).sum::<f64>())
        })
        .collect()
}

/// What the charts make of a whole gradient, in the geometry's layout.
pub fn constrained(network: &Network, geometry: &Geometry, gradient: &[f64]) -> Vec<f64> {
    let layout = network.layout().expect("the network fits");
    let mut out = Vec::new();
    for tensor in &layout.tensors {
        let g = &gradient[tensor.range()];
        let Role::Projected(layer) = tensor.role else {
            let frozen = geometry.freezes_affine() && matches!(tensor.role, Role::Affine(_));
            out.extend(g.iter().map(|v| if frozen { 0.0 } else { *v }));
            continue;
        };
        let scale = |matrix: Vec<f64>, scales: &Option<Vec<f32>>| -> Vec<f64> {
            let Some(scales) = scales else { return matrix };
            matrix.iter().enumerate().map(|(i, v)| v * f64::from(scales[i % scales.len()])).collect()
        };
        match &geometry.charts[layer] {
            Chart::Whole => out.extend_from_slice(g),
            Chart::Projected { basis, .. } if basis.cols() == 0 => out.extend_from_slice(g),
            Chart::Projected { basis, importance } => {
                let core = times(&scale(times(g, basis), importance), &basis.transposed());
                out.extend(g.iter().enumerate().map(|(i, v)| v - core.get(i).unwrap_or(&0.0)));
            }
            Chart::Confined { span } if span.cols() == 0 => out.extend(g.iter().map(|_| 0.0)),
            Chart::Confined { span } => out.extend(times(&times(g, span), &span.transposed())),
            Chart::Coordinates { span, gain } => out.extend(scale(times(g, span), gain)),
        }
    }
    out
}

/// Largest difference between two rows.
pub fn distance(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}
