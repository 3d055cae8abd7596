//! CIFAR-10 and CIFAR-100: the binary form, and CIFAR-10 as pictures of ten thousand rows.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::image::{Dataset, ImageSet, Scaling};
use crate::{DataError, png_file};

const SHAPE: [usize; 3] = [3, 32, 32];
const LEN: usize = 3_072;
const AREA: usize = 1_024;
/// Far above any dataset of this form; keeps a wrong file from filling the memory.
const MOST_BYTES: u64 = 1 << 32;

/// A form that CIFAR comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// CIFAR-10 records: label, 3 072 values.
    Binary10,
    /// CIFAR-100 records: coarse label, fine label, 3 072 values.
    Binary100,
    /// CIFAR-10 in six pictures of 1 024 columns, an image a row; labels in two JSON lists.
    Pictures10,
}

impl Form {
    fn train(self) -> &'static [&'static str] {
        match self {
            Self::Binary10 => {
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
            }
            Self::Binary100 => &["train.bin"],
            Self::Pictures10 => {
                &["data_batch_1.png", "data_batch_2.png", "data_batch_3.png", "data_batch_4.png", "data_batch_5.png"]
            }
        }
    }

    const fn test(self) -> &'static str {
        match self {
            Self::Binary10 => "test_batch.bin",
            Self::Binary100 => "test.bin",
            Self::Pictures10 => "test_batch.png",
        }
    }

    const fn classes(self) -> usize {
        match self {
            Self::Binary10 | Self::Pictures10 => 10,
            Self::Binary100 => 100,
        }
    }

    /// The files of images, training files first.
    pub(crate) fn files(self) -> Vec<&'static str> {
        self.train().iter().copied().chain([self.test()]).collect()
    }

    /// Whether any of its files lies in the folder.
    pub(crate) fn present(self, folder: &Path) -> bool {
        self.files().iter().any(|name| folder.join(name).is_file())
    }

    /// Reads the dataset in `folder`.
    pub(crate) fn load(self, folder: &Path, name: &str, scaling: Scaling) -> Result<Dataset, DataError> {
        let train: Vec<PathBuf> = self.train().iter().map(|name| folder.join(name)).collect();
        let test = [folder.join(self.test())];
        let read = |files: &[PathBuf], labels: &str| match self {
            Self::Binary10 => read_records(files, 1),
            Self::Binary100 => read_records(files, 2),
            Self::Pictures10 => read_pictures(files, &folder.join(labels)),
        };
        let (train, test) = (read(&train, "train_lables.json")?, read(&test, "test_lables.json")?);
        let name = name.to_owned();
        Dataset { name, train, test, classes: self.classes(), shape: SHAPE, scaling }.checked(folder)
    }
}

/// Reads records of `labels` label bytes (the last one counts) and an image.
fn read_records(files: &[PathBuf], labels: usize) -> Result<ImageSet, DataError> {
    let (mut pixels, mut classes) = (Vec::new(), Vec::new());
    for path in files {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
        let record = labels + LEN;
        if bytes.is_empty() || bytes.len() % record != 0 {
            let expected = format!("whole records of {record} bytes");
            return Err(DataError::format(path, expected, format!("{} bytes", bytes.len())));
        }
        for record in bytes.chunks_exact(record) {
            classes.push(u32::from(record[labels - 1]));
            pixels.extend_from_slice(&record[labels..]);
        }
    }
    finish(files, pixels, classes)
}

/// Reads pictures in which every row is an image of 32 × 32 RGB pixels.
fn read_pictures(files: &[PathBuf], labels: &Path) -> Result<ImageSet, DataError> {
    let mut pixels = Vec::new();
    for path in files {
        let picture = png_file::read(path)?;
        if picture.channels != 3 || picture.width != AREA {
            let found = format!("{} channels, {} columns", picture.channels, picture.width);
            return Err(DataError::format(path, "an RGB picture of 1024 columns", found));
        }
        for row in picture.bytes.chunks_exact(LEN) {
            for channel in 0..3 {
                pixels.extend(row.iter().skip(channel).step_by(3));
            }
        }
    }
    let file = File::open(labels).map_err(DataError::io("open", labels))?;
    let classes: Vec<u32> = serde_json::from_reader(BufReader::new(file))
        .map_err(|error| DataError::format(labels, "a JSON list of labels", error.to_string()))?;
    if classes.len() * LEN != pixels.len() {
        let expected = format!("{} labels, one an image", pixels.len() / LEN);
        return Err(DataError::format(labels, expected, classes.len().to_string()));
    }
    finish(files, pixels, classes)
}

fn finish(files: &[PathBuf], pixels: Vec<u8>, labels: Vec<u32>) -> Result<ImageSet, DataError> {
    let at = files.first().map_or(Path::new("cifar"), PathBuf::as_path);
    let found = format!("{} values for {} labels", pixels.len(), labels.len());
    ImageSet::from_bytes(SHAPE, pixels, labels).ok_or_else(|| DataError::format(at, "3072 values an image", found))
}
