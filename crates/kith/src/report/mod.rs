//! Reports: what run directories hold, compared, drawn and written in the form that somebody needs.
//!
//! [`text()`] and [`folder()`] read directories (`find`, `events`, `study`), put arms of equal settings together over their seeds,
//! and write tables (`compare`, `text`, `data`) and figures (`figures`, `context`) in one [`Format`].

mod compare;
mod context;
mod data;
mod events;
mod figures;
mod find;
mod html;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "png")]
mod png;
mod settings;
mod study;
mod text;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::plot::Ink;
pub(crate) use data::quoted;
pub(crate) use events::{EventLine, walk_until};
use study::{Group, Study};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One page with everything.
    Html,
    /// Tables with pipes.
    Markdown,
    /// Tables for the `booktabs` package.
    Latex,
    /// The numbers, a file a table.
    Csv,
    /// The numbers and all events, a file a table.
    Parquet,
    /// A picture a figure, as pixels.
    Png,
    /// A picture a figure, as lines.
    Svg,
}

/// What a report is of, and how it is written.
#[derive(Clone, Debug)]
pub struct Request {
    /// Run directories, or folders above them.
    pub runs: Vec<PathBuf>,
    /// The form.
    pub format: Format,
    /// The arm that others are compared with, by its name in the tables; the first where none is named.
    pub baseline: Option<String>,
    /// A page that reads itself again after so long.
    pub refresh: Option<Duration>,
}

/// Why there is no report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing to report on.
    #[error(
        "{} holds no run: no manifest.json lies there or below\naccepted: a run directory, or a folder above run directories",
        .path.display()
    )]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Runs that measured nothing yet.
    #[error("none of the {runs} runs has measured anything yet\naccepted: runs that have finished a task or an epoch")]
    Empty {
        /// How many.
        runs: usize,
    },
    /// No arm has the name of the baseline.
    #[error("no arm is called `{name}`\naccepted: {}", .accepted.join(", "))]
    Baseline {
        /// The name.
        name: String,
        /// Names of the arms.
        accepted: Vec<String>,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}; choose another place with --out", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture cannot be painted.
    #[error("cannot paint {name}: {reason}; --format svg needs no painting")]
    Paint {
        /// The figure.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// A form that this build leaves out.
    #[error("this kith was built without {format}\naccepted: another --format, or a build with --features {feature}")]
    Feature {
        /// The form.
        format: &'static str,
        /// What to build with.
        feature: &'static str,
    },
}

/// A report: a text, or files in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One text.
    Text,
    /// Files in a folder.
    Folder,
}

impl Format {
    /// Whether the form is one text or a folder of files.
    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::Html | Self::Markdown | Self::Latex => Shape::Text,
            Self::Csv | Self::Parquet | Self::Png | Self::Svg => Shape::Folder,
        }
    }
}

/// A study that has something to show, and whom others are compared with.
struct Ready {
    study: Study,
    baseline: usize,
}

impl Ready {
    fn read(request: &Request) -> Result<Self, ReportError> {
        let study = Study::read(&request.runs)?;
        if study.groups.is_empty() {
            return Err(ReportError::Empty { runs: study.runs.len() });
        }
        let baseline = match &request.baseline {
            None => 0,
            Some(name) => {
                let place = study.groups.iter().position(|group| group.label == *name);
                place.ok_or_else(|| ReportError::Baseline {
                    name: name.clone(),
                    accepted: study.groups.iter().map(|group| group.label.clone()).collect(),
                })?
            }
        };
        Ok(Self { study, baseline })
    }

    fn baseline(&self) -> &Group {
        &self.study.groups[self.baseline]
    }
}

