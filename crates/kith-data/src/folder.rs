//! Image folders: `train/CLASS/*.png` and `test/CLASS/*.png`.

use std::path::{Path, PathBuf};

use crate::image::{Dataset, ImageSet, Scaling};
use crate::{DataError, png_file};

/// Reads the image folder at `root`. Classes are numbered by the sorted names of the folders in `train`.
pub(crate) fn load(root: &Path) -> Result<Dataset, DataError> {
    let train_root = root.join("train");
    let classes: Vec<String> = entries(&train_root, Path::is_dir)?.iter().map(|path| file_name(path)).collect();
    if classes.is_empty() {
        return Err(DataError::format(&train_root, "a folder a class", "none"));
    }
    let test_root = root.join("test");
    if let Some(unknown) = entries(&test_root, Path::is_dir)?.iter().find(|path| !classes.contains(&file_name(path))) {
        return Err(DataError::format(unknown, "a class that train has too", "one that it has not"));
    }
    let train = read_set(&train_root, &classes, None)?;
    let shape = train.shape();
    let test = read_set(&test_root, &classes, Some(shape))?;
    let scaling = match train.pixels() {
        crate::Pixels::Bytes(bytes) => Scaling::measured(bytes, shape[0], shape[1] * shape[2], 255.0),
        crate::Pixels::Floats(_) => Scaling::new(&[0.0], &[1.0]),
    };
    let name = "image-folder".to_owned();
    Dataset { name, train, test, classes: classes.len(), shape, scaling }.checked(root)
}

fn read_set(root: &Path, classes: &[String], mut shape: Option<[usize; 3]>) -> Result<ImageSet, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (class, label) in classes.iter().zip(0..) {
        let folder = root.join(class);
        if !folder.is_dir() {
            continue;
        }
        for path in entries(&folder, is_png)? {
            let picture = png_file::read(&path)?;
            let found = [picture.channels, picture.height, picture.width];
            let expected = *shape.get_or_insert(found);
            if found != expected {
                let expected = format!("{expected:?} (channels, height, width), as the first image has");
                return Err(DataError::format(&path, expected, format!("{found:?}")));
            }
            for channel in 0..picture.channels {
                pixels.extend(picture.bytes.iter().skip(channel).step_by(picture.channels));
            }
            labels.push(label);
        }
    }
    let missing = || DataError::format(root, "at least one PNG file in the folders of the classes", "none");
    ImageSet::from_bytes(shape.ok_or_else(missing)?, pixels, labels).ok_or_else(missing)
}

fn is_png(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
}

/// What `keep` keeps of a folder, sorted by name.
fn entries(folder: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        let path = entry.map_err(DataError::io("list", folder))?.path();
        if keep(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
