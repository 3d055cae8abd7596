//! The agent's state machine, driven by hand and by chance.

use std::sync::Arc;

use kith_core::{AgentId, Calendar, Round, TaskId};
use kith_protocol::{Agent, Config, FrameKind, Input, Late, Neighbour, Output, Peer, Plan, Time};
use proptest::prelude::*;

const DEADLINE: u64 = 1_000;
const RETRANSMIT: u64 = 300;

fn plan(rounds: u64) -> Plan {
    Plan {
        train_rounds: vec![rounds, rounds],
        legs: vec![kith_core::Leg::Both],
        consensus_rounds: 1,
        shared_memory: true,
    }
}

fn agent(neighbours: &[u32], plan: Plan) -> Agent {
    let neighbours = neighbours.iter().map(|&id| Neighbour { id: AgentId(id), way: Peer::Mutual }).collect();
    Agent::new(Config { id: AgentId(0), neighbours, plan, deadline: DEADLINE, retransmit: RETRANSMIT })
}

/// An agent under test and all it has put out.
struct Driven {
    agent: Agent,
    now: Time,
}

impl Driven {
    fn new(neighbours: &[u32]) -> Self {
        let mut driven = Self { agent: agent(neighbours, plan(4)), now: Time(0) };
        driven.tell(Input::Start(Round(0)));
        driven
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.agent.handle(self.now, input, &mut out);
        out
    }

    fn frame(&mut self, from: u32, kind: FrameKind, round: u64, next: u64) -> Vec<Output> {
        let (round, next) = (Round(round), Round(next));
        self.tell(Input::Received { from: AgentId(from), kind, round, task: TaskId(0), next })
    }

    /// Computes the round and exchanges it with everyone without trouble.
    fn round(&mut self, neighbours: &[u32]) -> Vec<Output> {
        let round = self.agent.round().0;
        let mut out = self.tell(Input::Computed);
        for &peer in neighbours {
            out.extend(self.frame(peer, FrameKind::Ack, round, round + 1));
            out.extend(self.frame(peer, FrameKind::Payload, round, round + 1));
        }
        out
    }
}

fn mixes(out: &[Output]) -> Vec<(u64, Vec<u32>, Vec<Late>)> {
    let mix = |output: &Output| match output {
        Output::Mix { round, fresh, late, .. } => {
            Some((round.0, fresh.iter().map(|peer| peer.0).collect(), late.clone()))
        }
        _ => None,
    };
    out.iter().filter_map(mix).collect()
}

fn sends(out: &[Output]) -> Vec<(u32, FrameKind, u64)> {
    let send = |output: &Output| match output {
        Output::Send { to, kind, round, .. } => Some((to.0, *kind, round.0)),
        _ => None,
    };
    out.iter().filter_map(send).collect()
}

#[test]
fn a_round_ends_when_every_neighbour_has_been_heard() {
    let mut driven = Driven::new(&[1, 2]);
    let out = driven.tell(Input::Computed);
    assert_eq!(sends(&out), [(1, FrameKind::Absolute, 0), (2, FrameKind::Absolute, 0)]);
    assert_eq!(mixes(&driven.frame(2, FrameKind::Absolute, 0, 1)), []);
    assert_eq!(mixes(&driven.frame(1, FrameKind::Absolute, 0, 1)), [(0, vec![1, 2], vec![])]);
    assert_eq!(driven.agent.round(), Round(1));
}

#[test]
fn after_an_unbroken_round_differences_are_sent() {
    let mut driven = Driven::new(&[1]);
    driven.round(&[1]);
    assert_eq!(sends(&driven.tell(Input::Computed)), [(1, FrameKind::Payload, 1)]);
}

#[test]
fn a_payload_that_comes_before_its_round_waits_for_it() {
    let mut driven = Driven::new(&[1]);
    let out = driven.frame(1, FrameKind::Absolute, 0, 1);
    assert_eq!(sends(&out), [(1, FrameKind::Ack, 0)]);
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(0, vec![1], vec![])]);
}

#[test]
fn at_the_deadline_the_round_ends_without_the_missing_neighbour_and_its_flow_comes_later() {
    let mut driven = Driven::new(&[1, 2]);
    driven.tell(Input::Computed);
    driven.frame(2, FrameKind::Ack, 0, 1);
    driven.frame(2, FrameKind::Absolute, 0, 1);
    driven.now = Time(DEADLINE);
    let out = driven.tell(Input::Wake);
    assert_eq!(mixes(&out), [(0, vec![2], vec![])]);
    assert!(sends(&out).contains(&(1, FrameKind::Absolute, 0)), "its own frame is sent again: {out:?}");
    assert_eq!(driven.agent.missed(), 1);
    driven.frame(1, FrameKind::Ack, 0, 1);
    driven.frame(1, FrameKind::Absolute, 0, 1);
    let out = driven.round(&[1, 2]);
    assert_eq!(mixes(&out), [(1, vec![1, 2], vec![Late { peer: AgentId(1), round: Round(0) }])]);
}

