//! Files as they should be, and files that are refused with a reason.

mod common;

use common::{inputs, load, spec_at, write};
use kith_core::Samples;
use kith_data::{DataError, Normalise, Quadratics, SearchPath, Spec, TaskKind};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Loads and returns the message of the error.
fn refused(spec: &Spec) -> String {
    load(spec, 1).expect_err("a damaged dataset").to_string()
}

#[test]
fn plain_and_gzipped_idx_files_give_the_same_samples() {
    let (plain, packed) = (folder(), folder());
    common::write_idx_dataset(plain.path(), 30, 10);
    for entry in std::fs::read_dir(plain.path()).expect("written") {
        let path = entry.expect("written").path();
        let name = format!("{}.gz", path.file_name().expect("a file").to_string_lossy());
        write(packed.path(), &name, &common::gzip(&std::fs::read(&path).expect("written")));
    }
    let read = |folder: &std::path::Path| {
        let scenario = load(&spec_at("mnist", folder), 1).expect("whole");
        assert_eq!(scenario.shape, [1, 2, 3]);
        (0..30).map(|index| inputs(&scenario.tasks[0].train, index)).collect::<Vec<_>>()
    };
    assert_eq!(read(plain.path()), read(packed.path()));
}

#[test]
fn a_damaged_idx_file_is_named_with_what_was_expected_and_found() {
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("train-images-idx3-ubyte", common::idx(&[20], &[0; 20]), "expected IDX magic 0x00000803, found 0x00000801"),
        ("train-images-idx3-ubyte", common::idx(&[20, 2, 3], &[0; 119]), "120 bytes"),
        ("train-images-idx3-ubyte", common::idx(&[u32::MAX, u32::MAX, u32::MAX], &[]), "at most 16 bytes"),
        ("train-images-idx3-ubyte.gz", common::gzip(&common::idx(&[1 << 30, 28, 28], &[0; 9])), "at most"),
        ("train-labels-idx1-ubyte", common::idx(&[19], &[0; 19]), "20 labels"),
        ("train-labels-idx1-ubyte", common::idx(&[20], &[10; 20]), "label 10"),
    ];
    for (name, bytes, message) in cases {
        let folder = folder();
        common::write_idx_dataset(folder.path(), 20, 20);
        write(folder.path(), name, &bytes);
        let error = refused(&spec_at("mnist", folder.path()));
        assert!(error.contains(message) && error.contains(&*folder.path().to_string_lossy()), "{error}");
    }
}

#[test]
fn a_missing_file_of_a_dataset_is_named() {
    let folder = folder();
    common::write_idx_dataset(folder.path(), 20, 20);
    std::fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).expect("written");
    assert!(refused(&spec_at("mnist", folder.path())).contains("t10k-labels-idx1-ubyte"));
}

