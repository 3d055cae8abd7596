//! Mixing while rows are in cache. On graphs like a ring, whose neighbours are visited one after the other, a row can be mixed as
//! soon as the last of those that it mixes has made its step: rows then go through memory once a round in place of twice. A mixed
//! row goes to a spare slot, since others still read the row of before; that slot is the next one's.

use std::ops::Range;

use kith_core::AgentId;

use super::NativeEngine;
use super::block::NativeBlock;
use super::in_place::Schedule;
use super::visit::NativeVisit;
use crate::kernel::{self, Start};
use crate::port::{Geometry, MixingPlan};

/// Most places between a row that is mixed on the way and one that it mixes: what is further away is no longer in cache.
const NEAR: usize = 2;

/// Agents of a walk from which it is long enough to be one of several of a thread.
const WALK: usize = 32;

/// Spare slots of a walk, more than `NEAR` makes use of. A ring needs three: two stand until all have made their step, for the
/// rows at the ends of the walk, and one goes round.
const SPARE: usize = 8;

/// A row to be mixed: terms and output are slots, and `after` is the agent whose step it follows.
#[derive(Debug, PartialEq)]
struct Mix {
    after: usize,
    out: usize,
    terms: Vec<(usize, f32)>,
}

/// What a thread does in one go: it visits these agents one after the other, and mixes between visits.
#[derive(Debug)]
struct Walk {
    agents: Range<usize>,
    spare: Range<usize>,
    mixes: Vec<Mix>,
}

/// A way through visits and mixing. Agents are counted in their order. Slots are counted so, too: first those in which the rows
/// stand before, then the spare ones.
#[derive(Debug)]
pub(super) struct Along {
    walks: Vec<Walk>,
    /// The slot of each row afterwards.
    slots: Vec<usize>,
    /// Rows that are mixed in their slots when all have made their step.
    late: MixingPlan,
}

impl Along {
    /// The way for so many threads; nothing where the rows are not all the block's, or where few could be mixed on the way.
    pub(super) fn new(agents: &[AgentId], block: &NativeBlock, plan: &MixingPlan, threads: usize) -> Option<Self> {
        let all = agents.len();
        let fits = block.agents() == all && block.row_len() > 0 && plan.len() == all;
        if !fits || (0..all).any(|place| plan.row(place).0 != agents[place]) {
            return None;
        }
        let terms = |place: usize| {
            let place_of = |&(agent, c): &(AgentId, f32)| agents.binary_search(&agent).ok().map(|term| (term, c));
            plan.row(place).1.iter().map(place_of).collect::<Option<Vec<_>>>()
        };
        let terms = (0..all).map(terms).collect::<Option<Vec<_>>>()?;
        let mut along = Self { walks: Vec::new(), slots: (0..all).collect(), late: MixingPlan::default() };
        let mut readers = vec![0_usize; all];
        terms.iter().flatten().for_each(|(term, _)| readers[*term] += 1);
        // More walks than threads, where they are long, so that a thread that is held up holds up less.
        let walks = if threads == 1 { 1 } else { (all / WALK).clamp(threads, 4 * threads) };
        let share = all.div_ceil(walks).max(1);
        for (walk, first) in (0..all).step_by(share).enumerate() {
            let spare = all + walk * SPARE..all + (walk + 1) * SPARE;
            along.walk(first..all.min(first + share), spare, &terms, &mut readers);
        }
        for place in (0..all).filter(|place| along.slots[*place] == *place) {
            let (agent, terms) = plan.row(place);
            along.late.push(agent, terms.iter().copied());
        }
        (2 * along.late.len() <= all).then_some(along)
    }

    /// Adds a walk. `readers` says how many rows that are not mixed yet read each row.
    fn walk(&mut self, agents: Range<usize>, spare: Range<usize>, terms: &[Vec<(usize, f32)>], readers: &mut [usize]) {
        let mut free: Vec<usize> = spare.clone().rev().collect();
        let mut ready: Vec<Vec<usize>> = vec![Vec::new(); agents.len()];
        for place in agents.clone() {
            let read = || terms[place].iter().map(|(term, _)| *term);
            if read().all(|term| agents.contains(&term) && term.abs_diff(place) <= NEAR) {
                ready[read().max().unwrap_or(place).max(place) - agents.start].push(place);
            }
        }
        let mut mixes = Vec::with_capacity(agents.len());
        for after in agents.clone() {
            for &place in &ready[after - agents.start] {
                let Some(out) = free.pop() else { break };
                self.slots[place] = out;
                let terms = &terms[place];
                terms.iter().for_each(|(term, _)| readers[*term] -= 1);
                let itself = Some(place).filter(|place| terms.iter().all(|(term, _)| term != place));
                let done = |slot: &usize| readers[*slot] == 0 && self.slots[*slot] != *slot;
                free.extend(terms.iter().map(|(term, _)| *term).chain(itself).filter(done));
                mixes.push(Mix { after, out, terms: terms.clone() });
            }
        }
        self.walks.push(Walk { agents, spare, mixes });
    }
}

