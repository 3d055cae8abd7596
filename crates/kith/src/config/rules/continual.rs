//! Rules of what is done against forgetting beside a memory, and of rounds that differ.

use kith_core::Head;
use kith_data::TaskOrder;
use kith_graph::Meetings;
use kith_method::{Consolidation, Curriculum, ExchangeKind, Importance, Link, Replay, Sharing};

use super::{Range, Subject, at_least_one, number};
use crate::config::render::Problem;

pub(super) fn check(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let continual = &subject.arm.continual;
    links(subject, problems);
    curriculum(subject, problems);
    if let Some(rules) = &continual.consolidation {
        consolidation(subject, rules, problems);
    }
    if let Some(rules) = &continual.replay {
        replay(subject, rules, problems);
    }
    if subject.arm.memory.is_some() && *continual != kith_method::Continual::default() {
        problems.push(
            Problem::new("continual", "a gradient projection memory and something else against forgetting")
                .accept("accepted: a [memory] table or a [continual] table"),
        );
    }
    if subject.arm.data.tasks.order == TaskOrder::PerAgent {
        shared_head(subject, "data.tasks.order", "agents that learn different tasks at one time", problems);
    }
    meetings(subject, problems);
}

/// Links and the tables that they need, both or neither.
fn links(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let (chain, continual) = (&subject.arm.chain, &subject.arm.continual);
    for (place, link) in chain.iter().enumerate() {
        let path = format!("chain.{place}");
        match link {
            Link::Consolidate if continual.consolidation.is_none() => problems.push(
                Problem::new(&path, "`consolidate` needs to know what weights matter")
                    .accept("accepted: a [continual.consolidation] table, or method = \"d-ewc\" or \"d-si\""),
            ),
            Link::Replay(_) | Link::AGem if continual.replay.is_none() => problems.push(
                Problem::new(&path, "there are no kept samples to follow")
                    .accept("accepted: a [continual.replay] table, or method = \"replay\" or \"a-gem\""),
            ),
            Link::Replay(share) => number(format!("{path}.replay"), *share, Range::Closed, problems),
            _ => {}
        }
        let against = matches!(link, Link::Consolidate | Link::Replay(_) | Link::AGem);
        if against && chain[..place].contains(link) {
            problems.push(Problem::new(&path, "the chain has this link twice"));
        }
        let kind = subject.arm.exchange.kind;
        if against
            && matches!(
                kind,
                ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures | ExchangeKind::GlobalUpdate
            )
        {
            problems.push(
                Problem::new(path, "this exchange takes its step from more than the agent's own gradient")
                    .accept("accepted: exchange.kind = \"none\", \"model\", \"difference\" or \"corrected\""),
            );
        }
    }
    let used = |pick: fn(&Link) -> bool| chain.iter().any(pick);
    if continual.consolidation.is_some() && !used(|link| *link == Link::Consolidate) {
        problems.push(
            Problem::new("continual.consolidation", "no link of the chain uses it")
                .accept("accepted: chain = [\"consolidate\"], or no such table"),
        );
    }
    if continual.replay.is_some() && !used(|link| matches!(link, Link::Replay(_) | Link::AGem)) {
        problems.push(
            Problem::new("continual.replay", "no link of the chain uses it")
                .accept("accepted: chain = [{ replay = 0.5 }] or [\"a-gem\"], or no such table"),
        );
    }
}

fn curriculum(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let (arm, path) = (subject.arm, "continual.curriculum");
    if arm.continual.curriculum == Curriculum::Sequence {
        return;
    }
    if arm.memory.is_some() || arm.continual.consolidation.is_some() || arm.continual.replay.is_some() {
        problems.push(
            Problem::new(path, "nothing is forgotten here, so there is nothing to hold against it")
                .accept("accepted: \"sequence\", or no [memory], consolidation or replay"),
        );
    }
    if arm.continual.curriculum == Curriculum::Joint {
        shared_head(subject, path, "a minibatch of all tasks", problems);
        if !arm.faults.is_empty() {
            // An agent that comes back takes over weights, not its place in the order of a run-long stage.
            problems.push(Problem::new(path, "an upper bound with faults is none").accept("accepted: no [[faults]]"));
        }
    }
}

