//! Task sequences, normalisation and what `[data]` accepts.

mod common;

use common::{inputs, load, synthetic, tasks};
use kith_core::{AgentId, Batches, Samples, Seeds, TaskId};
use kith_data::{
    AugmentSpec, BatchOrder, DataError, Normalise, PartitionKind, Spec, TaskData, TaskKind, label_histogram,
};

#[test]
fn the_default_is_the_embedded_digits() {
    let scenario = load(&Spec::default(), 3).expect("embedded");
    assert_eq!((scenario.inputs, scenario.shape, scenario.classes), (64, [1, 8, 8], 10));
    let task = &scenario.tasks[0];
    assert_eq!((task.train.len(), task.test.len()), (1_437, 360));
    assert!(task.shards.iter().all(|shard| shard.len() == 479));
    // The first digits of the file are 0, 1, 2, …
    assert_eq!((0..10).map(|index| task.train.label(index)).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}

#[test]
fn digits_have_mean_zero_and_deviation_one_on_the_training_set() {
    let task = &load(&Spec::default(), 1).expect("embedded").tasks[0];
    let all: Vec<f64> = (0..1_437).flat_map(|index| inputs(&task.train, index)).map(f64::from).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let variance = all.iter().map(|value| value * value).sum::<f64>() / all.len() as f64 - mean * mean;
    assert!(mean.abs() < 1e-5, "mean {mean}");
    assert!((variance - 1.0).abs() < 1e-5, "variance {variance}");
}

#[test]
fn unit_and_half_scale_digits_to_their_ranges() {
    // Row 0 of the first digit is 0 0 5 13 9 1 0 0.
    for (normalise, expected) in [(Normalise::Unit, [0.0, 0.3125, 0.8125]), (Normalise::Half, [-1.0, -0.375, 0.625])] {
        let task = &load(&Spec { normalise, ..Spec::default() }, 1).expect("embedded").tasks[0];
        assert_eq!(inputs(&task.train, 0)[1..4], expected);
    }
}

#[test]
fn bytes_are_normalised_in_the_order_of_the_reference() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    common::write_idx_dataset(folder.path(), 20, 20);
    let task = &load(&common::spec_at("mnist", folder.path()), 1).expect("whole").tasks[0];
    let expected: Vec<f32> = (6..12).map(|byte| (byte as f32 / 255.0 - 0.1307) / 0.3081).collect();
    assert_eq!(inputs(&task.train, 1), expected);
}

#[test]
fn permuted_tasks_permute_train_and_test_by_the_published_seeds() {
    let spec = Spec { normalise: Normalise::Unit, tasks: tasks(TaskKind::Permuted, 3), ..Spec::default() };
    let permuted = load(&spec, 1).expect("embedded");
    let plain = load(&Spec { normalise: Normalise::Unit, ..Spec::default() }, 1).expect("embedded");
    assert_eq!(permuted.tasks.len(), 3);
    assert_eq!(permuted.classes, 10);
    // RandomState(400).shuffle(arange(64)), by NumPy.
    let first = NUMPY_400_64;
    for (of, from) in
        [(&permuted.tasks[0].train, &plain.tasks[0].train), (&permuted.tasks[0].test, &plain.tasks[0].test)]
    {
        let (moved, still) = (inputs(of, 5), inputs(from, 5));
        for (position, source) in first.into_iter().enumerate() {
            assert_eq!(moved[position], still[source]);
        }
    }
    assert_ne!(inputs(&permuted.tasks[1].train, 5), inputs(&permuted.tasks[0].train, 5));
}

/// `numpy.random.RandomState(400).permutation(64)[:8]`.
const NUMPY_400_64: [usize; 8] = [59, 47, 42, 36, 62, 2, 13, 54];

#[test]
fn split_tasks_relabel_their_own_classes() {
    let scenario = load(&Spec { tasks: tasks(TaskKind::Split, 5), ..Spec::default() }, 2).expect("embedded");
    assert_eq!((scenario.classes, scenario.tasks.len()), (2, 5));
    // 1 797 digits: 142 + 141 + … training digits of the classes 8 and 9 are 141 and 143.
    let last = &scenario.tasks[4];
    assert_eq!(last.train.len(), 141 + 143);
    assert_eq!(last.train.labels().iter().filter(|&&label| label == 0).count(), 141);
    assert_eq!(scenario.tasks.iter().map(|task| task.test.len()).sum::<usize>(), 360);
}

