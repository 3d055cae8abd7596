//! NumPy's arrays: `x_train`, `y_train`, `x_test` and `y_test`, as files of a folder or in one archive.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::npy::{self, Array};
use super::{Measured, Rows, dataset, row_shape};
use crate::image::Dataset;
use crate::{DataError, DatasetName, Spec};

/// Deflate makes at most 1 032 bytes of one.
const DEFLATE_RATIO: u64 = 1_032;

/// Reads a folder with `x_train.npy` and its three siblings, or an archive (`numpy.savez`) that holds them.
pub(super) fn load(root: &Path, spec: &Spec) -> Result<Dataset, DataError> {
    let mut source = if root.is_dir() { Source::Folder(root) } else { Source::archive(root)? };
    let (x_train, y_train) = (source.read("x_train")?, source.read("y_train")?);
    let (x_test, y_test) = (source.read("x_test")?, source.read("y_test")?);
    let form = Form::of(&x_train, spec, &source.place("x_train"))?;
    let sides = x_train.shape[1..].to_vec();
    if x_test.shape.get(1..) != Some(&sides[..]) {
        let expected = format!("samples of {sides:?}, as in x_train");
        return Err(DataError::format(&source.place("x_test"), expected, format!("an array of {:?}", x_test.shape)));
    }
    let most = y_train.values.len();
    let train_labels = labels(&y_train, x_train.shape[0], most, &source.place("y_train"))?;
    let classes = train_labels.iter().max().map_or(0, |most| *most as usize + 1);
    let test_labels = labels(&y_test, x_test.shape[0], classes, &source.place("y_test"))?;
    let train = Rows { values: form.values(x_train, &source.place("x_train"))?, labels: train_labels };
    let test = Rows { values: form.values(x_test, &source.place("x_test"))?, labels: test_labels };
    dataset(DatasetName::Numpy, form.shape, [train, test], classes, (spec, form.measured, root))
}

enum Source<'a> {
    Folder(&'a Path),
    Archive(&'a Path, Box<zip::ZipArchive<BufReader<File>>>),
}

impl<'a> Source<'a> {
    fn archive(path: &'a Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        let bad = |error: zip::result::ZipError| {
            DataError::format(path, "a folder of .npy files, or an archive of them (numpy.savez)", error.to_string())
        };
        Ok(Self::Archive(path, Box::new(zip::ZipArchive::new(BufReader::new(file)).map_err(bad)?)))
    }

    /// Where an array lies, for messages.
    fn place(&self, name: &str) -> PathBuf {
        let (Self::Folder(root) | Self::Archive(root, _)) = self;
        root.join(format!("{name}.npy"))
    }

    fn read(&mut self, name: &str) -> Result<Array, DataError> {
        let place = self.place(name);
        let bytes = match self {
            Self::Folder(_) => std::fs::read(&place).map_err(DataError::io("read", &place))?,
            Self::Archive(path, archive) => {
                let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
                let packed = |error: zip::result::ZipError| {
                    let expected = format!("{name}.npy in the archive, which holds {}", names.join(", "));
                    DataError::format(path, expected, error.to_string())
                };
                let mut entry = archive.by_name(&format!("{name}.npy")).map_err(packed)?;
                let (claimed, stored) = (entry.size(), entry.compressed_size());
                if claimed > stored.saturating_mul(DEFLATE_RATIO) {
                    let found = format!("a header that claims {claimed} bytes of {stored}");
                    return Err(DataError::format(&place, "an array that fits its archive", found));
                }
                let mut bytes = Vec::new();
                entry.by_ref().take(claimed).read_to_end(&mut bytes).map_err(DataError::io("read", &place))?;
                bytes
            }
        };
        npy::parse(&place, &bytes)
    }
}

/// How samples lie in an array.
struct Form {
    shape: [usize; 3],
    measured: Measured,
    axes: Axes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Axes {
    /// As kith keeps them: channels, then pixels.
    ChannelsFirst,
    /// Pixels, then their channels.
    ChannelsLast,
}

impl Form {
    /// `[n, inputs]`, `[n, height, width]`, `[n, channels, height, width]`, or `[n, height, width, channels]` of 1, 3 or 4 channels.
    fn of(array: &Array, spec: &Spec, place: &Path) -> Result<Self, DataError> {
        let picture = |shape, axes| Self { shape, measured: Measured::EachChannel, axes };
        let form = match array.shape[..] {
            [_, inputs] if inputs > 0 => {
                let shape = row_shape(spec, inputs)?;
                let measured = if spec.shape.is_some() { Measured::EachChannel } else { Measured::EachInput };
                return Ok(Self { shape, measured, axes: Axes::ChannelsFirst });
            }
            [_, height, width] => picture([1, height, width], Axes::ChannelsFirst),
            [_, height, width, channels @ (1 | 3 | 4)] if ![1, 3].contains(&height) => {
                picture([channels, height, width], Axes::ChannelsLast)
            }
            [_, channels, height, width] => picture([channels, height, width], Axes::ChannelsFirst),
            _ => picture([0; 3], Axes::ChannelsFirst),
        };
        if form.shape.contains(&0) {
            let expected =
                "[samples, inputs], [samples, height, width] or [samples, channels, height, width], no side 0";
            return Err(DataError::format(place, expected, format!("{:?}", array.shape)));
        }
        match spec.shape.filter(|shape| *shape != form.shape) {
            Some(shape) => {
                let accepted =
                    format!("{:?}, the shape of the array's images, or no data.shape, is accepted", form.shape);
                Err(DataError::setting("data.shape", format!("{shape:?}"), accepted))
            }
            None => Ok(form),
        }
    }

    /// The numbers, channels first.
    fn values(&self, array: Array, place: &Path) -> Result<Vec<f32>, DataError> {
        let inputs: usize = self.shape.iter().product();
        if let Some(at) = array.values.iter().position(|value| !(*value as f32).is_finite()) {
            let found = format!("{} in sample {}", array.values[at], at / inputs);
            return Err(DataError::format(place, "finite numbers", found));
        }
        if self.axes == Axes::ChannelsFirst {
            return Ok(array.values.iter().map(|value| *value as f32).collect());
        }
        let channels = self.shape[0];
        let planes = |sample: &[f64]| -> Vec<f32> {
            let plane = |channel| sample.iter().skip(channel).step_by(channels).map(|value| *value as f32);
            (0..channels).flat_map(plane).collect()
        };
        Ok(array.values.chunks_exact(inputs).flat_map(planes).collect())
    }
}

/// The classes of samples: whole numbers from 0, below `classes`.
fn labels(array: &Array, samples: usize, classes: usize, place: &Path) -> Result<Vec<u32>, DataError> {
    let one_each = matches!(array.shape[..], [count] | [count, 1] if count == samples);
    if !one_each || samples == 0 {
        let expected = format!("one label for each of {samples} samples, and at least one");
        return Err(DataError::format(place, expected, format!("an array of {:?}", array.shape)));
    }
    let label = |(sample, value): (usize, &f64)| {
        let good = value.fract() == 0.0 && *value >= 0.0 && *value < classes as f64;
        let expected = || format!("labels that are whole numbers from 0 to {}", classes.saturating_sub(1));
        let wrong = || DataError::format(place, expected(), format!("{value} for sample {sample}"));
        good.then_some(*value as u32).ok_or_else(wrong)
    };
    array.values.iter().enumerate().map(label).collect()
}
