//! Checkers: global truths that no agent can see. A run with checks stops at the first that does not hold.

use kith_core::{AgentId, Digest, Leg, Round, TaskId};
use kith_engine::Engine;
use kith_method::{Cohort, ExchangeKind, MemoryRule, Mixing, Order};
use kith_protocol::{FrameKind, HEADER_LEN, Header, PROTOCOL_VERSION, encode_header};
use thiserror::Error;

use crate::Traffic;

/// Mixing may move the mean by this share of the largest entry: rounding of f32 sums.
const MEAN_TOLERANCE: f32 = 2e-6;
/// The mean update of a task may have this share of its length in the core space.
const CORE_TOLERANCE: f64 = 1e-3;
/// Rounding may move weights by this share of their length, in any direction.
const ROUNDING: f64 = 1e-5;

/// A global truth that does not hold.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CheckError {
    /// Mixing moved the mean of all agents' parameters.
    #[error("round {round}: mixing moved the mean of all agents by {moved:e}, more than {allowed:e}")]
    Mean {
        /// When.
        round: Round,
        /// By how much, largest entry.
        moved: f32,
        /// How much rounding explains.
        allowed: f32,
    },
    /// A neighbour's copy of an agent's public row differs from the agent's own.
    #[error("round {round}: the copy of agent {agent} that its neighbour holds differs from the agent's own")]
    Replica {
        /// When.
        round: Round,
        /// Whose.
        agent: AgentId,
    },
    /// A task moved weights in directions that the memory keeps.
    #[error("round {round}: layer {layer} moved by a share of {share:e} within the core space, more than {allowed:e}")]
    CoreSpace {
        /// The task's last round.
        round: Round,
        /// The projected layer.
        layer: usize,
        /// Length within the core space over length of the whole move.
        share: f64,
        /// How much rounding explains.
        allowed: f64,
    },
    /// Bytes went missing from the books.
    #[error("{sent} bytes were sent, but {received} received and {dropped} dropped")]
    Bytes {
        /// By all agents.
        sent: u64,
        /// By all agents.
        received: u64,
        /// On all links.
        dropped: u64,
    },
    /// A frame's computed size is not its encoded size.
    #[error("a frame is counted with {computed} bytes, but takes {encoded}")]
    FrameSize {
        /// As the simulator counts it.
        computed: u64,
        /// As it is written.
        encoded: u64,
    },
}

/// Whether neighbours hold copies that grow by differences as they are.
fn copies<E: Engine>(cohort: &Cohort<E>) -> bool {
    let exchange = &cohort.parts().exchange;
    exchange.kind == ExchangeKind::Difference && exchange.compressor.is_none()
}

/// Whether what is sent follows from the row after mixing.
fn sends_last<E: Engine>(cohort: &Cohort<E>) -> bool {
    cohort.parts().exchange.order == Order::MixThenSend
}

/// What checks remember from round to round.
#[derive(Default)]
pub(crate) struct Checks {
    mean: Option<Vec<f32>>,
    start: Vec<f32>,
    /// Agent 0's public row, as a neighbour builds it from frames.
    replica: Vec<f32>,
    /// Its public row of before the exchange.
    public: Vec<f32>,
    sent: Vec<u8>,
}

impl Checks {
    pub(crate) fn begin<E: Engine>(&mut self, cohort: &Cohort<E>) {
        self.replica = vec![0.0; cohort.payload_len()];
    }

    pub(crate) fn before_exchange<E: Engine>(&mut self, cohort: &Cohort<E>, leg: Leg, rows: &[Mixing<'_>]) {
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        let mean = cohort.conserved(&agents);
        let heard = |from: AgentId, to: &AgentId| rows.iter().any(|row| row.agent == *to && row.fresh.contains(&from));
        let settled = |row: &Mixing<'_>| {
            row.late.is_empty() && row.fresh == row.opened && row.given.iter().all(|to| heard(row.agent, to))
        };
        self.mean = (cohort.keeps_mean(leg) && rows.iter().all(settled)).then_some(mean);
        if copies(cohort) {
            self.public.resize(cohort.payload_len(), 0.0);
            cohort.public_row(AgentId(0), &mut self.public);
            if !sends_last(cohort) {
                self.frame(cohort);
            }
        }
    }

    /// What agent 0 sends: its row as it is now, less its public row of before the exchange.
    fn frame<E: Engine>(&mut self, cohort: &Cohort<E>) {
        let mut row = vec![0.0; self.public.len()];
        cohort.trained_row(AgentId(0), &mut row);
        self.sent.clear();
        self.sent.extend(row.iter().zip(&self.public).flat_map(|(row, public)| (row - public).to_le_bytes()));
    }