/// A report in a form that is one text; of a form that is not, its tables in Markdown.
///
/// # Errors
/// Runs that cannot be read or hold nothing.
pub fn text(request: &Request) -> Result<String, ReportError> {
    let ready = Ready::read(request)?;
    let (study, baseline) = (&ready.study, ready.baseline());
    let tables = || {
        let settings = compare::settings(study);
        [Some(compare::overview(study)), compare::paired(study, baseline), settings].into_iter().flatten()
    };
    Ok(match request.format {
        Format::Html => html::page(study, baseline, request.refresh),
        Format::Latex => {
            let tables: Vec<String> = tables().map(|table| text::latex(&table)).collect();
            format!("% In the preamble: \\usepackage{{booktabs}}\n{}", tables.join("\n"))
        }
        _ => {
            let tables: Vec<String> = tables().map(|table| text::markdown(&table)).collect();
            format!("## {}\n\n{}", study.experiments().join(", "), tables.join("\n"))
        }
    })
}

/// Writes a report of files into a folder, which is made where it is missing. The files, in order.
///
/// # Errors
/// Runs that cannot be read or hold nothing, and files that cannot be written.
pub fn folder(request: &Request, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let ready = Ready::read(request)?;
    let (study, baseline) = (&ready.study, ready.baseline());
    fs::create_dir_all(folder).map_err(|source| ReportError::Write { path: folder.to_owned(), source })?;
    match request.format {
        Format::Csv => {
            let frames = data::frames(study, baseline);
            frames.iter().map(|frame| write_csv(frame, folder)).collect()
        }
        Format::Parquet => write_parquet(study, baseline, folder),
        Format::Png => write_png(study, folder),
        _ => figures::all(study)
            .iter()
            .map(|figure| {
                save(folder.join(format!("{}.svg", figure.name)), figure.draw(Ink::Paper).document().as_bytes())
            })
            .collect(),
    }
}

/// Some figures of one run directory, by their names: those for which something was measured.
///
/// # Errors
/// A run that cannot be read.
pub(crate) fn pictures(run: &Path, names: &[&str]) -> Result<Vec<(&'static str, String)>, ReportError> {
    let study = Study::read(&[run.to_owned()])?;
    let wanted = figures::all(&study).into_iter().filter(|figure| names.contains(&figure.name));
    Ok(wanted.map(|figure| (figure.name, figure.draw(Ink::Paper).document())).collect())
}

/// The run directories that these paths name or hold, each once.
///
/// # Errors
/// A path that does not exist or holds no run.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReportError> {
    find::directories(paths)
}

/// Writes a file whole: a reader sees the old one or the new one.
///
/// # Errors
/// What the system says.
pub fn save(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, ReportError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &path));
    match written {
        Ok(()) => Ok(path),
        Err(source) => {
            let _ = fs::remove_file(&partial);
            Err(ReportError::Write { path, source })
        }
    }
}

fn write_csv(frame: &data::Frame, folder: &Path) -> Result<PathBuf, ReportError> {
    let path = folder.join(format!("{}.csv", frame.name));
    let write = || {
        let mut out = BufWriter::new(File::create(&path)?);
        frame.csv(&mut out)?;
        out.flush()
    };
    write().map_err(|source| ReportError::Write { path: path.clone(), source })?;
    Ok(path)
}

#[cfg(feature = "parquet")]
fn write_parquet(study: &Study, baseline: &Group, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut written = Vec::new();
    for frame in data::frames(study, baseline) {
        let path = folder.join(format!("{}.parquet", frame.name));
        parquet::write(&frame, &path)?;
        written.push(path);
    }
    let path = folder.join("events.parquet");
    parquet::write_events(study, &path)?;
    written.push(path);
    Ok(written)
}

#[cfg(not(feature = "parquet"))]
fn write_parquet(_: &Study, _: &Group, _: &Path) -> Result<Vec<PathBuf>, ReportError> {
    Err(ReportError::Feature { format: "Parquet", feature: "parquet" })
}

#[cfg(feature = "png")]
fn write_png(study: &Study, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let painter = png::Painter::new();
    let paint = |figure: &figures::Figure| {
        let pixels = painter.paint(figure.name, &figure.draw(Ink::Paper).document())?;
        save(folder.join(format!("{}.png", figure.name)), &pixels)
    };
    figures::all(study).iter().map(paint).collect()
}

#[cfg(not(feature = "png"))]
fn write_png(_: &Study, _: &Path) -> Result<Vec<PathBuf>, ReportError> {
    Err(ReportError::Feature { format: "PNG", feature: "png" })
}
