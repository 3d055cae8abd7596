//! The engine.

mod block;
mod constants;
mod conv;
mod held;
mod linear;
mod load;
mod measure;
mod mix;
mod norm;
mod pass;
mod pool;
mod rows;
mod visit;

use std::sync::Arc;

use kith_core::{AgentId, Layout, Matrix, Network, Samples, Seeds, TaskId};
use kith_engine::plan::{Op, Plan};
use kith_engine::{Engine, Geometry, MixingPlan, Score};

use burn::tensor::Device;

use crate::backend::Opened;
use crate::error::BurnError;
use block::{pick, replaced};
use constants::Constants;

pub use block::BurnBlock;
pub use visit::BurnVisit;

use held::Prepared;
use mix::Start;
use pass::Common;

/// How much memory the engine takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Numbers of one tensor: rows of a block are cut into chunks of agents below that.
    pub tensor_numbers: usize,
    /// Numbers that one pass through the network makes: agents of a chunk go through one share after the other.
    pub pass_numbers: usize,
}

impl Default for Limits {
    /// 128 MiB, which every wgpu device binds; 1 GiB.
    fn default() -> Self {
        Self { tensor_numbers: 1 << 25, pass_numbers: 1 << 28 }
    }
}

/// The engine on a device that burn reaches.
#[derive(Debug)]
pub struct BurnEngine {
    network: Network,
    layout: Layout,
    seeds: Seeds,
    name: String,
    limits: Limits,
    roster: Option<Arc<[AgentId]>>,
    pub(crate) constants: Constants,
}

impl BurnEngine {
    /// An engine on an opened device.
    ///
    /// # Errors
    /// A network whose layers do not fit.
    pub fn new(network: Network, opened: Opened) -> Result<Self, BurnError> {
        let layout = network.layout()?;
        let name = opened.name().to_owned();
        let constants = Constants::new(opened.device);
        Ok(Self { network, layout, seeds: Seeds::new(0), name, limits: Limits::default(), roster: None, constants })
    }

    /// The same engine with the run's random streams: dropout draws from each agent's own. Without, those of seed 0.
    #[must_use]
    pub fn with_seeds(self, seeds: Seeds) -> Self {
        Self { seeds, ..self }
    }

    /// The same engine with other limits. Results differ by rounding alone.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same engine for a process that hosts only some agents: blocks have rows for these alone. Agents keep their ids.
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

    /// The adapter as it names itself.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn device(&self) -> &Device {
        self.constants.device()
    }

    pub(crate) fn plan<'g>(&self, geometry: &'g Geometry) -> Plan<'g> {
        Plan::new(&self.network, &self.layout, geometry, self.seeds)
    }

    pub(crate) fn whole_plan(&self, task: TaskId) -> Plan<'static> {
        Plan::whole(&self.network, &self.layout, task)
    }

    pub(crate) fn common<'p, 'g>(&'p self, plan: &'p Plan<'g>, prepared: &'p Prepared) -> Common<'p, 'g> {
        Common { plan, prepared, constants: &self.constants }
    }

    /// Agents of a chunk: alike for all blocks, so that a visit meets the same agents in each.
    fn step(&self) -> usize {
        (self.limits.tensor_numbers / self.layout.len().max(1)).max(1)
    }

    /// Agents whose minibatches of `batch` samples go through the network together.
    pub(crate) fn share(&self, plan: &Plan<'_>, batch: usize) -> usize {
        let mut largest = 1;
        let mut total = 4 * self.layout.len();
        for step in &plan.steps {
            let output = plan.values[step.output].len() * batch;
            // The value, its gradient, and what normalisation keeps or a mask takes.
            let mut here = 4 * output;
            if let Op::Conv(stage, window) = step.op {
                let patches = stage.inputs * window.area() * batch;
                largest = largest.max(patches);
                // Patches, their gradient, and what is gathered from that.
                here += 4 * patches;
            }
            largest = largest.max(output);
            total += here;
        }
        (self.limits.pass_numbers / total).min(self.limits.tensor_numbers / largest).max(1)
    }
}