impl NativeEngine {
    /// [`Engine::visit_and_mix`](crate::Engine::visit_and_mix) on this way.
    pub(super) fn visit_along<F>(
        &self,
        geometry: &Geometry,
        agents: &[AgentId],
        blocks: &mut [&mut NativeBlock],
        scratch: usize,
        work: F,
        (mixed, along): (usize, Along),
    ) -> Vec<f64>
    where
        F: for<'visit> Fn(&mut NativeVisit<'visit>) + Sync,
    {
        let (before, rest) = blocks.split_at_mut(mixed);
        let [block, after @ ..] = rest else { return Vec::new() };
        let spare = block.make_spare(along.walks.len() * SPARE);
        let slots: Vec<usize> = (0..agents.len()).map(|place| block.slot_of(place)).chain(spare).collect();
        let len = block.row_len();
        let plan = self.plan(geometry);
        let goal = self.goal(plan.as_ref());

        let mut others = super::rows_of(agents, before);
        others.iter_mut().zip(super::rows_of(agents, after)).for_each(|((_, rows), (_, more))| rows.extend(more));
        let mut others = others.into_iter();
        let mut all = block.slots_mut();
        let walks = along.walks.iter().map(|walk| {
            let own = walk.agents.clone().chain(walk.spare.clone());
            let rows: Vec<&mut [f32]> = own.map(|slot| std::mem::take(&mut all[slots[slot]])).collect();
            (walk, rows, others.by_ref().take(walk.agents.len()).collect::<Vec<_>>())
        });
        let losses = self.spread(walks.collect(), |(walk, mut rows, others): (&Walk, Vec<&mut [f32]>, Vec<_>)| {
            let mut workspace = self.workspace();
            let mut mixes = walk.mixes.iter().peekable();
            let visits = walk.agents.clone().zip(others).map(|(place, (agent, mut others))| {
                others.insert(mixed, &mut *rows[place - walk.agents.start]);
                let loss = workspace.visit(goal, (agent, others), (scratch, geometry.layout.len()), &work);
                while let Some(mix) = mixes.next_if(|mix| mix.after == place) {
                    walk.mix(mix, &mut rows);
                }
                loss
            });
            visits.collect::<Vec<f64>>()
        });
        let place_of = |agent: AgentId| agents.binary_search(&agent).unwrap_or_default();
        if !along.late.is_empty() {
            let schedule = Schedule::new(&along.late, |agent| slots[place_of(agent)]);
            self.mix_by(&schedule, block.slots_mut(), len);
        }
        block.take_slots(along.slots.iter().map(|slot| slots[*slot]).collect());
        losses.concat()
    }
}

impl Walk {
    /// `rows` are the walk's slots, those of its agents first.
    fn mix(&self, mix: &Mix, rows: &mut [&mut [f32]]) {
        let local = |slot: usize| match slot.checked_sub(self.spare.start) {
            Some(spare) => self.agents.len() + spare,
            None => slot - self.agents.start,
        };
        let out = std::mem::take(&mut rows[local(mix.out)]);
        let terms: Vec<(f32, &[f32])> = mix.terms.iter().map(|&(slot, c)| (c, &*rows[local(slot)])).collect();
        kernel::combine(out, Start::Zero, &terms);
        rows[local(mix.out)] = out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everyone mixes itself and those at these distances.
    fn circulant(agents: usize, distances: &[usize]) -> MixingPlan {
        let mut plan = MixingPlan::default();
        for agent in 0..agents {
            let mut terms: Vec<usize> =
                distances.iter().flat_map(|far| [(agent + far) % agents, (agent + agents - far) % agents]).collect();
            terms.push(agent);
            terms.sort_unstable();
            terms.dedup();
            plan.push(AgentId::from(agent), terms.into_iter().map(|other| (AgentId::from(other), 0.25)));
        }
        plan
    }

    fn along(agents: usize, distances: &[usize], threads: usize) -> Option<Along> {
        let ids: Vec<AgentId> = (0..agents).map(AgentId::from).collect();
        Along::new(&ids, &NativeBlock::zeros(agents, 3), &circulant(agents, distances), threads)
    }

    #[test]
    fn of_a_ring_all_rows_but_those_at_a_walks_ends_are_mixed_on_the_way_in_three_spare_slots() {
        for (agents, threads, walks) in [(30, 1, 1), (30, 3, 3), (300, 1, 1), (300, 2, 8), (130, 2, 4)] {
            let along = along(agents, &[1], threads).expect("a ring");
            assert_eq!((along.walks.len(), along.late.len()), (walks, 2 * walks));
            for walk in &along.walks {
                assert!(walk.mixes.iter().all(|mix| mix.out < walk.spare.start + 3));
                assert!(walk.mixes.iter().all(|mix| mix.terms.iter().all(|(slot, _)| *slot != mix.out)));
            }
        }
    }

    #[test]
    fn where_neighbours_are_far_apart_rows_are_mixed_when_all_have_made_their_step() {
        assert!(along(64, &[1, 8], 1).is_none(), "a torus");
        assert!(along(9, &[1, 2, 3, 4], 1).is_none(), "a complete graph");
        assert!(along(4, &[1], 2).is_none(), "a ring of which a thread has two agents");
        assert_eq!(along(64, &[1, 2], 1).expect("second neighbours, too").late.len(), 4);
    }
}
