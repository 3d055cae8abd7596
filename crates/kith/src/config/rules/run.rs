//! Rules of training, network, links and faults.

use kith_core::AgentId;
use kith_sim::{Fault, FaultKind, LinkRule};

use super::{Range, Subject, at_least_one, number};
use crate::config::render::Problem;

pub(super) fn check(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    network(subject, problems);
    train(subject, problems);
    links(subject, problems);
    for (place, fault) in subject.arm.faults.iter().enumerate() {
        check_fault(subject, place, fault, problems);
    }
}

fn network(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    problems.extend(subject.arm.network.problems());
}

fn train(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let train = &subject.arm.train;
    if train.epochs_per_task.is_some() && train.rounds_per_task.is_some() {
        problems.push(
            Problem::new("train.rounds_per_task", "epochs_per_task and rounds_per_task are both given")
                .accept("accepted: one of the two"),
        );
    }
    if let Some(epochs) = train.epochs_per_task {
        at_least_one("train.epochs_per_task", epochs, problems);
    }
    if let Some(rounds) = train.rounds_per_task {
        at_least_one("train.rounds_per_task", rounds, problems);
    }
    if let Some(every) = train.evaluate_every {
        at_least_one("train.evaluate_every", every, problems);
    }
    if train.start_from.is_some() && !train.same_start {
        problems.push(
            Problem::new("train.same_start", "start_from gives all agents the same weights")
                .accept("accepted: same_start = true, or no start_from"),
        );
    }
    at_least_one("train.batch_size", train.batch_size as u64, problems);
    at_least_one("train.local_steps", train.local_steps, problems);
    // Zero is for runs that only mix.
    subject.schedule("train.learning_rate", &train.learning_rate, Range::NotNegative, problems);
}

fn links(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let links = &subject.arm.links;
    number("links.latency_ms", links.latency_ms, Range::NotNegative, problems);
    if let Some(bandwidth) = links.bandwidth_mbps {
        number("links.bandwidth_mbps", bandwidth, Range::Positive, problems);
    }
    number("links.loss", links.loss, Range::Loss, problems);
    number("links.compute_ms_per_step", links.compute_ms_per_step, Range::NotNegative, problems);
    number("links.deadline_ms", links.deadline_ms, Range::Positive, problems);
    number("links.retransmit_ms", links.retransmit_ms, Range::Positive, problems);
    for (place, rule) in links.rules.iter().enumerate() {
        link_rule(subject, &format!("links.rules.{place}"), rule, problems);
    }
}

fn link_rule(subject: &Subject<'_>, path: &str, rule: &LinkRule, problems: &mut Vec<Problem>) {
    for (key, agent) in [("from", rule.from), ("to", rule.to)] {
        if let Some(agent) = agent {
            known_agent(subject, format!("{path}.{key}"), agent, problems);
        }
    }
    if let (Some(first), Some(last)) = (rule.first_round, rule.last_round)
        && first > last
    {
        problems.push(Problem::new(
            format!("{path}.last_round"),
            format!("last_round = {last} comes before first_round = {first}"),
        ));
    }
    if let Some(latency) = rule.latency_ms {
        number(format!("{path}.latency_ms"), latency, Range::NotNegative, problems);
    }
    if let Some(bandwidth) = rule.bandwidth_mbps {
        number(format!("{path}.bandwidth_mbps"), bandwidth, Range::Positive, problems);
    }
    if let Some(loss) = rule.loss {
        number(format!("{path}.loss"), loss, Range::Closed, problems);
    }
}

fn known_agent(subject: &Subject<'_>, path: String, agent: u32, problems: &mut Vec<Problem>) -> bool {
    let known = (agent as usize) < subject.agents();
    if !known {
        problems.push(
            Problem::new(path, format!("there is no agent {agent}"))
                .accept(format!("accepted: 0 to {}", subject.agents() - 1)),
        );
    }
    known
}

fn check_fault(subject: &Subject<'_>, place: usize, fault: &Fault, problems: &mut Vec<Problem>) {
    let path = format!("faults.{place}");
    let known = known_agent(subject, format!("{path}.agent"), fault.agent, problems);
    let is_link = matches!(fault.kind, FaultKind::LinkDown | FaultKind::LinkUp);
    match (is_link, fault.peer) {
        (true, None) => problems
            .push(Problem::new(&path, "a link has two ends: peer is missing").accept("accepted: agent = 0, peer = 1")),
        (false, Some(_)) => {
            problems.push(Problem::new(format!("{path}.peer"), "only `link-down` and `link-up` have a peer"))
        }
        (true, Some(peer)) => {
            if known_agent(subject, format!("{path}.peer"), peer, problems) && known {
                let neighbours = subject.graph.neighbours_out(AgentId(fault.agent));
                if !neighbours.contains(&AgentId(peer)) {
                    let list = neighbours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    problems.push(
                        Problem::new(
                            format!("{path}.peer"),
                            format!("there is no link between agents {} and {peer}", fault.agent),
                        )
                        .accept(format!("accepted: {list}")),
                    );
                }
            }
        }
        (false, None) => {}
    }
    match (fault.kind, fault.factor) {
        (FaultKind::Straggler, None) => {
            problems.push(Problem::new(&path, "how much slower? factor is missing").accept("accepted: factor = 10.0"))
        }
        (FaultKind::Straggler, Some(factor)) => {
            number(format!("{path}.factor"), factor, Range::Positive, problems);
        }
        (_, Some(_)) => problems.push(Problem::new(format!("{path}.factor"), "only `straggler` has a factor")),
        (_, None) => {}
    }
    if fault.kind == FaultKind::Restart {
        let crashed = subject
            .arm
            .faults
            .iter()
            .any(|other| other.kind == FaultKind::Crash && other.agent == fault.agent && other.round < fault.round);
        if !crashed {
            problems.push(
                Problem::new(&path, format!("agent {} restarts without having crashed before", fault.agent))
                    .accept(format!("accepted: a crash of agent {} in an earlier round", fault.agent)),
            );
        }
    }
}
