//! PNG files as bytes, with what a header claims checked against the size of the file.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::DataError;

/// Deflate makes at most 1 032 bytes of one.
const DEFLATE_RATIO: u64 = 1_032;

/// A decoded picture.
pub(crate) struct Picture {
    /// 1 (grey) or 3 (RGB).
    pub(crate) channels: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// `[height, width, channels]`.
    pub(crate) bytes: Vec<u8>,
}

/// Reads a picture of 8-bit grey or RGB pixels; palettes, short and long samples are converted.
pub(crate) fn read(path: &Path) -> Result<Picture, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let size = file.metadata().map_err(DataError::io("inspect", path))?.len();
    let bad = |error: png::DecodingError| DataError::format(path, "a readable PNG picture", error.to_string());
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(bad)?;
    let (width, height) = reader.info().size();
    let channels = match reader.output_color_type() {
        (png::ColorType::Grayscale, png::BitDepth::Eight) => 1,
        (png::ColorType::Rgb, png::BitDepth::Eight) => 3,
        (colour, depth) => {
            return Err(DataError::format(path, "grey or RGB pixels", format!("{colour:?} of {depth:?} bits")));
        }
    };
    if reader.info().interlaced {
        return Err(DataError::format(path, "a PNG picture that is not interlaced", "an interlaced one"));
    }
    // A raw row can be eight times smaller than a decoded one (one bit a pixel), or 24 times with a palette.
    let claimed = u64::from(width) * u64::from(height) * channels as u64;
    if claimed > size.saturating_mul(DEFLATE_RATIO).saturating_mul(24) {
        let found = format!("a header that claims {width} x {height}");
        return Err(DataError::format(path, format!("a picture that fits a file of {size} bytes"), found));
    }
    let mut bytes = Vec::new();
    while let Some(row) = reader.next_row().map_err(bad)? {
        bytes.extend_from_slice(row.data());
    }
    if bytes.len() as u64 != claimed {
        return Err(DataError::format(path, format!("{claimed} values"), bytes.len().to_string()));
    }
    Ok(Picture { channels, width: width as usize, height: height as usize, bytes })
}