#[test]
fn no_new_exchange_is_opened_while_the_last_is_unsettled() {
    let mut driven = Driven::new(&[1]);
    driven.tell(Input::Computed);
    driven.now = Time(DEADLINE);
    driven.tell(Input::Wake);
    let out = driven.tell(Input::Computed);
    assert!(sends(&out).iter().all(|(_, _, round)| *round == 0), "{out:?}");
}

#[test]
fn a_duplicate_is_acknowledged_again_and_changes_nothing() {
    let mut driven = Driven::new(&[1]);
    driven.round(&[1]);
    let out = driven.frame(1, FrameKind::Absolute, 0, 1);
    assert_eq!(sends(&out), [(1, FrameKind::Ack, 0)]);
    assert_eq!(mixes(&driven.round(&[1])), [(1, vec![1], vec![])]);
}

#[test]
fn the_payload_that_may_be_sent_again_is_the_open_one_also_where_its_acknowledgement_never_came() {
    let mut driven = Driven::new(&[1]);
    assert_eq!(driven.agent.unacknowledged(AgentId(1)), None);
    driven.tell(Input::Computed);
    assert_eq!(driven.agent.unacknowledged(AgentId(1)), Some(Round(0)));
    driven.frame(1, FrameKind::Payload, 0, 1);
    driven.tell(Input::Computed);
    assert_eq!(driven.agent.unacknowledged(AgentId(1)), Some(Round(0)), "sent again until something settles it");
    // The peer opens round 1 only once it has round 0: its payload stands for the acknowledgement.
    driven.frame(1, FrameKind::Payload, 1, 2);
    driven.tell(Input::LinkDown(AgentId(1)));
    driven.tell(Input::Computed);
    assert_eq!(driven.agent.unacknowledged(AgentId(1)), Some(Round(1)));
}

#[test]
fn a_payload_of_a_round_that_was_sat_out_is_declined() {
    let mut driven = Driven::new(&[1]);
    driven.tell(Input::Computed);
    driven.now = Time(DEADLINE);
    driven.tell(Input::Wake);
    driven.tell(Input::Computed);
    driven.now = Time(2 * DEADLINE);
    driven.tell(Input::Wake);
    assert_eq!(driven.agent.round(), Round(2));
    // The peer never saw round 0 and is now in round 1, which this end sat out.
    let out = driven.frame(1, FrameKind::Absolute, 1, 2);
    assert_eq!(sends(&out), [(1, FrameKind::Decline, 1)]);
}

#[test]
fn a_declined_exchange_never_was() {
    let mut driven = Driven::new(&[1]);
    driven.tell(Input::Computed);
    let out = driven.frame(1, FrameKind::Decline, 0, 2);
    assert_eq!(mixes(&out), [(0, vec![], vec![])]);
    let out = driven.tell(Input::Computed);
    assert_eq!(mixes(&out), [(1, vec![], vec![])], "the peer is back at round 2 only");
    assert_eq!(sends(&driven.tell(Input::Computed)), [(1, FrameKind::Absolute, 2)]);
}

#[test]
fn a_lost_link_is_not_waited_for() {
    let mut driven = Driven::new(&[1, 2]);
    driven.tell(Input::Computed);
    driven.frame(1, FrameKind::Absolute, 0, 1);
    assert_eq!(mixes(&driven.tell(Input::LinkDown(AgentId(2)))), [(0, vec![1], vec![])]);
}

#[test]
fn a_basis_is_adopted_once_and_passed_on_to_the_others() {
    let mut driven = Driven::new(&[1, 2]);
    for _ in 0..5 {
        driven.round(&[1, 2]);
    }
    assert!(driven.agent.awaits_basis());
    let out = driven.frame(1, FrameKind::Basis, 0, 0);
    assert!(out.contains(&Output::Adopt(TaskId(0))));
    assert_eq!(sends(&out), [(1, FrameKind::BasisAck, 0), (2, FrameKind::Basis, 0)]);
    let again = driven.frame(2, FrameKind::Basis, 0, 0);
    assert_eq!(sends(&again), [(2, FrameKind::BasisAck, 0)]);
    assert!(!again.contains(&Output::Adopt(TaskId(0))));
}

