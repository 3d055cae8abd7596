//! A cohort: the rows of all agents that one process hosts, and what a method does with them.

use kith_core::{AgentId, Digest, Digester, Layout, Leg, Matrix, Samples, Seeds, TaskId};
use kith_engine::{Chart, Engine, Geometry, MixingPlan, Score};
use kith_subspace::{FreeSpace, Growth, LayerMemory, Rule};

use crate::consolidate::Retained;
use crate::exchange::{Across, Adaptive, GlobalUpdate, Kept, Relay, Wire};
use crate::{Agreement, ExchangeKind, Feedback, Link, MemoryRule, MethodError, Oracle, Parts, Payload, Sharing};

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
    /// Randomness of compressors.
    pub seeds: Seeds,
}

/// Rows that some methods keep beside weights and public rows; each is there only where its method needs it.
pub(crate) struct Extra<B> {
    /// Quasi-global momentum: the row before the round, or before mixing.
    pub(crate) anchor: Option<B>,
    /// Tracking: y, and the gradient that it took in last.
    pub(crate) tracker: Option<(B, B)>,
    /// D²: what mixing did to the row last round.
    pub(crate) correction: Option<B>,
    /// What compression lost so far.
    pub(crate) error: Option<B>,
    pub(crate) across: Option<Across<B>>,
    pub(crate) update: Option<GlobalUpdate<B>>,
    pub(crate) relay: Option<Relay<B>>,
    pub(crate) adaptive: Option<Adaptive<B>>,
}

impl<B> Extra<B> {
    fn new(parts: &Parts, block: impl Fn() -> B, agents: usize, degree: usize) -> Self {
        let exchange = &parts.exchange;
        let quasi_global = parts.chain.iter().any(|link| matches!(link, Link::QuasiGlobal { .. }));
        let across = exchange.kind == ExchangeKind::NeighbourGradients;
        let feeds_back = exchange.compressor.is_some() && exchange.feedback == Feedback::Error;
        Self {
            anchor: quasi_global.then(&block),
            tracker: parts.tracks().then(|| (block(), block())),
            correction: (exchange.kind == ExchangeKind::Corrected).then(&block),
            error: feeds_back.then(&block),
            across: across.then(|| Across::new(&block, exchange, degree)),
            update: (exchange.kind == ExchangeKind::GlobalUpdate)
                .then(|| GlobalUpdate::new(&block, exchange.tracking.unwrap_or(0.0))),
            relay: (exchange.kind == ExchangeKind::Relay).then(|| Relay::new(&block, agents, degree)),
            adaptive: exchange.adaptive.map(|beta| Adaptive::new(&block, agents, beta)),
        }
    }

    /// A task begins.
    fn begin(&mut self) {
        self.update.iter_mut().for_each(GlobalUpdate::begin);
        self.relay.iter_mut().for_each(Relay::begin);
        self.adaptive.iter_mut().for_each(Adaptive::begin);
    }

    /// Every block that is there.
    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        let Self { anchor, tracker, correction, error, across, update, relay, adaptive } = self;
        let pair = tracker.iter_mut().flat_map(|(y, previous)| [y, previous]);
        let across = across.iter_mut().flat_map(Across::blocks);
        let update = update.iter_mut().flat_map(GlobalUpdate::blocks);
        let relay = relay.iter_mut().flat_map(Relay::blocks);
        let adaptive = adaptive.iter_mut().flat_map(Adaptive::blocks);
        let rows = anchor.iter_mut().chain(pair).chain(correction.iter_mut()).chain(error.iter_mut());
        rows.chain(across).chain(update).chain(relay).chain(adaptive)
    }
}

