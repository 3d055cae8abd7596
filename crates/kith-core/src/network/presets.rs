//! The networks of the published experiments, for any input that they fit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Head, Layer, Network, Shape};

/// Which normalisation a network has after its convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Batch normalisation, then ReLU.
    BatchNorm,
    /// EvoNorm-S0 with 8 groups, which is its own activation.
    EvoNorm,
}

/// Appends layers and follows the shape between them. What does not fit shows when the layout is made.
struct Builder {
    shape: Shape,
    layers: Vec<Layer>,
}

impl Builder {
    const fn new(shape: Shape) -> Self {
        Self { shape, layers: Vec::new() }
    }

    fn push(&mut self, layer: Layer) {
        self.shape = layer.output(self.shape, self.layers.len()).unwrap_or(self.shape);
        self.layers.push(layer);
    }

    fn conv(&mut self, out_channels: usize, kernel: usize, stride: usize, padding: usize, bias: bool) {
        self.push(Layer::Conv { in_channels: self.shape[0], out_channels, kernel, stride, padding, bias });
    }

    fn linear(&mut self, outputs: usize, bias: bool) {
        self.push(Layer::Linear { inputs: self.shape.iter().product(), outputs, bias });
    }

    fn norm(&mut self, norm: Norm) {
        match norm {
            Norm::BatchNorm => self.push(Layer::BatchNorm { features: self.shape[0] }),
            Norm::EvoNorm => self.push(Layer::EvoNorm { channels: self.shape[0], groups: 8 }),
        }
    }

    fn activation(&mut self, norm: Norm) {
        if norm == Norm::BatchNorm {
            self.push(Layer::Relu);
        }
    }

    fn pool(&mut self, kernel: usize) {
        self.push(Layer::MaxPool { kernel, stride: kernel, padding: 0 });
    }

    /// Two 3 × 3 convolutions beside the identity, or beside a 1 × 1 convolution where the shape changes.
    fn block(&mut self, width: usize, stride: usize, norm: Norm) {
        let mut main = Self::new(self.shape);
        main.conv(width, 3, stride, 1, false);
        main.norm(norm);
        main.activation(norm);
        main.conv(width, 3, 1, 1, false);
        main.norm(norm);
        let mut shortcut = Self::new(self.shape);
        if stride != 1 || width != self.shape[0] {
            shortcut.conv(width, 1, stride, 0, false);
            // EvoNorm is an activation too, so with it the shortcut stays linear.
            if norm == Norm::BatchNorm {
                shortcut.norm(norm);
            }
        }
        self.push(Layer::Residual { main: main.layers, shortcut: shortcut.layers });
        self.activation(norm);
    }

    /// `blocks` at each width, the first of every width but the first halving the image.
    fn stages(&mut self, widths: &[usize], blocks: usize, norm: Norm) {
        for (stage, &width) in widths.iter().enumerate() {
            for block in 0..blocks {
                self.block(width, if stage > 0 && block == 0 { 2 } else { 1 }, norm);
            }
        }
    }
}

/// The layers of the published networks, without the head.
impl Network {
    /// LeNet-5: 6 and 16 kernels of side 5 (the first padded by 2), each with ReLU and 2 × 2 maximum, then 120 and 84 features.
    #[must_use]
    pub fn lenet5(input: Shape, bias: bool) -> Vec<Layer> {
        let mut net = Builder::new(input);
        for (width, padding) in [(6, 2), (16, 0)] {
            net.conv(width, 5, 1, padding, bias);
            net.push(Layer::Relu);
            net.pool(2);
        }
        for width in [120, 84] {
            net.linear(width, bias);
            net.push(Layer::Relu);
        }
        net.layers
    }