    pub(crate) fn after_exchange<E: Engine>(
        &mut self,
        cohort: &Cohort<E>,
        round: Round,
        rows: &[Mixing<'_>],
    ) -> Result<(), CheckError> {
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        if let Some(before) = self.mean.take() {
            let after = cohort.conserved(&agents);
            let largest = before.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let moved = before.iter().zip(&after).fold(0.0_f32, |most, (one, other)| most.max((one - other).abs()));
            let allowed = MEAN_TOLERANCE * largest.max(1e-6);
            if moved > allowed || moved.is_nan() {
                return Err(CheckError::Mean { round, moved, allowed });
            }
        }
        if let Some(first) = rows.first().filter(|row| copies(cohort) && row.agent == AgentId(0)) {
            if sends_last(cohort) && !first.late.is_empty() {
                // Late flows came behind what was sent, which cannot be told from the row any more.
                cohort.public_row(AgentId(0), &mut self.replica);
                return Ok(());
            }
            if sends_last(cohort) {
                self.frame(cohort);
            }
            for (copy, bytes) in self.replica.iter_mut().zip(self.sent.chunks_exact(4)) {
                *copy += f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            let mut own = vec![0.0; self.replica.len()];
            cohort.public_row(AgentId(0), &mut own);
            let same = own.iter().zip(&self.replica).all(|(one, other)| one.to_bits() == other.to_bits());
            if !same {
                return Err(CheckError::Replica { round, agent: AgentId(0) });
            }
        }
        Ok(())
    }

    /// A run goes on after it was cut. The task under way is not checked against its start, which is not kept.
    pub(crate) fn resume<E: Engine>(&mut self, cohort: &Cohort<E>) {
        self.begin(cohort);
        if copies(cohort) {
            cohort.public_row(AgentId(0), &mut self.replica);
        }
    }

    /// Agent 0 comes back: its neighbour's copy starts afresh.
    pub(crate) fn rejoined(&mut self, agent: AgentId) {
        if agent == AgentId(0) {
            self.replica.fill(0.0);
        }
    }

    /// Remembers where a task's weights start; call when rows are whole.
    pub(crate) fn remember<E: Engine>(&mut self, cohort: &Cohort<E>, agents: &[AgentId]) {
        self.start = cohort.consensus(agents).0;
    }

    /// The mean update of the task has no part in the core space: mixing keeps the mean, so what moved it are gradients.
    pub(crate) fn end_task<E: Engine>(
        &self,
        cohort: &Cohort<E>,
        agents: &[AgentId],
        round: Round,
    ) -> Result<(), CheckError> {
        let frozen = cohort.parts().memory.as_ref().is_some_and(|memory| memory.rule == MemoryRule::Gpm);
        let (end, _) = cohort.consensus(agents);
        if !frozen || self.start.len() != end.len() {
            return Ok(());
        }
        let memory = cohort.memory(agents.first().copied().unwrap_or_default());
        for (layer, (tensor, memory)) in cohort.layout().projected().zip(memory).enumerate() {
            let basis = memory.basis();
            let (mut within, mut total, mut size) = (0.0_f64, 0.0_f64, 0.0_f64);
            for row in 0..tensor.rows {
                let place = tensor.offset + row * tensor.cols;
                let moved: Vec<f64> =
                    (place..place + tensor.cols).map(|at| f64::from(end[at]) - f64::from(self.start[at])).collect();
                total += moved.iter().map(|value| value * value).sum::<f64>();
                size += end[place..place + tensor.cols].iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
                for column in 0..basis.cols() {
                    let part: f64 = moved.iter().enumerate().map(|(at, m)| m * f64::from(basis.get(at, column))).sum();
                    within += part * part;
                }
            }
            let explained = CORE_TOLERANCE * total.sqrt() + ROUNDING * size.sqrt();
            if within.sqrt() > explained || within.is_nan() {
                let share = (within / total).sqrt();
                return Err(CheckError::CoreSpace { round, layer, share, allowed: CORE_TOLERANCE });
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&self, traffic: &Traffic) -> Result<(), CheckError> {
        let (sent, received, dropped) = traffic.balance();
        if sent != received + dropped {
            return Err(CheckError::Bytes { sent, received, dropped });
        }
        let header = Header {
            version: PROTOCOL_VERSION,
            kind: FrameKind::Payload,
            run: Digest::default().short(),
            round: Round(0),
            task: TaskId(0),
            basis: 0,
            next: Round(1),
            body_len: 0,
        };
        let encoded = encode_header(&header).map_or(0, |bytes| bytes.len()) as u64 + self.sent.len() as u64;
        let computed = HEADER_LEN as u64 + self.sent.len() as u64;
        if encoded != computed {
            return Err(CheckError::FrameSize { computed, encoded });
        }
        Ok(())
    }
}
