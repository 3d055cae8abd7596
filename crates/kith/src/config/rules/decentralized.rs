//! Rules of decentralized methods: what goes with which exchange, and why not.

use kith_method::{Bias, Climb, Compressor, ExchangeKind, Feedback, Link, Loss, Oracle, Order, Payload};

use super::{Range, Subject, at_least_one, number};
use crate::config::render::Problem;

/// D² diverges where mixing has an eigenvalue at or below this (Tang et al. 2018).
const LOWEST_FOR_D2: f64 = -1.0 / 3.0;

pub(super) fn check(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    if let Some(radius) = subject.arm.oracle.radius() {
        subject.schedule("oracle.radius", radius, Range::NotNegative, problems);
    }
    links(subject, problems);
    order(subject, problems);
    if let Some(compressor) = subject.arm.exchange.compressor {
        compression(subject, compressor, problems);
    }
    if let Some(compressor) = subject.arm.exchange.gradient_compressor {
        gradient_compression(subject, compressor, problems);
    }
    climbing(subject, problems);
    parameters(subject, problems);
    match subject.arm.exchange.kind {
        ExchangeKind::Corrected => corrected(subject, problems),
        ExchangeKind::NeighbourGradients => {
            alone(subject, "neighbour gradients are means over edges", problems);
            both_ways(subject, problems);
        }
        ExchangeKind::GlobalUpdate => {
            alone(subject, "the update holds what mixing does, not only a gradient", problems);
            both_ways(subject, problems);
        }
        ExchangeKind::Relay => relay(subject, problems),
        ExchangeKind::NeighbourFeatures => features(subject, problems),
        ExchangeKind::PushSum => push_sum(subject, problems),
        ExchangeKind::None | ExchangeKind::Model | ExchangeKind::Difference => {}
    }
    if let Loss::Refused(why) = subject.arm.exchange.loss() {
        reliable(subject, why, problems);
    }
    local_steps(subject, problems);
    one_sided(subject, problems);
    if let Some(beta) = subject.arm.exchange.adaptive {
        adaptive(subject, beta, problems);
    }
}

/// RelaySGD: sums reach everybody once only where there is one way.
fn relay(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let graph = subject.graph;
    let path = "exchange.kind";
    if graph.is_directed() || graph.edges().len() + 1 != graph.agents() {
        problems.push(
            Problem::new(
                path,
                format!(
                    "relayed sums need a tree, but this graph has {} edges for {} agents: along a cycle a model would count more \
                     than once",
                    graph.edges().len(),
                    graph.agents()
                ),
            )
            .accept(
                "accepted: graph.tree = \"breadth-first\" or \"depth-first\", graph.family = \"chain\" or \"star\", \"edges\" that form a \
                 tree; or kind = \"model\"",
            ),
        );
    }
    if subject.arm.memory.is_some() {
        problems.push(
            Problem::new(path, "a relayed mean holds models of rounds before a memory grew")
                .accept("accepted: no [memory] table, or kind = \"model\""),
        );
    }
}

/// Push-sum: what is divided must arrive.
fn push_sum(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    if subject.arm.exchange.payload == Payload::Coefficients {
        problems.push(
            Problem::new("exchange.payload", "push-sum divides whole rows, of which coefficients are a part")
                .accept("accepted: payload = \"full\", or another exchange.kind"),
        );
    }
}

/// CCL: one gradient a round, at the mixed model, of the loss and what draws its features.
fn features(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    alone(subject, "the gradient is not that of the loss alone", problems);
    both_ways(subject, problems);
}

/// Where rows of W do not sum to one, mixing leaves the mean only to push-sum.
fn one_sided(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    if matches!(subject.arm.exchange.kind, ExchangeKind::None | ExchangeKind::PushSum) {
        return;
    }
    let Ok(mixing) = subject.arm.graph.mixing(subject.graph) else { return };
    if !mixing.is_doubly_stochastic() {
        let path = if subject.arm.graph.weights.is_some() { "graph.weights" } else { "graph.directed" };
        problems.push(
            Problem::new(
                path,
                "agents hear from more or fewer than they send to, so rows of W do not sum to one, and without push-sum agents \
                 would not agree on the mean",
            )
            .accept("accepted: method = \"push-sum\", or a graph whose degrees are all the same, or one that goes both ways"),
        );
    }
}

/// AdaGossip: what mixing does is not a flow between two ends any more.
fn adaptive(subject: &Subject<'_>, beta: f64, problems: &mut Vec<Problem>) {
    let path = "exchange.adaptive";
    number(path, beta, Range::Loss, problems);
    let exchange = &subject.arm.exchange;
    let mixes = matches!(exchange.kind, ExchangeKind::Model | ExchangeKind::Difference);
    if !mixes || subject.arm.chain.contains(&Link::Track) {
        problems.push(
            Problem::new(path, "only mixing of models has averaging rates for each parameter")
                .accept("accepted: kind = \"model\" or \"difference\" without `track`, or no `adaptive`"),
        );
    }
}