impl Engine for BurnEngine {
    type Block = BurnBlock;
    type Visit<'visit> = BurnVisit<'visit>;

    fn block(&self, agents: usize, len: usize) -> BurnBlock {
        let roster = self.roster.clone().filter(|_| agents > 0);
        let agents = roster.as_ref().map_or(agents, |roster| roster.len());
        BurnBlock::zeros(agents, roster, len, self.step(), self.device())
    }

    fn reshape(&self, block: &mut BurnBlock, len: usize) {
        block.reshape(len, self.device());
    }

    fn upload(&self, block: &mut BurnBlock, agent: AgentId, row: &[f32]) {
        block.upload(agent, row, self.device());
    }

    fn download(&self, block: &BurnBlock, agent: AgentId, row: &mut [f32]) {
        block.download(agent, row);
    }

    fn visit<F>(
        &self,
        geometry: &Geometry,
        agents: &[AgentId],
        blocks: &mut [&mut BurnBlock],
        scratch: usize,
        work: F,
    ) -> Vec<f64>
    where
        F: for<'visit> Fn(&mut BurnVisit<'visit>) + Sync,
    {
        let plan = self.plan(geometry);
        let prepared = Prepared::new(&plan, &self.constants);
        let Some(first) = blocks.first() else { return vec![0.0; agents.len()] };
        let parts = first.by_chunk(agents);
        let mut losses = Vec::with_capacity(agents.len());
        for (chunk, agents) in parts {
            let mut rest = Vec::with_capacity(blocks.len());
            let mut registers = Vec::with_capacity(blocks.len());
            for block in blocks.iter_mut() {
                let places = block.places(agents);
                let rows = block.take_chunk(chunk);
                let whole = places.len() == block.range(chunk).len();
                // Where all agents of the chunk are visited, its tensor has one owner and is updated in place.
                rest.push(rows.as_ref().filter(|_| !whole).cloned());
                registers.push(rows.map(|rows| pick(rows, &places, self.device())));
            }
            let mut visit = BurnVisit::new(self, (&plan, &prepared), agents, registers, scratch, geometry.layout.len());
            work(&mut visit);
            let (found, registers) = visit.finish();
            losses.extend(found);
            for ((block, rest), new) in blocks.iter_mut().zip(rest).zip(registers) {
                let places = block.places(agents);
                let rows = match (rest, new) {
                    (Some(rest), Some(new)) => Some(replaced(rest, &places, new, self.device())),
                    (_, new) => new,
                };
                block.put_chunk(chunk, rows);
            }
        }
        losses
    }

    fn mix(&self, out: &mut BurnBlock, input: &BurnBlock, plan: &MixingPlan) {
        self.combine(out, input, plan, Start::Zero);
    }

    fn mix_in_place(&self, rows: &mut BurnBlock, plan: &MixingPlan) {
        // Chunks are handles: the rows of before live until the last chunk that mixes them is written.
        let before = rows.clone();
        self.combine(rows, &before, plan, Start::Zero);
    }

    fn mix_into(&self, out: &mut BurnBlock, input: &BurnBlock, plan: &MixingPlan) {
        self.combine(out, input, plan, Start::Output);
    }

    fn enter(&self, geometry: &Geometry, whole: &mut BurnBlock, coordinates: &mut BurnBlock) {
        self.enter_rows(geometry, whole, coordinates);
    }

    fn leave(&self, geometry: &Geometry, whole: &mut BurnBlock, coordinates: &BurnBlock) {
        self.leave_rows(geometry, whole, coordinates);
    }

    fn evaluate(&self, whole: &BurnBlock, agents: &[AgentId], samples: &dyn Samples, task: TaskId) -> Vec<Score> {
        self.scores(whole, agents, samples, task)
    }

    fn representations(
        &self,
        whole: &BurnBlock,
        agent: AgentId,
        samples: &dyn Samples,
        indices: &[u32],
    ) -> Vec<Matrix> {
        self.layer_inputs(whole, agent, samples, indices)
    }

    fn consensus(&self, block: &BurnBlock, agents: &[AgentId]) -> (Vec<f32>, f64) {
        self.mean_and_distance(block, agents)
    }
}
