//! Links that are cut as planned: the simulator's fault plan, and the same decisions.

use std::collections::BTreeMap;

use kith_core::{AgentId, Round};
use kith_method::Preset;
use kith_net::{Cut, Settings};
use kith_sim::{Fault, FaultKind};

use crate::common::Small;
use crate::support::{Watch, settings, small, together};

const FROM: u64 = 3;
const UNTIL: u64 = 7;
/// Agents 0 to 3 on one side, 4 to 7 on the other.
const EDGES: [[u32; 2]; 2] = [[3, 4], [0, 7]];

fn plan() -> Vec<Fault> {
    let link = |kind, round, [agent, peer]: [u32; 2]| Fault { kind, round, agent, peer: Some(peer), factor: None };
    // In the simulator a link goes down for both ends when the lower one begins the round. The higher ones are the slower
    // ones, so that they are in that round too by then.
    let slow = |agent| Fault { kind: FaultKind::Straggler, round: 0, agent, peer: None, factor: Some(3.0) };
    let cut = EDGES.map(|edge| link(FaultKind::LinkDown, FROM, edge));
    let mend = EDGES.map(|edge| link(FaultKind::LinkUp, UNTIL, edge));
    [slow(4), slow(7)].into_iter().chain(cut).chain(mend).collect()
}

fn cut(all: Vec<Settings>) -> Vec<Settings> {
    let cuts = EDGES.map(|edge| Cut { between: edge.map(AgentId), from: Round(FROM), until: Some(Round(UNTIL)) });
    let with = |mut settings: Settings| {
        settings.options.cuts = cuts.to_vec();
        // What was not acknowledged before the cut goes again after it.
        settings.retransmit = std::time::Duration::from_millis(100);
        settings
    };
    all.into_iter().map(with).collect()
}

#[test]
fn a_partition_that_heals_has_the_simulators_bits_after_every_round() {
    let mut small = Small { graph: "ring:8", tasks: 1, ..small(Preset::DPsgd) };
    small.train.rounds_per_task = Some(12);
    let mut whole = Watch::default();
    small.watched(None, &mut whole).expect("the simulator runs");
    small.faults = plan();
    let mut simulated = Watch::default();
    let (outcome, _) = small.watched(None, &mut simulated).expect("the simulator runs");
    assert_eq!(outcome.missed_exchanges, 0);
    let differs = |round| {
        (0..8).any(|agent| {
            simulated.digests[&(Round(round), AgentId(agent))] != whole.digests[&(Round(round), AgentId(agent))]
        })
    };
    assert!(!differs(FROM - 1) && differs(FROM), "the plan strikes when it should");
    let alone: Vec<[u32; 1]> = (0..8).map(|agent| [agent]).collect();
    let alone: Vec<&[u32]> = alone.iter().map(|agents| &agents[..]).collect();
    let halves: [&[u32]; 2] = [&[0, 1, 2, 3], &[4, 5, 6, 7]];
    let mixed: [&[u32]; 2] = [&[0, 4, 5, 6], &[1, 2, 3, 7]];
    for (place, hosted) in [&alone[..], &halves, &mixed].into_iter().enumerate() {
        let mut digests = BTreeMap::new();
        for (outcome, watch, notices) in together(&small, cut(settings(30_000 + 20 * place as u64, hosted)), &[]) {
            let outcome = outcome.unwrap_or_else(|error| panic!("{hosted:?}: {error} {notices:?}"));
            assert_eq!(outcome.missed_exchanges, 0, "{hosted:?}");
            digests.extend(watch.digests);
        }
        let wrong = simulated.digests.iter().find(|(at, digest)| digests.get(at) != Some(digest));
        assert_eq!((wrong, digests.len()), (None, simulated.digests.len()), "{hosted:?}");
    }
}
