//! Rules of oracle, chain, exchange and memory. Those of one exchange only are in `decentralized`.

use kith_method::{Agreement, ExchangeKind, Link, Memory, MemoryRule, Payload, PerLayer};

use super::{Range, Subject, at_least_one, number};
use crate::config::render::Problem;

pub(super) fn check(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    chain_values(subject, problems);
    chain_and_memory(subject, problems);
    exchange(subject, problems);
    super::decentralized::check(subject, problems);
    if subject.arm.exchange.payload == Payload::Coefficients {
        coefficients(subject, problems);
    }
    if let Some(rules) = &subject.arm.memory {
        memory(subject, rules, problems);
    }
}

fn chain_values(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    for (place, link) in subject.arm.chain.iter().enumerate() {
        let path = format!("chain.{place}");
        match *link {
            Link::Clip(norm) => number(path + ".clip", norm, Range::Positive, problems),
            Link::Momentum { beta, .. } => number(path + ".momentum.beta", beta, Range::Loss, problems),
            Link::QuasiGlobal { beta, .. } => number(path + ".quasi-global.beta", beta, Range::Loss, problems),
            Link::Track => {
                if subject.arm.chain[..place].contains(&Link::Track) {
                    problems.push(Problem::new(path, "the chain tracks twice"));
                }
            }
            Link::WeightDecay(rate) => number(path + ".weight-decay", rate, Range::NotNegative, problems),
            Link::Scale(factor) => number(path + ".scale", factor, Range::Positive, problems),
            Link::Consolidate | Link::Replay(_) | Link::AGem => {}
            Link::Project => {
                if subject.arm.chain[..place].contains(&Link::Project) {
                    problems.push(Problem::new(path, "the chain projects twice"));
                }
            }
        }
        let has_buffer = |link: &Link| matches!(link, Link::Momentum { .. } | Link::QuasiGlobal { .. });
        if has_buffer(link) && subject.arm.chain[..place].iter().any(has_buffer) {
            problems.push(Problem::new(format!("chain.{place}"), "the chain has momentum twice"));
        }
    }
}

fn chain_and_memory(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let project = subject.arm.chain.iter().position(|link| *link == Link::Project);
    match (project, &subject.arm.memory) {
        (Some(place), None) => problems.push(
            Problem::new(format!("chain.{place}"), "`project` needs a memory to project away from")
                .accept("accepted: a [memory] table, or a method that has one (codec, codec-full, gpm, sgp)"),
        ),
        (None, Some(_)) => problems.push(
            Problem::new("memory", "a memory that no link of the chain uses")
                .accept("accepted: chain = [\"project\"], or no [memory] table"),
        ),
        _ => {}
    }
}

fn exchange(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let exchange = &subject.arm.exchange;
    subject.schedule("exchange.averaging_rate", &exchange.averaging_rate, Range::Share, problems);
    let links = &subject.arm.links;
    let loses = links.loss > 0.0 || links.rules.iter().any(|rule| rule.loss.is_some_and(|loss| loss > 0.0));
    let needs_both_ends = !matches!(exchange.kind, ExchangeKind::None | ExchangeKind::PushSum);
    if subject.graph.is_directed() && needs_both_ends && (loses || !subject.arm.faults.is_empty()) {
        problems.push(
            Problem::new(
                "graph.directed",
                "on one-way edges nothing makes up for a lost frame, so the mean of all agents would drift",
            )
            .accept("accepted: method = \"push-sum\", an undirected graph, or links without loss and no [[faults]]"),
        );
    }
}

