//! The published datasets, where they are installed (on the standard search path). A test says so when it skips.

mod common;

use kith_core::{Samples, Seeds};
use kith_data::{DataError, Normalise, Place, Scenario, SearchPath, Spec, available, load};

/// The dataset as one task, or nothing, with a printed reason, where it is not installed.
fn installed(dataset: &str) -> Option<Scenario> {
    let spec = Spec { dataset: dataset.to_owned(), normalise: Normalise::Unit, ..Spec::default() };
    match load(&spec, 10, &Seeds::new(1), &SearchPath::standard()) {
        Ok(scenario) => Some(scenario),
        Err(error @ DataError::Missing { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Mean and deviation of every channel over the training set.
fn statistics(scenario: &Scenario) -> Vec<(f64, f64)> {
    let train = &scenario.tasks[0].train;
    let [channels, height, width] = scenario.shape;
    let mut sums = vec![(0.0_f64, 0.0_f64); channels];
    let mut out = vec![0.0; scenario.inputs];
    for index in 0..train.len() as u32 {
        train.read(index, &mut out);
        for (plane, (sum, squares)) in out.chunks_exact(height * width).zip(&mut sums) {
            *sum += plane.iter().map(|&value| f64::from(value)).sum::<f64>();
            *squares += plane.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
        }
    }
    let count = (train.len() * height * width) as f64;
    sums.iter().map(|(sum, squares)| (sum / count, (squares / count - (sum / count).powi(2)).sqrt())).collect()
}

fn assert_near(found: &[(f64, f64)], expected: &[(f64, f64)], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let close = (found.0 - expected.0).abs() < tolerance && (found.1 - expected.1).abs() < tolerance;
        assert!(close, "found {found:?}, expected {expected:?}");
    }
}

fn first_labels(scenario: &Scenario) -> (Vec<u32>, Vec<u32>) {
    let task = &scenario.tasks[0];
    (task.train.labels()[..10].to_vec(), task.test.labels()[..10].to_vec())
}

#[test]
fn mnist_has_its_published_statistics() {
    let Some(scenario) = installed("mnist") else { return };
    let task = &scenario.tasks[0];
    assert_eq!((task.train.len(), task.test.len(), scenario.shape), (60_000, 10_000, [1, 28, 28]));
    assert_near(&statistics(&scenario), &[(0.1307, 0.3081)], 1e-4);
    // As every copy of MNIST begins.
    assert_eq!(first_labels(&scenario), (vec![5, 0, 4, 1, 9, 2, 1, 3, 1, 4], vec![7, 2, 1, 0, 4, 1, 4, 9, 5, 9]));
}

#[test]
fn fashion_mnist_has_its_published_statistics() {
    let Some(scenario) = installed("fashion-mnist") else { return };
    assert_near(&statistics(&scenario), &[(0.2860, 0.3530)], 1e-4);
    assert_eq!(first_labels(&scenario), (vec![9, 0, 0, 3, 0, 2, 7, 2, 5, 5], vec![9, 2, 1, 1, 6, 1, 4, 6, 5, 7]));
}

#[test]
fn cifar_10_has_its_published_statistics() {
    let Some(scenario) = installed("cifar-10") else { return };
    let task = &scenario.tasks[0];
    assert_eq!((task.train.len(), task.test.len(), scenario.shape), (50_000, 10_000, [3, 32, 32]));
    // The deviations over all pixels; the usual .2023 .1994 .2010 are averages of the deviations of single images.
    assert_near(&statistics(&scenario), &[(0.4914, 0.2470), (0.4822, 0.2435), (0.4465, 0.2616)], 1e-4);
    assert_eq!(first_labels(&scenario), (vec![6, 9, 9, 4, 1, 1, 2, 7, 8, 3], vec![3, 8, 8, 0, 6, 6, 1, 6, 3, 1]));
}

#[test]
fn what_is_installed_is_listed_with_its_folder() {
    for info in available(&SearchPath::standard()) {
        if let Place::Folder(folder) = &info.place {
            assert!(folder.is_dir(), "{info:?}");
        }
    }
    let absent = available(&common::nowhere());
    assert_eq!(absent.iter().filter(|info| info.place == Place::BuiltIn).count(), 2);
    assert!(absent.iter().all(|info| !matches!(info.place, Place::Folder(_))));
}
