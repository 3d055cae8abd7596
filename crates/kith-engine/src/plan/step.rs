//! A network's layers as steps from value to value.
//!
//! Between steps lie values. Features are *rows* `[batch, features]`; images are *planes* `[channels, batch, pixels]`, so that
//! a convolution of a whole minibatch is one product `[C_out, d] × [d, batch · places]` and a channel's statistics are those of
//! consecutive numbers. Where layers of the two kinds meet, a step turns one into the other.

use kith_core::{Head, Layer, Layout, Network, Role, Shape, TaskId};

use super::{Hold, Plan, Relu, Stage, Window, hold};
use crate::port::Chart;

/// How a value lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[batch, channels · height · width]`.
    Rows,
    /// `[channels, batch, height · width]`.
    Planes,
}

/// What lies between two steps.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// How it lies.
    pub form: Form,
    /// Of one sample.
    pub shape: Shape,
    /// Whether a parameter lies before it, so that gradients by it are of use.
    pub follows_parameters: bool,
}

impl Value {
    /// Numbers a sample.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.shape[0] * self.shape[1] * self.shape[2]
    }

    /// Whether a sample has no number.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels of an image, or features.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.shape[0]
    }

    /// Pixels of an image; one for features.
    #[must_use]
    pub const fn pixels(&self) -> usize {
        self.shape[1] * self.shape[2]
    }
}

/// Whether the numbers of a normalisation layer are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// They are.
    Yes,
    /// They stand still.
    No,
}

/// Where the numbers of a normalisation layer lie in a row.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// The inner factor of EvoNorm.
    pub inner: usize,
    /// What multiplies.
    pub gain: usize,
    /// What is added.
    pub shift: usize,
    /// Whether they get a gradient.
    pub trained: Trained,
}

/// Local response normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Neighbouring channels.
    pub size: usize,
    /// Weight of the mean square.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// What is added.
    pub k: f32,
}

impl Response {
    /// The channels whose squares count for channel `at`.
    #[must_use]
    pub fn neighbours(&self, channels: usize, at: usize) -> std::ops::Range<usize> {
        at.saturating_sub(self.size / 2)..channels.min(at + self.size.div_ceil(2))
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub enum Op<'g> {
    /// `y ← x Wᵀ + b` on rows.
    Linear(Stage<'g>),
    /// `y ← W P + b`, P being the patches of planes.
    Conv(Stage<'g>, Window),
    /// The largest of every window.
    MaxPool(Window),
    /// The mean of every window.
    AvgPool(Window),
    /// Batch normalisation.
    BatchNorm(Places),
    /// EvoNorm-S0, and its groups.
    EvoNorm(Places, usize),
    /// Local response normalisation.
    Response(Response),
    /// Rows become planes, or planes rows.
    Turn,
    /// Nothing; ReLU or dropout follow.
    Copy,
    /// A residual layer begins; the shortcut will start from the input.
    Fork,
    /// The main path has ended, the shortcut begins.
    Meet,
    /// Adds the main path's value to the shortcut's.
    Add {
        /// That value.
        main: usize,
    },
}

impl<'g> Op<'g> {
    /// The weight matrix, where there is one.
    #[must_use]
    pub const fn stage(&self) -> Option<&Stage<'g>> {
        match self {
            Self::Linear(stage) | Self::Conv(stage, _) => Some(stage),
            _ => None,
        }
    }

    pub(super) const fn freeze(&mut self) -> Option<&mut Trained> {
        match self {
            Self::BatchNorm(places) | Self::EvoNorm(places, _) => Some(&mut places.trained),
            _ => None,
        }
    }

    const fn has_parameters(&self) -> bool {
        matches!(self, Self::Linear(_) | Self::Conv(..) | Self::BatchNorm(_) | Self::EvoNorm(..))
    }

    /// Whether the step computes a value.
    #[must_use]
    pub const fn computes(&self) -> bool {
        !matches!(self, Self::Fork | Self::Meet)
    }
}

/// One step: `values[output] ← op(values[input])`, then ReLU, then dropout.
#[derive(Clone, Copy, Debug)]
pub struct Step<'g> {
    /// What it does first.
    pub op: Op<'g>,
    /// The value that it takes.
    pub input: usize,
    /// The value that it gives.
    pub output: usize,
    /// Whether a ReLU follows.
    pub relu: Relu,
    /// Of 65 536 numbers, how many are dropped.
    pub dropped: Option<u16>,
}

/// Walks a network and writes its steps.
pub(super) struct Builder<'l, 'g, C> {
    whole: &'l Layout,
    layout: &'l Layout,
    chart: C,
    plan: Plan<'g>,
    /// The next tensor.
    tensor: usize,
    /// The value that the next layer takes.
    value: usize,
}

impl<'l, 'g, C: Fn(usize) -> Option<&'g Chart>> Builder<'l, 'g, C> {
    pub(super) fn new(network: &Network, whole: &'l Layout, layout: &'l Layout, task: TaskId, chart: C) -> Self {
        let input = Value { form: Form::Rows, shape: network.input, follows_parameters: false };
        let plan = Plan { steps: Vec::new(), values: vec![input], frozen: Vec::new(), depth: 0, task, seeds: None };
        Self { whole, layout, chart, plan, tensor: 0, value: 0 }
    }

