//! The memory of a cohort: what it says of the rows of a task, and how it grows.

use kith_core::{AgentId, Digest, Digester, Matrix, Samples, TaskId};
use kith_engine::{Chart, Engine, Geometry};
use kith_subspace::{FreeSpace, Growth, LayerMemory, Rule};

use super::Cohort;
use crate::{Link, MemoryRule, MethodError, Oracle, Payload};

impl<E: Engine> Cohort<E> {
    fn rule(&self) -> Rule {
        match &self.parts.memory {
            Some(memory) if memory.rule == MemoryRule::Sgp => Rule::Sgp { alpha: memory.scale_coefficient },
            _ => Rule::Gpm,
        }
    }

    /// Whether rows may be coordinates though nobody is sent any: with one agent alone, and a chain that says the same in
    /// coordinates, a small free space is cheaper to train in than to project on.
    fn may_shrink(&self) -> bool {
        let same = |link: &Link| matches!(link, Link::Project | Link::Clip(_) | Link::Scale(_) | Link::Momentum { .. });
        self.memories.len() == 1
            && self.alone
            && self.parts.oracle == Oracle::Plain
            && self.parts.chain.first() == Some(&Link::Project)
            && self.parts.chain.iter().all(same)
    }

    /// What rows mean while `task` is learned.
    pub(crate) fn chart(&self, task: TaskId) -> Vec<Geometry> {
        let plain = || self.layout.projected().map(|_| Chart::Whole).collect::<Vec<_>>();
        if self.memories.is_empty() {
            return vec![Geometry { layout: self.layout.clone(), charts: plain(), task }];
        }
        let in_coordinates = self.parts.exchange.payload == Payload::Coefficients;
        let may_shrink = self.may_shrink();
        let rule = self.rule();
        let one = |layers: &Vec<LayerMemory>| {
            let charts: Vec<Chart> = layers
                .iter()
                .map(|layer| {
                    if layer.rank() == 0 {
                        Chart::Whole
                    } else if in_coordinates {
                        let FreeSpace { span, gain } = layer.free_space(rule);
                        Chart::Coordinates { span, gain }
                    } else if rule == Rule::Gpm && 2 * layer.rank() > layer.dimension() {
                        let span = layer.residual();
                        if may_shrink { Chart::Coordinates { span, gain: None } } else { Chart::Confined { span } }
                    } else {
                        let importance = matches!(rule, Rule::Sgp { .. }).then(|| layer.importance());
                        Chart::Projected { basis: layer.basis(), importance }
                    }
                })
                .collect();
            let widths: Vec<usize> = charts
                .iter()
                .zip(layers)
                .map(|(chart, layer)| match chart {
                    Chart::Coordinates { span, .. } => span.cols(),
                    Chart::Whole | Chart::Projected { .. } | Chart::Confined { .. } => layer.dimension(),
                })
                .collect();
            Geometry { layout: self.layout.with_projected_columns(&widths), charts, task }
        };
        self.memories.iter().map(one).collect()
    }

    /// What the memory of `agent` (the leader, or any agent with its own) would gain from these samples. Between tasks.
    ///
    /// # Errors
    /// Representations that are not finite, or a threshold out of range.
    pub fn propose(
        &self,
        agent: AgentId,
        samples: &dyn Samples,
        indices: &[u32],
        task: TaskId,
    ) -> Result<Vec<Growth>, MethodError> {
        let Some(memory) = &self.parts.memory else { return Ok(Vec::new()) };
        let inputs = self.engine.representations(&self.whole, agent, samples, indices);
        let rule = self.rule();
        let layers = self.memories[agent.index().min(self.memories.len() - 1)].iter().zip(inputs).enumerate();
        layers
            .map(|(layer, (known, inputs))| {
                let wanted = memory.samples.get(layer).unwrap_or(usize::MAX);
                let inputs = first_samples(&inputs, wanted, indices.len());
                let threshold = memory.energy_threshold.get(layer).unwrap_or(1.0);
                let threshold = (threshold + memory.energy_increment * task.index() as f64).min(1.0);
                known
                    .propose(&inputs, threshold, rule)
                    .map(|growth| growth.rounded())
                    .map_err(|source| MethodError::Memory { layer, source })
            })
            .collect()
    }

    /// Grows the memory of `agent` (or the shared one) by what was proposed.
    ///
    /// # Errors
    /// A growth that does not fit the memory.
    pub fn adopt(&mut self, agent: AgentId, growths: &[Growth]) -> Result<(), MethodError> {
        let which = agent.index().min(self.memories.len().saturating_sub(1));
        let Some(layers) = self.memories.get_mut(which) else { return Ok(()) };
        if layers.len() != growths.len() {
            return Err(MethodError::Layers { expected: layers.len(), found: growths.len() });
        }
        for (layer, (memory, growth)) in layers.iter_mut().zip(growths).enumerate() {
            memory.grow(growth).map_err(|source| MethodError::Memory { layer, source })?;
        }
        Ok(())
    }

    /// The memory that `agent` uses; empty without one.
    #[must_use]
    pub fn memory(&self, agent: AgentId) -> &[LayerMemory] {
        self.memories.get(agent.index().min(self.memories.len().saturating_sub(1))).map_or(&[], Vec::as_slice)
    }

    /// Digest of the memory that `agent` uses.
    #[must_use]
    pub fn basis_digest(&self, agent: AgentId) -> Digest {
        let mut digester = Digester::default();
        self.memory(agent).iter().for_each(|layer| digester.bytes(&layer.digest().0));
        digester.finish()
    }
}

/// The rows of `inputs` that belong to the first `wanted` of `samples` samples (a convolution has several rows a sample).
fn first_samples(inputs: &Matrix, wanted: usize, samples: usize) -> Matrix {
    if wanted >= samples || samples == 0 {
        return inputs.clone();
    }
    let rows = inputs.rows() / samples * wanted;
    Matrix::new(rows, inputs.cols(), inputs.as_slice()[..rows * inputs.cols()].to_vec())
}