#[test]
fn a_seed_orders_the_classes_of_split_tasks() {
    let mut spec = Spec { tasks: tasks(TaskKind::Split, 5), ..Spec::default() };
    spec.tasks.seed = Some(0);
    let scenario = load(&spec, 2).expect("embedded");
    // RandomState(0).permutation(10) starts with 2, 8.
    assert_eq!(scenario.tasks[0].name, "digits classes 2,8");
}

#[test]
fn classes_that_do_not_split_evenly_are_refused() {
    let error = load(&Spec { tasks: tasks(TaskKind::Split, 3), ..Spec::default() }, 2).expect_err("10 / 3");
    assert!(error.to_string().contains("1, 2, 5, 10"), "{error}");
}

#[test]
fn four_turns_by_ninety_degrees_come_back() {
    let mut spec = Spec { tasks: tasks(TaskKind::Rotated, 5), normalise: Normalise::Unit, ..Spec::default() };
    spec.tasks.degrees = Some(90.0);
    let scenario = load(&spec, 1).expect("embedded");
    let view = |task: usize| inputs(&scenario.tasks[task].train, 3);
    assert_eq!(view(4), view(0));
    // Counter-clockwise: the value in row r, column c comes from row c, column 7 − r.
    let (still, turned) = (view(0), view(1));
    for row in 0..8 {
        for column in 0..8 {
            assert_eq!(turned[row * 8 + column], still[column * 8 + 7 - row]);
        }
    }
}

#[test]
fn what_turns_into_the_image_is_black() {
    let mut spec = Spec { tasks: tasks(TaskKind::Rotated, 2), normalise: Normalise::Half, ..Spec::default() };
    spec.tasks.degrees = Some(45.0);
    let scenario = load(&spec, 1).expect("embedded");
    assert_eq!(inputs(&scenario.tasks[1].train, 3)[0], -1.0);
}

#[test]
fn a_sequence_frames_small_grey_images_in_the_largest_shape() {
    let mut spec = synthetic(60, 4, PartitionKind::Iid);
    spec.synthetic.as_mut().expect("set").shape = [3, 10, 12];
    spec.tasks = tasks(TaskKind::Sequence, 2);
    spec.tasks.datasets = Some(vec!["digits".to_owned(), "synthetic".to_owned()]);
    spec.normalise = Normalise::Unit;
    let scenario = load(&spec, 2).expect("both built in");
    assert_eq!((scenario.inputs, scenario.shape, scenario.classes), (360, [3, 10, 12], 10));
    let framed = inputs(&scenario.tasks[0].train, 0);
    // Rows 1 to 8 and columns 2 to 9 hold the digit, in every channel.
    for channel in 0..3 {
        assert_eq!(framed[channel * 120 + 12 + 2..][..5], [0.0, 0.0, 0.3125, 0.8125, 0.5625]);
        assert!(framed[channel * 120..][..12].iter().all(|&value| value == 0.0));
    }
    assert_eq!(scenario.tasks[1].train.len(), 60);
}

#[test]
fn the_scaling_of_a_framed_dataset_is_that_of_the_padded_images() {
    // Padded to 32 × 32: MNIST .1000 / .2752, Fashion-MNIST .2190 / .3318.
    for (mean, deviation, padded) in [(0.1307, 0.3081, (0.1, 0.2752)), (0.2860, 0.3530, (0.2190, 0.3318))] {
        let scaling = kith_data::Scaling::new(&[mean], &[deviation]).padded(784.0 / 1024.0);
        assert!((scaling.mean[0] - padded.0).abs() < 1e-4, "{scaling:?}");
        assert!((scaling.deviation[0] - padded.1).abs() < 1e-4, "{scaling:?}");
    }
}

#[test]
fn holdout_leaves_the_first_samples_out() {
    let spec = Spec { holdout: 0.1, ..Spec::default() };
    let task = &load(&spec, 1).expect("embedded").tasks[0];
    assert_eq!(task.train.len(), 1_437 - 144);
    assert_eq!(task.train.rows()[0], 144);
}

#[test]
fn limit_draws_that_many_distinct_samples() {
    let task = &load(&Spec { limit: Some(100), ..Spec::default() }, 4).expect("embedded").tasks[0];
    let rows = task.train.rows();
    assert_eq!(rows.len(), 100);
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(rows[99] > 200, "a random subset, not the first samples");
}