/// Coefficients are exact only while every payload lies in the space that the memory leaves free.
fn coefficients(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let arm = subject.arm;
    let path = "exchange.payload";
    match &arm.memory {
        None => problems.push(
            Problem::new(path, "coefficients need a memory: they are coordinates in the space that it leaves free")
                .accept("accepted: a [memory] table, or payload = \"full\""),
        ),
        Some(memory) if memory.agreement == Agreement::Own => problems.push(
            Problem::new("memory.agreement", "coefficients mean nothing without a basis that all agents share")
                .accept("accepted: agreement = \"leader\", or exchange.payload = \"full\""),
        ),
        Some(_) => {}
    }
    if arm.exchange.kind == ExchangeKind::None {
        problems.push(
            Problem::new(path, "coefficients are sent, but exchange.kind = \"none\" sends nothing")
                .accept("accepted: kind = \"difference\" or \"model\", or payload = \"full\""),
        );
    } else if subject.agents() == 1 {
        problems.push(
            Problem::new(path, "coefficients need somebody to send them to, but there is one agent")
                .accept("accepted: 2 agents or more, or payload = \"full\" (method = \"codec-full\" or \"gpm\")"),
        );
    }
    match arm.chain.iter().position(|link| *link == Link::Project) {
        Some(0) => {}
        Some(place) => problems.push(
            Problem::new(
                format!("chain.{place}"),
                "with coefficients, `project` comes first: gradients are taken as coordinates",
            )
            .accept("accepted: chain = [\"project\", …], or exchange.payload = \"full\""),
        ),
        None => problems.push(
            Problem::new(
                "chain",
                "coefficients are exact only for projected gradients, and the chain does not project",
            )
            .accept("accepted: chain = [\"project\", …], or exchange.payload = \"full\""),
        ),
    }
    for (place, link) in arm.chain.iter().enumerate() {
        if matches!(link, Link::WeightDecay(_)) {
            // Also before projection: the trained row holds coordinates, not weights, so there is nothing to decay.
            problems.push(
                Problem::new(
                    format!("chain.{place}"),
                    "with coefficients, weight decay leaves the space that the coefficients span: payloads would not be exact",
                )
                .accept("accepted: a chain without weight-decay, or exchange.payload = \"full\""),
            );
        }
    }
}

fn memory(subject: &Subject<'_>, memory: &Memory, problems: &mut Vec<Problem>) {
    let layers = subject.arm.network.projected_layers();
    per_layer("memory.energy_threshold", &memory.energy_threshold, layers, problems, |path, threshold, problems| {
        number(path, threshold, Range::Share, problems);
    });
    per_layer("memory.samples", &memory.samples, layers, problems, |path, samples, problems| {
        at_least_one(path, samples as u64, problems);
    });
    number("memory.energy_increment", memory.energy_increment, Range::NotNegative, problems);
    last_threshold(subject, memory, problems);
    if memory.rule == MemoryRule::Sgp {
        number("memory.scale_coefficient", memory.scale_coefficient, Range::Positive, problems);
    }
    let agents = subject.agents();
    if memory.leader as usize >= agents {
        problems.push(
            Problem::new("memory.leader", format!("there is no agent {}", memory.leader))
                .accept(format!("accepted: 0 to {}", agents - 1)),
        );
    }
    let silent = subject.arm.exchange.kind == ExchangeKind::None;
    if silent && memory.agreement == Agreement::Leader && agents > 1 {
        problems.push(
            Problem::new("memory.agreement", "a leader's basis is of no use where nothing is exchanged")
                .accept("accepted: agreement = \"own\", or another exchange.kind"),
        );
    }
    if silent && memory.consensus_rounds > 0 {
        problems.push(
            Problem::new("memory.consensus_rounds", "consensus rounds exchange models, but exchange.kind = \"none\"")
                .accept("accepted: 0, or another exchange.kind"),
        );
    }
}

/// ε of the last task, after all increments.
fn last_threshold(subject: &Subject<'_>, memory: &Memory, problems: &mut Vec<Problem>) {
    let tasks = subject.arm.data.tasks.count.saturating_sub(1);
    let first = match &memory.energy_threshold {
        PerLayer::All(threshold) => *threshold,
        PerLayer::Each(thresholds) => thresholds.iter().copied().fold(0.0, f64::max),
    };
    let last = first + memory.energy_increment * tasks as f64;
    if first <= 1.0 && last > 1.0 + 1e-9 {
        problems.push(Problem::new(
            "memory.energy_increment",
            format!("the energy threshold reaches {last} with the last task, outside (0, 1]"),
        ));
    }
}

fn per_layer<T: Copy>(
    path: &str,
    values: &PerLayer<T>,
    layers: usize,
    problems: &mut Vec<Problem>,
    check: impl Fn(&str, T, &mut Vec<Problem>),
) {
    match values {
        PerLayer::All(value) => check(path, *value, problems),
        PerLayer::Each(values) => {
            if values.len() != layers {
                problems.push(
                    Problem::new(path, format!("{} values for {layers} projected layers", values.len()))
                        .accept(format!("accepted: one value for all layers, or a list of {layers}")),
                );
            }
            for (place, value) in values.iter().enumerate() {
                check(&format!("{path}.{place}"), *value, problems);
            }
        }
    }
}
