//! A user's own numbers: tables of comma-separated values, and NumPy's arrays.
//!
//! Files hold any numbers, so what `normalise` means is measured on the training samples: of every column of a table, of every
//! channel of images.

mod arrays;
mod csv_file;
mod npy;

use std::path::Path;

use crate::image::{Dataset, ImageSet, Scaling, volume};
use crate::{DataError, DatasetName, Normalise, Spec};

/// Reads the tables at `data.path`.
pub(crate) fn load_csv(spec: &Spec) -> Result<Dataset, DataError> {
    csv_file::load(path(spec, DatasetName::Csv)?, spec)
}

/// Reads the arrays at `data.path`.
pub(crate) fn load_numpy(spec: &Spec) -> Result<Dataset, DataError> {
    arrays::load(path(spec, DatasetName::Numpy)?, spec)
}

fn path(spec: &Spec, name: DatasetName) -> Result<&Path, DataError> {
    let unset = || DataError::setting("data.path", "(not set)", name.how_to_get());
    spec.path.as_deref().map(Path::new).ok_or_else(unset)
}

/// Numbers of samples, `[samples, shape]`, and their classes.
struct Rows {
    values: Vec<f32>,
    labels: Vec<u32>,
}

/// What a channel's numbers are measured over.
#[derive(Clone, Copy)]
enum Measured {
    /// Each input has its own mean and deviation: the columns of a table.
    EachInput,
    /// Each channel has one for all its pixels.
    EachChannel,
}

/// `data.shape` where the samples are rows of `inputs` numbers; one line of pixels where it is not set.
fn row_shape(spec: &Spec, inputs: usize) -> Result<[usize; 3], DataError> {
    let Some(shape) = spec.shape else { return Ok([1, 1, inputs]) };
    if volume(shape) == Some(inputs) {
        return Ok(shape);
    }
    let accepted =
        format!("channels, height and width whose product is {inputs}, the numbers of a sample, are accepted");
    Err(DataError::setting("data.shape", format!("{shape:?}"), accepted))
}

/// Puts both sets on the scale that `normalise` asks for, measured on the training set.
fn dataset(
    name: DatasetName,
    shape: [usize; 3],
    sets: [Rows; 2],
    classes: usize,
    (spec, measured, at): (&Spec, Measured, &Path),
) -> Result<Dataset, DataError> {
    let inputs: usize = shape.iter().product();
    let group = match measured {
        Measured::EachInput => 1,
        Measured::EachChannel => shape[1] * shape[2],
    };
    let scales = scales(&sets[0].values, inputs, group, spec.normalise);
    let [train, test] = sets.map(|mut rows| {
        for row in rows.values.chunks_exact_mut(inputs) {
            for (values, (offset, factor)) in row.chunks_exact_mut(group).zip(&scales) {
                values.iter_mut().for_each(|value| *value = ((f64::from(*value) - offset) * factor) as f32);
            }
        }
        let count = rows.labels.len();
        ImageSet::from_floats(shape, rows.values, rows.labels)
            .ok_or_else(|| DataError::format(at, format!("{count} samples of {inputs} numbers"), "other sizes"))
    });
    // Already on their scale: bytes do not occur.
    let scaling = Scaling::new(&[0.0], &[1.0]);
    Dataset { name: name.as_str().to_owned(), train: train?, test: test?, classes, shape, scaling }.checked(at)
}

/// What is taken off, and what the rest is multiplied with, for each group of inputs. One that never changes becomes 0.
fn scales(values: &[f32], inputs: usize, group: usize, normalise: Normalise) -> Vec<(f64, f64)> {
    let per_group = |place: usize| {
        let all = || {
            values
                .chunks_exact(inputs)
                .flat_map(move |row| &row[place * group..(place + 1) * group])
                .map(|v| f64::from(*v))
        };
        let inverse = |width: f64| if width > 0.0 { 1.0 / width } else { 1.0 };
        let count = (values.len() / inputs.max(1) * group).max(1) as f64;
        match normalise {
            Normalise::Standard => {
                let mean = all().sum::<f64>() / count;
                let variance = all().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
                (mean, inverse(variance.sqrt()))
            }
            Normalise::Unit | Normalise::Half => {
                let least = all().fold(f64::INFINITY, f64::min);
                let most = all().fold(f64::NEG_INFINITY, f64::max);
                let width = most - least;
                if normalise == Normalise::Unit {
                    (least, inverse(width))
                } else {
                    (least + width / 2.0, 2.0 * inverse(width))
                }
            }
        }
    };
    (0..inputs / group).map(per_group).collect()
}