/// The rows of all agents that one process hosts.
pub struct Cohort<E: Engine> {
    pub(crate) engine: E,
    pub(crate) parts: Parts,
    pub(crate) agents: usize,
    /// Agents whose rows are computed here, ascending: all, or those that the process hosts.
    pub(crate) hosted: Vec<AgentId>,
    /// What goes to and comes from agents of other processes.
    pub(crate) wire: Wire,
    pub(crate) weights: Vec<Vec<(AgentId, f64)>>,
    /// Whether nobody ever hears from anybody.
    pub(crate) alone: bool,
    pub(crate) layout: Layout,
    /// One for all, or one an agent where each has a memory of its own.
    pub(crate) geometries: Vec<Geometry>,
    pub(crate) memories: Vec<Vec<LayerMemory>>,
    /// Whole weights; during a task in coordinates, their constant base.
    pub(crate) whole: E::Block,
    /// The trained rows of a task in coordinates.
    pub(crate) coordinates: Option<E::Block>,
    /// `Model`: where mixed rows are written. `Difference`: the public copies x̂.
    pub(crate) public: E::Block,
    pub(crate) momentum: Option<E::Block>,
    pub(crate) extra: Extra<E::Block>,
    /// Rows that outlive a task.
    pub(crate) retained: Retained<E::Block>,
    /// Whether mixing takes importances along: from the last training round of a task to its end.
    pub(crate) shares_importance: bool,
    pub(crate) seeds: Seeds,
    /// Sum of the learning rates of local steps since the last exchange.
    pub(crate) stepped: Option<f64>,
    /// The learning rate of the last step.
    pub(crate) previous_rate: Option<f64>,
    pub(crate) kept: Kept,
    pub(crate) plan: MixingPlan,
    /// The averaging rate for which `plan` holds the exchange of all with all neighbours.
    pub(crate) planned: Option<f64>,
}

impl<E: Engine> Cohort<E> {
    /// A cohort at its start, before the first task; `initial` writes an agent's first row.
    #[must_use]
    pub fn new(engine: E, setup: Setup, initial: impl FnMut(AgentId, &mut [f32])) -> Self {
        let hosted = (0..setup.agents).map(AgentId::from).collect();
        Self::hosting(engine, setup, hosted, initial)
    }

