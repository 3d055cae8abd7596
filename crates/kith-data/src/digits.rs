//! The embedded dataset: handwritten digits of 8 × 8 pixels.
//!
//! `assets/digits.bin` holds 1 797 records of 65 bytes: 64 values 0 … 16 row by row, then the label. See
//! `assets/README.md` for its source and licence.

use std::path::Path;

use crate::DataError;
use crate::image::{Dataset, ImageSet, Pixels, Scaling};

const RECORDS: &[u8] = include_bytes!("../assets/digits.bin");
const SHAPE: [usize; 3] = [1, 8, 8];
const AREA: usize = 64;
pub(crate) const CLASSES: usize = 10;
/// The split is by file order and fixed: the first 1 437 digits train, the last 360 test (four fifths, one fifth).
pub(crate) const TRAIN: usize = 1_437;
/// Test digits.
pub(crate) const TEST: usize = 360;
/// The value of a fully inked pixel.
const RANGE: f32 = 16.0;

/// The embedded digits, scaled from 0 … 16 to \[0, 1\], then by the mean and deviation of the training digits.
pub(crate) fn load() -> Result<Dataset, DataError> {
    let at = Path::new("embedded digits");
    let (train, test) = RECORDS.split_at((TRAIN * (AREA + 1)).min(RECORDS.len()));
    let set = |records: &[u8]| {
        let labels = records.chunks_exact(AREA + 1).map(|record| u32::from(record[AREA])).collect();
        let pixels = records.chunks_exact(AREA + 1).flat_map(|record| &record[..AREA]).copied().collect();
        ImageSet::from_bytes(SHAPE, pixels, labels)
            .ok_or_else(|| DataError::format(at, "records of 65 bytes", format!("{} bytes", records.len())))
    };
    let (train, test) = (set(train)?, set(test)?);
    let scaling = match train.pixels() {
        Pixels::Bytes(bytes) => Scaling::measured(bytes, 1, AREA, RANGE),
        Pixels::Floats(_) => Scaling::new(&[0.0], &[1.0]),
    };
    let name = "digits".to_owned();
    Dataset { name, train, test, classes: CLASSES, shape: SHAPE, scaling }.checked(at)
}
