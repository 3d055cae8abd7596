//! A network is data: an ordered list of layers, from which the layout of a flat parameter row follows.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::TaskId;

/// One layer of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// `y = W x (+ b)`, `W: [outputs, inputs]`.
    Linear {
        /// Numbers in.
        inputs: usize,
        /// Numbers out.
        outputs: usize,
        /// Whether there is a bias. A bias is never projected.
        bias: bool,
    },
    /// `y = max(x, 0)`.
    Relu,
}

/// What turns features into class scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// One head for all tasks (domain-incremental); its weight is projected like any other.
    Shared,
    /// One head a task, the task being known at test (task-incremental); heads are not projected.
    PerTask,
}

/// A network: hidden layers, then a linear head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Numbers in one input.
    pub inputs: usize,
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
    /// Belongs to the head of one task; gets no gradient in any other.
    Head(TaskId),
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
    #[error("layer {layer} takes {expected} numbers, but {actual} reach it")]
    Shape {
        /// The layer, counted from 0.
        layer: usize,
        /// What it takes.
        expected: usize,
        /// What reaches it.
        actual: usize,
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
        Self { inputs, layers, head, classes, head_bias: bias, tasks }
    }

    /// Numbers that reach the head.
    ///
    /// # Errors
    /// A layer whose shape does not fit, or that is empty.
    pub fn features(&self) -> Result<usize, NetworkError> {
        let mut width = self.inputs;
        for (layer, spec) in self.layers.iter().enumerate() {
            if let Layer::Linear { inputs, outputs, .. } = *spec {
                if inputs != width {
                    return Err(NetworkError::Shape { layer, expected: inputs, actual: width });
                }
                for (size, what) in [(inputs, "inputs"), (outputs, "outputs")] {
                    if size == 0 {
                        return Err(NetworkError::Empty { layer, what });
                    }
                }
                width = outputs;
            }
        }
        if self.classes == 0 {
            return Err(NetworkError::Empty { layer: self.layers.len(), what: "classes" });
        }
        Ok(width)
    }

    /// The layout of a parameter row.
    ///
    /// # Errors
    /// A layer whose shape does not fit, or that is empty.
    pub fn layout(&self) -> Result<Layout, NetworkError> {
        let features = self.features()?;
        let mut layout = Layout { tensors: Vec::new() };
        let mut projected = 0;
        let mut linear = 0;
        for layer in &self.layers {
            if let Layer::Linear { inputs, outputs, bias } = *layer {
                linear += 1;
                layout.push(format!("fc{linear}.weight"), outputs, inputs, Role::Projected(projected));
                projected += 1;
                if bias {
                    layout.push(format!("fc{linear}.bias"), outputs, 1, Role::Free);
                }
            }
        }
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
                Role::Free | Role::Head(_) => tensor.cols,
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
        assert_eq!(network.layout(), Err(NetworkError::Shape { layer: 2, expected: 31, actual: 32 }));
    }
}
