//! Laws that hold for every partition, batch order and file.

mod common;

use std::collections::BTreeSet;

use kith_core::{AgentId, Batches, Samples, Seeds, TaskId};
use kith_data::{BatchOrder, DataError, PartitionKind, Quadratics, representation_indices};
use proptest::prelude::*;

fn partitions() -> impl Strategy<Value = PartitionKind> {
    prop_oneof![
        Just(PartitionKind::Iid),
        Just(PartitionKind::Dirichlet),
        Just(PartitionKind::LabelSorted),
        Just(PartitionKind::Shards)
    ]
}

/// Writes `bytes` as the training images of a dataset whose other files are whole, and loads it.
fn load_with(name: &str, dataset: &str, bytes: &[u8]) -> Result<kith_data::Scenario, DataError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    common::write_idx_dataset(folder.path(), 20, 20);
    common::write(folder.path(), name, bytes);
    common::load(&common::spec_at(dataset, folder.path()), 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn partitions_are_disjoint_equal_and_within_range(
        kind in partitions(), agents in 1_usize..24, train in 200_usize..600, alpha in 1.0_f64..50.0, seed in any::<u64>()
    ) {
        let mut spec = common::synthetic(train, 5, kind);
        spec.alpha = Some(alpha);
        let scenario = match kith_data::load(&spec, agents, &Seeds::new(seed), &common::nowhere()) {
            Ok(scenario) => scenario,
            Err(DataError::Dirichlet { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let task = &scenario.tasks[0];
        prop_assert_eq!(task.shards.len(), agents);
        let parts = if kind == PartitionKind::Shards { agents * 2 } else { agents };
        let each = train / parts * (parts / agents);
        prop_assert!(task.shards.iter().all(|shard| shard.len() == each));
        let all: BTreeSet<u32> = task.shards.iter().flatten().copied().collect();
        prop_assert_eq!(all.len(), each * agents);
        prop_assert!(all.iter().all(|&index| (index as usize) < task.train.len()));
        let counted: usize = kith_data::label_histogram(task).iter().flatten().sum();
        prop_assert_eq!(counted, each * agents);
    }

    #[test]
    fn an_epoch_takes_every_sample_of_a_shard_at_most_once(
        agents in 1_usize..5, batch in 1_usize..20, epoch in 0_u64..4, prepare in any::<bool>(), seed in any::<u64>()
    ) {
        let seeds = Seeds::new(seed);
        let spec = common::synthetic(103, 3, PartitionKind::Iid);
        let task = &kith_data::load(&spec, agents, &seeds, &common::nowhere()).expect("a small dataset").tasks[0];
        let mut order = BatchOrder::new(task.train.clone(), &task.shards, batch, &seeds, TaskId(0)).expect("fits");
        let steps = order.steps_per_epoch() as u64;
        prop_assert_eq!(steps as usize, task.shards[0].len() / batch);
        if prepare {
            order.prepare(epoch);
        }
        let mut indices = Vec::new();
        for (agent, shard) in task.shards.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for step in epoch * steps..(epoch + 1) * steps {
                order.indices(AgentId::from(agent), step, &mut indices);
                prop_assert_eq!(indices.len(), batch);
                prop_assert!(indices.iter().all(|index| shard.contains(index) && seen.insert(*index)));
            }
        }
    }

    #[test]
    fn representation_samples_are_distinct_and_from_the_shard(count in 0_usize..80, seed in any::<u64>()) {
        let shard: Vec<u32> = (100..150).collect();
        let drawn = representation_indices(&shard, count, &Seeds::new(seed), TaskId(3), AgentId(1));
        prop_assert_eq!(drawn.len(), count.min(50));
        prop_assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
        prop_assert!(drawn.iter().all(|index| shard.contains(index)));
    }

    #[test]
    fn arbitrary_bytes_are_refused_and_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), keep_magic in any::<bool>()
    ) {
        let bytes = if keep_magic { [&[0, 0, 8, 3][..], &bytes].concat() } else { bytes };
        prop_assert!(load_with("train-images-idx3-ubyte", "mnist", &bytes).is_err());
        prop_assert!(load_with("train-images-idx3-ubyte.gz", "mnist", &bytes).is_err());
        prop_assert!(load_with("train-images-idx3-ubyte.gz", "mnist", &common::gzip(&bytes)).is_err());
        prop_assert!(load_with("data_batch_1.bin", "cifar-10", &bytes).is_err());
        prop_assert!(load_with("train.bin", "cifar-100", &bytes).is_err());
        prop_assert!(load_with("data_batch_1.png", "cifar-10", &bytes).is_err());
        let folder = tempfile::tempdir().expect("a temporary folder");
        prop_assert!(Quadratics::read(&common::write(folder.path(), "q.json", &bytes)).is_err());
        common::write(folder.path(), "train/a/1.png", &bytes);
        common::write(folder.path(), "test/a/1.png", &bytes);
        prop_assert!(common::load(&common::spec_at("image-folder", folder.path()), 1).is_err());
    }

    #[test]
    fn truncated_files_are_refused_and_never_panic(cut in 0.0_f64..1.0) {
        let whole = common::idx(&[20, 2, 3], &[5; 120]);
        let packed = common::gzip(&whole);
        let part = |bytes: &[u8]| bytes[..(cut * bytes.len() as f64) as usize].to_vec();
        prop_assert!(load_with("train-images-idx3-ubyte", "mnist", &whole).is_ok());
        prop_assert!(load_with("train-images-idx3-ubyte", "mnist", &part(&whole)).is_err());
        prop_assert!(load_with("train-images-idx3-ubyte.gz", "mnist", &part(&packed)).is_err());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let picture = common::png(6, 5, png::ColorType::Rgb, &[9; 90]);
        common::write(folder.path(), "test/a/1.png", &picture);
        let idat = picture.len() - 12;
        common::write(folder.path(), "train/a/1.png", &picture[..(cut * idat as f64) as usize]);
        prop_assert!(common::load(&common::spec_at("image-folder", folder.path()), 1).is_err());
    }
}
