//! The engine port: the one seam between what an algorithm says and where it runs.
//!
//! Everything per agent is a row of a block `[agents, row length]`. Algorithms are written over [`Visit`], which stands for
//! the rows under work: one agent with its parameters in cache on the CPU, a chunk of the cohort on a GPU. A register is
//! either a persistent block given to the visit or scratch that lives for the visit only.

use std::collections::BTreeMap;
use std::ops::Range;

use kith_core::{AgentId, Batches, Layout, Matrix, Samples, TaskId};

/// How a projected layer's weights are held in a row and how its gradient is constrained during a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Chart {
    /// Weights `[C_out, d]` as they are, no constraint: before any memory exists.
    Whole,
    /// Weights as they are; gradient `G ← G − (G M) diag(λ) Mᵀ` with `M: [d, r]`, λ = 1 where absent.
    Projected {
        /// Basis of the core space, orthonormal columns, `[d, r]`.
        basis: Matrix,
        /// λ of scaled gradient projection, `r` numbers in \[0, 1\].
        importance: Option<Vec<f32>>,
    },
    /// Weights as they are; gradient `G ← (G S) Sᵀ` with `S: [d, k]`: as `Projected` with the complement for a basis, and
    /// cheaper where the free space is the smaller one.
    Confined {
        /// Basis of the space in which weights may move, orthonormal columns, `[d, k]`.
        span: Matrix,
    },
    /// Coordinates `C: [C_out, k]` of `W = B + C Sᵀ` with a constant base `B: [C_out, d]` and `S: [d, k]`;
    /// gradient `(G S) diag(gain)`, gain = 1 where absent.
    ///
    /// With S the residual space this is projection, and the row is what coefficient exchange sends.
    Coordinates {
        /// Basis of the space in which weights may move, orthonormal columns, `[d, k]`.
        span: Matrix,
        /// `1 − λ` on columns taken from the core space, 1 elsewhere; `k` numbers.
        gain: Option<Vec<f32>>,
    },
}

/// What rows mean during a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// Layout of the rows that are trained and exchanged: whole weights, or narrowed to coordinates.
    pub layout: Layout,
    /// One chart a projected layer, in layer order.
    pub charts: Vec<Chart>,
    /// The task that is learned: whose head is used.
    pub task: TaskId,
}

impl Geometry {
    /// Whether the numbers of normalisation layers stand still: after the first task, where a memory keeps what earlier tasks
    /// need.
    #[must_use]
    pub fn freezes_affine(&self) -> bool {
        self.task.0 > 0 && self.charts.iter().any(|chart| *chart != Chart::Whole)
    }
}

/// A register of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The visit's `n`-th block.
    Block(usize),
    /// The `n`-th scratch row; its content is undefined at the start of a visit.
    Scratch(usize),
}

/// Where a gradient or an output is taken: the trained row, and the base row where some chart has coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The row in the geometry's layout.
    pub row: Slot,
    /// The constant whole-layout row `B` of coordinate charts.
    pub base: Option<Slot>,
}

/// Features of an agent's minibatch: what the last layer takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// A row a sample, `[batch, features]`.
    pub values: Matrix,
    /// The classes of the samples.
    pub labels: Vec<u32>,
    /// Mean cross-entropy of the minibatch.
    pub loss: f64,
}

/// What the features z of an agent's minibatch are drawn to, beside the loss: to rows `t_k`, each with a strength `λ_k`, by
/// `Σ_k λ_k · mean (z − t_k)²`.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// `Σ_k λ_k`.
    pub strength: f32,
    /// `Σ_k λ_k t_k`, `[batch, features]`, row by row.
    pub target: Vec<f32>,
}

/// The rows under work. Every method acts on all of them, each row with its own numbers.
pub trait Visit {
    /// The agents whose rows these are, ascending.
    fn agents(&self) -> &[AgentId];

    /// `into ← beta · into + alpha · ∇F(at)` on each agent's minibatch of `step`, with the charts' constraint applied.
    ///
    /// `into` may be `at.row`: the gradient is taken at the value before the update. Frozen tensors (heads of other tasks,
    /// and see [`Geometry::freezes_affine`]) count as zero gradient. The mean loss of the minibatch is kept for [`Visit::losses`].
    fn accumulate_gradient(&mut self, at: Point, into: Slot, beta: f32, alpha: f32, batches: &dyn Batches, step: u64);

    /// As [`Visit::accumulate_gradient`], but without the charts' constraint: for chains that need the raw gradient first.
    /// Only for geometries without coordinates, where the constraint is part of the representation.
    fn accumulate_raw_gradient(
        &mut self,
        at: Point,
        into: Slot,
        beta: f32,
        alpha: f32,
        batches: &dyn Batches,
        step: u64,
    );