    pub(super) fn build(mut self, network: &Network) -> Plan<'g> {
        self.layers(&network.layers, 0);
        self.form(Form::Rows);
        match network.head {
            Head::Shared => self.linear(network.head_bias, network.classes),
            Head::PerTask => {
                let task = self.plan.task;
                assert!(task.index() < network.tasks, "task {task} of a network with {} heads", network.tasks);
                for head in 0..network.tasks {
                    if head == task.index() {
                        self.linear(network.head_bias, network.classes);
                    } else {
                        let first = self.tensor;
                        self.tensor += 1 + usize::from(network.head_bias);
                        let tensors = &self.layout.tensors[first..self.tensor];
                        self.plan.frozen.extend(tensors.iter().map(kith_core::Tensor::range));
                    }
                }
            }
        }
        self.plan
    }

    fn layers(&mut self, layers: &[Layer], depth: usize) {
        for layer in layers {
            self.layer(layer, depth);
        }
    }

    fn layer(&mut self, layer: &Layer, depth: usize) {
        let [channels, height, width] = self.shape();
        // The layout was made from this network, so every layer fits.
        let out = layer.output(self.shape(), 0).unwrap_or([0; 3]);
        let window = |kernel: [usize; 2], stride, padding| Window {
            image: [height, width],
            kernel,
            stride,
            padding,
            places: [out[1], out[2]],
        };
        match *layer {
            Layer::Linear { bias, outputs, .. } => {
                self.form(Form::Rows);
                self.linear(bias, outputs);
            }
            Layer::Conv { kernel, stride, padding, bias, .. } => {
                self.form(Form::Planes);
                let stage = self.stage(bias);
                self.push(Op::Conv(stage, window([kernel; 2], stride, padding)), out);
            }
            Layer::MaxPool { kernel, stride, padding } => {
                self.form(Form::Planes);
                let relu = self.take_relu();
                self.push(Op::MaxPool(window([kernel; 2], stride, padding)), out);
                self.last(|_| true).relu = relu;
            }
            Layer::AvgPool { kernel, stride } => {
                self.form(Form::Planes);
                self.push(Op::AvgPool(window([kernel; 2], stride, 0)), out);
            }
            Layer::GlobalAvgPool => {
                self.form(Form::Planes);
                self.push(Op::AvgPool(window([height, width], 1, 0)), out);
            }
            Layer::Flatten => {
                self.form(Form::Rows);
                self.plan.values[self.value].shape = [channels * height * width, 1, 1];
            }
            Layer::BatchNorm { .. } => {
                self.form(Form::Planes);
                let places = self.places(0);
                self.push(Op::BatchNorm(places), out);
            }
            Layer::EvoNorm { groups, .. } => {
                self.form(Form::Planes);
                let places = self.places(1);
                self.push(Op::EvoNorm(places, groups), out);
            }
            Layer::LocalResponseNorm { size, alpha, beta, k } => {
                self.form(Form::Planes);
                let response = Response { size, alpha: alpha as f32, beta: beta as f32, k: k as f32 };
                self.push(Op::Response(response), out);
            }
            Layer::Relu => self.last(|step| step.relu == Relu::Absent).relu = Relu::Follows,
            Layer::Dropout { rate } => {
                self.last(|step| step.dropped.is_none()).dropped = Some((rate * 65_536.0).round().min(65_535.0) as u16);
            }
            Layer::Residual { ref main, ref shortcut } => self.residual(main, shortcut, depth + 1),
        }
    }

    fn residual(&mut self, main: &[Layer], shortcut: &[Layer], depth: usize) {
        self.plan.depth = self.plan.depth.max(depth);
        self.form(Form::Planes);
        let start = self.value;
        self.mark(Op::Fork);
        self.layers(main, depth);
        self.form(Form::Planes);
        let end = std::mem::replace(&mut self.value, start);
        self.mark(Op::Meet);
        self.layers(shortcut, depth);
        self.form(Form::Planes);
        let shape = self.shape();
        self.push(Op::Add { main: end }, shape);
        let follows = self.plan.values[end].follows_parameters;
        self.plan.values[self.value].follows_parameters |= follows;
    }

    fn shape(&self) -> Shape {
        self.plan.values[self.value].shape
    }

    /// The step that computed the current value, if it may still do `more` to it; a copy of the value otherwise.
    fn last(&mut self, more: impl Fn(&Step<'g>) -> bool) -> &mut Step<'g> {
        let value = self.value;
        let fits = self.plan.steps.last().is_some_and(|step| step.op.computes() && step.output == value && more(step));
        if !fits {
            let shape = self.shape();
            self.push(Op::Copy, shape);
        }
        let last = self.plan.steps.len() - 1;
        &mut self.plan.steps[last]
    }

    /// Takes the ReLU off the step before, for a max-pool to do after it: the largest of what a ReLU leaves is what a ReLU leaves
    /// of the largest, in the same place, and there are fewer of them. Dropout between the two multiplies by no negative number
    /// and changes nothing in that.
    fn take_relu(&mut self) -> Relu {
        let value = self.value;
        match self.plan.steps.last_mut() {
            Some(step) if step.op.computes() && step.output == value => std::mem::replace(&mut step.relu, Relu::Absent),
            _ => Relu::Absent,
        }
    }

    fn form(&mut self, form: Form) {
        if self.plan.values[self.value].form != form {
            let shape = self.shape();
            self.push(Op::Turn, shape);
        }
    }

    fn push(&mut self, op: Op<'g>, shape: Shape) {
        let before = self.plan.values[self.value];
        let form = match op {
            Op::Linear(_) => Form::Rows,
            Op::Turn if before.form == Form::Rows => Form::Planes,
            Op::Turn => Form::Rows,
            Op::Copy => before.form,
            _ => Form::Planes,
        };
        let follows_parameters = before.follows_parameters || op.has_parameters();
        self.plan.values.push(Value { form, shape, follows_parameters });
        let output = self.plan.values.len() - 1;
        self.plan.steps.push(Step { op, input: self.value, output, relu: Relu::Absent, dropped: None });
        self.value = output;
    }

    fn mark(&mut self, op: Op<'g>) {
        let value = self.value;
        self.plan.steps.push(Step { op, input: value, output: value, relu: Relu::Absent, dropped: None });
    }

    fn linear(&mut self, bias: bool, outputs: usize) {
        let stage = self.stage(bias);
        self.push(Op::Linear(stage), [outputs, 1, 1]);
    }

    /// The next tensor as a weight, with the bias that may follow.
    fn stage(&mut self, bias: bool) -> Stage<'g> {
        let (held, free) = (&self.layout.tensors[self.tensor], &self.whole.tensors[self.tensor]);
        let (hold, projected) = match held.role {
            Role::Projected(layer) => (hold((self.chart)(layer), free.offset), true),
            Role::Free | Role::Affine(_) | Role::Head(_) => (Hold::Whole, false),
        };
        let stage = Stage {
            inputs: free.cols,
            outputs: free.rows,
            weight: held.offset,
            weight_len: held.len(),
            bias: bias.then(|| self.layout.tensors[self.tensor + 1].offset),
            hold,
            projected,
        };
        self.tensor += 1 + usize::from(bias);
        stage
    }

    /// The next tensors as those of a normalisation layer: `inner` of them before gain and shift.
    fn places(&mut self, inner: usize) -> Places {
        let at = |tensor: usize| self.layout.tensors[tensor].offset;
        let first = self.tensor;
        self.tensor += inner + 2;
        Places { inner: at(first), gain: at(first + inner), shift: at(first + inner + 1), trained: Trained::Yes }
    }
}