fn shared_head(subject: &Subject<'_>, path: &str, what: &str, problems: &mut Vec<Problem>) {
    if subject.arm.network.head.0 == Head::PerTask {
        problems.push(
            Problem::new(path, format!("{what} cannot go through one task's head"))
                .accept("accepted: network.head = \"shared\""),
        );
    }
}

fn consolidation(subject: &Subject<'_>, rules: &Consolidation, problems: &mut Vec<Problem>) {
    let path = "continual.consolidation";
    number(format!("{path}.strength"), rules.strength, Range::NotNegative, problems);
    if let Importance::Path { damping } = rules.importance {
        number(format!("{path}.importance.path.damping"), damping, Range::Positive, problems);
    }
    let exchange = &subject.arm.exchange;
    if exchange.kind == ExchangeKind::None && rules.consensus_rounds > 0 {
        problems.push(
            Problem::new(
                format!("{path}.consensus_rounds"),
                "consensus rounds exchange models, but exchange.kind = \"none\"",
            )
            .accept("accepted: 0, or another exchange.kind"),
        );
    }
    if rules.agreement == Sharing::Gossip {
        let tracks = subject.arm.chain.contains(&Link::Track);
        if exchange.kind != ExchangeKind::Model || exchange.compressor.is_some() || tracks {
            problems.push(
                Problem::new(format!("{path}.agreement"), "importances are mixed as whole models are").accept(
                    "accepted: exchange.kind = \"model\" without a compressor or a tracker, or agreement = \"own\"",
                ),
            );
        }
        if rules.consensus_rounds == 0 {
            problems.push(
                Problem::new(format!("{path}.consensus_rounds"), "importances are gossiped in consensus rounds")
                    .accept("accepted: 1 or more, or agreement = \"own\""),
            );
        }
    }
}

fn replay(subject: &Subject<'_>, rules: &Replay, problems: &mut Vec<Problem>) {
    at_least_one("continual.replay.budget_bytes", rules.budget_bytes, problems);
    if let Some(size) = rules.batch_size {
        at_least_one("continual.replay.batch_size", size as u64, problems);
    }
    if subject.arm.exchange.kind == ExchangeKind::Corrected && subject.arm.train.local_steps > 1 {
        problems.push(
            Problem::new("train.local_steps", "D² takes one step a round beside kept samples").accept("accepted: 1"),
        );
    }
}

/// Rounds in which not all agents, or not all edges, take part.
fn meetings(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let arm = subject.arm;
    let before = problems.len();
    number("train.participation", arm.train.participation, Range::Share, problems);
    let Ok(mixing) = arm.graph.mixing(subject.graph) else { return };
    let seeds = kith_core::Seeds::new(arm.seed);
    match Meetings::new(&arm.graph, subject.graph, &mixing, arm.train.participation, &seeds) {
        Err(error) => problems.push(Problem::new("train.participation", error.to_string())),
        Ok(None) => return,
        Ok(Some(_)) => {}
    }
    if problems.len() > before {
        return;
    }
    let exchange = &arm.exchange;
    if let Err(why) = exchange.changing_neighbours() {
        problems.push(Problem::new("exchange.kind", format!("neighbours change from round to round: {why}")).accept(
            "accepted: kind = \"model\", \"neighbour-gradients\", \"neighbour-features\", \"push-sum\", or \"difference\" without a compressor; or \
             the whole graph and participation = 1",
        ));
    }
    if exchange.kind != ExchangeKind::None {
        super::decentralized::reliable(
            subject,
            "where neighbours change from round to round, a lost frame cannot be made up for in a later one",
            problems,
        );
    }
}
