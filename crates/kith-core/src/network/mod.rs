//! A network is data: an ordered list of layers, from which the layout of a flat parameter row follows.

mod layer;
mod presets;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::TaskId;

pub use layer::{Layer, Shape};
pub use presets::Norm;

/// What turns features into class scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// One head for all tasks (domain-incremental); its weight is projected like any other.
    Shared,
    /// One head a task, the task being known at test (task-incremental); heads are not projected.
    PerTask,
}

/// A network: hidden layers, then a linear head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Channels, height and width of one input.
    pub input: Shape,
    /// Layers before the head.
    pub layers: Vec<Layer>,
    /// Shared or one a task.
    pub head: Head,
    /// Classes that one head tells apart.
    pub classes: usize,
    /// Whether heads have a bias.
    pub head_bias: bool,
    /// Tasks of the sequence.
    pub tasks: usize,
}

/// What projection and coefficient exchange do with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A weight `[C_out, d]` whose gradient is projected; the number counts projected layers from 0.
    Projected(usize),
    /// Trained as it is: biases.
    Free,
    /// A number a channel in a normalisation layer: trained in the first task, frozen after it wherever a memory keeps what
    /// earlier tasks need (Saha, Garg & Roy 2021, official code).
    Affine(Affine),
    /// Belongs to the head of one task; gets no gradient in any other.
    Head(TaskId),
}

/// What a normalisation layer's numbers do, which tells where they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Affine {
    /// Multiplies; starts at 1.
    Gain,
    /// Is added; starts at 0.
    Shift,
}

/// Where a tensor lies in a flat parameter row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Dotted name, as in PyTorch: `fc1.weight`.
    pub name: String,
    /// First number's place in the row.
    pub offset: usize,
    /// Rows of the matrix view (C_out).
    pub rows: usize,
    /// Columns of the matrix view (d); 1 for a bias.
    pub cols: usize,
    /// What is done with it.
    pub role: Role,
}

impl Tensor {
    /// Numbers in the tensor.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether it holds no number.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it lies in the row.
    #[must_use]
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// The layout of a flat parameter row: tensors in order, without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The tensors, in row order.
    pub tensors: Vec<Tensor>,
}

/// Why a network cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// A layer does not take what the one before it gives.
    #[error("layer {layer} ({kind}) takes {expected}, but {actual} reach it")]
    Shape {
        /// The layer, counted from 0.
        layer: usize,
        /// Its kind; within a residual layer, the way to the one meant.
        kind: String,
        /// What it takes.
        expected: String,
        /// What reaches it: numbers, or channels × height × width.
        actual: String,
    },
    /// A value that the layer cannot have.
    #[error("layer {layer} ({kind}) has {found}")]
    Value {
        /// The layer, counted from 0.
        layer: usize,
        /// Its kind.
        kind: String,
        /// What it has, and what would do.
        found: String,
    },
    /// A size is zero.
    #[error("layer {layer} has no {what}; at least 1 is needed")]
    Empty {
        /// The layer, counted from 0.
        layer: usize,
        /// Inputs, outputs or classes.
        what: &'static str,
    },
}

impl Network {
    /// A multi-layer perceptron: linear layers with ReLU between.
    #[must_use]
    pub fn mlp(inputs: usize, hidden: &[usize], classes: usize, bias: bool, head: Head, tasks: usize) -> Self {
        let mut layers = Vec::new();
        let mut width = inputs;
        for &outputs in hidden {
            layers.push(Layer::Linear { inputs: width, outputs, bias });
            layers.push(Layer::Relu);
            width = outputs;
        }
        Self { input: [1, 1, inputs], layers, head, classes, head_bias: bias, tasks }
    }

    /// Numbers in one input.
    #[must_use]
    pub const fn inputs(&self) -> usize {
        self.input[0] * self.input[1] * self.input[2]
    }

    /// Numbers that reach the head.
    ///
    /// # Errors
    /// A layer whose shape does not fit, or that is empty.
    pub fn features(&self) -> Result<usize, NetworkError> {
        let mut shape = self.input;
        for (index, layer) in self.layers.iter().enumerate() {
            shape = layer.output(shape, index)?;
        }
        if self.classes == 0 {
            return Err(NetworkError::Empty { layer: self.layers.len(), what: "classes" });
        }
        Ok(shape.iter().product())
    }

    /// The shape of every tensor of `layout` as PyTorch has it; weights of convolutions are `[C_out, C_in, k, k]`.
    #[must_use]
    pub fn tensor_shapes(&self, layout: &Layout) -> Vec<Vec<usize>> {
        let mut shapes = layer::tensor_shapes(&self.layers);
        let heads = layout.tensors.iter().skip(shapes.len());
        shapes.extend(
            heads.map(|tensor| if tensor.cols == 1 { vec![tensor.rows] } else { vec![tensor.rows, tensor.cols] }),
        );
        shapes
    }

    /// The layout of a parameter row.
    ///
    /// # Errors
    /// A layer whose shape does not fit, or that is empty.
    pub fn layout(&self) -> Result<Layout, NetworkError> {
        let features = self.features()?;
        let mut layout = Layout { tensors: Vec::new() };
        let mut projected = 0;
        let linear = layout.push_layers(&self.layers, "", &mut projected);
        match self.head {
            Head::Shared => {
                let name = format!("fc{}", linear + 1);
                layout.push(format!("{name}.weight"), self.classes, features, Role::Projected(projected));
                if self.head_bias {
                    layout.push(format!("{name}.bias"), self.classes, 1, Role::Free);
                }
            }
            Head::PerTask => {
                for task in 0..self.tasks {
                    let role = Role::Head(TaskId::from(task));
                    layout.push(format!("head.{task}.weight"), self.classes, features, role);
                    if self.head_bias {
                        layout.push(format!("head.{task}.bias"), self.classes, 1, role);
                    }
                }
            }
        }
        Ok(layout)
    }
}