#[test]
fn a_missing_dataset_lists_where_it_was_looked_for_and_how_to_get_it() {
    let search = SearchPath { folders: vec!["first/place".into(), "second/place".into()] };
    let spec = Spec { dataset: "fashion-mnist".to_owned(), ..Spec::default() };
    let error = kith_data::load(&spec, 1, &kith_core::Seeds::new(0), &search).expect_err("absent");
    let DataError::Missing { looked, .. } = &error else { panic!("{error}") };
    assert_eq!(looked.len(), 4);
    let text = error.to_string();
    for part in ["first/place", "second/place", "dataset-fashion-mnist", "kith data fetch fashion-mnist"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_search_path_tells_mnist_and_fashion_mnist_apart() {
    let root = folder();
    common::write_idx_dataset(&root.path().join("mnist"), 20, 20);
    common::write_idx_dataset(&root.path().join("fashion-mnist"), 30, 30);
    let search = SearchPath { folders: vec![root.path().to_owned()] };
    for (dataset, samples) in [("mnist", 20), ("fashion-mnist", 30)] {
        let spec = Spec { dataset: dataset.to_owned(), ..Spec::default() };
        let scenario = kith_data::load(&spec, 1, &kith_core::Seeds::new(0), &search).expect("there");
        assert_eq!(scenario.tasks[0].train.len(), samples);
    }
}

#[test]
fn a_sequence_finds_every_dataset_in_a_folder_of_its_own_below_the_path() {
    let root = folder();
    common::write_idx_dataset(&root.path().join("mnist"), 20, 20);
    common::write_idx_dataset(&root.path().join("fashion-mnist"), 30, 30);
    let mut spec = spec_at("mnist", root.path());
    spec.tasks = common::tasks(TaskKind::Sequence, 2);
    spec.tasks.datasets = Some(vec!["fashion-mnist".to_owned(), "mnist".to_owned()]);
    let scenario = load(&spec, 1).expect("both there");
    assert_eq!(scenario.tasks.iter().map(|task| task.train.len()).collect::<Vec<_>>(), [30, 20]);
}

/// A CIFAR record: labels, then red, green and blue planes of constant value.
fn record(labels: &[u8], [red, green, blue]: [u8; 3]) -> Vec<u8> {
    [labels.to_vec(), vec![red; 1_024], vec![green; 1_024], vec![blue; 1_024]].concat()
}

#[test]
fn cifar_100_takes_the_fine_label() {
    let folder = folder();
    write(folder.path(), "train.bin", &[record(&[3, 99], [255, 0, 51]), record(&[1, 7], [0; 3])].concat());
    write(folder.path(), "test.bin", &record(&[0, 50], [1; 3]));
    let spec = Spec { normalise: Normalise::Unit, ..spec_at("cifar-100", folder.path()) };
    let scenario = load(&spec, 1).expect("whole");
    let task = &scenario.tasks[0];
    assert_eq!((task.train.labels(), task.test.labels(), scenario.classes), (&[99, 7][..], &[50][..], 100));
    let image = inputs(&task.train, 0);
    assert_eq!([image[0], image[1_024], image[2_048]], [1.0, 0.0, 0.2]);
}

#[test]
fn standard_scaling_of_cifar_is_a_channel_of_its_own() {
    let folder = folder();
    write(folder.path(), "train.bin", &record(&[3, 99], [10, 20, 30]));
    write(folder.path(), "test.bin", &record(&[0, 50], [1; 3]));
    let image = inputs(&load(&spec_at("cifar-100", folder.path()), 1).expect("whole").tasks[0].train, 0);
    let expected = [(10.0_f32, 0.5071, 0.2675), (20.0, 0.4867, 0.2565), (30.0, 0.4408, 0.2761)];
    for (channel, (byte, mean, deviation)) in expected.into_iter().enumerate() {
        assert_eq!(image[channel * 1_024 + 1_023], (byte / 255.0 - mean) / deviation);
    }
}

#[test]
fn permuted_colour_images_keep_the_scaling_of_the_channel_that_a_value_comes_from() {
    let folder = folder();
    write(folder.path(), "train.bin", &record(&[3, 99], [10, 20, 30]));
    write(folder.path(), "test.bin", &record(&[0, 50], [1; 3]));
    let mut spec = spec_at("cifar-100", folder.path());
    let plain = inputs(&load(&spec, 1).expect("whole").tasks[0].train, 0);
    spec.tasks = common::tasks(TaskKind::Permuted, 1);
    let permuted = inputs(&load(&spec, 1).expect("whole").tasks[0].train, 0);
    let sorted = |mut values: Vec<f32>| {
        values.sort_by(f32::total_cmp);
        values
    };
    assert_ne!(permuted, plain);
    assert_eq!(sorted(permuted), sorted(plain));
}

#[test]
fn cifar_files_of_odd_length_and_labels_out_of_range_are_refused() {
    let folder = folder();
    write(folder.path(), "test.bin", &record(&[0, 50], [1; 3]));
    write(folder.path(), "train.bin", &record(&[0, 50], [1; 3])[1..]);
    assert!(refused(&spec_at("cifar-100", folder.path())).contains("whole records of 3074 bytes, found 3073 bytes"));
    write(folder.path(), "train.bin", &record(&[0, 100], [1; 3]));
    assert!(refused(&spec_at("cifar-100", folder.path())).contains("label 100"));
}

/// Writes CIFAR-10 as pictures, two images each; image `i` of a file has red `i`, green 100 and blue 200.
fn write_pictures(folder: &std::path::Path, train_labels: &str) {
    let picture: Vec<u8> = (0..2).flat_map(|image| [image, 100, 200].repeat(1_024)).collect();
    let picture = common::png(1_024, 2, png::ColorType::Rgb, &picture);
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        write(folder, &format!("{name}.png"), &picture);
    }
    write(folder, "train_lables.json", train_labels.as_bytes());
    write(folder, "test_lables.json", b"[1, 2]");
}

#[test]
fn pictures_of_cifar_10_become_planes() {
    let folder = folder();
    write_pictures(folder.path(), "[0,1,2,3,4,5,6,7,8,9]");
    let spec = Spec { normalise: Normalise::Unit, ..spec_at("cifar-10", folder.path()) };
    let task = &load(&spec, 1).expect("whole").tasks[0];
    assert_eq!(task.train.labels(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let image = inputs(&task.train, 3);
    let planes = [image[0], image[1_023], image[1_024], image[2_047], image[2_048], image[3_071]];
    assert_eq!(planes.map(|value| (value * 255.0).round()), [1.0, 1.0, 100.0, 100.0, 200.0, 200.0]);
}

#[test]
fn wrong_labels_and_wrong_pictures_of_cifar_10_are_refused() {
    let folder = folder();
    for (labels, message) in [
        ("[0,1,2]", "expected 10 labels"),
        ("[0,1,2,3,4,5,6,7,8,10]", "label 10"),
        ("[0,1,2,3,4,5,6,7,8,-1]", "JSON list of labels"),
        ("{", "JSON list of labels"),
    ] {
        write_pictures(folder.path(), labels);
        let error = refused(&spec_at("cifar-10", folder.path()));
        assert!(error.contains(message), "{error}");
    }
    write(folder.path(), "data_batch_3.png", &common::png(4, 2, png::ColorType::Rgb, &[0; 24]));
    assert!(refused(&spec_at("cifar-10", folder.path())).contains("data_batch_3.png: expected an RGB picture of 1024"));
}

#[test]
fn a_png_header_that_claims_more_than_the_file_can_hold_is_refused() {
    let folder = folder();
    write_pictures(folder.path(), "[0,1,2,3,4,5,6,7,8,9]");
    let mut picture = common::png(1_024, 2, png::ColorType::Rgb, &[0; 6_144]);
    // The height, then the header's checksum made right for it.
    picture[20..24].copy_from_slice(&0x0fff_ffff_u32.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&picture[12..29]);
    picture[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    write(folder.path(), "data_batch_1.png", &picture);
    assert!(refused(&spec_at("cifar-10", folder.path())).contains("a header that claims 1024 x 268435455"));
}

#[test]
fn image_folders_number_classes_by_sorted_name() {
    let folder = folder();
    let grey = |value| common::png(3, 2, png::ColorType::Grayscale, &[value; 6]);
    write(folder.path(), "train/cat/b.png", &grey(2));
    write(folder.path(), "train/cat/a.png", &grey(1));
    write(folder.path(), "train/ant/x.PNG", &grey(3));
    write(folder.path(), "train/ant/notes.txt", b"not an image");
    write(folder.path(), "test/cat/t.png", &grey(4));
    let spec = Spec { normalise: Normalise::Unit, ..spec_at("image-folder", folder.path()) };
    let scenario = load(&spec, 1).expect("whole");
    let task = &scenario.tasks[0];
    assert_eq!((scenario.shape, scenario.classes), ([1, 2, 3], 2));
    assert_eq!((task.train.labels(), task.test.labels()), (&[0, 1, 1][..], &[1][..]));
    let values: Vec<f32> = (0..3).map(|index| (inputs(&task.train, index)[5] * 255.0).round()).collect();
    assert_eq!(values, [3.0, 1.0, 2.0]);
}

#[test]
fn image_folders_of_mixed_sizes_or_unknown_classes_are_refused() {
    let mixed = folder();
    write(mixed.path(), "train/a/1.png", &common::png(3, 2, png::ColorType::Rgb, &[0; 18]));
    write(mixed.path(), "train/a/2.png", &common::png(2, 3, png::ColorType::Rgb, &[0; 18]));
    write(mixed.path(), "test/a/1.png", &common::png(3, 2, png::ColorType::Rgb, &[0; 18]));
    let error = refused(&spec_at("image-folder", mixed.path()));
    assert!(error.contains("2.png: expected [3, 2, 3]") && error.contains("found [3, 3, 2]"), "{error}");
    let unknown = folder();
    write(unknown.path(), "train/a/1.png", &common::png(1, 1, png::ColorType::Rgb, &[0; 3]));
    write(unknown.path(), "test/b/1.png", &common::png(1, 1, png::ColorType::Rgb, &[0; 3]));
    assert!(refused(&spec_at("image-folder", unknown.path())).contains("a class that train has too"));
    assert!(refused(&spec_at("image-folder", folder().path())).contains("cannot list"));
}

#[test]
fn split_tasks_without_test_images_are_refused() {
    let folder = folder();
    let pixel = common::png(1, 1, png::ColorType::Rgb, &[0; 3]);
    for name in ["train/a/1.png", "train/b/1.png", "test/a/1.png"] {
        write(folder.path(), name, &pixel);
    }
    let spec = Spec { tasks: common::tasks(TaskKind::Split, 2), ..spec_at("image-folder", folder.path()) };
    assert!(matches!(load(&spec, 1), Err(DataError::NoTestSamples { .. })));
}

const QUADRATIC: &str = r#"{"format": "quadratic-trajectory/1", "seed": 5, "mixing": [[0.5, 0.5], [0.5, 0.5]],
    "a": [[[1.0, 2.0]], [[3.0, 4.0]]], "b": [[5.0], [6.0]], "initial": [[0.0, 1.0], [2.0, 3.0]],
    "cases": [{"algorithm": "d-psgd", "hyperparameters": {"learning_rate": 0.1}, "states": [[[7.0, 8.0], [9.0, 0.0]]]}]}"#;

#[test]
fn quadratic_objectives_are_read_whole() {
    let folder = folder();
    let read = Quadratics::read(&write(folder.path(), "q.json", QUADRATIC.as_bytes())).expect("whole");
    assert_eq!((read.dimensions(), read.objectives.len()), (2, 2));
    assert_eq!((&read.objectives[1].a, &read.objectives[1].b), (&vec![vec![3.0, 4.0]], &vec![6.0]));
    assert_eq!(read.cases[0].states[0][1], [9.0, 0.0]);
    assert_eq!(read.cases[0].hyperparameters["learning_rate"], 0.1);
}

#[test]
fn quadratic_files_that_do_not_fit_together_are_refused() {
    let folder = folder();
    for (from, to, message) in [
        ("trajectory/1", "trajectory/2", "format \"quadratic-trajectory/1\""),
        ("[[0.5, 0.5], [0.5, 0.5]]", "[[0.5, 0.5]]", "mixing of 2 rows"),
        ("[[5.0], [6.0]]", "[[5.0]]", "2 entries in a and in b"),
        ("[[3.0, 4.0]]", "[[3.0]]", "a[1] of 1 rows of 2 numbers"),
        ("[[[7.0, 8.0], [9.0, 0.0]]]", "[[[7.0, 8.0]]]", "states[0]"),
        ("\"initial\": [[0.0, 1.0], [2.0, 3.0]]", "\"initial\": []", "initial with a row an agent"),
    ] {
        let path = write(folder.path(), "q.json", QUADRATIC.replace(from, to).as_bytes());
        let error = Quadratics::read(&path).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// Every quadratic file in the project's golden folder, and in the one that `KITH_GOLDEN_DIR` names.
fn golden_files() -> Vec<std::path::PathBuf> {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let folders = [Some(own), std::env::var_os("KITH_GOLDEN_DIR").map(Into::into)];
    let entries = folders.into_iter().flatten().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let quadratic = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|extension| extension == "json")
            && std::fs::read_to_string(path).is_ok_and(|text| text.contains("quadratic-trajectory/1"))
    };
    entries.map(|entry| entry.path()).filter(quadratic).collect()
}

#[test]
fn golden_quadratics_start_as_decentralized_descent_on_what_was_read() {
    let files = golden_files();
    if files.is_empty() {
        eprintln!("skipped: no quadratic file in tests/golden or KITH_GOLDEN_DIR");
    }
    for path in files {
        let read = Quadratics::read(&path).expect("a golden file");
        // X − η ∇f(X) with f_i = ½ ‖A_i x − b_i‖², then mixed: the first round of every d-psgd case without averaging rate.
        let plain = |case: &&kith_data::QuadraticCase| case.algorithm == "d-psgd" && case.hyperparameters.len() == 1;
        for case in read.cases.iter().filter(plain) {
            let stepped: Vec<Vec<f64>> = read
                .objectives
                .iter()
                .zip(&read.initial)
                .map(|(objective, x)| {
                    let mut next = x.clone();
                    for (row, b) in objective.a.iter().zip(&objective.b) {
                        let residual = row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() - b;
                        for (next, a) in next.iter_mut().zip(row) {
                            *next -= case.hyperparameters["learning_rate"] * residual * a;
                        }
                    }
                    next
                })
                .collect();
            for (weights, expected) in read.mixing.iter().zip(&case.states[0]) {
                for (dimension, expected) in expected.iter().enumerate() {
                    let mixed: f64 = weights.iter().zip(&stepped).map(|(w, x)| w * x[dimension]).sum();
                    // Both sides are f64; only the order of sums differs.
                    assert!((mixed - expected).abs() < 1e-12, "{}: {mixed}, expected {expected}", path.display());
                }
            }
        }
    }
}