    /// The AlexNet of gradient projection memory (Saha, Garg & Roy 2021) at `width` kernels in the first layer: 64 there,
    /// 16 in CoDeC's quarter.
    #[must_use]
    pub fn alexnet(input: Shape, width: usize) -> Vec<Layer> {
        let mut net = Builder::new(input);
        for (factor, kernel, rate) in [(1, 4, 0.2), (2, 3, 0.2), (4, 2, 0.5)] {
            net.conv(factor * width, kernel, 1, 0, false);
            net.norm(Norm::BatchNorm);
            net.push(Layer::Relu);
            net.push(Layer::Dropout { rate });
            net.pool(2);
        }
        for _ in 0..2 {
            net.linear(32 * width, false);
            net.norm(Norm::BatchNorm);
            net.push(Layer::Relu);
            net.push(Layer::Dropout { rate: 0.5 });
        }
        net.layers
    }

    /// The LeNet of the superclass experiments (Saha, Garg & Roy 2021): 20 and 50 kernels of side 5, 800 and 500 features.
    #[must_use]
    pub fn lenet_superclass(input: Shape) -> Vec<Layer> {
        let mut net = Builder::new(input);
        for width in [20, 50] {
            net.conv(width, 5, 1, 2, false);
            net.push(Layer::Relu);
            net.push(Layer::MaxPool { kernel: 3, stride: 2, padding: 1 });
            net.push(Layer::LocalResponseNorm { size: 4, alpha: 0.001 / 9.0, beta: 0.75, k: 1.0 });
        }
        for width in [800, 500] {
            net.linear(width, false);
            net.push(Layer::Relu);
        }
        net.layers
    }

    /// The five-layer network of neighbourhood gradient clustering (Aketi, Kodge & Roy 2023): 32, 32, 64 and 64 kernels.
    #[must_use]
    pub fn cnn5(input: Shape, norm: Norm) -> Vec<Layer> {
        let mut net = Builder::new(input);
        for (width, pools) in [(32, false), (32, true), (64, true), (64, true)] {
            net.conv(width, 3, 1, 1, false);
            net.norm(norm);
            net.activation(norm);
            if pools {
                net.pool(2);
            }
        }
        net.layers
    }

    /// The narrow VGG-11 of the same group: 16, 32, 64, 64, 128, 128, 128, 128 kernels.
    #[must_use]
    pub fn vgg11(input: Shape, norm: Norm) -> Vec<Layer> {
        let mut net = Builder::new(input);
        let (no, yes) = (false, true);
        for (width, pools) in [(16, yes), (32, yes), (64, no), (64, yes), (128, no), (128, yes), (128, no), (128, yes)]
        {
            net.conv(width, 3, 1, 1, false);
            net.norm(norm);
            net.activation(norm);
            if pools {
                net.pool(2);
            }
        }
        net.layers
    }

    /// ResNet-20 for small images (He et al. 2016): three stages of three blocks, `width`, 2 `width` and 4 `width` channels
    /// (16 in the paper), 1 × 1 convolutions where the shape changes.
    #[must_use]
    pub fn resnet20(input: Shape, width: usize, norm: Norm) -> Vec<Layer> {
        let mut net = Builder::new(input);
        net.conv(width, 3, 1, 1, false);
        net.norm(norm);
        net.activation(norm);
        net.stages(&[width, 2 * width, 4 * width], 3, norm);
        net.push(Layer::GlobalAvgPool);
        net.layers
    }

    /// The reduced ResNet-18 of the continual learning papers: four stages of two blocks from `width` (20) channels on, means of
    /// 2 × 2 pixels before the head.
    #[must_use]
    pub fn resnet18(input: Shape, width: usize, norm: Norm) -> Vec<Layer> {
        let mut net = Builder::new(input);
        net.conv(width, 3, 1, 1, false);
        net.norm(norm);
        net.activation(norm);
        net.stages(&[width, 2 * width, 4 * width, 8 * width], 2, norm);
        net.push(Layer::AvgPool { kernel: 2, stride: 2 });
        net.layers
    }

