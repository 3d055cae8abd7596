//! Minibatches: gathered on the host, uploaded once a step for all agents that go together.

use burn::tensor::{Device, Tensor};
use kith_core::{AgentId, Samples};
use kith_engine::plan::{Form, Plan, Value, draw_mask};
use rayon::prelude::*;

use crate::engine::rows::tensor;

/// Minibatches of equal size, one an agent, or one for all.
#[derive(Clone, Debug)]
pub(crate) struct Minibatch {
    /// Samples in each.
    pub(crate) size: usize,
    /// `[agents or 1, size, inputs]`.
    pub(crate) inputs: Tensor<3>,
    /// One where the class is the label, `[agents or 1, size, classes]`.
    pub(crate) targets: Tensor<3>,
}

impl Minibatch {
    /// Reads samples: one list of indices an agent (or one for all), all of one length.
    pub(crate) fn load(plan: &Plan<'_>, samples: &dyn Samples, lists: &[Vec<u32>], device: &Device) -> Self {
        let (width, classes) = (plan.values[0].len(), plan.classes());
        assert_eq!(samples.input_len(), width, "numbers in one sample; the network takes {width}");
        let size = lists.first().map_or(0, Vec::len);
        let indices: Vec<u32> = lists.iter().flatten().copied().collect();
        assert_eq!(indices.len(), lists.len() * size, "minibatches that go together are of one size");
        let mut inputs = vec![0.0; indices.len() * width];
        inputs.par_chunks_exact_mut(width).zip(&indices).for_each(|(out, &index)| samples.read(index, out));
        let mut targets = vec![0.0; indices.len() * classes];
        for (targets, &index) in targets.chunks_exact_mut(classes).zip(&indices) {
            let label = samples.label(index) as usize;
            assert!(label < classes, "class {label} of a head with {classes} classes");
            targets[label] = 1.0;
        }
        Self {
            size,
            inputs: tensor(inputs, [lists.len(), size, width], device),
            targets: tensor(targets, [lists.len(), size, classes], device),
        }
    }
}

/// A value's shape for many agents.
pub(crate) fn shape(value: &Value, agents: usize, batch: usize) -> [usize; 3] {
    match value.form {
        Form::Rows => [agents, batch, value.len()],
        Form::Planes => [agents, value.channels(), batch * value.pixels()],
    }
}

/// What dropout multiplies by at `step`, one tensor a step of the plan that drops, each agent's drawn from its own stream.
pub(crate) fn masks(
    plan: &Plan<'_>,
    agents: &[AgentId],
    batch: usize,
    step: u64,
    device: &Device,
) -> Vec<Option<Tensor<3>>> {
    let lengths: Vec<_> = plan
        .steps
        .iter()
        .map(|step| step.dropped.map(|share| (share, batch * plan.values[step.output].len())))
        .collect();
    let mut numbers: Vec<Vec<f32>> =
        lengths.iter().map(|length| vec![0.0; length.map_or(0, |(_, length)| length * agents.len())]).collect();
    for (place, &agent) in agents.iter().enumerate() {
        let Some(mut stream) = plan.dropout_stream(agent, step) else { break };
        for (numbers, length) in numbers.iter_mut().zip(&lengths) {
            if let Some((share, length)) = *length {
                draw_mask(&mut numbers[place * length..(place + 1) * length], share, &mut stream);
            }
        }
    }
    let upload = |(numbers, step): (Vec<f32>, &kith_engine::plan::Step<'_>)| {
        step.dropped.map(|_| tensor(numbers, shape(&plan.values[step.output], agents.len(), batch), device))
    };
    numbers.into_iter().zip(&plan.steps).map(upload).collect()
}
