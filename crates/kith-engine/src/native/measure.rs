//! What is measured without training: scores, layer inputs, consensus.

use kith_core::{AgentId, Batches, Matrix, Samples, TaskId};

use super::block::NativeBlock;
use super::buffer::Buffer;
use super::visit::Goal;
use super::{NativeEngine, Objective, Workspace};
use crate::plan::{REPRESENTED, Stage};
use crate::port::{Features, Score};

/// Columns that a thread sums over all agents before the next; part of the result's rounding, so it never changes.
const COLUMNS: usize = 2048;

impl NativeEngine {
    /// Scores agents on all samples: every (agent, samples that go through together) is a piece of work of its own, so that one agent keeps all
    /// threads busy; pieces are added up in order.
    pub(super) fn scores(
        &self,
        whole: &NativeBlock,
        agents: &[AgentId],
        samples: &dyn Samples,
        task: TaskId,
    ) -> Vec<Score> {
        let Some(plan) = self.whole_plan(task) else { return self.objectives(whole, agents) };
        let together = plan.samples_together();
        let total = samples.len();
        let pieces = total.div_ceil(together);
        let work: Vec<_> = agents.iter().flat_map(|&agent| (0..pieces).map(move |piece| (agent, piece))).collect();
        let results = self.spread(work, |(agent, piece)| {
            let Workspace { pass, .. } = &mut *self.workspace();
            let first = piece * together;
            pass.load_range(&plan, samples, first..total.min(first + together));
            pass.forward(&plan, whole.row(agent), None);
            pass.score(&plan)
        });
        let score = |pieces: &[(usize, f64)]| {
            let (correct, loss) = pieces.iter().fold((0, 0.0), |sum, piece| (sum.0 + piece.0, sum.1 + piece.1));
            Score { correct, total, loss: loss / total as f64 }
        };
        if pieces == 0 {
            return vec![Score::default(); agents.len()];
        }
        results.chunks_exact(pieces).map(score).collect()
    }

    /// The quadratics' values at agents' rows.
    fn objectives(&self, whole: &NativeBlock, agents: &[AgentId]) -> Vec<Score> {
        let Objective::Quadratics(quadratics) = &self.objective else { return Vec::new() };
        let mut residual = Buffer::default();
        let mut loss = |&agent: &AgentId| Goal::quadratic(quadratics, agent).residual(whole.row(agent), &mut residual);
        agents.iter().map(|agent| Score { loss: loss(agent), ..Score::default() }).collect()
    }

    /// What the last layer takes of each agent's minibatch; none for quadratics.
    pub(super) fn last_inputs(
        &self,
        rows: &NativeBlock,
        agents: &[AgentId],
        batches: &dyn Batches,
        step: u64,
        task: TaskId,
    ) -> Option<Vec<Features>> {
        let plan = self.whole_plan(task)?;
        Some(self.spread(agents.to_vec(), |agent| {
            let Workspace { pass, .. } = &mut *self.workspace();
            pass.load_batch(&plan, batches, agent, step);
            pass.forward(&plan, rows.row(agent), None);
            pass.features(&plan)
        }))
    }

    /// The inputs of every projected layer, `[n, d]` each, for convolutions the patches of all places; none for quadratics.
    pub(super) fn layer_inputs(
        &self,
        whole: &NativeBlock,
        agent: AgentId,
        samples: &dyn Samples,
        indices: &[u32],
    ) -> Vec<Matrix> {
        let Some(plan) = self.whole_plan(TaskId(0)) else { return Vec::new() };
        let projected: Vec<_> = plan.weights().filter(|(_, stage)| stage.projected).collect();
        let mut inputs: Vec<Vec<f32>> = projected.iter().map(|_| Vec::new()).collect();
        let Workspace { pass, .. } = &mut *self.workspace();
        for piece in indices.chunks(REPRESENTED) {
            pass.load(&plan, samples, piece);
            pass.forward(&plan, whole.row(agent), None);
            for (inputs, &(step, _)) in inputs.iter_mut().zip(&projected) {
                pass.inputs(&plan, step, inputs);
            }
        }
        let matrix = |(data, (_, stage)): (Vec<f32>, &(usize, &Stage<'_>))| {
            Matrix::new(data.len() / stage.inputs.max(1), stage.inputs, data)
        };
        inputs.into_iter().zip(&projected).map(matrix).collect()
    }

    /// The mean row and the root mean square distance of rows from it. Columns are summed block by block, agents in the
    /// order given, all in f64.
    pub(super) fn mean_and_distance(&self, block: &NativeBlock, agents: &[AgentId]) -> (Vec<f32>, f64) {
        let mut mean = vec![0.0_f32; block.row_len()];
        if agents.is_empty() {
            return (mean, 0.0);
        }
        let count = agents.len() as f64;
        let pieces: Vec<_> = mean.chunks_mut(COLUMNS).enumerate().collect();
        let squares = self.spread(pieces, |(piece, mean)| {
            let columns = piece * COLUMNS..piece * COLUMNS + mean.len();
            let mut sums = vec![0.0_f64; mean.len()];
            for &agent in agents {
                let row = &block.row(agent)[columns.clone()];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            sums.iter_mut().for_each(|sum| *sum /= count);
            mean.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = *sum as f32);
            let mut lanes = [0.0_f64; 8];
            for &agent in agents {
                let row = &block.row(agent)[columns.clone()];
                for (row, sums) in row.chunks(8).zip(sums.chunks(8)) {
                    for ((lane, value), mean) in lanes.iter_mut().zip(row).zip(sums) {
                        *lane += (f64::from(*value) - mean).powi(2);
                    }
                }
            }
            lanes.iter().sum::<f64>()
        });
        (mean, (squares.iter().sum::<f64>() / count).sqrt())
    }
}
