//! What is measured without training: scores, layer inputs, consensus. Sums over samples and agents are taken in f64 on the
//! host, from what one pass gives.

use burn::tensor::Tensor;
use kith_core::{AgentId, Matrix, Samples, TaskId};
use kith_engine::Score;
use kith_engine::plan::REPRESENTED;

use crate::engine::BurnEngine;
use crate::engine::block::{BurnBlock, pick};
use crate::engine::held::Prepared;
use crate::engine::load::Minibatch;
use crate::engine::pass::{Pass, Weights, score};
use crate::engine::rows::{Rows, read};

impl BurnEngine {
    /// Scores agents on all samples. Samples go through together as in the native engine, so that statistics of batch
    /// normalisation are the same.
    pub(crate) fn scores(
        &self,
        whole: &BurnBlock,
        agents: &[AgentId],
        samples: &dyn Samples,
        task: TaskId,
    ) -> Vec<Score> {
        let plan = self.whole_plan(task);
        let prepared = Prepared::new(&plan, &self.constants);
        let (together, total) = (plan.samples_together(), samples.len());
        let mut order: Vec<AgentId> = agents.to_vec();
        order.sort_unstable();
        order.dedup();
        if total == 0 {
            return vec![Score::default(); agents.len()];
        }
        let share = self.share(&plan, together);
        let mut rows: Vec<Rows> = Vec::new();
        for (chunk, own) in whole.by_chunk(&order) {
            let places = whole.places(own);
            if let Some(chunk) = whole.chunk(chunk) {
                rows.extend(places.chunks(share).map(|places| pick(chunk.clone(), places, self.device())));
            }
        }
        let mut found: Vec<Vec<Rows>> = vec![Vec::new(); rows.len()];
        for first in (0..total).step_by(together) {
            let indices = (first..total.min(first + together)).map(|index| index as u32).collect();
            let minibatch = Minibatch::load(&plan, samples, &[indices], self.device());
            for (row, found) in rows.iter().zip(&mut found) {
                let weights = Weights { row: row.clone(), base: None };
                let common = self.common(&plan, &prepared);
                let pass = Pass::forward(common, weights, minibatch.inputs.clone(), Vec::new());
                found.push(score(pass.scores(), minibatch.targets.clone()));
            }
        }
        let mut scores = Vec::with_capacity(order.len());
        for found in found {
            let pieces = found.len();
            for numbers in read(Tensor::cat(found, 1)).chunks_exact(2 * pieces) {
                let sum = |which: usize| numbers.iter().skip(which).step_by(2).map(|v| f64::from(*v)).sum::<f64>();
                scores.push(Score { correct: sum(0) as usize, total, loss: sum(1) / total as f64 });
            }
        }
        let of = |agent: &AgentId| order.binary_search(agent).ok().and_then(|place| scores.get(place).copied());
        agents.iter().map(|agent| of(agent).unwrap_or_default()).collect()
    }

    /// The inputs of every projected layer, `[n, d]` each, for convolutions the patches of all places.
    pub(crate) fn layer_inputs(
        &self,
        whole: &BurnBlock,
        agent: AgentId,
        samples: &dyn Samples,
        indices: &[u32],
    ) -> Vec<Matrix> {
        let plan = self.whole_plan(TaskId(0));
        let prepared = Prepared::new(&plan, &self.constants);
        let projected: Vec<_> = plan.weights().filter(|(_, stage)| stage.projected).collect();
        let mut inputs: Vec<Vec<f32>> = projected.iter().map(|_| Vec::new()).collect();
        for piece in indices.chunks(REPRESENTED) {
            let chunks = whole.by_chunk(std::slice::from_ref(&agent));
            let Some(rows) = chunks.first().and_then(|(chunk, _)| whole.chunk(*chunk)) else { break };
            let weights = Weights { row: pick(rows, &whole.places(&[agent]), self.device()), base: None };
            let minibatch = Minibatch::load(&plan, samples, &[piece.to_vec()], self.device());
            let pass = Pass::forward(self.common(&plan, &prepared), weights, minibatch.inputs, Vec::new());
            for (inputs, (step, _)) in inputs.iter_mut().zip(&projected) {
                inputs.extend(read(pass.inputs(*step)));
            }
        }
        let matrix = |(numbers, (_, stage)): (Vec<f32>, &(usize, &kith_engine::plan::Stage<'_>))| {
            Matrix::new(numbers.len() / stage.inputs.max(1), stage.inputs, numbers)
        };
        inputs.into_iter().zip(&projected).map(matrix).collect()
    }

    /// The mean row and the root mean square distance of rows from it. Rows are taken from the first agent's, so that rounding
    /// is that of how far agents are apart.
    pub(crate) fn mean_and_distance(&self, block: &BurnBlock, agents: &[AgentId]) -> (Vec<f32>, f64) {
        let mut order: Vec<AgentId> = agents.to_vec();
        order.sort_unstable();
        let mut apart: Vec<Rows> = Vec::new();
        let mut origin: Option<Rows> = None;
        for (chunk, own) in block.by_chunk(&order) {
            let Some(rows) = block.chunk(chunk) else { break };
            let rows = pick(rows, &block.places(own), self.device());
            let origin = origin.get_or_insert_with(|| rows.clone().narrow(0, 0, 1));
            apart.push(rows.sub(origin.clone()));
        }
        let Some(origin) = origin else { return (vec![0.0; block.row_len()], 0.0) };
        let count = order.len() as f64;
        let sums = apart.iter().map(|rows| rows.clone().sum_dim(0)).reduce(Tensor::add);
        let Some(sums) = sums else { return (vec![0.0; block.row_len()], 0.0) };
        let mean = sums.mul_scalar((1.0 / count) as f32);
        let mut squares = 0.0;
        for rows in apart {
            let distance = rows.sub(mean.clone());
            let each = read(distance.clone().mul(distance).sum_dim(1));
            squares += each.iter().map(|square| f64::from(*square)).sum::<f64>();
        }
        (read(origin.add(mean)), (squares / count).sqrt())
    }
}
