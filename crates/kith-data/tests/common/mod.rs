//! Small files and specs that several tests use.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use kith_core::{Samples, Seeds};
use kith_data::{DataError, PartitionKind, Scenario, SearchPath, Spec, SyntheticSpec, TaskSamples, TasksSpec};

/// No folder at all.
pub(crate) fn nowhere() -> SearchPath {
    SearchPath { folders: Vec::new() }
}

/// Loads with seed 7 and an empty search path.
pub(crate) fn load(spec: &Spec, agents: usize) -> Result<Scenario, DataError> {
    kith_data::load(spec, agents, &Seeds::new(7), &nowhere())
}

/// A spec for `dataset` at `path`.
pub(crate) fn spec_at(dataset: &str, path: &Path) -> Spec {
    Spec { dataset: dataset.to_owned(), path: Some(path.to_string_lossy().into_owned()), ..Spec::default() }
}

/// A small synthetic dataset.
pub(crate) fn synthetic(train: usize, classes: usize, partition: PartitionKind) -> Spec {
    let shape = SyntheticSpec { shape: [1, 4, 4], classes, train, test: 20 * classes, latent: 3, noise: 0.1 };
    Spec { dataset: "synthetic".to_owned(), synthetic: Some(shape), partition, ..Spec::default() }
}

/// A task table.
pub(crate) fn tasks(kind: kith_data::TaskKind, count: usize) -> TasksSpec {
    TasksSpec { kind, count, ..TasksSpec::default() }
}

/// The inputs of one sample.
pub(crate) fn inputs(samples: &TaskSamples, index: u32) -> Vec<f32> {
    let mut out = vec![0.0; samples.input_len()];
    samples.read(index, &mut out);
    out
}

/// An IDX array.
pub(crate) fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = (0x0800 + dimensions.len() as u32).to_be_bytes().to_vec();
    bytes.extend(dimensions.iter().flat_map(|side| side.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

/// The bytes, gzipped.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

/// Writes an MNIST-like dataset of 2 × 3 images: `train` and `test` images, values counting up, labels `index % 10`.
pub(crate) fn write_idx_dataset(folder: &Path, train: u32, test: u32) {
    for (prefix, count) in [("train", train), ("t10k", test)] {
        let pixels: Vec<u8> = (0..count * 6).map(|value| value as u8).collect();
        let labels: Vec<u8> = (0..count).map(|index| (index % 10) as u8).collect();
        write(folder, &format!("{prefix}-images-idx3-ubyte"), &idx(&[count, 2, 3], &pixels));
        write(folder, &format!("{prefix}-labels-idx1-ubyte"), &idx(&[count], &labels));
    }
}

/// Writes a file and its folders.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a temporary folder");
    fs::write(&path, bytes).expect("a temporary file");
    path
}

/// A PNG picture of 8-bit samples.
pub(crate) fn png(width: u32, height: u32, colour: png::ColorType, values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().expect("a valid header");
    writer.write_image_data(values).expect("as many values as the header says");
    writer.finish().expect("writing to memory");
    bytes
}
