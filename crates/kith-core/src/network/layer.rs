//! Layers: what each takes and gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NetworkError;

/// Channels, height and width of what lies between two layers; features of a linear layer are `[features, 1, 1]`.
pub type Shape = [usize; 3];

/// One layer of a network.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// `y = W x (+ b)`, `W: [outputs, inputs]`; images are flattened channel by channel.
    Linear {
        /// Numbers in.
        #[schemars(example = 784)]
        inputs: usize,
        /// Numbers out.
        #[schemars(example = 100)]
        outputs: usize,
        /// Whether there is a bias. A bias is never projected.
        #[serde(default)]
        bias: bool,
    },
    /// `y = max(x, 0)`.
    Relu,
    /// Convolution with square kernels; the weight's matrix view is `[out_channels, in_channels · kernel · kernel]`, channel-major.
    Conv {
        /// Channels in.
        #[schemars(example = 1)]
        in_channels: usize,
        /// Channels out.
        #[schemars(example = 8)]
        out_channels: usize,
        /// Side of the kernel, pixels.
        #[schemars(example = 2)]
        kernel: usize,
        /// Pixels from one place to the next.
        #[serde(default = "one")]
        #[schemars(example = 2)]
        stride: usize,
        /// Zeros around the image, pixels a side.
        #[serde(default)]
        padding: usize,
        /// Whether there is a bias. A bias is never projected.
        #[serde(default)]
        bias: bool,
    },
    /// The largest of a square window.
    MaxPool {
        /// Side of the window, pixels.
        #[schemars(example = 2)]
        kernel: usize,
        /// Pixels from one window to the next.
        #[schemars(example = 2)]
        stride: usize,
        /// Pixels around the image that never win; at most half the window.
        #[serde(default)]
        padding: usize,
    },
    /// The mean of a square window.
    AvgPool {
        /// Side of the window, pixels.
        #[schemars(example = 2)]
        kernel: usize,
        /// Pixels from one window to the next.
        #[schemars(example = 2)]
        stride: usize,
    },
    /// The mean of each channel.
    GlobalAvgPool,
    /// Channels, height and width become one list of features (linear layers do this by themselves).
    Flatten,
    /// Batch normalisation by the statistics of the batch at hand, in training and at test (Ioffe & Szegedy 2015; ε = 1e-5).
    BatchNorm {
        /// Channels, or features of a linear layer.
        #[schemars(example = 100)]
        features: usize,
    },
    /// EvoNorm-S0: `x σ(v x) / √(variance of the group + 1e-5) · γ + β` (Liu et al. 2020), which is norm and activation in one.
    #[serde(rename = "evo-norm")]
    EvoNorm {
        /// Channels.
        #[schemars(example = 16)]
        channels: usize,
        /// Groups of channels that share a variance.
        #[serde(default = "eight")]
        groups: usize,
    },
    /// Zeros a share of numbers in training and scales up the others; nothing at test.
    Dropout {
        /// The share, in [0, 1).
        #[schemars(example = 0.5)]
        rate: f64,
    },
    /// `y = x / (k + alpha · mean of x² over size channels)^beta` (Krizhevsky et al. 2012, as PyTorch scales it).
    LocalResponseNorm {
        /// Neighbouring channels.
        #[schemars(example = 5)]
        size: usize,
        /// Weight of the mean square.
        #[schemars(example = 0.0001)]
        alpha: f64,
        /// Exponent.
        #[schemars(example = 0.75)]
        beta: f64,
        /// What is added.
        #[schemars(example = 1.0)]
        k: f64,
    },
    /// `y = main(x) + shortcut(x)`.
    Residual {
        /// The main path.
        main: Vec<Layer>,
        /// The other path; the identity where it is empty.
        #[serde(default)]
        shortcut: Vec<Layer>,
    },
}

const fn one() -> usize {
    1
}

const fn eight() -> usize {
    8
}

/// Where a layer stands and what it is called: `3 (conv)`, `5 (residual, main 0, conv)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) layer: usize,
    pub(super) kind: String,
}