    /// `into ← ∇(F + draw)(at)` on each agent's minibatch of `step`, without the charts' constraint; agents that `draws` does not
    /// name have the loss alone. The loss that is kept is F's. Engines that give no [`Engine::features`] leave draws out.
    fn drawn_gradient(
        &mut self,
        at: Point,
        into: Slot,
        draws: &BTreeMap<AgentId, Draw>,
        batches: &dyn Batches,
        step: u64,
    ) {
        let _ = draws;
        self.accumulate_raw_gradient(at, into, 0.0, 1.0, batches, step);
    }

    /// Applies the charts' projection to a gradient row of whole layout.
    fn project(&mut self, gradient: Slot);

    /// `y ← y + a x`.
    fn axpy(&mut self, y: Slot, a: f32, x: Slot);

    /// `y ← a y`.
    fn scale(&mut self, y: Slot, a: f32);

    /// `y ← x`.
    fn copy(&mut self, y: Slot, x: Slot);

    /// `y ← 0`.
    fn clear(&mut self, y: Slot);

    /// `y ← y + a x / (‖x‖₂ + tiny)` in each of these parts of a row, each row and part by its own norm: the sharpness-aware
    /// perturbation.
    fn axpy_normalised(&mut self, y: Slot, a: f32, x: Slot, tiny: f32, parts: &[Range<usize>]);

    /// Scales each row of `x` down to norm `max` where it is longer.
    fn clip(&mut self, x: Slot, max: f32);

    /// `y ← y + a · x ⊙ z`, number by number; x and z may be one slot, y is another.
    fn multiply_add(&mut self, y: Slot, a: f32, x: Slot, z: Slot);

    /// Takes out of `y` what points against `x`: `y ← y − min(0, ⟨y, x⟩ / ⟨x, x⟩) x`, each row by its own products; unchanged
    /// where x is zero.
    fn deflect(&mut self, y: Slot, x: Slot);

    /// Sum of minibatch losses since the visit began, one an agent, as [`Visit::agents`] orders them.
    fn losses(&self) -> &[f64];
}

/// How well one agent does on a set of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Samples classified correctly.
    pub correct: usize,
    /// Samples in all.
    pub total: usize,
    /// Mean cross-entropy, in nats (for quadratics: the objective).
    pub loss: f64,
}

impl Score {
    /// Share classified correctly, in \[0, 1\].
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.correct as f64 / self.total as f64 }
    }
}

/// A sparse matrix over agents' rows: row `agent` is a list of `(agent, coefficient)`, ascending by agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MixingPlan {
    agents: Vec<AgentId>,
    ends: Vec<usize>,
    terms: Vec<(AgentId, f32)>,
}

impl MixingPlan {
    /// Forgets all rows, keeps the memory.
    pub fn clear(&mut self) {
        self.agents.clear();
        self.ends.clear();
        self.terms.clear();
    }

    /// Adds the row of `agent`.
    ///
    /// # Panics
    /// In debug builds, if agents or terms do not ascend.
    pub fn push(&mut self, agent: AgentId, terms: impl IntoIterator<Item = (AgentId, f32)>) {
        debug_assert!(self.agents.last().is_none_or(|&last| last < agent), "rows ascend");
        let start = self.terms.len();
        self.terms.extend(terms);
        debug_assert!(self.terms[start..].windows(2).all(|pair| pair[0].0 < pair[1].0), "terms ascend");
        self.agents.push(agent);
        self.ends.push(self.terms.len());
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// The `index`-th row.
    #[must_use]
    pub fn row(&self, index: usize) -> (AgentId, &[(AgentId, f32)]) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        (self.agents[index], &self.terms[start..self.ends[index]])
    }
}

/// Where rows live and arithmetic on them runs.
///
/// Agents are addressed by their ids, whether the process hosts all of them or some: an engine that was told so holds rows
/// of those only. Results are the same bits whatever the number of threads.
pub trait Engine {
    /// Rows on this device.
    type Block;
    /// The rows under work.
    type Visit<'visit>: Visit
    where
        Self: 'visit;

    /// A block of zeros, `[agents, len]`: a row for each of so many agents, or of those that the process needs.
    fn block(&self, agents: usize, len: usize) -> Self::Block;

    /// Gives the block's rows another length and zeros them; memory is kept where it suffices.
    fn reshape(&self, block: &mut Self::Block, len: usize);

    /// Writes a row.
    fn upload(&self, block: &mut Self::Block, agent: AgentId, row: &[f32]);

    /// Reads a row.
    fn download(&self, block: &Self::Block, agent: AgentId, row: &mut [f32]);