    /// A cohort of some agents, ascending; the engine has rows for them and for all that send to them.
    #[must_use]
    pub fn hosting(
        engine: E,
        setup: Setup,
        hosted: Vec<AgentId>,
        mut initial: impl FnMut(AgentId, &mut [f32]),
    ) -> Self {
        let Setup { parts, layout, agents, weights, seeds } = setup;
        let mut whole = engine.block(agents, layout.len());
        let mut row = vec![0.0; layout.len()];
        for &agent in &hosted {
            initial(agent, &mut row);
            engine.upload(&mut whole, agent, &row);
        }
        let exchanges = parts.exchange.kind != ExchangeKind::None;
        let public = engine.block(if exchanges { agents } else { 0 }, layout.len());
        let has_momentum =
            parts.chain.iter().any(|link| matches!(link, Link::Momentum { .. } | Link::QuasiGlobal { .. }));
        let wire = Wire::new(&weights, &hosted);
        let degree = weights.iter().map(Vec::len).max().unwrap_or(0).max(wire.most_receivers());
        let extra = Extra::new(&parts, || engine.block(agents, layout.len()), agents, degree);
        let retained = Retained::new(&parts, || engine.block(agents, layout.len()));
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
            alone: weights.iter().all(Vec::is_empty),
            hosted,
            wire,
            weights,
            layout,
            geometries: Vec::new(),
            memories,
            whole,
            coordinates: None,
            public,
            momentum,
            extra,
            retained,
            shares_importance: false,
            seeds,
            stepped: None,
            previous_rate: None,
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

    /// Prepares rows for a task: coordinates in the space that the memory leaves free, fresh momentum, fresh copies.
    pub fn begin_task(&mut self, task: TaskId) {
        self.geometries = self.chart(task);
        let geometry = &self.geometries[0];
        let len = geometry.layout.len();
        let in_coordinates = self.in_coordinates();
        if in_coordinates {
            let mut coordinates = self.engine.block(self.agents, len);
            self.engine.enter(geometry, &mut self.whole, &mut coordinates);
            self.coordinates = Some(coordinates);
        }
        if self.exchanges() {
            self.engine.reshape(&mut self.public, len);
        }
        if let Some(momentum) = &mut self.momentum {
            self.engine.reshape(momentum, len);
        }
        for block in self.extra.blocks() {
            self.engine.reshape(block, len);
        }
        self.extra.begin();
        (self.stepped, self.previous_rate) = (None, None);
        if in_coordinates {
            // Rows kept before are in other coordinates. Nothing is open there: drivers settle before a basis changes.
            self.kept.clear();
        }
        self.planned = None;
        self.set_anchor();
        self.wire.begin();
    }

    /// Whether trained rows are coordinates in the task under way.
    pub(crate) fn in_coordinates(&self) -> bool {
        self.geometries[0].charts.iter().any(|chart| matches!(chart, Chart::Coordinates { .. }))
    }

    /// Whether agents exchange anything.
    pub(crate) fn exchanges(&self) -> bool {
        self.parts.exchange.kind != ExchangeKind::None
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
        let lifted = self.lifted(agents);
        self.engine.evaluate(lifted.as_ref().unwrap_or(&self.whole), agents, samples, task)
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

    /// Bytes of a payload's body in this leg of a round of the task under way, and had rows been sent whole and as they are.
    #[must_use]
    pub fn payload_bytes(&self, leg: Leg) -> (u64, u64) {
        let exchange = &self.parts.exchange;
        let vectors = if self.parts.tracks() { 2 } else { 1 };
        let (sent, whole) = (self.payload_len(), self.row_len());
        let sends_gradients = exchange.kind == ExchangeKind::NeighbourGradients && leg == Leg::Both;
        let compressor = if sends_gradients { exchange.gradient_compressor } else { exchange.compressor };
        let count = if exchange.kind == ExchangeKind::Relay { 4 } else { 0 };
        let body = match compressor {
            Some(compressor) => compressor.wire_len(&self.geometries[0].layout),
            None => 4 * sent * vectors + count,
        };
        (body as u64, (4 * whole * vectors + count) as u64)
    }

    /// Bytes by which a payload's body is longer in a consensus round than in training: importances that are gossiped.
    #[must_use]
    pub fn consensus_more(&self) -> u64 {
        let gossips = self.parts.continual.consolidation.as_ref().is_some_and(|one| one.agreement == Sharing::Gossip);
        if gossips { 4 * self.row_len() as u64 } else { 0 }
    }

    /// The mean row of these agents, whole, on samples with the head of `task`: what no agent holds, but methods that aim at
    /// one model are judged by. At any time.
    pub fn evaluate_mean(&self, agents: &[AgentId], samples: &dyn Samples, task: TaskId) -> Score {
        let lifted = self.lifted(agents);
        let (mean, _) = self.engine.consensus(lifted.as_ref().unwrap_or(&self.whole), agents);
        let Some(&first) = agents.first() else { return Score::default() };
        let mut block = self.engine.block(first.index() + 1, self.layout.len());
        self.engine.upload(&mut block, first, &mean);
        self.engine.evaluate(&block, &[first], samples, task).first().copied().unwrap_or_default()
    }

    /// Whole rows of these agents, where rows are coordinates now.
    fn lifted(&self, agents: &[AgentId]) -> Option<E::Block> {
        let coordinates = self.coordinates.as_ref()?;
        let mut lifted = self.engine.block(self.agents, self.layout.len());
        let mut row = vec![0.0; self.layout.len()];
        for &agent in agents {
            self.engine.download(&self.whole, agent, &mut row);
            self.engine.upload(&mut lifted, agent, &row);
        }
        self.engine.leave(&self.geometries[0], &mut lifted, coordinates);
        Some(lifted)
    }

    /// Mixing weights from now on, where they change from round to round. Row i: as in [`Setup::weights`].
    pub fn set_weights(&mut self, rows: &[Vec<(AgentId, f64)>]) {
        if self.weights != rows {
            self.weights.clear();
            self.weights.extend_from_slice(rows);
            self.planned = None;
        }
    }

    /// Gives every agent a new row, as `initial` writes it: between tasks, for a learner that begins anew.
    pub fn restart(&mut self, mut initial: impl FnMut(AgentId, &mut [f32])) {
        let mut row = vec![0.0; self.layout.len()];
        for &agent in &self.hosted {
            initial(agent, &mut row);
            self.engine.upload(&mut self.whole, agent, &row);
        }
    }

    /// Numbers in a trained row of the task under way.
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

    /// Digest of all agents' whole rows, in agent order. Between tasks, or during one without coordinates.
    #[must_use]
    pub fn parameter_digest(&self) -> Digest {
        let mut digester = Digester::default();
        let mut row = vec![0.0; self.layout.len()];
        for &agent in &self.hosted {
            self.engine.download(&self.whole, agent, &mut row);
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