/// Links that reach beyond the agent's own gradient.
fn links(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let exchange = &subject.arm.exchange;
    for (place, link) in subject.arm.chain.iter().enumerate() {
        let path = format!("chain.{place}");
        let mixes = matches!(exchange.kind, ExchangeKind::Model | ExchangeKind::Difference);
        match link {
            Link::QuasiGlobal { .. }
                if !(mixes
                    || matches!(exchange.kind, ExchangeKind::NeighbourGradients | ExchangeKind::NeighbourFeatures)) =>
            {
                problems.push(
                    Problem::new(path, "quasi-global momentum looks at how steps and mixing move a row")
                        .accept("accepted: exchange.kind = \"model\", \"difference\" or \"neighbour-gradients\""),
                )
            }
            Link::Track if exchange.kind != ExchangeKind::Model || exchange.compressor.is_some() => problems.push(
                Problem::new(path, "a tracker is mixed as whole models are")
                    .accept("accepted: exchange.kind = \"model\" without a compressor"),
            ),
            Link::Track if subject.arm.memory.is_some() => problems.push(
                Problem::new(path, "a tracker does not survive a task's end, where a memory's consensus rounds mix it")
                    .accept("accepted: no [memory] table"),
            ),
            _ => {}
        }
    }
}

fn order(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let exchange = &subject.arm.exchange;
    let fits = match exchange.order {
        Order::AdaptThenCombine => true,
        Order::CombineThenAdapt => exchange.kind == ExchangeKind::Model && exchange.compressor.is_none(),
        Order::MixThenSend => exchange.kind == ExchangeKind::Difference,
    };
    if !fits {
        problems.push(
            Problem::new("exchange.order", "this exchange has no such order").accept(
                "accepted: combine-then-adapt with kind = \"model\" and no compressor, mix-then-send with kind = \"difference\"",
            ),
        );
    }
}

fn compression(subject: &Subject<'_>, compressor: Compressor, problems: &mut Vec<Problem>) {
    let exchange = &subject.arm.exchange;
    let path = "exchange.compressor";
    let carries =
        [ExchangeKind::Model, ExchangeKind::Difference, ExchangeKind::NeighbourGradients].contains(&exchange.kind);
    if !carries {
        problems.push(Problem::new(path, "this exchange cannot carry compressed rows").accept(
            "accepted: exchange.kind = \"model\", \"difference\" or \"neighbour-gradients\", or no compressor",
        ));
    }
    compressor_values(path, compressor, problems);
    let unbiased = matches!(compressor, Compressor::RandomK { bias: Bias::Unbiased, .. });
    if exchange.kind == ExchangeKind::Difference && unbiased {
        problems.push(
            Problem::new(format!("{path}.bias"), "copies that grow by scaled-up differences drift away")
                .accept("accepted: bias = \"biased\""),
        );
    }
    expanding(subject, path, compressor, problems);
}

/// Gradients that neighbours send back, made smaller.
fn gradient_compression(subject: &Subject<'_>, compressor: Compressor, problems: &mut Vec<Problem>) {
    let exchange = &subject.arm.exchange;
    let path = "exchange.gradient_compressor";
    if exchange.kind != ExchangeKind::NeighbourGradients || exchange.data_variant_weight.unwrap_or(0.0) == 0.0 {
        problems.push(Problem::new(path, "no gradients are sent that could be compressed").accept(
            "accepted: exchange.kind = \"neighbour-gradients\" with data_variant_weight above 0, or no gradient_compressor",
        ));
    }
    compressor_values(path, compressor, problems);
    expanding(subject, path, compressor, problems);
}

/// Error feedback diverges around what is not a contraction: the error grows in place of dying out.
fn expanding(subject: &Subject<'_>, path: &str, compressor: Compressor, problems: &mut Vec<Problem>) {
    let unbiased = matches!(compressor, Compressor::RandomK { bias: Bias::Unbiased, .. });
    if unbiased && subject.arm.exchange.feedback == Feedback::Error {
        problems.push(
            Problem::new(format!("{path}.bias"), "error feedback needs a contraction, and scaled-up entries are none")
                .accept("accepted: bias = \"biased\", or feedback = \"none\""),
        );
    }
}

/// Options of a sharpness-aware oracle.
fn climbing(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let Oracle::SharpnessAware { climbs: Climb::LossAndDecay, .. } = &subject.arm.oracle else { return };
    if !subject.arm.chain.iter().any(|link| matches!(link, Link::WeightDecay(_))) {
        problems.push(
            Problem::new("oracle.climbs", "there is no weight decay to climb")
                .accept("accepted: \"loss\", or a chain with { weight-decay = … }"),
        );
    }
}

fn compressor_values(path: &str, compressor: Compressor, problems: &mut Vec<Problem>) {
    match compressor {
        Compressor::TopK { share } | Compressor::RandomK { share, .. } => {
            number(format!("{path}.share"), share, Range::Share, problems);
        }
        Compressor::Quantised { bits } => {
            if ![2, 4, 8, 16].contains(&bits) {
                problems.push(
                    Problem::new(format!("{path}.bits"), format!("{bits} bits")).accept("accepted: 2, 4, 8 or 16"),
                );
            }
        }
        Compressor::LowRank { rank } => at_least_one(&format!("{path}.rank"), rank.into(), problems),
        Compressor::Identity | Compressor::ScaledSign => {}
    }
}

