//! A cohort: the rows of all agents that one process hosts, and what a method does with them.

use kith_core::{AgentId, Batches, Digest, Digester, Layout, Matrix, Samples, TaskId};
use kith_engine::{Chart, Engine, Geometry, MixingPlan, Point, Score, Slot};
use kith_subspace::{FreeSpace, Growth, LayerMemory, Rule};

use crate::exchange::Kept;
use crate::{Agreement, ExchangeKind, Link, MemoryRule, MethodError, Parts, Payload, chain};

/// What a cohort is made of.
pub struct Setup {
    /// The method.
    pub parts: Parts,
    /// Layout of whole parameter rows.
    pub layout: Layout,
    /// How many agents.
    pub agents: usize,
    /// Row i: neighbours j that send to agent i, ascending, with w_ij; self left out.
    pub weights: Vec<Vec<(AgentId, f64)>>,
}

/// The rows of all agents that one process hosts.
pub struct Cohort<E: Engine> {
    pub(crate) engine: E,
    pub(crate) parts: Parts,
    pub(crate) agents: usize,
    pub(crate) weights: Vec<Vec<(AgentId, f64)>>,
    layout: Layout,
    /// One for all, or one an agent where each has a memory of its own.
    pub(crate) geometries: Vec<Geometry>,
    memories: Vec<Vec<LayerMemory>>,
    /// Whole weights; during a task in coordinates, their constant base.
    pub(crate) whole: E::Block,
    /// The trained rows of a task in coordinates.
    pub(crate) coordinates: Option<E::Block>,
    /// `Model`: where mixed rows are written. `Difference`: the public copies x̂.
    pub(crate) public: E::Block,
    momentum: Option<E::Block>,
    pub(crate) kept: Kept,
    pub(crate) plan: MixingPlan,
    /// The averaging rate for which `plan` holds the exchange of all with all neighbours.
    pub(crate) planned: Option<f64>,
}

impl<E: Engine> Cohort<E> {
    /// A cohort at its start, before the first task; `initial` writes an agent's first row.
    #[must_use]
    pub fn new(engine: E, setup: Setup, mut initial: impl FnMut(AgentId, &mut [f32])) -> Self {
        let Setup { parts, layout, agents, weights } = setup;
        let mut whole = engine.block(agents, layout.len());
        let mut row = vec![0.0; layout.len()];
        for agent in (0..agents).map(AgentId::from) {
            initial(agent, &mut row);
            engine.upload(&mut whole, agent, &row);
        }
        let exchanges = parts.exchange.kind != ExchangeKind::None;
        let public = engine.block(if exchanges { agents } else { 0 }, layout.len());
        let has_momentum = parts.chain.iter().any(|link| matches!(link, Link::Momentum { .. }));
        let momentum = has_momentum.then(|| engine.block(agents, layout.len()));
        let of_layers = || layout.projected().map(|tensor| LayerMemory::new(tensor.cols)).collect::<Vec<_>>();
        let memories = match &parts.memory {
            None => Vec::new(),
            Some(memory) if memory.agreement == Agreement::Own => (0..agents).map(|_| of_layers()).collect(),
            Some(_) => vec![of_layers()],
        };
        let mut cohort = Self {
            engine,
            parts,
            agents,
            weights,
            layout,
            geometries: Vec::new(),
            memories,
            whole,
            coordinates: None,
            public,
            momentum,
            kept: Kept::default(),
            plan: MixingPlan::default(),
            planned: None,
        };
        cohort.geometries = cohort.chart(TaskId(0));
        cohort
    }

    fn rule(&self) -> Rule {
        match &self.parts.memory {
            Some(memory) if memory.rule == MemoryRule::Sgp => Rule::Sgp { alpha: memory.scale_coefficient },
            _ => Rule::Gpm,
        }
    }

