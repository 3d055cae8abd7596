//! A user's own numbers: tables of comma-separated values and NumPy's arrays.

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use common::{inputs, load, spec_at};
use kith_data::{Normalise, Spec, TaskKind};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room")
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(folder.join(name), bytes).expect("it can be written");
}

fn refused(spec: &Spec) -> String {
    match load(spec, 1) {
        Ok(_) => panic!("it was read"),
        Err(error) => error.to_string(),
    }
}

const TRAIN: &str = "a,label,b\n1,yes,10\n3,no,10\n5,yes,10\n7,no,10\n";
const TEST: &str = "a, label, b\n4, no, 12\n";

/// A folder with these two tables.
fn tables(train: &str, test: &str) -> tempfile::TempDir {
    let folder = folder();
    write(folder.path(), "train.csv", train);
    write(folder.path(), "test.csv", test);
    folder
}

#[test]
fn columns_of_a_table_are_scaled_by_their_training_values() {
    let folder = tables(TRAIN, TEST);
    let read = |normalise| {
        let spec = Spec { normalise, ..spec_at("csv", folder.path()) };
        let scenario = load(&spec, 1).expect("it can be read");
        assert_eq!((scenario.inputs, scenario.classes, scenario.shape), (2, 2, [1, 1, 2]));
        let task = &scenario.tasks[0];
        // `no` comes before `yes`.
        assert_eq!(task.train.labels(), [1, 0, 1, 0]);
        assert_eq!(task.test.labels(), [0]);
        (inputs(&task.train, 0), inputs(&task.test, 0))
    };
    // a: mean 4, variance 5; b never changes in training.
    let (first, test) = read(Normalise::Standard);
    assert!((first[0] + 3.0 / 5.0_f32.sqrt()).abs() < 1e-6 && first[1] == 0.0, "{first:?}");
    assert_eq!(test, [0.0, 2.0]);
    assert_eq!(read(Normalise::Unit), (vec![0.0, 0.0], vec![0.5, 2.0]));
    assert_eq!(read(Normalise::Half).0, [-1.0, 0.0]);
}

#[test]
fn whole_numbers_as_labels_are_classes_in_their_order_and_may_be_split_into_tasks() {
    let folder = tables("x,label\n1,10\n2,9\n3,100\n4,9\n5,10\n6,100\n", "x,label\n1,9\n1,10\n1,100\n");
    let mut spec = spec_at("csv", folder.path());
    assert_eq!(load(&spec, 1).expect("it can be read").tasks[0].train.labels(), [1, 0, 2, 0, 1, 2]);
    spec.tasks = common::tasks(TaskKind::Split, 3);
    let scenario = load(&spec, 1).expect("it can be read");
    let sizes: Vec<usize> = scenario.tasks.iter().map(|task| task.train.labels().len()).collect();
    assert_eq!((sizes, scenario.classes), (vec![2, 2, 2], 1));
}

#[test]
fn a_shape_makes_images_of_rows_if_its_product_fits() {
    let folder = tables("a,b,c,d,label\n1,2,3,4,0\n5,6,7,8,1\n", "a,b,c,d,label\n1,2,3,4,0\n");
    let spec = Spec { shape: Some([1, 2, 2]), ..spec_at("csv", folder.path()) };
    assert_eq!(load(&spec, 1).expect("it can be read").shape, [1, 2, 2]);
    let text = refused(&Spec { shape: Some([1, 2, 3]), ..spec });
    assert!(text.contains("data.shape") && text.contains("product is 4"), "{text}");
}