#[test]
fn label_sorted_gives_each_agent_few_classes() {
    let spec = Spec { partition: PartitionKind::LabelSorted, ..Spec::default() };
    let histogram = label_histogram(&load(&spec, 10).expect("embedded").tasks[0]);
    assert!(histogram.iter().all(|agent| agent.iter().filter(|&&count| count > 0).count() <= 3), "{histogram:?}");
}

#[test]
fn two_shards_an_agent_hold_at_most_four_classes() {
    let spec = Spec { partition: PartitionKind::Shards, ..Spec::default() };
    let histogram = label_histogram(&load(&spec, 10).expect("embedded").tasks[0]);
    assert!(histogram.iter().all(|agent| agent.iter().filter(|&&count| count > 0).count() <= 4), "{histogram:?}");
    assert!(histogram.iter().all(|agent| agent.iter().sum::<usize>() == 142));
}

#[test]
fn a_small_alpha_concentrates_classes_and_a_large_one_does_not() {
    let share = |alpha| {
        let spec = Spec { alpha: Some(alpha), ..synthetic(20_000, 10, PartitionKind::Dirichlet) };
        let histogram = label_histogram(&load(&spec, 16).expect("accepted").tasks[0]);
        let largest: usize = histogram.iter().map(|agent| agent.iter().max().copied().unwrap_or(0)).sum();
        largest as f64 / histogram.iter().flatten().sum::<usize>() as f64
    };
    assert!(share(100.0) < 0.2);
    assert!(share(0.05) > 0.5);
}

#[test]
fn an_alpha_that_no_draw_satisfies_is_named() {
    let spec = Spec { alpha: Some(0.001), ..synthetic(1_000, 2, PartitionKind::Dirichlet) };
    let error = load(&spec, 10).expect_err("two classes for ten agents");
    assert!(matches!(error, DataError::Dirichlet { agents: 10, classes: 2, .. }), "{error}");
    assert!(error.to_string().contains("0.001"), "{error}");
}

