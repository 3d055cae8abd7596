//! Importances of weights, and the rows that are kept for them (elastic weight consolidation, synaptic intelligence).

use kith_core::{AgentId, Batches};
use kith_engine::{Engine, Point, Visit};

use crate::chain::{GRADIENT, Pull};
use crate::train::Bench;
use crate::{Cohort, Consolidation, Importance, Parts, Sharing};

/// Rows that outlive a task. Each is there only where the method needs it.
pub(crate) struct Retained<B> {
    /// F or Ω.
    pub(crate) importance: Option<B>,
    /// x*: the row at the task's beginning, which is the one that the last task left.
    pub(crate) anchor: Option<B>,
    /// ω of the task under way.
    pub(crate) path: Option<B>,
    /// The gradient on samples of earlier tasks: written in each step before it is read.
    pub(crate) reference: Option<B>,
}

impl<B> Retained<B> {
    pub(crate) fn new(parts: &Parts, block: impl Fn() -> B) -> Self {
        let consolidation = parts.continual.consolidation.as_ref();
        let walks = consolidation.is_some_and(|one| matches!(one.importance, Importance::Path { .. }));
        Self {
            importance: consolidation.is_some().then(&block),
            anchor: consolidation.is_some().then(&block),
            path: walks.then(&block),
            reference: parts.continual.replay.is_some().then(&block),
        }
    }

    /// Every block that outlives a step.
    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = &mut B> {
        let Self { importance, anchor, path, reference: _ } = self;
        importance.iter_mut().chain(anchor).chain(path)
    }
}

impl Consolidation {
    /// What `F ⊙ (x − x*)` is multiplied by in the gradient.
    pub(crate) fn factor(&self) -> f64 {
        match self.importance {
            Importance::Fisher => self.strength,
            Importance::Path { .. } => 2.0 * self.strength,
        }
    }
}

impl<E: Engine> Cohort<E> {
    /// Takes the present rows for anchors, and begins a new path.
    pub(crate) fn set_anchor(&mut self) {
        self.shares_importance = false;
        let len = self.layout().len();
        if let Some(path) = &mut self.retained.path {
            self.engine.reshape(path, len);
        }
        let Some(anchor) = &mut self.retained.anchor else { return };
        let mut bench = Bench(Vec::with_capacity(2));
        let (row, anchor) = (bench.add(&mut self.whole), bench.add(anchor));
        self.engine.visit(&self.geometries[0], &self.hosted, &mut bench.0, 0, |visit| visit.copy(anchor, row));
    }

    /// Takes the task just trained into the importances of these agents, before its consensus rounds. `batches` are the
    /// task's, of `batch_size` samples; `steps` are those of one epoch.
    pub fn consolidate(
        &mut self,
        agents: &[AgentId],
        steps: std::ops::Range<u64>,
        batches: &dyn Batches,
        batch_size: usize,
    ) {
        let Some(consolidation) = self.parts.continual.consolidation.clone() else { return };
        match consolidation.importance {
            Importance::Fisher => self.add_fisher(agents, steps, batches, batch_size),
            Importance::Path { damping } => self.add_path(agents, damping),
        }
        self.shares_importance = consolidation.agreement == Sharing::Gossip;
    }

    /// `F ← (t F + 1/B Σ_b n g_b ⊙ g_b) / (t + 1)` after task t, over the B minibatches of n samples.
    fn add_fisher(
        &mut self,
        agents: &[AgentId],
        steps: std::ops::Range<u64>,
        batches: &dyn Batches,
        batch_size: usize,
    ) {
        let Some(importance) = &mut self.retained.importance else { return };
        let past = self.geometries[0].task.index() as f64;
        let each = batch_size as f64 / (steps.end - steps.start).max(1) as f64 / (past + 1.0);
        let mut bench = Bench(Vec::with_capacity(2));
        let (row, importance) = (bench.add(&mut self.whole), bench.add(importance));
        self.engine.visit(&self.geometries[0], agents, &mut bench.0, 1, |visit| {
            visit.scale(importance, (past / (past + 1.0)) as f32);
            for step in steps.clone() {
                visit.accumulate_raw_gradient(Point { row, base: None }, GRADIENT, 0.0, 1.0, batches, step);
                visit.multiply_add(importance, each as f32, GRADIENT, GRADIENT);
            }
        });
    }

    /// `Ω ← Ω + max(0, ω / ((x − x*)² + ξ))`: a way that raised the loss makes no weight matter.
    fn add_path(&mut self, agents: &[AgentId], damping: f64) {
        let Retained { importance: Some(importance), anchor: Some(anchor), path: Some(path), .. } = &mut self.retained
        else {
            return;
        };
        let row = || vec![0.0_f32; self.layout.len()];
        let (mut total, mut way, mut start, mut end) = (row(), row(), row(), row());
        for &agent in agents {
            for (block, row) in
                [(&*importance, &mut total), (path, &mut way), (anchor, &mut start), (&self.whole, &mut end)]
            {
                self.engine.download(block, agent, row);
            }
            for (((total, way), start), end) in total.iter_mut().zip(&way).zip(&start).zip(&end) {
                let moved = f64::from(*end) - f64::from(*start);
                *total += (f64::from(*way) / (moved * moved + damping)).max(0.0) as f32;
            }
            self.engine.upload(importance, agent, &total);
        }
    }

    /// Reads an agent's importances; nothing where the method keeps none.
    #[must_use]
    pub fn importance_row(&self, agent: AgentId) -> Option<Vec<f32>> {
        let block = self.retained.importance.as_ref()?;
        let mut row = vec![0.0; self.layout().len()];
        self.engine.download(block, agent, &mut row);
        Some(row)
    }

    /// Bytes that an agent keeps between tasks against forgetting, beside its weights: bases of its memory with their
    /// importances, importances and anchors of weights. Kept samples are the driver's.
    #[must_use]
    pub fn memory_bytes(&self, agent: AgentId) -> u64 {
        let scaled = self.parts.memory.as_ref().is_some_and(|memory| memory.rule == crate::MemoryRule::Sgp);
        let layer = |layer: &kith_subspace::LayerMemory| layer.rank() * (layer.dimension() + usize::from(scaled));
        let bases: usize = self.memory(agent).iter().map(layer).sum();
        let Retained { importance, anchor, path: _, reference: _ } = &self.retained;
        let rows = usize::from(importance.is_some()) + usize::from(anchor.is_some());
        4 * (bases + rows * self.layout().len()) as u64
    }

    /// The pull of the chain's `consolidate`, and where the way of this task is written.
    pub(crate) fn pull_factor(parts: &Parts, first_task: bool) -> f32 {
        let consolidation = parts.continual.consolidation.as_ref().filter(|_| !first_task);
        consolidation.map_or(0.0, |one| one.factor() as f32)
    }
}

/// Adds the rows of a consolidation to a visit's blocks.
pub(crate) fn pull<'a, B>(retained: &'a mut Retained<B>, bench: &mut Bench<'a, B>, factor: f32) -> Pull {
    Pull {
        importance: retained.importance.as_mut().map(|block| bench.add(block)),
        anchor: retained.anchor.as_mut().map(|block| bench.add(block)),
        path: retained.path.as_mut().map(|block| bench.add(block)),
        reference: retained.reference.as_mut().map(|block| bench.add(block)),
        factor,
    }
}