#[test]
fn a_table_that_is_wrong_is_refused_with_file_line_column_and_what_is_accepted() {
    for (train, test, parts) in [
        ("a,b\n1,2\n", TEST, &["train.csv, line 1", "one column `label`", "a, b"][..]),
        ("label\nx\n", TEST, &["train.csv, line 1", "columns of numbers"]),
        ("a,label,b\n1,yes,2\n1,no,oops\n", TEST, &["train.csv, line 3, column `b`", "a number", "`oops`"]),
        ("a,label,b\n1,yes,nan\n", TEST, &["line 2, column `b`", "a number", "`nan`"]),
        ("a,label,b\n1,yes\n", TEST, &["line 2", "3 values", "found 2"]),
        ("a,label,b\n1,,2\n", TEST, &["line 2, column `label`", "a class"]),
        ("a,label,b\n", TEST, &["train.csv, line 2", "at least one line"]),
        (TRAIN, "a,b,label\n1,2,yes\n", &["test.csv, line 1", "the columns of the training table, a, label, b"]),
        (TRAIN, "a,label,b\n1,maybe,2\n", &["test.csv, line 2, column `label`", "no, yes", "`maybe`"]),
    ] {
        let folder = tables(train, test);
        let text = refused(&spec_at("csv", folder.path()));
        for part in parts {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    let empty = folder();
    assert!(refused(&spec_at("csv", empty.path())).contains("train.csv"));
    assert!(refused(&Spec { path: None, ..spec_at("csv", empty.path()) }).contains("data.path"));
}

/// What `numpy.save` writes: version 1, C order.
fn npy(descr: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

/// Two training images and one test image of 2 × 2 pixels and three channels, channels last.
fn pictures() -> [(&'static str, Vec<u8>); 4] {
    let ascending: Vec<u8> = (0..24).collect();
    [
        ("x_train.npy", npy("|u1", "(2, 2, 2, 3)", &ascending)),
        ("y_train.npy", npy("<i8", "(2, 1)", &[0_i64, 1].map(i64::to_le_bytes).concat())),
        ("x_test.npy", npy("|u1", "(1, 2, 2, 3)", &ascending[..12])),
        ("y_test.npy", npy("<i8", "(1,)", &1_i64.to_le_bytes())),
    ]
}

#[test]
fn arrays_are_read_from_a_folder_and_from_an_archive_alike() {
    let folder = folder();
    let archive = folder.path().join("all.npz");
    let mut zip = zip::ZipWriter::new(fs::File::create(&archive).expect("it can be made"));
    for (place, (name, bytes)) in pictures().into_iter().enumerate() {
        write(folder.path(), name, &bytes);
        // As `numpy.savez` and `numpy.savez_compressed` store them.
        let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][place % 2];
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        zip.start_file(name, options).expect("it can be packed");
        zip.write_all(&bytes).expect("it can be packed");
    }
    zip.finish().expect("it can be packed");
    // The same pictures, written by NumPy 2 with `savez_compressed`.
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures.npz");
    for path in [folder.path(), &archive, &written] {
        let spec = Spec { normalise: Normalise::Unit, ..spec_at("numpy", path) };
        let scenario = load(&spec, 1).expect("it can be read");
        assert_eq!((scenario.shape, scenario.classes), ([3, 2, 2], 2));
        assert_eq!(scenario.tasks[0].train.labels(), [0, 1]);
        // The red channel of the first image is 0, 3, 6, 9; of all training images 0 to 21.
        let red: Vec<f32> = inputs(&scenario.tasks[0].train, 0)[..4].to_vec();
        let expected = [0.0, 3.0, 6.0, 9.0].map(|value: f32| value / 21.0);
        assert!(red.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6), "{red:?}");
    }
}

#[test]
fn arrays_that_do_not_fit_each_other_are_refused_with_file_and_what_is_accepted() {
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        ("x_test.npy", npy("|u1", "(1, 12)", &[0; 12]), &["x_test.npy", "as in x_train", "[1, 12]"]),
        ("y_train.npy", npy("|u1", "(3,)", &[0; 3]), &["y_train.npy", "one label for each of 2 samples"]),
        ("y_train.npy", npy("|u1", "(2,)", &[0, 9]), &["y_train.npy", "0 to 1", "9 for sample 1"]),
        ("y_train.npy", npy("<f4", "(2,)", &[0.0_f32, 0.5].map(f32::to_le_bytes).concat()), &["0.5 for sample 1"]),
        ("x_train.npy", npy("|u1", "(24,)", &[0; 24]), &["x_train.npy", "[samples, inputs]", "[24]"]),
        ("x_train.npy", b"nothing".to_vec(), &["x_train.npy", "numpy.save"]),
    ];
    for (name, bytes, parts) in cases {
        let folder = folder();
        for (name, bytes) in pictures() {
            write(folder.path(), name, bytes);
        }
        write(folder.path(), name, bytes);
        let text = refused(&spec_at("numpy", folder.path()));
        for part in parts {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    let folder = folder();
    write(folder.path(), "all.npz", b"no archive");
    assert!(refused(&spec_at("numpy", &folder.path().join("all.npz"))).contains("numpy.savez"));
}

#[test]
fn numbers_that_are_not_finite_are_refused_with_their_sample() {
    let folder = folder();
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    write(folder.path(), "x_train.npy", npy("<f4", "(2, 2)", &floats(&[0.0, 1.0, 2.0, f32::NAN])));
    write(folder.path(), "y_train.npy", npy("|u1", "(2,)", &[0, 1]));
    write(folder.path(), "x_test.npy", npy("<f4", "(1, 2)", &floats(&[0.0, 1.0])));
    write(folder.path(), "y_test.npy", npy("|u1", "(1,)", &[0]));
    let text = refused(&spec_at("numpy", folder.path()));
    assert!(text.contains("x_train.npy: expected finite numbers, found NaN in sample 1"), "{text}");
}