#[test]
fn the_run_ends_after_its_last_round() {
    let mut driven = Driven::new(&[]);
    let mut out = Vec::new();
    for _ in 0..5 {
        out.extend(driven.tell(Input::Computed));
    }
    out.extend(driven.tell(Input::BasisReady(TaskId(0))));
    for _ in 0..5 {
        out.extend(driven.tell(Input::Computed));
    }
    assert_eq!(mixes(&out).len(), 10);
    assert_eq!(out.last(), Some(&Output::Done));
}

fn any_input() -> impl Strategy<Value = Input> {
    let kinds = [
        FrameKind::Payload,
        FrameKind::Absolute,
        FrameKind::Ack,
        FrameKind::Decline,
        FrameKind::Basis,
        FrameKind::BasisAck,
    ];
    let frame =
        (0_u32..4, 0_usize..6, 0_u64..12, 0_u32..3, 0_u64..14).prop_map(move |(from, kind, round, task, next)| {
            let (from, round, task, next) = (AgentId(from), Round(round), TaskId(task), Round(next));
            Input::Received { from, kind: kinds[kind], round, task, next }
        });
    prop_oneof![
        6 => frame,
        3 => Just(Input::Computed),
        2 => Just(Input::Wake),
        1 => (0_u32..4).prop_map(|peer| Input::LinkDown(AgentId(peer))),
        1 => (0_u32..4).prop_map(|peer| Input::LinkUp(AgentId(peer))),
        1 => (0_u32..4, 0_u64..12).prop_map(|(peer, round)| Input::Rejoined(AgentId(peer), Round(round))),
        1 => (0_u32..3).prop_map(|task| Input::BasisReady(TaskId(task))),
    ]
}

proptest! {
    #[test]
    fn whatever_a_peer_sends_rounds_come_in_order_and_each_neighbour_counts_once(
        inputs in proptest::collection::vec((any_input(), 0_u64..700), 1..200),
    ) {
        let mut driven = Driven::new(&[1, 2, 3]);
        let mut next = 0;
        for (input, passed) in inputs {
            driven.now = driven.now.after(passed);
            let out = driven.tell(input);
            for (round, fresh, _) in mixes(&out) {
                prop_assert_eq!(round, next);
                next += 1;
                prop_assert!(fresh.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", fresh);
            }
        }
        prop_assert!(next <= 10, "no more rounds than planned: {}", next);
    }

    #[test]
    fn an_agent_whose_neighbours_fall_silent_still_ends_its_task(silent_from in 0_u64..5) {
        let mut driven = Driven::new(&[1]);
        for _ in 0..silent_from.min(4) {
            driven.round(&[1]);
        }
        for _ in 0..100 {
            driven.tell(Input::Computed);
            if let Some(at) = driven.agent.wake_at() {
                driven.now = driven.now.max(at);
                driven.tell(Input::Wake);
            }
        }
        prop_assert!(driven.agent.awaits_basis());
    }
}

/// Even rounds with agent 1, odd ones with agent 2.
#[derive(Debug)]
struct Turns;

impl Calendar for Turns {
    fn takes_part(&self, _round: u64, _agent: AgentId) -> bool {
        true
    }

    fn meets(&self, round: u64, one: AgentId, other: AgentId) -> bool {
        u64::from(one.0.max(other.0)) == 1 + round % 2
    }
}

#[test]
fn an_agent_sends_to_and_waits_for_those_only_whom_it_meets() {
    let mut driven = Driven { agent: agent(&[1, 2], plan(4)).following(Arc::new(Turns)), now: Time(0) };
    driven.tell(Input::Start(Round(0)));
    assert_eq!(sends(&driven.tell(Input::Computed)), [(1, FrameKind::Absolute, 0)]);
    driven.frame(1, FrameKind::Ack, 0, 1);
    assert_eq!(mixes(&driven.frame(1, FrameKind::Absolute, 0, 1)), [(0, vec![1], vec![])]);
    // A frame of a later round waits; the round under way is with agent 2 alone.
    driven.frame(1, FrameKind::Absolute, 2, 3);
    assert_eq!(sends(&driven.tell(Input::Computed)), [(2, FrameKind::Absolute, 1)]);
    driven.frame(2, FrameKind::Ack, 1, 2);
    assert_eq!(mixes(&driven.frame(2, FrameKind::Absolute, 1, 2)), [(1, vec![2], vec![])]);
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(2, vec![1], vec![])]);
}

/// Agent 1 only sends to the one under test, agent 2 only receives from it.
fn one_way() -> Driven {
    let neighbours = [(1, Peer::Source), (2, Peer::Sink)];
    let neighbours = neighbours.map(|(id, way)| Neighbour { id: AgentId(id), way }).to_vec();
    let config = Config { id: AgentId(0), neighbours, plan: plan(9), deadline: DEADLINE, retransmit: RETRANSMIT };
    let mut driven = Driven { agent: Agent::new(config), now: Time(0) };
    driven.tell(Input::Start(Round(0)));
    driven
}