    /// A network of these layers with a head on what they give.
    #[must_use]
    pub const fn of(
        input: Shape,
        layers: Vec<Layer>,
        head: Head,
        classes: usize,
        head_bias: bool,
        tasks: usize,
    ) -> Self {
        Self { input, layers, head, classes, head_bias, tasks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, NetworkError, Role};

    const CIFAR: Shape = [3, 32, 32];

    fn layout(input: Shape, layers: Vec<Layer>, tasks: usize) -> Layout {
        let head = if tasks > 1 { Head::PerTask } else { Head::Shared };
        Network::of(input, layers, head, 10, false, tasks).layout().expect("it fits")
    }

    fn count(layout: &Layout, which: impl Fn(Role) -> bool) -> usize {
        layout.tensors.iter().filter(|tensor| which(tensor.role)).map(crate::Tensor::len).sum()
    }

    #[test]
    fn the_alexnet_of_gradient_projection_memory_has_6_713_216_numbers() {
        let layout = layout(CIFAR, Network::alexnet(CIFAR, 64), 10);
        assert_eq!(layout.len(), 6_713_216);
        let dimensions: Vec<_> = layout.projected().map(|tensor| tensor.cols).collect();
        assert_eq!(dimensions, [48, 576, 512, 1024, 2048]);
        assert_eq!(layout.tensors[0].name, "conv1.weight");
        assert_eq!(layout.tensors[1].name, "bn1.weight");
        assert_eq!(layout.tensors[9].name, "fc1.weight");
    }

    #[test]
    fn the_quarter_alexnet_has_the_counts_of_the_reference() {
        let layout = layout(CIFAR, Network::alexnet(CIFAR, 16), 10);
        assert_eq!(count(&layout, |role| matches!(role, Role::Projected(_))), 406_784);
        assert_eq!(count(&layout, |role| matches!(role, Role::Affine(_))), 2272);
        assert_eq!(count(&layout, |role| matches!(role, Role::Head(_))), 51_200);
    }

    #[test]
    fn lenet_5_on_28_by_28_has_61_706_numbers() {
        let input = [1, 28, 28];
        let network = Network::of(input, Network::lenet5(input, true), Head::Shared, 10, true, 1);
        assert_eq!(network.layout().map(|layout| layout.len()), Ok(61_706));
    }

    #[test]
    fn feature_counts_are_those_of_the_reference() {
        let features = |layers| Network::of(CIFAR, layers, Head::Shared, 10, false, 1).features();
        assert_eq!(features(Network::cnn5(CIFAR, Norm::EvoNorm)), Ok(1024));
        assert_eq!(features(Network::vgg11(CIFAR, Norm::EvoNorm)), Ok(128));
        assert_eq!(features(Network::resnet18(CIFAR, 20, Norm::BatchNorm)), Ok(640));
        assert_eq!(features(Network::resnet20(CIFAR, 16, Norm::EvoNorm)), Ok(64));
        assert_eq!(features(Network::lenet_superclass(CIFAR)), Ok(500));
        let layout = layout(CIFAR, Network::lenet_superclass(CIFAR), 20);
        assert_eq!(layout.projected().nth(2).map(|tensor| tensor.cols), Some(3200));
    }

    #[test]
    fn the_reduced_resnet_18_has_20_projected_layers_shortcuts_after_their_block() {
        let layout = layout(CIFAR, Network::resnet18(CIFAR, 20, Norm::BatchNorm), 5);
        let names: Vec<_> = layout.projected().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names.len(), 20);
        assert_eq!(names[7], "block3.shortcut.conv1.weight");
        assert_eq!(names[6], "block3.conv2.weight");
    }

    #[test]
    fn a_wrong_shape_names_the_layer_within_its_block() {
        let mut layers = Network::resnet18(CIFAR, 20, Norm::BatchNorm);
        if let Layer::Residual { main, .. } = &mut layers[3] {
            main.push(Layer::BatchNorm { features: 21 });
        }
        let error = Network::of(CIFAR, layers, Head::Shared, 10, false, 1).layout().err();
        let message = error.as_ref().map(ToString::to_string);
        let expected = "layer 3 (residual, main 5, batch-norm) takes 21 channels, but 20 × 32 × 32 reach it";
        assert_eq!(message.as_deref(), Some(expected));
    }

    #[test]
    fn an_image_too_small_for_a_kernel_is_refused() {
        let input = [3, 8, 8];
        let error = Network::of(input, Network::alexnet(input, 16), Head::Shared, 10, false, 1).layout().err();
        assert!(matches!(error, Some(NetworkError::Shape { layer: 5, .. })), "{error:?}");
    }
}