#[test]
fn unusable_settings_name_the_key_and_what_is_accepted() {
    let base = Spec::default;
    let cases: [(Spec, usize, &str); 12] = [
        (base(), 0, "graph.agents"),
        (Spec { holdout: 1.0, ..base() }, 1, "data.holdout"),
        (Spec { holdout: f64::NAN, ..base() }, 1, "data.holdout"),
        (Spec { limit: Some(0), ..base() }, 1, "data.limit"),
        (Spec { test_limit: Some(0), ..base() }, 1, "data.test_limit"),
        (Spec { dataset: "minst".into(), ..base() }, 1, "fashion-mnist"),
        (Spec { dataset: "quadratic".into(), ..base() }, 1, "data.dataset"),
        (Spec { dataset: "image-folder".into(), ..base() }, 1, "data.path"),
        (Spec { partition: PartitionKind::Dirichlet, ..base() }, 1, "data.alpha"),
        (Spec { tasks: tasks(TaskKind::Single, 2), ..base() }, 1, "data.tasks.count"),
        (Spec { tasks: tasks(TaskKind::Rotated, 2), ..base() }, 1, "data.tasks.degrees"),
        (Spec { tasks: tasks(TaskKind::Sequence, 2), ..base() }, 1, "data.tasks.datasets"),
    ];
    for (spec, agents, key) in cases {
        let error = load(&spec, agents).expect_err(key);
        assert!(matches!(error, DataError::Setting { .. }), "{error}");
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
}

#[test]
fn a_limit_of_test_samples_draws_from_the_test_set_and_leaves_training_as_it_is() {
    let whole = load(&Spec::default(), 3).expect("embedded");
    let part = load(&Spec { test_limit: Some(20), ..Spec::default() }, 3).expect("embedded");
    let rows = part.tasks[0].test.rows();
    assert_eq!(rows.len(), 20);
    assert!(rows.is_sorted() && rows.iter().all(|row| whole.tasks[0].test.rows().contains(row)));
    assert_ne!(rows, &whole.tasks[0].test.rows()[..20], "they are drawn");
    assert_eq!(part.tasks[0].shards, whole.tasks[0].shards);
    let more = load(&Spec { test_limit: Some(100_000), ..Spec::default() }, 3).expect("embedded");
    assert_eq!(more.tasks[0].test.rows(), whole.tasks[0].test.rows());
}

#[test]
fn more_agents_than_samples_are_refused() {
    let error = load(&Spec { limit: Some(10), ..Spec::default() }, 11).expect_err("11 agents");
    assert!(matches!(error, DataError::TooFewSamples { samples: 10, needed: 11, .. }), "{error}");
}

#[test]
fn the_same_seed_gives_the_same_scenario_and_another_does_not() {
    let shards = |seed| {
        let scenario = kith_data::load(&Spec::default(), 4, &Seeds::new(seed), &common::nowhere()).expect("embedded");
        scenario.tasks[0].shards.clone()
    };
    assert_eq!(shards(1), shards(1));
    assert_ne!(shards(1), shards(2));
}

#[test]
fn every_epoch_has_its_own_order_whether_prepared_or_not() {
    let seeds = Seeds::new(3);
    let task = &load(&Spec::default(), 2).expect("embedded").tasks[0];
    let mut order = BatchOrder::new(task.train.clone(), &task.shards, 100, &seeds, TaskId(1)).expect("fits");
    assert_eq!(order.steps_per_epoch(), 7);
    let batch = |order: &BatchOrder, step| {
        let mut indices = Vec::new();
        order.indices(AgentId(1), step, &mut indices);
        indices
    };
    let computed: Vec<Vec<u32>> = (0..28).map(|step| batch(&order, step)).collect();
    for epoch in [0, 1, 3, 2] {
        order.prepare(epoch);
        assert_eq!((0..28).map(|step| batch(&order, step)).collect::<Vec<_>>(), computed);
    }
    assert_ne!(computed[0], computed[7]);
}

#[test]
fn a_batch_larger_than_the_smallest_shard_is_refused() {
    let task = &load(&Spec::default(), 3).expect("embedded").tasks[0];
    for batch in [0, 480] {
        let error =
            BatchOrder::new(task.train.clone(), &task.shards, batch, &Seeds::new(0), TaskId(0)).expect_err("480");
        assert!(matches!(error, DataError::Batch { smallest: 479, .. }), "{error}");
    }
}

#[test]
fn training_batches_are_augmented_from_the_agents_own_stream_and_nothing_else_is() {
    let augment = AugmentSpec { crop_padding: 2, horizontal_flip: true };
    let plain = load(&Spec::default(), 2).expect("embedded");
    let scenario = load(&Spec { augment: Some(augment), ..Spec::default() }, 2).expect("embedded");
    let (plain, task) = (&plain.tasks[0], &scenario.tasks[0]);
    let order = |task: &TaskData| {
        BatchOrder::new(task.train.clone(), &task.shards, 20, &Seeds::new(3), TaskId(1)).expect("fits")
    };
    let (without, with) = (order(plain), order(task));
    let width = task.train.input_len();
    let batch = |order: &BatchOrder, agent, step| {
        let (mut indices, mut inputs) = (Vec::new(), vec![f32::NAN; 20 * width]);
        order.indices(AgentId(agent), step, &mut indices);
        order.read(AgentId(agent), step, &indices, &mut inputs);
        (indices, inputs)
    };
    let (indices, inputs) = batch(&with, 1, 4);
    assert_eq!((&indices, &inputs), (&batch(&with, 1, 4).0, &batch(&with, 1, 4).1), "the same step twice");
    let (same_indices, unchanged) = batch(&without, 1, 4);
    assert_eq!(indices, same_indices);
    let changed = inputs.chunks(width).zip(unchanged.chunks(width)).filter(|(a, b)| a != b).count();
    assert!(changed > 15, "{changed} of 20 samples are changed: 1 in 50 is drawn as it is");
    for (agent, step) in [(0, 4), (1, 5)] {
        let mut other = vec![0.0; 20 * width];
        with.read(AgentId(agent), step, &indices, &mut other);
        assert_ne!(other, inputs, "the same samples for agent {agent} at step {step}");
    }
    // What the memory is shown and what is tested is read one by one, and is the data.
    for (ours, theirs) in [(&task.train, &plain.train), (&task.test, &plain.test)] {
        let read = |samples: &kith_data::TaskSamples| {
            let mut out = vec![0.0; width];
            samples.read(7, &mut out);
            out
        };
        assert_eq!(read(ours), read(theirs));
    }
    assert!(task.train.changes() && !task.test.changes() && !plain.train.changes());
}