fn given(out: &[Output]) -> Vec<Vec<u32>> {
    let mix = |output: &Output| match output {
        Output::Mix { given, .. } => Some(given.iter().map(|peer| peer.0).collect()),
        _ => None,
    };
    out.iter().filter_map(mix).collect()
}

#[test]
fn who_only_receives_is_given_to_once_for_every_payload_that_is_sent() {
    let mut driven = one_way();
    assert_eq!(sends(&driven.tell(Input::Computed)), [(2, FrameKind::Absolute, 0)]);
    assert_eq!(given(&driven.frame(1, FrameKind::Absolute, 0, 1)), [vec![2]]);
    // Without an acknowledgement the edge sits out, and the same payload goes again.
    driven.tell(Input::Computed);
    driven.frame(1, FrameKind::Payload, 1, 2);
    driven.now = Time(DEADLINE);
    let out = driven.tell(Input::Wake);
    assert_eq!((sends(&out), given(&out)), (vec![(2, FrameKind::Absolute, 0)], vec![vec![]]));
    driven.frame(2, FrameKind::Ack, 0, 1);
    assert_eq!(sends(&driven.tell(Input::Computed)), [(2, FrameKind::Absolute, 2)], "round 1 was sat out");
    assert_eq!(given(&driven.frame(1, FrameKind::Payload, 2, 3)), [vec![2]]);
}

#[test]
fn what_comes_one_way_is_taken_in_once_whenever_it_comes_and_never_declined() {
    let mut driven = one_way();
    for round in 0..3 {
        driven.tell(Input::Computed);
        driven.frame(2, FrameKind::Ack, round, round + 1);
        driven.now = Time((round + 1) * DEADLINE);
        assert_eq!(mixes(&driven.tell(Input::Wake)), [(round, vec![], vec![])], "nothing came");
    }
    // The sender sat out round 0; this end, waiting for it, sat out rounds 1 and 2.
    for again in [Verdict::New, Verdict::Known] {
        assert_eq!(sends(&driven.frame(1, FrameKind::Absolute, 1, 2)), [(1, FrameKind::Ack, 1)], "{again:?}");
    }
    driven.tell(Input::Computed);
    let out = driven.frame(1, FrameKind::Payload, 3, 4);
    assert_eq!(mixes(&out), [(3, vec![1], vec![Late { peer: AgentId(1), round: Round(1) }])]);
}

/// Whether a payload is new to its receiver.
#[derive(Debug)]
enum Verdict {
    New,
    Known,
}

#[test]
fn of_what_comes_one_way_and_early_one_payload_is_kept_and_the_next_has_to_be_sent_again() {
    let mut driven = one_way();
    assert_eq!(sends(&driven.frame(1, FrameKind::Absolute, 0, 1)), [(1, FrameKind::Ack, 0)]);
    assert!(!driven.agent.wants(AgentId(1), Round(1)));
    assert_eq!(sends(&driven.frame(1, FrameKind::Payload, 1, 2)), []);
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(0, vec![1], vec![])]);
    assert_eq!(sends(&driven.frame(1, FrameKind::Payload, 1, 2)), [(1, FrameKind::Ack, 1)]);
    driven.frame(2, FrameKind::Ack, 0, 1);
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(1, vec![1], vec![])]);
}

#[test]
fn what_came_one_way_before_its_round_is_taken_in_though_the_link_goes_down_in_between() {
    let mut driven = one_way();
    driven.frame(1, FrameKind::Absolute, 0, 1);
    driven.tell(Input::LinkDown(AgentId(1)));
    driven.tell(Input::LinkDown(AgentId(2)));
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(0, vec![], vec![])]);
    let late = Late { peer: AgentId(1), round: Round(0) };
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(1, vec![], vec![late])]);
    driven.tell(Input::LinkUp(AgentId(1)));
    assert_eq!(sends(&driven.frame(1, FrameKind::Absolute, 2, 3)), [(1, FrameKind::Ack, 2)]);
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(2, vec![1], vec![])]);
}

#[test]
fn a_neighbour_that_sends_one_way_and_is_ahead_is_not_waited_for() {
    let mut driven = one_way();
    driven.tell(Input::LinkDown(AgentId(2)));
    assert_eq!(sends(&driven.frame(1, FrameKind::Absolute, 1, 2)), [(1, FrameKind::Ack, 1)]);
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(0, vec![], vec![])], "it sat out round 0");
    assert_eq!(sends(&driven.frame(1, FrameKind::Payload, 2, 3)), [], "round 1 comes first");
    assert_eq!(mixes(&driven.tell(Input::Computed)), [(1, vec![1], vec![])]);
}
