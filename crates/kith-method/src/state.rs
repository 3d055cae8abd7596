//! Everything that a cohort knows, over a tape: what a checkpoint holds.

use kith_core::{AgentId, Tape, TapeError, TaskId};
use kith_engine::Engine;

use crate::Cohort;
use crate::cohort::Extra;
use crate::consolidate::Retained;

/// Rows of one length, as they are carried.
struct Rows<'a, E> {
    engine: &'a E,
    agents: &'a [AgentId],
    len: usize,
}

impl<E: Engine> Rows<'_, E> {
    fn carry(&self, tape: &mut Tape<'_>, block: &mut E::Block) -> Result<(), TapeError> {
        if tape.plays() {
            self.engine.reshape(block, self.len);
        }
        let mut row = vec![0.0; self.len];
        for &agent in self.agents {
            if !tape.plays() {
                self.engine.download(block, agent, &mut row);
            }
            tape.row(&mut row)?;
            if tape.plays() {
                self.engine.upload(block, agent, &row);
            }
        }
        Ok(())
    }
}

/// A value that the method either has or has not: the same on the tape as here.
fn present<T>(tape: &mut Tape<'_>, what: &'static str, option: &Option<T>) -> Result<(), TapeError> {
    tape.agree(what, u64::from(option.is_some()))
}

impl<B> Extra<B> {
    fn carry<E: Engine<Block = B>>(
        &mut self,
        tape: &mut Tape<'_>,
        rows: &Rows<'_, E>,
        agents: usize,
    ) -> Result<(), TapeError> {
        let Self { anchor, tracker, correction, error, across, contrast, update, relay, push, adaptive } = self;
        present(tape, "rows before mixing", anchor)?;
        present(tape, "trackers", tracker)?;
        present(tape, "corrections", correction)?;
        present(tape, "error memories", error)?;
        present(tape, "gradients across edges", across)?;
        present(tape, "features across edges", contrast)?;
        present(tape, "global updates", update)?;
        present(tape, "relayed sums", relay)?;
        present(tape, "push-sum weights", push)?;
        present(tape, "adaptive averaging rates", adaptive)?;
        let trackers = tracker.iter_mut().flat_map(|(tracker, previous)| [tracker, previous]);
        let single = anchor.iter_mut().chain(trackers).chain(correction).chain(error);
        for block in single {
            rows.carry(tape, block)?;
        }
        if let Some(across) = across {
            across.carry(tape, agents, |tape, block| rows.carry(tape, block))?;
        }
        if let Some(contrast) = contrast {
            contrast.carry(tape, agents)?;
        }
        if let Some(update) = update {
            update.carry(tape, |tape, block| rows.carry(tape, block))?;
        }
        if let Some(relay) = relay {
            relay.carry(tape, |tape, block| rows.carry(tape, block))?;
        }
        if let Some(push) = push {
            push.carry(tape, |tape, block| rows.carry(tape, block))?;
        }
        adaptive.as_mut().map_or(Ok(()), |adaptive| adaptive.carry(tape, |tape, block| rows.carry(tape, block)))
    }
}

impl<B> Retained<B> {
    fn carry<E: Engine<Block = B>>(&mut self, tape: &mut Tape<'_>, rows: &Rows<'_, E>) -> Result<(), TapeError> {
        // The reference gradient is written in each step before it is read.
        let Self { importance, anchor, path, reference: _ } = self;
        present(tape, "importances", importance)?;
        present(tape, "anchors", anchor)?;
        present(tape, "ways", path)?;
        importance.iter_mut().chain(anchor).chain(path).try_for_each(|block| rows.carry(tape, block))
    }
}

impl<E: Engine> Cohort<E> {
    /// Writes everything that is not part of the set-up to a tape, or reads it back into a cohort of the same set-up: the
    /// numbers that follow are the same bits. While a task is learned, that is, after [`Cohort::begin_task`].
    ///
    /// Bases of free spaces are computed again from the memories, so playing belongs on the kind of machine that recorded.
    ///
    /// # Errors
    /// What the tape says, and state of another set-up. The cohort is then of no use.
    pub fn carry(&mut self, tape: &mut Tape<'_>) -> Result<(), TapeError> {
        tape.agree("agents", self.agents as u64)?;
        tape.agree("hosted agents", self.hosted.len() as u64)?;
        self.hosted.iter().try_for_each(|agent| tape.agree("hosted agent", u64::from(agent.0)))?;
        tape.agree("numbers in a whole row", self.layout.len() as u64)?;
        tape.agree("memories", self.memories.len() as u64)?;
        self.memories.iter_mut().flatten().try_for_each(|memory| memory.carry(tape))?;
        let mut task = u64::from(self.geometries[0].task.0);
        tape.number(&mut task)?;
        if tape.plays() {
            self.geometries = self.chart(TaskId::from(task as usize));
            self.coordinates =
                self.in_coordinates().then(|| self.engine.block(self.agents, self.geometries[0].layout.len()));
        }
        let len = self.geometries[0].layout.len();
        tape.agree("numbers in a trained row", len as u64)?;
        present(tape, "coordinates", &self.coordinates)?;
        let roster = self.roster();
        let second = if self.parts.exchange.keeps_second_rows() { roster.as_slice() } else { &[] };
        let Self {
            engine,
            parts: _,
            agents,
            // Follow from the set-up, or from the round.
            weights: _,
            alone: _,
            hosted: _,
            wire,
            layout,
            geometries: _,
            memories: _,
            whole,
            coordinates,
            public,
            momentum,
            extra,
            retained,
            shares_importance,
            seeds: _,
            stepped,
            previous_rate,
            kept,
            // Follow from the set-up at the next exchange.
            plan: _,
            planned,
            // Nothing is announced between rounds.
            ahead: _,
        } = self;
        let engine = &*engine;
        present(tape, "momentum", momentum)?;
        Rows { engine, agents: &roster, len: layout.len() }.carry(tape, whole)?;
        Rows { engine, agents: second, len }.carry(tape, public)?;
        retained.carry(tape, &Rows { engine, agents: &roster, len: layout.len() })?;
        let mut shared = u64::from(*shares_importance);
        tape.number(&mut shared)?;
        *shares_importance = shared != 0;
        let rows = Rows { engine, agents: &roster, len };
        coordinates.iter_mut().chain(momentum).try_for_each(|block| rows.carry(tape, block))?;
        extra.carry(tape, &rows, *agents)?;
        tape.option("steps since the last exchange", stepped, Tape::float)?;
        tape.option("learning rate of the last step", previous_rate, Tape::float)?;
        *planned = None;
        // A kept row is what travels: a model, and a tracker beside it.
        let longest = 2 * layout.len();
        kept.carry(tape, longest)?;
        wire.carry(tape, longest)
    }

    /// Agents that have a row here, ascending: hosted ones, and those that send to them.
    fn roster(&self) -> Vec<AgentId> {
        let mut roster: Vec<AgentId> = self.wire.senders().map(|(agent, _)| agent).collect();
        roster.extend(&self.hosted);
        roster.sort_unstable();
        roster
    }
}
