//! The native CPU engine: one agent after the other on a thread, with its parameters in cache; agents spread over threads.
//!
//! An agent's numbers are computed by one thread in an order that depends on shapes alone, so results are the same bits
//! whatever the number of threads.

mod along;
mod block;
mod buffer;
mod conv;
mod in_place;
mod linear;
mod measure;
mod mix;
mod norm;
mod pass;
mod pool;
mod quadratic;
mod registers;
mod scores;
mod visit;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_core::{AgentId, Batches, Layout, Matrix, Network, Samples, Seeds, TaskId};
use rand::Rng;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::error::EngineError;
use crate::initialise::initialise;
use crate::kernel::Start;
use crate::plan::Plan;
use crate::port::{Engine, Features, Geometry, MixingPlan, Score};

pub use block::NativeBlock;
pub use quadratic::Quadratic;
pub use visit::NativeVisit;

use buffer::Buffer;
use pass::Pass;
use registers::Registers;
use visit::Goal;

/// What agents minimise.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// Mean cross-entropy of a network on minibatches; a row is the network's parameters.
    Network(Network),
    /// A quadratic of its own for each agent, by the agent's position; minibatches are ignored.
    Quadratics(Vec<Quadratic>),
}

/// The CPU engine.
#[derive(Debug)]
pub struct NativeEngine {
    objective: Objective,
    layout: Layout,
    seeds: Seeds,
    roster: Option<Arc<[AgentId]>>,
    pool: Option<ThreadPool>,
    workspaces: Vec<Mutex<Workspace>>,
}

/// A thread's memory: grows to the largest need seen, so that steps allocate nothing once warm.
#[derive(Debug, Default)]
struct Workspace {
    pass: Pass,
    product: Buffer,
    scratch: Vec<Buffer>,
}

impl Workspace {
    fn prepare(&mut self, scratch: usize, len: usize) {
        if self.scratch.len() < scratch {
            self.scratch.resize_with(scratch, Buffer::default);
        }
        self.scratch[..scratch].iter_mut().for_each(|row| row.ensure(len));
    }

    /// Works on one agent's rows of the visit's blocks, beside so many scratch rows of so many numbers. Returns its loss.
    fn visit(
        &mut self,
        goal: Goal<'_>,
        (agent, rows): (AgentId, Vec<&mut [f32]>),
        (scratch, len): (usize, usize),
        work: &impl for<'visit> Fn(&mut NativeVisit<'visit>),
    ) -> f64 {
        self.prepare(scratch, len);
        let registers = Registers::new(rows, &mut self.scratch[..scratch], len);
        let mut visit = NativeVisit::new(agent, goal, registers, &mut self.pass, &mut self.product);
        work(&mut visit);
        crate::port::Visit::losses(&visit)[0]
    }
}

impl NativeEngine {
    /// An engine that computes on `threads` threads.
    ///
    /// # Errors
    /// A network or quadratics whose parts do not fit, no threads, or threads that the system does not give.
    pub fn new(objective: Objective, threads: usize) -> Result<Self, EngineError> {
        let layout = match &objective {
            Objective::Network(network) => network.layout()?,
            Objective::Quadratics(quadratics) => quadratic::layout(quadratics)?,
        };
        let pool = match threads {
            0 => return Err(EngineError::Threads),
            1 => None,
            _ => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                Some(pool.map_err(|error| EngineError::Pool { threads, reason: error.to_string() })?)
            }
        };
        let workspaces = (0..threads).map(|_| Mutex::default()).collect();
        Ok(Self { objective, layout, seeds: Seeds::new(0), roster: None, pool, workspaces })
    }

    /// The same engine with the run's random streams: dropout draws from each agent's own. Without, those of seed 0.
    #[must_use]
    pub fn with_seeds(self, seeds: Seeds) -> Self {
        Self { seeds, ..self }
    }

    /// The same engine for a process that hosts only some agents: blocks have rows for these alone. Agents keep their ids,
    /// which seeds, minibatches and the order of sums go by.
    #[must_use]
    pub fn hosting(self, agents: impl IntoIterator<Item = AgentId>) -> Self {
        let mut roster: Vec<AgentId> = agents.into_iter().collect();
        roster.sort_unstable();
        roster.dedup();
        Self { roster: Some(roster.into()), ..self }
    }

    /// The layout of whole rows.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Draws an initial whole row: see [`initialise`]; zeros for quadratics.
    ///
    /// # Panics
    /// If `row` has another length than the layout.
    pub fn initial_row(&self, rng: &mut impl Rng, row: &mut [f32]) {
        assert_eq!(row.len(), self.layout.len(), "numbers in a whole row");
        match &self.objective {
            Objective::Network(network) => initialise(network, rng, row),
            Objective::Quadratics(_) => row.fill(0.0),
        }
    }

    /// The calling thread's memory.
    fn workspace(&self) -> MutexGuard<'_, Workspace> {
        let thread = self.pool.as_ref().and_then(ThreadPool::current_thread_index).unwrap_or(0);
        // A thread that panicked leaves numbers behind, never a broken structure, and they are overwritten.
        self.workspaces[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on every item, on the engine's threads.
    fn spread<T: Send, R: Send>(&self, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        match &self.pool {
            Some(pool) if items.len() > 1 => pool.install(|| items.into_par_iter().map(&work).collect()),
            _ => items.into_iter().map(work).collect(),
        }
    }

    /// The steps of a geometry; none for quadratics.
    fn plan<'g>(&self, geometry: &'g Geometry) -> Option<Plan<'g>> {
        match &self.objective {
            Objective::Network(network) => Some(Plan::new(network, &self.layout, geometry, self.seeds)),
            Objective::Quadratics(_) => {
                assert_eq!(geometry.charts.len(), 0, "quadratics have no projected layers");
                None
            }
        }
    }

    /// The steps on whole rows; none for quadratics.
    fn whole_plan(&self, task: TaskId) -> Option<Plan<'static>> {
        match &self.objective {
            Objective::Network(network) => Some(Plan::whole(network, &self.layout, task)),
            Objective::Quadratics(_) => None,
        }
    }

    fn goal<'v>(&'v self, plan: Option<&'v Plan<'v>>) -> Goal<'v> {
        match (&self.objective, plan) {
            (Objective::Quadratics(quadratics), _) => Goal::Quadratics(quadratics),
            (Objective::Network(_), Some(plan)) => Goal::Network(plan),
            (Objective::Network(_), None) => unreachable!("a network's plan is made with its goal"),
        }
    }
}