impl Layer {
    /// The kind as a file names it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Relu => "relu",
            Self::Conv { .. } => "conv",
            Self::MaxPool { .. } => "max-pool",
            Self::AvgPool { .. } => "avg-pool",
            Self::GlobalAvgPool => "global-avg-pool",
            Self::Flatten => "flatten",
            Self::BatchNorm { .. } => "batch-norm",
            Self::EvoNorm { .. } => "evo-norm",
            Self::Dropout { .. } => "dropout",
            Self::LocalResponseNorm { .. } => "local-response-norm",
            Self::Residual { .. } => "residual",
        }
    }

    /// How many weight matrices the layer has.
    #[must_use]
    pub fn weights(&self) -> usize {
        match self {
            Self::Linear { .. } | Self::Conv { .. } => 1,
            Self::Residual { main, shortcut } => main.iter().chain(shortcut).map(Self::weights).sum(),
            _ => 0,
        }
    }

    /// The shapes of the layer's tensors as PyTorch has them, in row order.
    fn tensor_shapes(&self, shapes: &mut Vec<Vec<usize>>) {
        let mut add = |weight: Vec<usize>, bias: bool| {
            let outputs = weight[0];
            shapes.push(weight);
            shapes.extend(bias.then(|| vec![outputs]));
        };
        match *self {
            Self::Linear { inputs, outputs, bias } => add(vec![outputs, inputs], bias),
            Self::Conv { in_channels, out_channels, kernel, bias, .. } => {
                add(vec![out_channels, in_channels, kernel, kernel], bias);
            }
            Self::BatchNorm { features } => add(vec![features], true),
            Self::EvoNorm { channels, .. } => {
                add(vec![channels], true);
                add(vec![channels], false);
            }
            Self::Residual { ref main, ref shortcut } => {
                main.iter().chain(shortcut).for_each(|layer| layer.tensor_shapes(shapes));
            }
            _ => {}
        }
    }

    /// What the layer gives when `input` reaches it; `layer` is its place in the network, for messages.
    ///
    /// # Errors
    /// A shape that the layer does not take, or a size that it cannot have.
    pub fn output(&self, input: Shape, layer: usize) -> Result<Shape, NetworkError> {
        self.output_at(input, &Place { layer, kind: self.kind().to_owned() })
    }

    fn output_at(&self, input: Shape, place: &Place) -> Result<Shape, NetworkError> {
        let [channels, height, width] = input;
        match *self {
            Self::Linear { inputs, outputs, .. } => {
                place.some(inputs, "inputs")?;
                place.some(outputs, "outputs")?;
                place.takes(inputs == channels * height * width, || format!("{inputs} numbers"), input)?;
                Ok([outputs, 1, 1])
            }
            Self::Conv { in_channels, out_channels, kernel, stride, padding, .. } => {
                place.some(in_channels, "in_channels")?;
                place.some(out_channels, "out_channels")?;
                place.takes(in_channels == channels, || format!("{in_channels} channels"), input)?;
                let [height, width] = place.window(input, kernel, stride, padding)?;
                Ok([out_channels, height, width])
            }
            Self::MaxPool { kernel, stride, padding } => {
                if 2 * padding > kernel {
                    return Err(place.value(format!("padding = {padding}, more than half its kernel = {kernel}")));
                }
                let [height, width] = place.window(input, kernel, stride, padding)?;
                Ok([channels, height, width])
            }
            Self::AvgPool { kernel, stride } => {
                let [height, width] = place.window(input, kernel, stride, 0)?;
                Ok([channels, height, width])
            }
            Self::GlobalAvgPool => Ok([channels, 1, 1]),
            Self::Flatten => Ok([channels * height * width, 1, 1]),
            Self::BatchNorm { features } => {
                place.some(features, "features")?;
                place.takes(features == channels, || format!("{features} channels"), input)?;
                Ok(input)
            }
            Self::EvoNorm { channels: wanted, groups } => {
                place.some(wanted, "channels")?;
                place.some(groups, "groups")?;
                place.takes(wanted == channels, || format!("{wanted} channels"), input)?;
                if !wanted.is_multiple_of(groups) {
                    return Err(place.value(format!("{wanted} channels, which {groups} groups do not share evenly")));
                }
                Ok(input)
            }
            Self::Dropout { rate } if !(0.0..1.0).contains(&rate) => {
                Err(place.value(format!("rate = {rate}, outside [0, 1)")))
            }
            Self::LocalResponseNorm { size, alpha, beta, k } => {
                place.some(size, "size")?;
                if !(alpha >= 0.0 && beta >= 0.0 && k > 0.0 && (alpha + beta + k).is_finite()) {
                    let found =
                        format!("alpha = {alpha}, beta = {beta}, k = {k}; alpha and beta from 0, k above 0 are");
                    return Err(place.value(found + " accepted"));
                }
                Ok(input)
            }
            Self::Relu | Self::Dropout { .. } => Ok(input),
            Self::Residual { ref main, ref shortcut } => {
                let along = |path: &[Self], name: &str| {
                    path.iter().enumerate().try_fold(input, |shape, (index, layer)| {
                        let kind = format!("{}, {name} {index}, {}", place.kind, layer.kind());
                        layer.output_at(shape, &Place { layer: place.layer, kind })
                    })
                };
                let (ours, theirs) = (along(main, "main")?, along(shortcut, "shortcut")?);
                if ours != theirs {
                    let [expected, actual] = [format!("a shortcut that gives {}", times(ours)), times(theirs)];
                    return Err(NetworkError::Shape { layer: place.layer, kind: place.kind.clone(), expected, actual });
                }
                Ok(ours)
            }
        }
    }
}

/// The shapes of the tensors of all layers, in row order.
pub(super) fn tensor_shapes(layers: &[Layer]) -> Vec<Vec<usize>> {
    let mut shapes = Vec::new();
    layers.iter().for_each(|layer| layer.tensor_shapes(&mut shapes));
    shapes
}

/// A shape as messages show it.
pub(super) fn times([channels, height, width]: Shape) -> String {
    if height == 1 && width == 1 { channels.to_string() } else { format!("{channels} × {height} × {width}") }
}

impl Place {
    fn some(&self, size: usize, what: &'static str) -> Result<(), NetworkError> {
        if size == 0 { Err(NetworkError::Empty { layer: self.layer, what }) } else { Ok(()) }
    }

    fn takes(&self, fits: bool, expected: impl Fn() -> String, actual: Shape) -> Result<(), NetworkError> {
        if fits {
            return Ok(());
        }
        let Self { layer, kind } = self.clone();
        Err(NetworkError::Shape { layer, kind, expected: expected(), actual: times(actual) })
    }

    fn value(&self, found: String) -> NetworkError {
        NetworkError::Value { layer: self.layer, kind: self.kind.clone(), found }
    }

    /// Height and width of what a window gives as it moves over an image.
    fn window(&self, input: Shape, kernel: usize, stride: usize, padding: usize) -> Result<[usize; 2], NetworkError> {
        self.some(kernel, "kernel")?;
        self.some(stride, "stride")?;
        let [_, height, width] = input;
        let expected = || format!("images of at least {0} × {0} pixels", kernel.saturating_sub(2 * padding));
        self.takes(height.min(width) + 2 * padding >= kernel, expected, input)?;
        Ok([height, width].map(|side| (side + 2 * padding - kernel) / stride + 1))
    }
}
