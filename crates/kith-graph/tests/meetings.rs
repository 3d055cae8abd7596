//! Graphs that change from round to round: every round's W is doubly stochastic, and rounds are functions of their number.
#![allow(missing_docs, clippy::cast_precision_loss)]

use kith_core::{AgentId, Calendar, Seeds};
use kith_graph::{Family, GraphError, Meetings, Sequence, Spec};
use proptest::prelude::*;

fn meetings(spec: &Spec, participation: f64, seed: u64) -> Result<Option<Meetings>, GraphError> {
    let seeds = Seeds::new(seed);
    let graph = spec.build(&seeds)?;
    let mixing = spec.mixing(&graph)?;
    Meetings::new(spec, &graph, &mixing, participation, &seeds)
}

fn short(text: &str, sequence: Sequence) -> Spec {
    Spec { sequence: Some(sequence), ..Spec::parse_short(text).expect("a graph") }
}

/// Row and column sums of a round's W, self included, are one: what agents give away beside what they keep.
fn largest_column_error(rows: &[Vec<(AgentId, f64)>]) -> f64 {
    let mut columns: Vec<f64> =
        rows.iter().map(|row| 1.0 - row.iter().map(|(_, weight)| weight).sum::<f64>()).collect();
    rows.iter().flatten().for_each(|(peer, weight)| columns[peer.index()] += weight);
    columns.iter().map(|sum| (sum - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn one_peer_goes_through_the_powers_of_two_and_averages_exactly() {
    let all =
        meetings(&short("exponential:8:directed", Sequence::OnePeer), 1.0, 1).expect("it fits").expect("it moves");
    let mut values: Vec<f64> = (0..8_u32).map(f64::from).collect();
    for round in 0..3 {
        let meeting = all.at(round);
        let mixed = |agent: usize| {
            let [(peer, weight)] = meeting.rows()[agent][..] else { panic!("one peer") };
            assert_eq!((agent + 8 - peer.index()) % 8, 1 << round);
            values[agent] * (1.0 - weight) + values[peer.index()] * weight
        };
        values = (0..8).map(mixed).collect();
    }
    assert_eq!(values, [3.5; 8], "log₂ 8 rounds bring everyone to the mean");
    assert_eq!(all.at(3).rows(), all.at(0).rows());
}

#[test]
fn listed_rounds_come_over_and_over_and_their_edges_make_the_graph() {
    let rounds = vec![vec![(0, 1), (2, 3)], vec![(1, 2)]];
    let spec = Spec { family: Some(Family::Edges), rounds: Some(rounds), ..Spec::default() };
    assert_eq!(spec.build(&Seeds::new(1)).expect("connected over all rounds").agents(), 4);
    let all = meetings(&spec, 1.0, 1).expect("it fits").expect("it moves");
    let met = |round, one, other| all.meets(round, AgentId(one), AgentId(other));
    assert!(met(0, 0, 1) && met(0, 3, 2) && !met(0, 1, 2));
    assert!(met(1, 1, 2) && !met(1, 0, 1) && met(2, 0, 1));
    assert_eq!(all.at(1).rows()[1], [(AgentId(2), 0.5)]);
}

#[test]
fn whole_rounds_of_everyone_need_no_calendar() {
    let spec = Spec::parse_short("ring:5").expect("a graph");
    assert!(meetings(&spec, 1.0, 1).expect("it fits").is_none());
    assert!(meetings(&spec, 0.99, 1).expect("it fits").is_some_and(|all| all.at(0).rows().len() == 5));
}

#[test]
fn what_has_no_doubly_stochastic_rounds_is_refused() {
    let refused = |spec: &Spec, participation| meetings(spec, participation, 1).expect_err("refused").to_string();
    assert!(refused(&short("ring:8", Sequence::OnePeer), 1.0).contains("exponential"));
    assert!(refused(&short("exponential:6:directed", Sequence::OnePeer), 1.0).contains("2, 4, 8"));
    assert!(refused(&short("ring:8:directed", Sequence::RandomMatching), 1.0).contains("undirected"));
    assert!(refused(&Spec::parse_short("ring:8:directed").expect("a graph"), 0.5).contains("participation 0.5"));
    let twice = Spec { family: Some(Family::Edges), rounds: Some(vec![vec![(0, 1), (1, 0)]]), ..Spec::default() };
    assert!(refused(&twice, 1.0).contains("twice"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_round_is_doubly_stochastic_among_as_many_as_take_part(
        agents in 3_usize..20, share in 0.05_f64..=1.0, seed in any::<u64>(), matching in any::<bool>(), round in 0_u64..50,
    ) {
        let sequence = if matching { Sequence::RandomMatching } else { Sequence::Static };
        let spec = short(&format!("complete:{agents}"), sequence);
        let Some(all) = meetings(&spec, share, seed).expect("it fits") else { return Ok(()) };
        let meeting = all.at(round);
        prop_assert!(largest_column_error(meeting.rows()) < 1e-12);
        let ids: Vec<AgentId> = (0..agents).map(AgentId::from).collect();
        let present = ids.iter().filter(|agent| meeting.is_present(**agent)).count();
        prop_assert_eq!(present, (share * agents as f64).ceil() as usize);
        for (agent, row) in ids.iter().zip(meeting.rows()) {
            prop_assert!(row.is_empty() || meeting.is_present(*agent));
            prop_assert!(row.iter().all(|(peer, _)| meeting.is_present(*peer) && all.meets(round, *peer, *agent)));
            prop_assert!(!matching || row.len() <= 1);
        }
        // Of those present at most one is left alone by a maximal matching of a complete graph.
        if matching {
            prop_assert_eq!(meeting.rows().iter().filter(|row| row.is_empty()).count(), agents - present + present % 2);
        }
        let again = meetings(&spec, share, seed).expect("it fits").expect("it moves");
        prop_assert_eq!(again.at(round), meeting);
    }
}
