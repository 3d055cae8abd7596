//! A network and a geometry, worked out into the stages that one visit runs.

use std::ops::Range;

use kith_core::{Head, Layer, Layout, Matrix, Network, Role, TaskId};

use crate::port::{Chart, Geometry};

/// How a stage's weights are held and its gradient constrained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hold<'g> {
    /// Weights as they are.
    Whole,
    /// No direction is free: the constrained gradient is zero.
    Fixed,
    /// Weights as they are, gradient projected.
    Projected { basis: &'g Matrix, importance: Option<&'g [f32]> },
    /// Weights as they are, gradient confined to a space.
    Confined { span: &'g Matrix },
    /// Coordinates; the base lies at `base` in the whole layout.
    Coordinates { span: &'g Matrix, gain: Option<&'g [f32]>, base: usize },
}

/// A linear layer and the ReLU that may follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage<'g> {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Where the weight lies in a row.
    pub(crate) weight: usize,
    /// Numbers of the weight in a row.
    pub(crate) weight_len: usize,
    /// Where the bias lies in a row.
    pub(crate) bias: Option<usize>,
    pub(crate) relu: Relu,
    pub(crate) hold: Hold<'g>,
    /// Whether the weight is one of the projected tensors.
    pub(crate) projected: bool,
}

/// Whether a ReLU follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relu {
    Follows,
    Absent,
}

impl Stage<'_> {
    pub(crate) fn weight_range(&self) -> Range<usize> {
        self.weight..self.weight + self.weight_len
    }

    pub(crate) fn bias_range(&self) -> Option<Range<usize>> {
        self.bias.map(|start| start..start + self.outputs)
    }

    /// Columns of the smaller factor: r of a projection, k of coordinates.
    pub(crate) fn narrow(&self) -> usize {
        match self.hold {
            Hold::Whole | Hold::Fixed => 0,
            Hold::Projected { basis, .. } => basis.cols(),
            Hold::Confined { span } | Hold::Coordinates { span, .. } => span.cols(),
        }
    }
}

/// The stages of a network as one task uses it.
#[derive(Debug)]
pub(crate) struct Plan<'g> {
    pub(crate) stages: Vec<Stage<'g>>,
    /// Whether the input itself goes through a ReLU first.
    pub(crate) input_relu: Relu,
    /// What gets no gradient: heads of other tasks.
    pub(crate) frozen: Vec<Range<usize>>,
}

impl<'g> Plan<'g> {
    /// The stages on whole rows without constraint.
    pub(crate) fn whole(network: &Network, layout: &Layout, task: TaskId) -> Self {
        Self::build(network, layout, layout, task, |_| None)
    }

    /// The stages in a geometry; `whole` is the network's own layout.
    ///
    /// # Panics
    /// If the geometry does not belong to the network: a chart count or shape that does not fit, or a layout that is not
    /// the whole one narrowed to the coordinates.
    pub(crate) fn new(network: &Network, whole: &Layout, geometry: &'g Geometry) -> Self {
        check(whole, geometry);
        Self::build(network, whole, &geometry.layout, geometry.task, |layer| Some(&geometry.charts[layer]))
    }

    fn build(
        network: &Network,
        whole: &Layout,
        layout: &Layout,
        task: TaskId,
        chart: impl Fn(usize) -> Option<&'g Chart>,
    ) -> Self {
        let mut plan = Self { stages: Vec::new(), input_relu: Relu::Absent, frozen: Vec::new() };
        let mut tensor = 0;
        let mut linear = |plan: &mut Self, bias: bool| {
            let (held, free) = (&layout.tensors[tensor], &whole.tensors[tensor]);
            let (hold, projected) = match held.role {
                Role::Projected(layer) => (hold(chart(layer), free.offset), true),
                Role::Free | Role::Head(_) => (Hold::Whole, false),
            };
            plan.stages.push(Stage {
                inputs: free.cols,
                outputs: free.rows,
                weight: held.offset,
                weight_len: held.len(),
                bias: bias.then(|| layout.tensors[tensor + 1].offset),
                relu: Relu::Absent,
                hold,
                projected,
            });
            tensor += 1 + usize::from(bias);
        };
        for layer in &network.layers {
            match *layer {
                Layer::Linear { bias, .. } => linear(&mut plan, bias),
                Layer::Relu => match plan.stages.last_mut() {
                    Some(stage) => stage.relu = Relu::Follows,
                    None => plan.input_relu = Relu::Follows,
                },
            }
        }
        match network.head {
            Head::Shared => linear(&mut plan, network.head_bias),
            Head::PerTask => {
                assert!(task.index() < network.tasks, "task {task} of a network with {} heads", network.tasks);
                for head in 0..network.tasks {
                    linear(&mut plan, network.head_bias);
                    if head != task.index()
                        && let Some(stage) = plan.stages.pop()
                    {
                        let bias = if network.head_bias { stage.outputs } else { 0 };
                        plan.frozen.push(stage.weight..stage.weight + stage.weight_len + bias);
                    }
                }
            }
        }
        plan
    }

    pub(crate) fn inputs(&self) -> usize {
        self.stages[0].inputs
    }

    pub(crate) fn classes(&self) -> usize {
        self.stages[self.stages.len() - 1].outputs
    }
}

fn hold(chart: Option<&Chart>, base: usize) -> Hold<'_> {
    match chart {
        None | Some(Chart::Whole) => Hold::Whole,
        Some(Chart::Projected { basis, .. }) if basis.cols() == 0 => Hold::Whole,
        Some(Chart::Projected { basis, importance: None }) if basis.cols() == basis.rows() => Hold::Fixed,
        Some(Chart::Projected { basis, importance }) => Hold::Projected { basis, importance: importance.as_deref() },
        Some(Chart::Confined { span }) if span.cols() == 0 => Hold::Fixed,
        Some(Chart::Confined { span }) => Hold::Confined { span },
        Some(Chart::Coordinates { span, gain }) => Hold::Coordinates { span, gain: gain.as_deref(), base },
    }
}

/// Holds a geometry against the network's own layout.
pub(crate) fn check(whole: &Layout, geometry: &Geometry) {
    let layers = whole.projected().count();
    assert_eq!(geometry.charts.len(), layers, "one chart for each of {layers} projected layers");
    assert_eq!(geometry.layout.tensors.len(), whole.tensors.len(), "the geometry's layout has the network's tensors");
    for (held, free) in geometry.layout.tensors.iter().zip(&whole.tensors) {
        let mut cols = free.cols;
        if let Role::Projected(layer) = free.role {
            let (rows, scales) = match &geometry.charts[layer] {
                Chart::Whole => (free.cols, None),
                Chart::Projected { basis, importance } => {
                    assert!(basis.cols() <= basis.rows(), "a basis has no more columns than rows: {}", free.name);
                    (basis.rows(), importance.as_ref().map(|scales| (scales.len(), basis.cols())))
                }
                Chart::Confined { span } => {
                    assert!(span.cols() <= span.rows(), "a span has no more columns than rows: {}", free.name);
                    (span.rows(), None)
                }
                Chart::Coordinates { span, gain } => {
                    cols = span.cols();
                    (span.rows(), gain.as_ref().map(|scales| (scales.len(), span.cols())))
                }
            };
            assert_eq!(rows, free.cols, "rows of the chart's basis of {}", free.name);
            if let Some((actual, expected)) = scales {
                assert_eq!(actual, expected, "scales of the chart of {}", free.name);
            }
        }
        assert_eq!((held.rows, held.cols), (free.rows, cols), "shape of {} in the geometry's layout", free.name);
    }
}