    /// Runs `work` on the rows of `agents` (ascending), in whatever chunks the device likes; at most `scratch` scratch
    /// slots. Returns the sum of minibatch losses of each agent, in the order given.
    ///
    /// # Panics
    /// If the geometry is not one of the engine's network, if agents do not ascend, or if a block has no row for one.
    fn visit<F>(
        &self,
        geometry: &Geometry,
        agents: &[AgentId],
        blocks: &mut [&mut Self::Block],
        scratch: usize,
        work: F,
    ) -> Vec<f64>
    where
        F: for<'visit> Fn(&mut Self::Visit<'visit>) + Sync;

    /// [`Engine::visit`], and then [`Engine::mix_in_place`] on the block of this index, to the same bits. An engine may mix rows
    /// while the step has them in cache.
    ///
    /// # Panics
    /// As [`Engine::visit`].
    fn visit_and_mix<F>(
        &self,
        geometry: &Geometry,
        agents: &[AgentId],
        blocks: &mut [&mut Self::Block],
        scratch: usize,
        work: F,
        (mixed, plan): (usize, &MixingPlan),
    ) -> Vec<f64>
    where
        F: for<'visit> Fn(&mut Self::Visit<'visit>) + Sync,
    {
        let losses = self.visit(geometry, agents, blocks, scratch, work);
        self.mix_in_place(blocks[mixed], plan);
        losses
    }

    /// Runs `work` on the host, for each agent with its rows of the blocks, all of `len` numbers: for what is neither a step nor
    /// mixing, such as compression. What an agent's rows become depends on them alone. Returns what `work` did, in the order
    /// of agents.
    fn rows<R: Send, F>(&self, len: usize, agents: &[AgentId], blocks: &mut [&mut Self::Block], work: F) -> Vec<R>
    where
        F: Fn(AgentId, &mut [&mut [f32]]) -> R + Sync,
    {
        let mut memory = vec![0.0; len * blocks.len()];
        let mut one = |agent: &AgentId| {
            let mut rows: Vec<&mut [f32]> = memory.chunks_exact_mut(len.max(1)).collect();
            blocks.iter().zip(&mut rows).for_each(|(block, row)| self.download(block, *agent, row));
            let result = work(*agent, &mut rows);
            blocks.iter_mut().zip(&rows).for_each(|(block, row)| self.upload(block, *agent, row));
            result
        };
        agents.iter().map(&mut one).collect()
    }

    /// Features of each agent's minibatch of `step` at its row (whole weights), without dropout; nothing where the objective has no
    /// layers, or from an engine that does not give them.
    fn features(
        &self,
        rows: &Self::Block,
        agents: &[AgentId],
        batches: &dyn Batches,
        step: u64,
        task: TaskId,
    ) -> Option<Vec<Features>> {
        let _ = (rows, agents, batches, step, task);
        None
    }

    /// `out[i] ← Σ_j c_ij · input[j]` for every row of the plan, terms added in the plan's order.
    fn mix(&self, out: &mut Self::Block, input: &Self::Block, plan: &MixingPlan);

    /// `rows[i] ← Σ_j c_ij · rows[j]` for every row of the plan, with the rows as they were before: [`Engine::mix`] without a
    /// second block, to the same bits.
    fn mix_in_place(&self, rows: &mut Self::Block, plan: &MixingPlan);

    /// `out[i] ← out[i] + Σ_j c_ij · input[j]` for every row of the plan, terms added to `out[i]` one after the other in the
    /// plan's order.
    fn mix_into(&self, out: &mut Self::Block, input: &Self::Block, plan: &MixingPlan);

    /// Turns whole rows into coordinates: for every coordinate chart `coordinates ← W S` and `whole ← W − (W S) Sᵀ` (the
    /// base); all else is copied. `coordinates` must have the geometry's row length.
    fn enter(&self, geometry: &Geometry, whole: &mut Self::Block, coordinates: &mut Self::Block);

    /// Back again: `whole ← B + C Sᵀ`, all else copied from `coordinates`. The inverse of [`Engine::enter`] up to rounding.
    fn leave(&self, geometry: &Geometry, whole: &mut Self::Block, coordinates: &Self::Block);

    /// Evaluates agents' whole rows on samples with the head of `task`; no gradient. Of equal highest scores the first class
    /// counts.
    fn evaluate(&self, whole: &Self::Block, agents: &[AgentId], samples: &dyn Samples, task: TaskId) -> Vec<Score>;

    /// The inputs of every projected layer, `[n, d]` each, when `agent`'s whole row is shown the samples at `indices`.
    fn representations(
        &self,
        whole: &Self::Block,
        agent: AgentId,
        samples: &dyn Samples,
        indices: &[u32],
    ) -> Vec<Matrix>;

    /// The mean row of `agents`, and the root mean square distance of their rows from it; summed in f64, in agent order.
    fn consensus(&self, block: &Self::Block, agents: &[AgentId]) -> (Vec<f32>, f64);
}
