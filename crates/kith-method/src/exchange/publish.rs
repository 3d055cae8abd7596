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
            agents.iter().for_each(|&agent| self.publish_compressed(compressor, round, agent));
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

    /// Encodes, decodes and applies what `agent` sends, as its receivers do.
    fn publish_compressed(&mut self, compressor: Compressor, round: Round, agent: AgentId) {
        let len = self.geometries[0].layout.len();
        let (mut value, mut other, mut sent) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
        let trained = self.coordinates.as_ref().unwrap_or(&self.whole);
        self.engine.download(trained, agent, &mut value);
        let copies = self.parts.exchange.kind == ExchangeKind::Difference;
        if copies {
            self.engine.download(&self.public, agent, &mut other);
            value.iter_mut().zip(&other).for_each(|(value, copy)| *value -= copy);
        } else if let Some(error) = &self.extra.error {
            self.engine.download(error, agent, &mut other);
            value.iter_mut().zip(&other).for_each(|(value, error)| *value += error);
        }
        let mut stream = self.seeds.agent(Purpose::Compress, agent, round.0);
        let bytes = compressor.encode(&value, &mut stream);
        compressor.decode(&bytes, &mut sent);
        self.wire.keep(agent, bytes);
        if copies {
            other.iter_mut().zip(&sent).for_each(|(copy, sent)| *copy += sent);
            self.engine.upload(&mut self.public, agent, &other);
            return;
        }
        self.engine.upload(&mut self.public, agent, &sent);
        if let Some(error) = &mut self.extra.error {
            value.iter_mut().zip(&sent).for_each(|(value, sent)| *value -= sent);
            self.engine.upload(error, agent, &value);
        }
    }
}