impl Layout {
    /// Adds the tensors of a list of layers, named as PyTorch names them, counted by kind; returns how many linear ones.
    fn push_layers(&mut self, layers: &[Layer], prefix: &str, projected: &mut usize) -> usize {
        let [mut linear, mut conv, mut norm, mut evo, mut block] = [0; 5];
        for layer in layers {
            let (name, rows, cols, bias) = match *layer {
                Layer::Linear { inputs, outputs, bias } => {
                    linear += 1;
                    (format!("{prefix}fc{linear}"), outputs, inputs, bias)
                }
                Layer::Conv { in_channels, out_channels, kernel, bias, .. } => {
                    conv += 1;
                    (format!("{prefix}conv{conv}"), out_channels, in_channels * kernel * kernel, bias)
                }
                Layer::BatchNorm { features } => {
                    norm += 1;
                    self.push(format!("{prefix}bn{norm}.weight"), features, 1, Role::Affine(Affine::Gain));
                    self.push(format!("{prefix}bn{norm}.bias"), features, 1, Role::Affine(Affine::Shift));
                    continue;
                }
                Layer::EvoNorm { channels, .. } => {
                    evo += 1;
                    for (part, affine) in [("v", Affine::Gain), ("weight", Affine::Gain), ("bias", Affine::Shift)] {
                        self.push(format!("{prefix}evonorm{evo}.{part}"), channels, 1, Role::Affine(affine));
                    }
                    continue;
                }
                Layer::Residual { ref main, ref shortcut } => {
                    block += 1;
                    self.push_layers(main, &format!("{prefix}block{block}."), projected);
                    self.push_layers(shortcut, &format!("{prefix}block{block}.shortcut."), projected);
                    continue;
                }
                Layer::Relu
                | Layer::MaxPool { .. }
                | Layer::AvgPool { .. }
                | Layer::GlobalAvgPool
                | Layer::Flatten
                | Layer::Dropout { .. }
                | Layer::LocalResponseNorm { .. } => continue,
            };
            self.push(format!("{name}.weight"), rows, cols, Role::Projected(*projected));
            *projected += 1;
            if bias {
                self.push(format!("{name}.bias"), rows, 1, Role::Free);
            }
        }
        linear
    }

    fn push(&mut self, name: String, rows: usize, cols: usize, role: Role) {
        let offset = self.len();
        self.tensors.push(Tensor { name, offset, rows, cols, role });
    }

    /// Numbers in a row.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.offset + tensor.len())
    }

    /// Whether a row holds no number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The projected tensors, in order.
    pub fn projected(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter().filter(|tensor| matches!(tensor.role, Role::Projected(_)))
    }

    /// The layout of the same tensors where projected layer `l` has `widths[l]` columns in place of its `d`: the row of
    /// coordinates in a subspace.
    #[must_use]
    pub fn with_projected_columns(&self, widths: &[usize]) -> Self {
        let mut narrowed = Self { tensors: Vec::with_capacity(self.tensors.len()) };
        for tensor in &self.tensors {
            let cols = match tensor.role {
                Role::Projected(layer) => widths.get(layer).copied().unwrap_or(tensor.cols),
                Role::Free | Role::Affine(_) | Role::Head(_) => tensor.cols,
            };
            narrowed.push(tensor.name.clone(), tensor.rows, cols, tensor.role);
        }
        narrowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permuted_mnist_network_has_three_projected_layers_and_89_400_numbers() {
        let layout = Network::mlp(784, &[100, 100], 10, false, Head::Shared, 10).layout().expect("it fits");
        assert_eq!(layout.len(), 89_400);
        let views: Vec<_> = layout.projected().map(|tensor| (tensor.rows, tensor.cols)).collect();
        assert_eq!(views, [(100, 784), (100, 100), (10, 100)]);
    }

    #[test]
    fn the_benchmark_network_with_biases_has_235_146_numbers() {
        let layout = Network::mlp(784, &[256, 128], 10, true, Head::Shared, 1).layout().expect("it fits");
        assert_eq!(layout.len(), 235_146);
        assert_eq!(layout.tensors[1].name, "fc1.bias");
    }

    #[test]
    fn heads_per_task_are_not_projected() {
        let layout = Network::mlp(64, &[32], 2, false, Head::PerTask, 3).layout().expect("it fits");
        assert_eq!(layout.projected().count(), 1);
        assert_eq!(layout.len(), 64 * 32 + 3 * 64);
        let narrowed = layout.with_projected_columns(&[10]);
        assert_eq!(narrowed.len(), 10 * 32 + 3 * 64);
    }

    #[test]
    fn a_layer_that_does_not_fit_is_named() {
        let mut network = Network::mlp(64, &[32], 2, false, Head::Shared, 1);
        network.layers.push(Layer::Linear { inputs: 31, outputs: 4, bias: false });
        assert_eq!(
            network.layout(),
            Err(NetworkError::Shape {
                layer: 2,
                kind: "linear".to_owned(),
                expected: "31 numbers".to_owned(),
                actual: "32".to_owned()
            })
        );
    }
}
