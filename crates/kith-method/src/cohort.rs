//! A cohort: the rows of all agents that one process hosts, and what a method does with them.

mod extra;
mod memory;

use kith_core::{AgentId, Digest, Digester, Layout, Leg, Samples, Seeds, TaskId};
use kith_engine::{Chart, Engine, Geometry, MixingPlan, Score};
use kith_subspace::LayerMemory;

use crate::consolidate::Retained;
use crate::exchange::{COUNT, Kept, WEIGHT, Wire};
use crate::{Agreement, ExchangeKind, Link, Parts, Sharing};

pub(crate) use extra::Extra;

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
    /// The public copies x̂, or the rows of before a mixing; no rows where [`crate::Exchange::keeps_second_rows`] says so.
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
    pub(crate) ahead: Ahead,
}

/// Whether the mixing of a round may go along with its steps: see [`Cohort::announce`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// It waits for [`Cohort::exchange`].
    #[default]
    No,
    /// It may, as `plan` says.
    Announced,
    /// It did.
    Mixed,
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
        let public = engine.block(if parts.exchange.keeps_second_rows() { agents } else { 0 }, layout.len());
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
            ahead: Ahead::No,
        };
        cohort.geometries = cohort.chart(TaskId(0));
        cohort
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
        if self.parts.exchange.keeps_second_rows() {
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
        if in_coordinates || self.extra.push.is_some() {
            // Rows kept before are in other coordinates. Nothing is open there: drivers settle before a basis changes. Where models
            // are divided, they are their own numerators again, so that nothing is missing that was under way.
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

    /// Bytes of a payload's body in this leg of a round of the task under way, and had rows been sent whole and as they are.
    #[must_use]
    pub fn payload_bytes(&self, leg: Leg) -> (u64, u64) {
        let exchange = &self.parts.exchange;
        let vectors = if self.parts.tracks() { 2 } else { 1 };
        let (sent, whole) = (self.payload_len(), self.row_len());
        let sends_gradients = exchange.kind == ExchangeKind::NeighbourGradients && leg == Leg::Both;
        let compressor = if sends_gradients { exchange.gradient_compressor } else { exchange.compressor };
        let count = match exchange.kind {
            ExchangeKind::Relay => COUNT,
            ExchangeKind::PushSum => WEIGHT,
            _ => 0,
        };
        if exchange.kind == ExchangeKind::NeighbourFeatures && leg == Leg::Both {
            let sums = self.payload_spec().sums_len() as u64;
            return (sums, sums);
        }
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
