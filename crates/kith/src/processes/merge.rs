//! Puts the event files of processes together, round by round, into the one that a run in one process would have written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};

use kith_core::{AgentId, Event, Key, Round, TaskId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::compose::Together;
use crate::run::{DIGESTS, DigestFile, DigestLine, RunError};

/// A line of a process's `metrics.jsonl`.
#[derive(Deserialize)]
struct MetricLine {
    #[serde(default)]
    agent: Option<AgentId>,
    task: TaskId,
    round: Round,
    key: Key,
    #[serde(default)]
    of: Option<u32>,
    /// None: it was no number.
    value: Option<f64>,
}

impl MetricLine {
    fn event(self) -> Event {
        let Self { agent, task, round, key, of, value } = self;
        Event { agent, task, round, key, of, value: value.unwrap_or(f64::NAN) }
    }
}

/// The lines of a file, one ahead. A line that is no such line ends them: its process was killed while it wrote.
struct Reader<T> {
    path: PathBuf,
    lines: Option<Lines<BufReader<File>>>,
    head: Option<T>,
    /// Agents that it speaks for.
    weight: f64,
}

impl<T: DeserializeOwned> Reader<T> {
    fn open(path: PathBuf, agents: usize) -> Result<Self, RunError> {
        let lines = match File::open(&path) {
            // It died before it could begin.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            file => Some(BufReader::new(file.map_err(|source| RunError::output("read", &path, source))?).lines()),
        };
        let mut reader = Self { path, lines, head: None, weight: agents as f64 };
        reader.next()?;
        Ok(reader)
    }

    /// Takes the line ahead.
    fn next(&mut self) -> Result<Option<T>, RunError> {
        let line = self.lines.as_mut().and_then(Iterator::next).transpose();
        let line = line.map_err(|source| RunError::output("read", &self.path, source))?;
        let ahead = line.and_then(|line| serde_json::from_str(&line).ok());
        if ahead.is_none() {
            self.lines = None;
        }
        Ok(std::mem::replace(&mut self.head, ahead))
    }

    fn next_if(&mut self, wanted: impl Fn(&T) -> bool) -> Result<Option<T>, RunError> {
        if self.head.as_ref().is_some_and(wanted) { self.next() } else { Ok(None) }
    }
}

/// Events of one key and one `of` in a round, each with the number of agents that it speaks for.
struct Group {
    key: Key,
    of: Option<u32>,
    events: Vec<(Event, f64)>,
}

/// What is known of the processes together.
pub(super) struct Known<'a> {
    /// What no process knows alone.
    pub(super) together: &'a BTreeMap<TaskId, Together>,
    /// The first task that the mean is tested on after a task.
    pub(super) first_tested: &'a dyn Fn(TaskId) -> usize,
    /// The process whose memory stands for everyone's, by its place; none where each agent has its own.
    pub(super) memory: Option<usize>,
}

/// Hands on the events of all processes, folders each with the number of their agents, in the order of rounds. What processes know only of
/// their own agents becomes the mean over all.
pub(super) fn events(
    folders: &[(&Path, usize)],
    known: &Known<'_>,
    emit: &mut dyn FnMut(&Event),
) -> Result<(), RunError> {
    let open = |(folder, agents): &(&Path, usize)| Reader::<MetricLine>::open(folder.join("metrics.jsonl"), *agents);
    let mut readers: Vec<_> = folders.iter().map(open).collect::<Result<_, _>>()?;
    while let Some(round) = readers.iter().filter_map(|reader| reader.head.as_ref()).map(|line| line.round).min() {
        let mut groups: Vec<Group> = Vec::new();
        for (place, reader) in readers.iter_mut().enumerate() {
            while let Some(line) = reader.next_if(|line| line.round == round)? {
                let of_memory = matches!(line.key, Key::BasisRank | Key::CapacityUsed | Key::MemoryBytes);
                if of_memory && known.memory.is_some_and(|memory| memory != place) {
                    continue;
                }
                let (event, weight) = (line.event(), reader.weight);
                match groups.iter_mut().find(|group| (group.key, group.of) == (event.key, event.of)) {
                    Some(group) => group.events.push((event, weight)),
                    None => groups.push(Group { key: event.key, of: event.of, events: vec![(event, weight)] }),
                }
            }
        }
        hand_on(groups, known, emit);
    }
    Ok(())
}

fn hand_on(groups: Vec<Group>, known: &Known<'_>, emit: &mut dyn FnMut(&Event)) {
    let ended = groups.iter().find(|group| group.key == Key::ConsensusDistance).map(|group| group.events[0].0);
    let mut mean = ended.and_then(|event| Some((event, known.together.get(&event.task)?)));
    let last_test = groups.iter().rposition(|group| group.key == Key::Accuracy);
    for (place, mut group) in groups.into_iter().enumerate() {
        group.events.sort_by_key(|(event, _)| event.agent);
        match group.key {
            Key::ConsensusDistance => {
                if let Some((event, together)) = &mean {
                    emit(&Event { value: together.distance, ..*event });
                }
            }
            // Of the rows of one process alone it would be another number.
            Key::AverageModelAccuracy => {}
            _ if group.events[0].0.agent.is_some() => group.events.iter().for_each(|(event, _)| emit(event)),
            Key::TrainLoss | Key::BytesSent | Key::MemoryBytes => emit(&weighted(&group.events)),
            _ => emit(&group.events[0].0),
        }
        if Some(place) == last_test
            && let Some((event, together)) = mean.take()
        {
            for (place, value) in together.accuracy.iter().enumerate() {
                let of = Some(((known.first_tested)(event.task) + place) as u32);
                emit(&Event { key: Key::AverageModelAccuracy, of, value: *value, ..event });
            }
        }
    }
}

