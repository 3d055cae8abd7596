//! Links between agents: delay, bandwidth, loss, and whether anything passes at all.

use std::collections::{BTreeMap, BTreeSet};

use kith_core::{AgentId, Purpose, Round, Seeds};
use kith_protocol::Time;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{LinkRule, LinkSpec};

/// The links of a run.
pub struct Links {
    spec: LinkSpec,
    seeds: Seeds,
    /// When a directed link is free again; only links with a bandwidth stand here.
    busy: BTreeMap<(AgentId, AgentId), Time>,
    /// One stream a directed link, so that traffic on one link moves no other's losses.
    losses: BTreeMap<(AgentId, AgentId), ChaCha8Rng>,
    cut: BTreeSet<(AgentId, AgentId)>,
}

struct Quality {
    latency_ms: f64,
    bandwidth_mbps: Option<f64>,
    loss: f64,
}

pub(crate) fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * 1e6) as u64
}

impl Links {
    /// Links as the experiment describes them.
    #[must_use]
    pub fn new(spec: LinkSpec, seeds: Seeds) -> Self {
        Self { spec, seeds, busy: BTreeMap::new(), losses: BTreeMap::new(), cut: BTreeSet::new() }
    }

    fn quality(&self, from: AgentId, to: AgentId, round: Round) -> Quality {
        let fits = |rule: &&LinkRule| {
            rule.from.is_none_or(|id| id == from.0)
                && rule.to.is_none_or(|id| id == to.0)
                && rule.first_round.is_none_or(|first| first <= round.0)
                && rule.last_round.is_none_or(|last| round.0 <= last)
        };
        let rule = self.spec.rules.iter().find(fits);
        Quality {
            latency_ms: rule.and_then(|rule| rule.latency_ms).unwrap_or(self.spec.latency_ms),
            bandwidth_mbps: rule.and_then(|rule| rule.bandwidth_mbps).or(self.spec.bandwidth_mbps),
            loss: rule.and_then(|rule| rule.loss).unwrap_or(self.spec.loss),
        }
    }

    /// When a frame sent now arrives; nothing if it is lost.
    pub fn carry(&mut self, now: Time, from: AgentId, to: AgentId, round: Round, bytes: u64) -> Option<Time> {
        if !self.is_up(from, to) {
            return None;
        }
        let quality = self.quality(from, to, round);
        if quality.loss > 0.0 {
            let seeds = self.seeds;
            let label = u64::from(to.0);
            let stream = self.losses.entry((from, to)).or_insert_with(|| seeds.agent(Purpose::Link, from, label));
            if stream.random::<f64>() < quality.loss {
                return None;
            }
        }
        Some(self.arrival(now, from, to, &quality, bytes))
    }

    /// When a transfer that is repeated until it succeeds arrives: state for an agent that comes back.
    pub fn carry_reliably(&mut self, now: Time, from: AgentId, to: AgentId, bytes: u64) -> Time {
        let quality = self.quality(from, to, Round(0));
        self.arrival(now, from, to, &quality, bytes)
    }

    fn arrival(&mut self, now: Time, from: AgentId, to: AgentId, quality: &Quality, bytes: u64) -> Time {
        let mut sent = now;
        if let Some(mbps) = quality.bandwidth_mbps {
            let free = self.busy.entry((from, to)).or_default();
            sent = now.max(*free).after(nanoseconds(bytes as f64 * 8.0 / (mbps * 1e3)));
            *free = sent;
        }
        sent.after(nanoseconds(quality.latency_ms))
    }

    /// Whether anything passes between two agents.
    #[must_use]
    pub fn is_up(&self, one: AgentId, other: AgentId) -> bool {
        self.cut.is_empty() || !self.cut.contains(&(one.min(other), one.max(other)))
    }

    /// Cuts a link.
    pub fn cut(&mut self, one: AgentId, other: AgentId) {
        self.cut.insert((one.min(other), one.max(other)));
    }

    /// Mends a link.
    pub fn mend(&mut self, one: AgentId, other: AgentId) {
        self.cut.remove(&(one.min(other), one.max(other)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(spec: LinkSpec) -> Links {
        Links::new(spec, Seeds::new(1))
    }

    #[test]
    fn a_frame_takes_its_length_over_the_bandwidth_plus_the_latency_and_waits_for_the_one_before() {
        let mut links = links(LinkSpec { latency_ms: 5.0, bandwidth_mbps: Some(8.0), ..LinkSpec::default() });
        let arrival = |links: &mut Links| links.carry(Time(0), AgentId(0), AgentId(1), Round(0), 1_000).map(|at| at.0);
        assert_eq!(arrival(&mut links), Some(6_000_000));
        assert_eq!(arrival(&mut links), Some(7_000_000));
    }

    #[test]
    fn the_first_rule_that_fits_is_used() {
        let rule = |from, latency_ms| LinkRule { from, latency_ms: Some(latency_ms), ..LinkRule::default() };
        let rules = vec![rule(Some(2), 1.0), rule(None, 2.0)];
        let mut links = links(LinkSpec { rules, ..LinkSpec::default() });
        let arrival = |links: &mut Links, from| links.carry(Time(0), AgentId(from), AgentId(1), Round(0), 1);
        assert_eq!(arrival(&mut links, 2), Some(Time(1_000_000)));
        assert_eq!(arrival(&mut links, 0), Some(Time(2_000_000)));
    }

    #[test]
    fn the_share_of_lost_frames_is_the_one_asked_for() {
        let mut links = links(LinkSpec { loss: 0.3, ..LinkSpec::default() });
        let lost = (0..10_000).filter(|_| links.carry(Time(0), AgentId(0), AgentId(1), Round(0), 1).is_none()).count();
        assert!((2_800..3_200).contains(&lost), "{lost} of 10 000");
    }

    #[test]
    fn nothing_passes_a_link_that_is_cut_until_it_is_mended() {
        let mut links = links(LinkSpec::default());
        links.cut(AgentId(1), AgentId(0));
        assert_eq!(links.carry(Time(0), AgentId(0), AgentId(1), Round(0), 1), None);
        links.mend(AgentId(0), AgentId(1));
        assert!(links.carry(Time(0), AgentId(0), AgentId(1), Round(0), 1).is_some());
    }
}
