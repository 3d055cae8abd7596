//! The figures of what results rest on: simulated time, faults, graph, who holds which data.

use kith_core::Key;

use super::events::Struck;
use super::figures::{Art, Figure};
use super::study::{Group, Study, Trial};
use crate::plot::{Bar, Bars, Cell, HeatMap, HeatPanel, Network, Span, SpanKind, Timeline};
use crate::run::Setup;
use crate::stats::Spread;

/// Seconds that an agent computed and waited. Runs that did not write both know at least what share was waiting.
fn split(trial: &Trial) -> Option<[f64; 2]> {
    let last = |key| Some(trial.curves.curve(key, None)?.moments().next_back()?.mean());
    match (last(Key::ComputeSeconds), last(Key::WaitingSeconds)) {
        (Some(compute), Some(waiting)) => Some([compute, waiting]),
        _ => {
            let total = trial.numbers.get("simulated_seconds")?;
            let waiting = total * trial.numbers.get("communication_share")?;
            Some([total - waiting, waiting])
        }
    }
}

pub(super) fn simulated_time(study: &Study) -> Option<Figure> {
    let bar = |group: &Group| {
        let split: Vec<[f64; 2]> = study.of(group).filter_map(split).collect();
        let mean = |part: usize| Spread::of(split.iter().map(|parts| parts[part])).map_or(0.0, |spread| spread.mean);
        Bar { name: group.label.clone(), parts: vec![mean(0), mean(1)] }
    };
    let bars = Bars {
        x_title: "simulated seconds of one agent, mean over agents and seeds".to_owned(),
        parts: vec!["computing".to_owned(), "waiting for neighbours".to_owned()],
        bars: study.groups.iter().map(bar).collect(),
    };
    let caption =
        "The virtual clock: what local steps took, and what latency, bandwidth, lost frames and slow neighbours \
                   added."
            .to_owned();
    (!bars.is_empty()).then_some(Figure {
        name: "simulated-time",
        title: "Simulated time",
        caption,
        art: Art::Bars(bars),
    })
}

/// From what began to what ended it.
fn spans(faults: &[Struck]) -> Vec<Span> {
    let link = |fault: &Struck| {
        let peer = fault.peer.unwrap_or(fault.agent);
        (fault.agent.min(peer), fault.agent.max(peer))
    };
    let mut spans = Vec::new();
    for (place, fault) in faults.iter().enumerate() {
        let end = |key, same: &dyn Fn(&Struck) -> bool| {
            faults[place + 1..].iter().find(|later| later.key == key && same(later)).map(|later| later.round as f64)
        };
        let agent = format!("agent {}", fault.agent);
        let (one, other) = link(fault);
        let (kind, row, to) = match fault.key {
            Key::Crash => (SpanKind::Down, agent, end(Key::Restart, &|later| later.agent == fault.agent)),
            Key::Straggler => (SpanKind::Slow, agent, end(Key::Straggler, &|later| later.agent == fault.agent)),
            Key::LinkDown => {
                (SpanKind::Cut, format!("{one} – {other}"), end(Key::LinkUp, &|later| link(later) == (one, other)))
            }
            _ => continue,
        };
        let until = to.map_or_else(|| "the end".to_owned(), |round| format!("round {round}"));
        let hint = format!("{row}: round {} ({:.1} simulated s) to {until}", fault.round, fault.seconds);
        spans.push(Span { row, kind, from: fault.round as f64, to, hint });
    }
    spans
}

pub(super) fn faults(study: &Study) -> Option<Figure> {
    // Faults are planned in the file: the first seed stands for all.
    let line = |group: &Group| {
        let trial = study.of(group).next()?;
        let spans = spans(&trial.curves.faults);
        (!spans.is_empty()).then(|| Timeline {
            title: group.label.clone(),
            x_title: "round".to_owned(),
            end: trial.curves.rounds as f64,
            spans,
            marks: trial.curves.task_ends(),
        })
    };
    let lines: Vec<Timeline> = study.groups.iter().filter_map(line).collect();
    let caption = "When agents were gone, links cut and agents slow; dotted where a task ends.".to_owned();
    (!lines.is_empty()).then_some(Figure { name: "faults", title: "Faults", caption, art: Art::Timelines(lines) })
}

/// Setups that differ in what `part` says, each with the labels of the groups that have it.
fn distinct<'a, T: PartialEq>(
    study: &'a Study,
    part: impl Fn(&'a Setup) -> T,
) -> Vec<(&'a Trial, &'a Setup, Vec<&'a str>)> {
    let mut found: Vec<(T, &Trial, &Setup, Vec<&str>)> = Vec::new();
    for group in &study.groups {
        let Some(trial) = study.of(group).next() else { continue };
        let Some(setup) = &trial.setup else { continue };
        let key = part(setup);
        match found.iter_mut().find(|(known, ..)| *known == key) {
            Some((.., labels)) => labels.push(&group.label),
            None => found.push((key, trial, setup, vec![&group.label])),
        }
    }
    found.into_iter().map(|(_, trial, setup, labels)| (trial, setup, labels)).collect()
}

/// Pictures of one kind on a page; more than this are not looked at.
const SHOWN: usize = 6;

