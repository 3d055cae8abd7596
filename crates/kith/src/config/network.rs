//! The `[network]` table.

use kith_core::{Head, Layer, Network, Norm, Shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::render::Problem;

/// The `[network]` table. A key that is left out takes the family's own value.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// Kind of network.
    pub family: NetworkFamily,
    /// Widths of an MLP's hidden layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = [100, 100])]
    pub hidden: Option<Vec<usize>>,
    /// Whether layers have a bias; for a list of layers, whether the head has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// One head for all tasks, or one a task.
    pub head: SpecHead,
    /// Channels of a residual network's first layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 16)]
    pub width: Option<usize>,
    /// What follows convolutions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
    /// A network of the file's own, before the head.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// One head for all tasks, or one a task; one unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecHead(pub Head);

impl Default for SpecHead {
    fn default() -> Self {
        Self(Head::Shared)
    }
}

/// Kinds of network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum NetworkFamily {
    /// Linear layers with ReLU between.
    #[default]
    #[serde(rename = "mlp")]
    Mlp,
    /// LeNet-5.
    #[serde(rename = "lenet-5")]
    Lenet5,
    /// The AlexNet of gradient projection memory.
    #[serde(rename = "alexnet-gpm")]
    AlexnetGpm,
    /// CoDeC's AlexNet, a quarter as wide.
    #[serde(rename = "alexnet-quarter")]
    AlexnetQuarter,
    /// The LeNet of the superclass experiments.
    #[serde(rename = "lenet-superclass")]
    LenetSuperclass,
    /// The five-layer network of neighbourhood gradient clustering.
    #[serde(rename = "cnn5")]
    Cnn5,
    /// The same group's narrow VGG-11.
    #[serde(rename = "vgg-11")]
    Vgg11,
    /// ResNet-20 for small images.
    #[serde(rename = "resnet-20")]
    Resnet20,
    /// The reduced ResNet-18.
    #[serde(rename = "resnet-18")]
    Resnet18,
    /// The layers that the file lists.
    #[serde(rename = "layers")]
    Layers,
}

impl NetworkFamily {
    /// What `hidden`, `bias`, `width` and `norm` are when the file says nothing; none where the family has no such key.
    fn own(self) -> (Option<Vec<usize>>, Option<bool>, Option<usize>, Option<Norm>) {
        match self {
            Self::Mlp => (Some(vec![100, 100]), Some(false), None, None),
            Self::Lenet5 => (None, Some(true), None, None),
            Self::Layers => (None, Some(false), None, None),
            Self::AlexnetGpm | Self::AlexnetQuarter | Self::LenetSuperclass => (None, None, None, None),
            Self::Cnn5 | Self::Vgg11 => (None, None, None, Some(Norm::EvoNorm)),
            Self::Resnet20 => (None, None, Some(16), Some(Norm::EvoNorm)),
            Self::Resnet18 => (None, None, Some(20), Some(Norm::BatchNorm)),
        }
    }
}

impl NetworkSpec {
    /// Writes the family's own values where the file says nothing.
    pub(crate) fn fill(&mut self) {
        let (hidden, bias, width, norm) = self.family.own();
        self.hidden = self.hidden.take().or(hidden);
        self.bias = self.bias.or(bias);
        self.width = self.width.or(width);
        self.norm = self.norm.or(norm);
    }

    /// The layers before the head, for images of this shape (an MLP takes them as a list of numbers).
    fn layers(&self, input: Shape) -> Vec<Layer> {
        let mut full = self.clone();
        full.fill();
        let norm = full.norm.unwrap_or(Norm::EvoNorm);
        let width = full.width.unwrap_or(16);
        match self.family {
            NetworkFamily::Mlp => {
                let (hidden, bias) = (full.hidden.unwrap_or_default(), full.bias.unwrap_or(false));
                Network::mlp(input.iter().product(), &hidden, 1, bias, Head::Shared, 1).layers
            }
            NetworkFamily::Lenet5 => Network::lenet5(input, full.bias.unwrap_or(true)),
            NetworkFamily::AlexnetGpm => Network::alexnet(input, 64),
            NetworkFamily::AlexnetQuarter => Network::alexnet(input, 16),
            NetworkFamily::LenetSuperclass => Network::lenet_superclass(input),
            NetworkFamily::Cnn5 => Network::cnn5(input, norm),
            NetworkFamily::Vgg11 => Network::vgg11(input, norm),
            NetworkFamily::Resnet20 => Network::resnet20(input, width, norm),
            NetworkFamily::Resnet18 => Network::resnet18(input, width, norm),
            NetworkFamily::Layers => full.layers,
        }
    }

    /// The network for inputs of this shape, classes a head, and tasks.
    #[must_use]
    pub fn network(&self, input: Shape, classes: usize, tasks: usize) -> Network {
        let own = self.family.own().1;
        let bias = self.bias.or(own).unwrap_or(false);
        Network::of(input, self.layers(input), self.head.0, classes, bias, tasks)
    }

    /// How many layers gradient projection memory covers.
    #[must_use]
    pub fn projected_layers(&self) -> usize {
        // The number does not depend on the images' shape.
        let layers: usize = self.layers([3, 32, 32]).iter().map(Layer::weights).sum();
        layers + usize::from(self.head.0 == Head::Shared)
    }

    /// Keys that the family does not have, and sizes of zero.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let (hidden, bias, width, norm) = self.family.own();
        let keys = [
            ("hidden", self.hidden.is_some() && hidden.is_none(), "family = \"mlp\""),
            ("bias", self.bias.is_some() && bias.is_none(), "family = \"mlp\", \"lenet-5\" or \"layers\""),
            ("width", self.width.is_some() && width.is_none(), "family = \"resnet-20\" or \"resnet-18\""),
            (
                "norm",
                self.norm.is_some() && norm.is_none(),
                "family = \"cnn5\", \"vgg-11\", \"resnet-20\" or \"resnet-18\"",
            ),
            ("layers", !self.layers.is_empty() && self.family != NetworkFamily::Layers, "family = \"layers\""),
        ];
        let misplaced = |&(key, is, accepted): &(&str, bool, &str)| {
            let problem = Problem::new(format!("network.{key}"), format!("this family of networks has no {key}"));
            is.then(|| problem.accept(format!("accepted: {accepted}, or no {key}")))
        };
        let mut problems: Vec<Problem> = keys.iter().filter_map(misplaced).collect();
        if self.layers.is_empty() && self.family == NetworkFamily::Layers {
            problems.push(
                Problem::new("network.layers", "a list of layers is needed, and there is none")
                    .accept("accepted: [[network.layers]] tables, each with its kind"),
            );
        }
        if self.width == Some(0) {
            problems.push(Problem::new("network.width", "0 is too few").accept("accepted: 1 or more"));
        }
        for (place, width) in self.hidden.iter().flatten().enumerate() {
            if *width == 0 {
                let path = format!("network.hidden.{place}");
                problems.push(Problem::new(path, "0 is too few").accept("accepted: 1 or more"));
            }
        }
        problems
    }
}