    /// What rows mean while `task` is learned.
    fn chart(&self, task: TaskId) -> Vec<Geometry> {
        let plain = || self.layout.projected().map(|_| Chart::Whole).collect::<Vec<_>>();
        if self.memories.is_empty() {
            return vec![Geometry { layout: self.layout.clone(), charts: plain(), task }];
        }
        let in_coordinates = self.parts.exchange.payload == Payload::Coefficients;
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
                        Chart::Confined { span: layer.residual() }
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

    /// Prepares rows for a task: coordinates in the space that the memory leaves free, fresh momentum, fresh copies.
    pub fn begin_task(&mut self, task: TaskId) {
        self.geometries = self.chart(task);
        let geometry = &self.geometries[0];
        let len = geometry.layout.len();
        let in_coordinates = geometry.charts.iter().any(|chart| matches!(chart, Chart::Coordinates { .. }));
        if in_coordinates {
            let mut coordinates = self.engine.block(self.agents, len);
            self.engine.enter(geometry, &mut self.whole, &mut coordinates);
            self.coordinates = Some(coordinates);
        }
        if self.parts.exchange.kind != ExchangeKind::None {
            self.engine.reshape(&mut self.public, len);
        }
        if let Some(momentum) = &mut self.momentum {
            self.engine.reshape(momentum, len);
        }
        if in_coordinates {
            // Rows kept before are in other coordinates. Nothing is open there: drivers settle before a basis changes.
            self.kept.clear();
        }
        self.planned = None;
    }

    /// Local steps `steps` (counted within the task) of these agents, ascending. Returns each agent's sum of losses.
    pub fn train(
        &mut self,
        agents: &[AgentId],
        steps: std::ops::Range<u64>,
        batches: &dyn Batches,
        learning_rate: impl Fn(u64) -> f64 + Sync,
    ) -> Vec<f64> {
        let in_coordinates = self.coordinates.is_some();
        let parts = &self.parts;
        let mut blocks: Vec<&mut E::Block> = Vec::with_capacity(3);
        let mut next = 0;
        let mut slot = || {
            next += 1;
            Slot::Block(next - 1)
        };
        let base = in_coordinates.then(&mut slot);
        blocks.push(&mut self.whole);
        let row = match &mut self.coordinates {
            Some(coordinates) => {
                blocks.push(coordinates);
                slot()
            }
            None => slot(),
        };
        let momentum = self.momentum.as_mut().map(|block| {
            blocks.push(block);
            slot()
        });
        let registers = chain::Registers { point: Point { row, base }, momentum };
        #[allow(clippy::cast_possible_truncation)]
        let work = |visit: &mut E::Visit<'_>| {
            for step in steps.clone() {
                chain::step(visit, registers, &parts.chain, learning_rate(step) as f32, batches, step);
            }
        };
        if let [geometry] = self.geometries.as_slice() {
            return self.engine.visit(geometry, agents, &mut blocks, chain::SCRATCH, work);
        }
        let own = |agent: &AgentId| {
            let geometry = &self.geometries[agent.index()];
            self.engine.visit(geometry, std::slice::from_ref(agent), &mut blocks, chain::SCRATCH, work)
        };
        agents.iter().flat_map(own).collect()
    }

    /// Turns rows back into whole weights at the end of a task.
    pub fn end_task(&mut self) {
        if let Some(coordinates) = self.coordinates.take() {
            self.engine.leave(&self.geometries[0], &mut self.whole, &coordinates);
            self.geometries = self.chart(self.geometries[0].task);
        }
    }

    /// How well agents do on samples with the head of `task`; at any time.
    pub fn evaluate(&self, agents: &[AgentId], samples: &dyn Samples, task: TaskId) -> Vec<Score> {
        let Some(coordinates) = &self.coordinates else {
            return self.engine.evaluate(&self.whole, agents, samples, task);
        };
        let mut lifted = self.engine.block(self.agents, self.layout.len());
        let mut row = vec![0.0; self.layout.len()];
        for &agent in agents {
            self.engine.download(&self.whole, agent, &mut row);
            self.engine.upload(&mut lifted, agent, &row);
        }
        self.engine.leave(&self.geometries[0], &mut lifted, coordinates);
        self.engine.evaluate(&lifted, agents, samples, task)
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
                #[allow(clippy::cast_precision_loss)]
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

    /// Numbers in a payload of the task under way.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.geometries[0].layout.len()
    }

    /// Numbers in a whole row.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.layout.len()
    }

    /// The layout of whole rows.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The method's parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The mean trained row of these agents, and the root mean square distance from it.
    #[must_use]
    pub fn consensus(&self, agents: &[AgentId]) -> (Vec<f32>, f64) {
        self.engine.consensus(self.coordinates.as_ref().unwrap_or(&self.whole), agents)
    }

    /// Reads an agent's whole row. Between tasks, or during one without coordinates.
    pub fn whole_row(&self, agent: AgentId, row: &mut [f32]) {
        self.engine.download(&self.whole, agent, row);
    }

    /// Reads an agent's trained row, as it is exchanged.
    pub fn trained_row(&self, agent: AgentId, row: &mut [f32]) {
        self.engine.download(self.coordinates.as_ref().unwrap_or(&self.whole), agent, row);
    }

    /// Reads an agent's public row x̂ of a `Difference` exchange.
    pub fn public_row(&self, agent: AgentId, row: &mut [f32]) {
        self.engine.download(&self.public, agent, row);
    }

    /// Gives `agent` the rows of `source`: it comes back after a crash.
    pub fn take_over(&mut self, agent: AgentId, source: AgentId) {
        let mut row = vec![0.0; self.layout.len()];
        self.engine.download(&self.whole, source, &mut row);
        self.engine.upload(&mut self.whole, agent, &row);
        let mut row = vec![0.0; self.payload_len()];
        if let Some(coordinates) = &mut self.coordinates {
            self.engine.download(coordinates, source, &mut row);
            self.engine.upload(coordinates, agent, &row);
        }
        row.fill(0.0);
        let kept = [
            self.momentum.as_mut(),
            (self.parts.exchange.kind == ExchangeKind::Difference).then_some(&mut self.public),
        ];
        for block in kept.into_iter().flatten() {
            self.engine.upload(block, agent, &row);
        }
    }

    /// Digest of all agents' whole rows, in agent order. Between tasks, or during one without coordinates.
    #[must_use]
    pub fn parameter_digest(&self) -> Digest {
        let mut digester = Digester::default();
        let mut row = vec![0.0; self.layout.len()];
        for agent in 0..self.agents {
            self.engine.download(&self.whole, AgentId::from(agent), &mut row);
            digester.floats(&row);
        }
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
