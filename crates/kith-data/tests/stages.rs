//! What agents learn in each stage, and what they keep of earlier ones.
#![allow(missing_docs, clippy::cast_possible_truncation)]

use std::collections::BTreeSet;

use kith_core::{AgentId, Batches, Head, Samples, Seeds, TaskId};
use kith_data::{Recall, Scenario, SearchPath, Spec, TaskKind, TaskOrder, TasksSpec, load};

const AGENTS: usize = 4;

fn scenario(order: TaskOrder) -> Scenario {
    let tasks = TasksSpec { kind: TaskKind::Permuted, count: 3, order, ..TasksSpec::default() };
    let search = SearchPath { folders: Vec::new() };
    load(&Spec { tasks, ..Spec::default() }, AGENTS, &Seeds::new(1), &search).expect("digits are embedded")
}

fn read(samples: &dyn Samples, index: u32) -> (Vec<f32>, u32) {
    let mut input = vec![0.0; samples.input_len()];
    samples.read(index, &mut input);
    (input, samples.label(index))
}

fn batch(batches: &dyn Batches, agent: usize, step: u64) -> Vec<u32> {
    let mut out = Vec::new();
    batches.indices(AgentId::from(agent), step, &mut out);
    out
}

#[test]
fn each_agent_learns_every_task_once_in_an_order_of_its_own() {
    let scenario = scenario(TaskOrder::PerAgent);
    let order = |agent: usize| (0..3).map(|stage| scenario.task_of(AgentId::from(agent), TaskId(stage)).0).collect();
    let orders: Vec<Vec<u32>> = (0..AGENTS).map(order).collect();
    for order in &orders {
        assert_eq!(order.iter().copied().collect::<BTreeSet<u32>>(), BTreeSet::from([0, 1, 2]));
    }
    assert!(orders.iter().any(|order| *order != orders[0]), "{orders:?}");
}

#[test]
fn a_stage_shows_each_agent_its_own_shard_of_its_own_task() {
    let scenario = scenario(TaskOrder::PerAgent);
    let stage = TaskId(1);
    let mut batches = scenario.batches(stage, 10, &Seeds::new(1)).expect("shards are large enough");
    batches.prepare_for(0..3);
    for agent in 0..AGENTS {
        let task = scenario.task_of(AgentId::from(agent), stage);
        let train = &scenario.tasks[task.index()].train;
        let before: usize = scenario.tasks[..task.index()].iter().map(|task| task.train.len()).sum();
        for index in batch(&batches, agent, 2) {
            let own = index - before as u32;
            assert!(scenario.shard(AgentId::from(agent), stage).contains(&own));
            assert_eq!(read(batches.samples(), index), read(train.as_ref(), own));
        }
    }
}

#[test]
fn joint_stages_go_through_all_tasks_samples_without_a_break() {
    let scenario = scenario(TaskOrder::Shared);
    let batches = |first| scenario.joint_batches(first, 10, &Seeds::new(1)).expect("shards are large enough");
    let (mut whole, mut later) = (batches(0), batches(7));
    whole.prepare_for(0..9);
    later.prepare_for(0..2);
    assert_eq!(batch(&whole, 2, 8), batch(&later, 2, 1));
    let steps = whole.steps_per_epoch() as u64;
    let seen: BTreeSet<u32> = (0..steps).flat_map(|step| batch(&whole, 0, step)).collect();
    let own: usize = scenario.tasks.iter().map(|task| task.shards[0].len()).sum();
    assert_eq!(seen.len(), own / 10 * 10, "every sample once in an epoch");
}

#[test]
fn kept_samples_are_as_many_as_the_budget_holds_of_all_earlier_tasks_alike() {
    let scenario = scenario(TaskOrder::Shared);
    let recall = |stage, capacity| Recall::new(&scenario, TaskId(stage), capacity, 8, Head::Shared, &Seeds::new(1));
    assert!(recall(0, 100).is_none(), "nothing lies before the first task");
    assert!(recall(2, 1).is_none(), "not one sample a task");
    let (one, two) = (recall(1, 31).expect("kept"), recall(2, 31).expect("kept"));
    assert_eq!((one.len(AgentId(3)), two.len(AgentId(3))), (31, 31));
    let starts: Vec<u32> =
        scenario.tasks.iter().scan(0, |n, t| Some(std::mem::replace(n, *n + t.train.len() as u32))).collect();
    let of = |recall: &Recall| (0..400).flat_map(|step| batch(recall, 3, step)).collect::<BTreeSet<u32>>();
    let (early, late) = (of(&one), of(&two));
    let first: BTreeSet<u32> = late.iter().copied().filter(|index| *index < starts[1]).collect();
    assert_eq!((early.len(), late.len(), first.len()), (31, 31, 16));
    assert!(first.is_subset(&early), "a later stage keeps a part of what was kept");
    assert!(first.iter().all(|index| scenario.tasks[0].shards[3].contains(index)), "an agent's own samples");
}

#[test]
fn with_a_head_a_task_a_minibatch_of_kept_samples_is_of_one_task() {
    let scenario = scenario(TaskOrder::Shared);
    let recall = Recall::new(&scenario, TaskId(2), 40, 8, Head::PerTask, &Seeds::new(1)).expect("kept");
    let end = scenario.tasks[0].train.len() as u32;
    let mut heads = BTreeSet::new();
    for step in 0..20 {
        let head = recall.head(step);
        heads.insert(head);
        assert!(batch(&recall, 1, step).iter().all(|index| (*index < end) == (head == TaskId(0))));
    }
    assert_eq!(heads.len(), 2);
}
