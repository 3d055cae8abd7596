//! `kith data fetch`: what to get from where.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cifar::Form;
use crate::download::{self, Checksum, Progress};
use crate::{DataError, DatasetName, idx};

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFile {
    /// Its name, on the mirrors and here.
    pub name: &'static str,
    /// SHA-256 of the file.
    pub checksum: Option<Checksum>,
    /// SHA-256 of what a gzipped file holds: the same for every way of packing it.
    pub content: Option<Checksum>,
    /// Members to unpack, if it is an archive.
    pub members: Vec<&'static str>,
}

/// What a fetch will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPlan {
    /// The dataset.
    pub dataset: DatasetName,
    /// Where it will lie.
    pub folder: PathBuf,
    /// The files, in order.
    pub files: Vec<FetchFile>,
    /// Base addresses, in the order in which they are tried.
    pub mirrors: Vec<String>,
}

/// A file that a fetch left here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies.
    pub path: PathBuf,
    /// Its SHA-256.
    pub checksum: Checksum,
}

/// SHA-256 of the unzipped files: training images and labels, test images and labels.
const MNIST: [&str; 4] = [
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
];
const FASHION_MNIST: [&str; 4] = [
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
];

/// What fetching `dataset` into a folder of its own below `folder` takes. Mirrors given here replace the built-in ones.
/// `sha256` is for the datasets that come as one archive, of which kith knows no checksum.
///
/// # Errors
/// If the dataset cannot be fetched, or a checksum is given for one whose files kith knows.
pub fn plan(
    dataset: DatasetName,
    mirrors: &[String],
    sha256: Option<Checksum>,
    folder: &Path,
) -> Result<FetchPlan, DataError> {
    let (files, built_in): (Vec<FetchFile>, &[&str]) = match dataset {
        DatasetName::Mnist => (
            idx_files(&MNIST)?,
            &["https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"],
        ),
        DatasetName::FashionMnist => {
            (idx_files(&FASHION_MNIST)?, &["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"])
        }
        DatasetName::Cifar10 => {
            (vec![archive("cifar-10-binary.tar.gz", Form::Binary10, sha256)], &["https://www.cs.toronto.edu/~kriz"])
        }
        DatasetName::Cifar100 => {
            (vec![archive("cifar-100-binary.tar.gz", Form::Binary100, sha256)], &["https://www.cs.toronto.edu/~kriz"])
        }
        other => {
            let accepted =
                format!("mnist, fashion-mnist, cifar-10 and cifar-100 can be fetched; {}", other.how_to_get());
            return Err(DataError::setting("kith data fetch", other.as_str(), accepted));
        }
    };
    if let (Some(sha256), DatasetName::Mnist | DatasetName::FashionMnist) = (sha256, dataset) {
        let accepted = format!("the checksums of {} are known; give none", dataset.as_str());
        return Err(DataError::setting("sha256", sha256, accepted));
    }
    let built_in = || built_in.iter().map(|&mirror| mirror.to_owned()).collect();
    let mirrors = if mirrors.is_empty() { built_in() } else { mirrors.to_vec() };
    Ok(FetchPlan { dataset, folder: folder.join(dataset.as_str()), files, mirrors })
}

fn idx_files(contents: &[&str; 4]) -> Result<Vec<FetchFile>, DataError> {
    let file = |(name, content): (&&'static str, &&str)| {
        Ok(FetchFile { name, checksum: None, content: Some(content.parse()?), members: Vec::new() })
    };
    idx::PACKED_FILES.iter().zip(contents).map(file).collect()
}

fn archive(name: &'static str, form: Form, checksum: Option<Checksum>) -> FetchFile {
    FetchFile { name, checksum, content: None, members: form.files() }
}

/// Fetches every file of the plan that is not here yet. A download that broke off is resumed, by the next mirror or the
/// next call; a file gets its name only when it is whole and its checksum is right.
///
/// # Errors
/// If no mirror gives a file, or the folder cannot be written.
pub fn fetch(plan: &FetchPlan, mut progress: impl FnMut(Progress<'_>)) -> Result<Vec<Fetched>, DataError> {
    fs::create_dir_all(&plan.folder).map_err(DataError::io("create", &plan.folder))?;
    let agent = download::agent();
    let mut fetched = Vec::new();
    for file in &plan.files {
        let path = plan.folder.join(file.name);
        let checksum = match download::verified(file, &path) {
            Some(checksum) => checksum,
            None => download::download(&agent, file, &plan.mirrors, &plan.folder, &mut progress)?,
        };
        if !file.members.is_empty() {
            download::unpack(&path, &file.members, &plan.folder)?;
        }
        fetched.push(Fetched { path, checksum });
    }
    Ok(fetched)
}
