//! Public rows: what neighbours hold of an agent, bit for bit the same at both ends.

use kith_core::{AgentId, Purpose, Round};
use kith_engine::{Engine, Slot, Visit};

use super::Mixing;
use crate::{Cohort, Compressor, ExchangeKind};

impl<E: Engine> Cohort<E> {
    /// Makes public what neighbours of these agents get: `x̂ ← x̂ + C(x − x̂)`, or `C(x + e)` where no copy is kept.
    pub(super) fn publish(&mut self, round: Round, rows: &[Mixing<'_>]) {
        let agents: Vec<AgentId> = rows.iter().map(|row| row.agent).collect();
        if let Some(compressor) = self.parts.exchange.compressor {
            self.publish_compressed(compressor, round, &agents);
            return;
        }
        if self.parts.exchange.kind == ExchangeKind::PushSum {
            self.publish_numerators(&agents);
            return;
        }
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        let (row, copy, difference) = (Slot::Block(0), Slot::Block(1), Slot::Scratch(0));
        self.engine.visit(&self.geometries[0], &agents, &mut [trained, &mut self.public], 1, |visit| {
            visit.copy(difference, row);
            visit.axpy(difference, -1.0, copy);
            visit.axpy(copy, 1.0, difference);
        });
    }

    /// Encodes, decodes and applies what agents send, as its receivers do.
    fn publish_compressed(&mut self, compressor: Compressor, round: Round, agents: &[AgentId]) {
        let layout = &self.geometries[0].layout;
        let len = layout.len();
        let copies = self.parts.exchange.kind == ExchangeKind::Difference;
        let seeds = self.seeds;
        let encode =
            |agent, row: &[f32]| compressor.encode(row, layout, &mut seeds.agent(Purpose::Compress, agent, round.0));
        let trained = self.coordinates.as_mut().unwrap_or(&mut self.whole);
        let blocks = [trained, &mut self.public].into_iter().chain(&mut self.extra.error);
        let sent = self.engine.rows(len, agents, &mut blocks.collect::<Vec<_>>(), |agent, rows| match rows {
            [row, copy, ..] if copies => {
                let mut difference = row.to_vec();
                difference.iter_mut().zip(&**copy).for_each(|(value, copy)| *value -= copy);
                let bytes = encode(agent, &difference);
                compressor.decode(&bytes, layout, &mut difference);
                copy.iter_mut().zip(&difference).for_each(|(copy, sent)| *copy += sent);
                bytes
            }
            [row, sent, error] => {
                error.iter_mut().zip(&**row).for_each(|(error, value)| *error += value);
                let bytes = encode(agent, error);
                compressor.decode(&bytes, layout, sent);
                error.iter_mut().zip(&**sent).for_each(|(error, sent)| *error -= sent);
                bytes
            }
            [row, sent] => {
                let bytes = encode(agent, row);
                compressor.decode(&bytes, layout, sent);
                bytes
            }
            _ => unreachable!("rows of two or three blocks are asked for"),
        });
        agents.iter().zip(sent).for_each(|(agent, bytes)| self.wire.keep(*agent, bytes));
    }
}