/// Keys that belong to one exchange.
fn parameters(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let exchange = &subject.arm.exchange;
    let loses = exchange.compressor.is_some() || exchange.gradient_compressor.is_some();
    if exchange.feedback == Feedback::Error && (exchange.kind == ExchangeKind::Difference || !loses) {
        problems.push(
            Problem::new("exchange.feedback", "there is no loss to feed back, or the copies hold it already")
                .accept("accepted: feedback = \"error\" with a compressor, and kind not \"difference\""),
        );
    }
    let owned = [
        ("data_variant_weight", exchange.data_variant_weight, ExchangeKind::NeighbourGradients, "neighbour-gradients"),
        (
            "model_variant_strength",
            exchange.model_variant_strength,
            ExchangeKind::NeighbourFeatures,
            "neighbour-features",
        ),
        (
            "data_variant_strength",
            exchange.data_variant_strength,
            ExchangeKind::NeighbourFeatures,
            "neighbour-features",
        ),
        ("tracking", exchange.tracking, ExchangeKind::GlobalUpdate, "global-update"),
    ];
    for (key, value, kind, name) in owned {
        let path = format!("exchange.{key}");
        match value {
            Some(value) if exchange.kind == kind => {
                let range = if kind == ExchangeKind::NeighbourFeatures { Range::NotNegative } else { Range::Closed };
                number(path, value, range, problems);
            }
            Some(_) => problems.push(
                Problem::new(path, "no other exchange has such a parameter")
                    .accept(format!("accepted: exchange.kind = \"{name}\"")),
            ),
            None => {}
        }
    }
}

fn corrected(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    let path = "exchange.kind";
    if subject.arm.memory.is_some() {
        problems.push(Problem::new(path, "D² with a memory is not defined").accept("accepted: no [memory] table"));
    }
    if subject.graph.is_directed() {
        problems.push(
            Problem::new(path, "D² needs symmetric mixing")
                .accept("accepted: an undirected graph, or kind = \"model\""),
        );
        return;
    }
    let Ok(mixing) = subject.arm.graph.mixing(subject.graph) else { return };
    let rate = subject.arm.exchange.averaging_rate.at(&kith_core::Position::default());
    let lowest = 1.0 - rate * (1.0 - mixing.smallest_eigenvalue());
    if lowest <= LOWEST_FOR_D2 + 1e-9 {
        problems.push(
            Problem::new(
                path,
                format!("D² diverges: mixing on this graph has the eigenvalue {lowest:.4}, not above -1/3"),
            )
            .accept("accepted: exchange.averaging_rate = 0.5 (exact diffusion), or another graph"),
        );
    }
}

/// Exchanges whose step is not along one gradient of the agent's own.
fn alone(subject: &Subject<'_>, why: &str, problems: &mut Vec<Problem>) {
    if subject.arm.memory.is_some() || subject.arm.chain.contains(&Link::Project) {
        problems.push(
            Problem::new("exchange.kind", format!("projection does not hold here: {why}"))
                .accept("accepted: no [memory] table and no `project`, or kind = \"model\" or \"difference\""),
        );
    }
}

fn local_steps(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    if let (steps @ 2.., Err(why)) = (subject.arm.train.local_steps, subject.arm.exchange.several_steps()) {
        problems.push(
            Problem::new("train.local_steps", format!("{steps} steps a round: {why}"))
                .accept("accepted: 1, or another exchange"),
        );
    }
}

fn both_ways(subject: &Subject<'_>, problems: &mut Vec<Problem>) {
    if subject.graph.is_directed() {
        problems.push(
            Problem::new("graph.directed", "this exchange goes both ways over each edge")
                .accept("accepted: an undirected graph, or exchange.kind = \"model\""),
        );
    }
}

/// Exchanges that cannot make up for a frame that never arrives.
pub(super) fn reliable(subject: &Subject<'_>, why: &str, problems: &mut Vec<Problem>) {
    let links = &subject.arm.links;
    let loses = links.loss > 0.0 || links.rules.iter().any(|rule| rule.loss.is_some_and(|loss| loss > 0.0));
    if loses || !subject.arm.faults.is_empty() {
        problems.push(
            Problem::new("exchange", why).accept("accepted: links without loss and no [[faults]], or another exchange"),
        );
    }
    let rules = links.rules.iter().filter_map(|rule| rule.latency_ms);
    let latency = rules.fold(links.latency_ms, f64::max);
    if latency >= links.deadline_ms && subject.agents() > 1 {
        problems.push(
            Problem::new(
                "links.deadline_ms",
                format!("{why}, and a frame that is {latency} ms under way comes too late"),
            )
            .accept(format!("accepted: more than {latency}, a shorter latency, or another exchange")),
        );
    }
}