/// Each agent's rows of the blocks.
fn rows_of<'b>(agents: &'b [AgentId], blocks: &'b mut [&mut NativeBlock]) -> Vec<(AgentId, Vec<&'b mut [f32]>)> {
    let count = blocks.len();
    let mut rows: Vec<_> = agents.iter().map(|agent| (*agent, Vec::with_capacity(count))).collect();
    for block in blocks {
        for ((_, rows), row) in rows.iter_mut().zip(block.pick_mut(agents.iter().copied())) {
            rows.push(row);
        }
    }
    rows
}

impl Engine for NativeEngine {
    type Block = NativeBlock;
    type Visit<'visit> = NativeVisit<'visit>;

    fn block(&self, agents: usize, len: usize) -> NativeBlock {
        match &self.roster {
            Some(roster) if agents > 0 => NativeBlock::of(Arc::clone(roster), len),
            _ => NativeBlock::zeros(agents, len),
        }
    }

    fn reshape(&self, block: &mut NativeBlock, len: usize) {
        block.reshape(len);
    }

    fn upload(&self, block: &mut NativeBlock, agent: AgentId, row: &[f32]) {
        block.row_mut(agent).copy_from_slice(row);
    }

    fn download(&self, block: &NativeBlock, agent: AgentId, row: &mut [f32]) {
        row.copy_from_slice(block.row(agent));
    }

    fn visit<F>(
        &self,
        geometry: &Geometry,
        agents: &[AgentId],
        blocks: &mut [&mut NativeBlock],
        scratch: usize,
        work: F,
    ) -> Vec<f64>
    where
        F: for<'visit> Fn(&mut NativeVisit<'visit>) + Sync,
    {
        let plan = self.plan(geometry);
        let goal = self.goal(plan.as_ref());
        let scratch_len = geometry.layout.len();
        self.spread(rows_of(agents, blocks), |(agent, rows): (AgentId, Vec<&mut [f32]>)| {
            self.workspace().visit(goal, (agent, rows), (scratch, scratch_len), &work)
        })
    }

    fn visit_and_mix<F>(
        &self,
        geometry: &Geometry,
        agents: &[AgentId],
        blocks: &mut [&mut NativeBlock],
        scratch: usize,
        work: F,
        (mixed, plan): (usize, &MixingPlan),
    ) -> Vec<f64>
    where
        F: for<'visit> Fn(&mut NativeVisit<'visit>) + Sync,
    {
        match along::Along::new(agents, blocks[mixed], plan, self.workspaces.len()) {
            Some(along) => self.visit_along(geometry, agents, blocks, scratch, work, (mixed, along)),
            None => {
                let losses = self.visit(geometry, agents, blocks, scratch, work);
                self.mix_in_place(blocks[mixed], plan);
                losses
            }
        }
    }

    fn rows<R: Send, F>(&self, len: usize, agents: &[AgentId], blocks: &mut [&mut NativeBlock], work: F) -> Vec<R>
    where
        F: Fn(AgentId, &mut [&mut [f32]]) -> R + Sync,
    {
        assert!(blocks.iter().all(|block| block.row_len() == len), "blocks with rows of {len} numbers");
        self.spread(rows_of(agents, blocks), |(agent, mut rows)| work(agent, &mut rows))
    }

    fn features(
        &self,
        rows: &NativeBlock,
        agents: &[AgentId],
        batches: &dyn Batches,
        step: u64,
        task: TaskId,
    ) -> Option<Vec<Features>> {
        self.last_inputs(rows, agents, batches, step, task)
    }

    fn mix(&self, out: &mut NativeBlock, input: &NativeBlock, plan: &MixingPlan) {
        self.combine_rows(out, input, plan, Start::Zero);
    }

    fn mix_in_place(&self, rows: &mut NativeBlock, plan: &MixingPlan) {
        self.combine_in_place(rows, plan);
    }

    fn mix_into(&self, out: &mut NativeBlock, input: &NativeBlock, plan: &MixingPlan) {
        self.combine_rows(out, input, plan, Start::Output);
    }

    fn enter(&self, geometry: &Geometry, whole: &mut NativeBlock, coordinates: &mut NativeBlock) {
        self.enter_rows(geometry, whole, coordinates);
    }

    fn leave(&self, geometry: &Geometry, whole: &mut NativeBlock, coordinates: &NativeBlock) {
        self.leave_rows(geometry, whole, coordinates);
    }

    fn evaluate(&self, whole: &NativeBlock, agents: &[AgentId], samples: &dyn Samples, task: TaskId) -> Vec<Score> {
        self.scores(whole, agents, samples, task)
    }

    fn representations(
        &self,
        whole: &NativeBlock,
        agent: AgentId,
        samples: &dyn Samples,
        indices: &[u32],
    ) -> Vec<Matrix> {
        self.layer_inputs(whole, agent, samples, indices)
    }

    fn consensus(&self, block: &NativeBlock, agents: &[AgentId]) -> (Vec<f32>, f64) {
        self.mean_and_distance(block, agents)
    }
}
