//! The IDX format of MNIST and its relatives, plain or gzipped.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::DataError;
use crate::image::{Dataset, ImageSet, Scaling};

/// Deflate makes at most 1 032 bytes of one; the slack covers headers of tiny files.
const DEFLATE_RATIO: u64 = 1_032;
const DEFLATE_SLACK: u64 = 1 << 16;

/// The four files of a dataset, without `.gz`: training images and labels, test images and labels.
const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// The same files as mirrors have them.
pub(crate) const PACKED_FILES: [&str; 4] = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
];

/// Whether any of the files lies in the folder.
pub(crate) fn present(folder: &Path) -> bool {
    FILES.iter().any(|name| locate(folder, name).is_file())
}

/// Reads the dataset in `folder`.
pub(crate) fn load(folder: &Path, name: &str, classes: usize, scaling: Scaling) -> Result<Dataset, DataError> {
    let [train_images, train_labels, test_images, test_labels] = FILES.map(|name| locate(folder, name));
    let train = read_set(&train_images, &train_labels)?;
    let test = read_set(&test_images, &test_labels)?;
    let shape = train.shape();
    Dataset { name: name.to_owned(), train, test, classes, shape, scaling }.checked(folder)
}

fn locate(folder: &Path, name: &str) -> PathBuf {
    let packed = folder.join(format!("{name}.gz"));
    if packed.is_file() { packed } else { folder.join(name) }
}

/// Reads a file of images and the file of their labels.
pub(crate) fn read_set(images: &Path, labels: &Path) -> Result<ImageSet, DataError> {
    let ([count, height, width], pixels) = read::<3>(images)?;
    let ([label_count], values) = read::<1>(labels)?;
    if label_count != count {
        return Err(DataError::format(labels, format!("{count} labels, one an image"), label_count.to_string()));
    }
    let labels = values.into_iter().map(u32::from).collect();
    ImageSet::from_bytes([1, height, width], pixels, labels)
        .ok_or_else(|| DataError::format(images, "images of at least one pixel", format!("{height} x {width}")))
}

/// Reads an array of bytes with `D` dimensions.
fn read<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let size = file.metadata().map_err(DataError::io("inspect", path))?.len();
    let file = BufReader::new(file);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let most = size.saturating_mul(DEFLATE_RATIO).saturating_add(DEFLATE_SLACK);
        parse(path, MultiGzDecoder::new(file), most)
    } else {
        parse(path, file, size)
    }
}

/// Parses an array from `reader`, which cannot give more than `most` bytes.
fn parse<const D: usize>(path: &Path, mut reader: impl Read, most: u64) -> Result<([usize; D], Vec<u8>), DataError> {
    let mut word = || -> Result<u32, DataError> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(DataError::io("read the IDX header of", path))?;
        Ok(u32::from_be_bytes(bytes))
    };
    let (magic, expected) = (word()?, 0x0800 + D as u32);
    if magic != expected {
        return Err(DataError::format(path, format!("IDX magic {expected:#010x}"), format!("{magic:#010x}")));
    }
    let mut shape = [0_usize; D];
    for side in &mut shape {
        *side = word()? as usize;
    }
    let claimed = shape.iter().try_fold(1_u64, |product, &side| product.checked_mul(side as u64));
    let claimed = claimed.filter(|&claimed| claimed <= most).ok_or_else(|| {
        DataError::format(path, format!("{shape:?} bytes, as its header says"), format!("at most {most} bytes"))
    })?;
    let mut values = Vec::new();
    reader.take(claimed + 1).read_to_end(&mut values).map_err(DataError::io("read", path))?;
    if values.len() as u64 != claimed {
        let found = if values.len() as u64 > claimed { "more".to_owned() } else { values.len().to_string() };
        return Err(DataError::format(path, format!("{claimed} bytes after the header"), found));
    }
    values.shrink_to_fit();
    Ok((shape, values))
}