pub(super) fn graphs(study: &Study) -> Option<Figure> {
    let found = distinct(study, |setup| (&setup.graph, setup.tasks.first().map(|task| &task.labels)));
    let all = found.len();
    let network = |(trial, setup, labels): (&Trial, &Setup, Vec<&str>)| {
        let counts = setup.tasks.first().map_or_else(Vec::new, |task| task.labels.clone());
        let wide =
            |counts: Vec<(u32, u32)>| counts.into_iter().map(|(class, n)| (class as usize, u64::from(n))).collect();
        let mut struck: Vec<usize> = trial.curves.faults.iter().map(|fault| fault.agent as usize).collect();
        struck.sort_unstable();
        struck.dedup();
        let title =
            if all > 1 { format!("{}: {}", setup.graph.label, labels.join(", ")) } else { setup.graph.label.clone() };
        Network {
            title: shorten(&title),
            points: setup.graph.points.clone(),
            segments: setup.graph.segments.clone(),
            directed: setup.graph.directed,
            labels: counts.into_iter().map(wide).collect(),
            classes: setup.classes,
            struck,
        }
    };
    let hidden = found.iter().any(|(_, setup, _)| setup.graph.segments.is_empty() && setup.graph.edges > 0);
    let networks: Vec<Network> = found.into_iter().take(SHOWN).map(network).collect();
    let mut caption =
        "Who talks to whom. The ring around an agent's number shows the classes of its data in the first task; \
                       a dashed circle marks an agent that a fault struck."
            .to_owned();
    if hidden {
        caption += " Edges of very dense graphs are not drawn.";
    }
    if all > SHOWN {
        caption += &format!(" The first {SHOWN} of {all} graphs.");
    }
    (!networks.is_empty()).then_some(Figure {
        name: "graph",
        title: "Communication graph",
        caption,
        art: Art::Networks(networks),
    })
}

fn shorten(title: &str) -> String {
    const LETTERS: usize = 52;
    if title.chars().count() <= LETTERS {
        title.to_owned()
    } else {
        title.chars().take(LETTERS - 1).chain(['…']).collect()
    }
}

/// Rows of a map of agents.
const AGENTS: usize = 64;

pub(super) fn labels(study: &Study) -> Option<Figure> {
    let found = distinct(study, |setup| &setup.tasks);
    let (mut panels, mut left_out, mut alike) = (Vec::new(), 0, false);
    for (_, setup, names) in found.iter().take(SHOWN) {
        let mut last = None;
        for (task, data) in setup.tasks.iter().enumerate() {
            // Tasks may see the same shards through other eyes: permuted, rotated.
            if last == Some(&data.labels) {
                alike = true;
                continue;
            }
            last = Some(&data.labels);
            if panels.len() >= 2 * SHOWN {
                left_out += 1;
                continue;
            }
            let place = if found.len() > 1 { format!(" · {}", names.join(", ")) } else { String::new() };
            panels.push(label_panel(shorten(&format!("Task {}: {}{place}", task + 1, data.name)), setup, &data.labels));
        }
    }
    let map = HeatMap { x_title: "class".to_owned(), y_title: "agent".to_owned(), panels };
    let mut caption = "Training samples of each class that each agent holds; the darkest cell has the most.".to_owned();
    if alike {
        caption += " Tasks with the same shares as the one before are left out.";
    }
    if found.iter().any(|(_, setup, _)| setup.tasks.iter().any(|task| task.labels.len() > AGENTS)) {
        caption += &format!(" The first {AGENTS} agents.");
    }
    if left_out > 0 || found.len() > SHOWN {
        caption += " More tasks and settings are not drawn.";
    }
    (!map.is_empty()).then_some(Figure { name: "labels", title: "Data of each agent", caption, art: Art::Heat(map) })
}

fn label_panel(title: String, setup: &Setup, labels: &[Vec<(u32, u32)>]) -> HeatPanel {
    let most = labels.iter().flatten().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let row = |(agent, counts): (usize, &Vec<(u32, u32)>)| {
        let cell = |class: usize| {
            let count = counts.iter().find(|(of, _)| *of as usize == class).map_or(0, |(_, count)| *count);
            Some(Cell {
                share: f64::from(count) / f64::from(most),
                text: count.to_string(),
                hint: format!("agent {agent}, class {class}: {count} samples"),
            })
        };
        (agent.to_string(), (0..setup.classes).map(cell).collect())
    };
    HeatPanel {
        title,
        columns: (0..setup.classes).map(|class| class.to_string()).collect(),
        rows: labels.iter().enumerate().take(AGENTS).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_where_its_own_agent_or_link_is_back() {
        let struck = |key, agent, peer, round| Struck { key, agent, peer, round, seconds: round as f64 };
        let faults = [
            struck(Key::Crash, 3, None, 10),
            struck(Key::LinkDown, 1, Some(0), 12),
            struck(Key::Restart, 2, None, 15),
            struck(Key::LinkUp, 0, Some(1), 20),
            struck(Key::Restart, 3, None, 30),
            struck(Key::Straggler, 5, None, 40),
        ];
        let found: Vec<_> = spans(&faults).into_iter().map(|span| (span.row, span.kind, span.from, span.to)).collect();
        assert_eq!(
            found,
            [
                ("agent 3".to_owned(), SpanKind::Down, 10.0, Some(30.0)),
                ("0 – 1".to_owned(), SpanKind::Cut, 12.0, Some(20.0)),
                ("agent 5".to_owned(), SpanKind::Slow, 40.0, None),
            ]
        );
    }
}