/// The mean over agents of values that are means over some of them.
fn weighted(events: &[(Event, f64)]) -> Event {
    let (sum, weights) =
        events.iter().fold((0.0, 0.0), |(sum, all), (event, weight)| (sum + event.value * weight, all + weight));
    Event { value: sum / weights, ..events[0].0 }
}

/// Hands on the digests of all processes, by round and agent.
pub(super) fn digests(folders: &[(&Path, usize)], into: &mut DigestFile) -> Result<(), RunError> {
    let open = |(folder, agents): &(&Path, usize)| Reader::<DigestLine>::open(folder.join(DIGESTS), *agents);
    let mut readers: Vec<_> = folders.iter().map(open).collect::<Result<_, _>>()?;
    let place = |reader: &Reader<DigestLine>| reader.head.as_ref().map(|line| (line.round, line.agent));
    while let Some(first) = readers.iter().filter_map(place).min() {
        for reader in &mut readers {
            while let Some(line) = reader.next_if(|line| (line.round, line.agent) == first)? {
                into.line(&line.arm, line.round, line.agent, line.digest)?;
            }
        }
    }
    Ok(())
}

/// `[agent][t][j]`: accuracies after tasks, as a process wrote them down that cannot say any more what it measured.
pub(super) fn accuracies(folder: &Path, agents: &[AgentId]) -> Result<Vec<Vec<Vec<f64>>>, RunError> {
    let mut reader = Reader::<MetricLine>::open(folder.join("metrics.jsonl"), agents.len())?;
    let mut ends: BTreeMap<TaskId, Round> = BTreeMap::new();
    let mut rows: BTreeMap<(AgentId, TaskId), Vec<f64>> = BTreeMap::new();
    while let Some(line) = reader.next()? {
        let event = line.event();
        match (event.key, event.agent) {
            (Key::ConsensusDistance, _) => {
                ends.insert(event.task, event.round);
            }
            (Key::Accuracy, Some(agent)) if ends.get(&event.task) == Some(&event.round) => {
                rows.entry((agent, event.task)).or_default().push(event.value);
            }
            _ => {}
        }
    }
    let of = |agent: &AgentId| (0..).map_while(|task| rows.get(&(*agent, TaskId(task))).cloned()).collect();
    Ok(agents.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(lines: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("there is room");
        std::fs::write(folder.path().join("metrics.jsonl"), lines.join("\n")).expect("it can be written");
        folder
    }

    const ONE: [&str; 6] = [
        r#"{"arm":"a","task":0,"round":0,"key":"learning_rate","value":0.1}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"train_loss","value":1.0}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"consensus_distance","value":0.5}"#,
        r#"{"arm":"a","agent":1,"task":0,"round":3,"key":"accuracy","of":0,"value":0.75}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"bytes_sent","value":100}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"basis_rank","of":0,"value":5}"#,
    ];
    const OTHER: [&str; 8] = [
        r#"{"arm":"a","task":0,"round":0,"key":"learning_rate","value":0.1}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"train_loss","value":4.0}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"consensus_distance","value":9.5}"#,
        r#"{"arm":"a","agent":0,"task":0,"round":3,"key":"accuracy","of":0,"value":0.25}"#,
        r#"{"arm":"a","agent":2,"task":0,"round":3,"key":"accuracy","of":0,"value":0.5}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"bytes_sent","value":400}"#,
        r#"{"arm":"a","task":0,"round":3,"key":"basis_rank","of":0,"value":7}"#,
        r#"{"arm":"a","task":0,"round":4,"key":"train_l"#,
    ];

    #[test]
    fn events_of_agents_are_in_their_order_and_those_of_processes_become_means() {
        let (one, other) = (folder(&ONE), folder(&OTHER));
        let together = BTreeMap::from([(TaskId(0), Together { mean: Vec::new(), distance: 2.0, accuracy: vec![0.6] })]);
        let mut seen = Vec::new();
        let known = Known { together: &together, first_tested: &|_| 0, memory: Some(1) };
        events(&[(one.path(), 1), (other.path(), 2)], &known, &mut |event| {
            seen.push((event.round.0, event.key, event.agent.map(|agent| agent.0), event.value));
        })
        .expect("they can be read");
        let expected = [
            (0, Key::LearningRate, None, 0.1),
            (3, Key::TrainLoss, None, 3.0),
            (3, Key::ConsensusDistance, None, 2.0),
            (3, Key::Accuracy, Some(0), 0.25),
            (3, Key::Accuracy, Some(1), 0.75),
            (3, Key::Accuracy, Some(2), 0.5),
            (3, Key::AverageModelAccuracy, None, 0.6),
            (3, Key::BytesSent, None, 300.0),
            (3, Key::BasisRank, None, 7.0),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn accuracies_of_a_killed_process_are_those_of_the_tasks_that_it_ended() {
        let other = folder(&OTHER);
        let found = accuracies(other.path(), &[AgentId(0), AgentId(2)]).expect("they can be read");
        assert_eq!(found, [vec![vec![0.25]], vec![vec![0.5]]]);
        let nothing = tempfile::tempdir().expect("there is room");
        assert_eq!(accuracies(nothing.path(), &[AgentId(0)]).expect("nothing is there"), [Vec::<Vec<f64>>::new()]);
    }
}
