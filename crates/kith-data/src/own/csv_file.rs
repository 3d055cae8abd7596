//! Comma-separated values: `train.csv` and `test.csv`, each with a line of column names, one of them `label`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::{Measured, Rows, dataset, row_shape};
use crate::image::Dataset;
use crate::{DataError, DatasetName, Spec};

/// The column that holds the classes.
const LABEL: &str = "label";

/// A table before its classes have numbers.
struct Table {
    columns: Vec<String>,
    values: Vec<f32>,
    classes: Vec<String>,
}

/// Reads both tables of a folder. Classes are the labels of the training table: in order of their numbers if all are whole numbers,
/// else by name.
pub(super) fn load(root: &Path, spec: &Spec) -> Result<Dataset, DataError> {
    let (train_path, test_path) = (root.join("train.csv"), root.join("test.csv"));
    let train = read(&train_path, None)?;
    let test = read(&test_path, Some(&train.columns))?;
    let classes = classes(&train.classes);
    let shape = row_shape(spec, train.columns.len() - 1)?;
    let count = classes.len();
    let number = |path: &Path, table: Table| {
        let labels = table.classes.iter().enumerate().map(|(row, class)| {
            let known = classes.iter().position(|known| known == class);
            known.map(|label| label as u32).ok_or_else(|| {
                let expected = format!("a label that {} has too: {}", train_path.display(), shown(&classes));
                DataError::row(path, row as u64 + 2, LABEL, expected, format!("`{class}`"))
            })
        });
        Ok(Rows { labels: labels.collect::<Result<_, DataError>>()?, values: table.values })
    };
    let sets = [number(&train_path, train)?, number(&test_path, test)?];
    dataset(DatasetName::Csv, shape, sets, count, (spec, Measured::EachInput, root))
}

fn classes(labels: &[String]) -> Vec<String> {
    let mut classes = labels.to_vec();
    classes.sort();
    classes.dedup();
    if classes.iter().all(|class| class.parse::<i64>().is_ok()) {
        classes.sort_by_key(|class| class.parse::<i64>().unwrap_or_default());
    }
    classes
}

fn shown(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    let more =
        if names.len() > first.len() { format!(" and {} more", names.len() - first.len()) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

/// Reads one table; `columns` are those that it must have.
fn read(path: &Path, columns: Option<&[String]>) -> Result<Table, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(BufReader::new(file));
    let bad = |error: csv::Error| DataError::format(path, "comma-separated values in UTF-8", error.to_string());
    let found: Vec<String> = reader.headers().map_err(bad)?.iter().map(str::to_owned).collect();
    if let Some(columns) = columns.filter(|columns| *columns != found) {
        let expected = format!("the columns of the training table, {}", shown(columns));
        return Err(DataError::row(path, 1, "", expected, shown(&found)));
    }
    let places: Vec<usize> = (0..found.len()).filter(|place| found[*place] == LABEL).collect();
    let [label] = places[..] else {
        return Err(DataError::row(path, 1, "", format!("one column `{LABEL}`"), shown(&found)));
    };
    if found.len() < 2 {
        return Err(DataError::row(path, 1, "", format!("columns of numbers beside `{LABEL}`"), "none"));
    }
    let (mut values, mut classes) = (Vec::new(), Vec::new());
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(bad)? {
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != found.len() {
            let expected = format!("{} values, one a column", found.len());
            return Err(DataError::row(path, line, "", expected, record.len().to_string()));
        }
        for (place, text) in record.iter().enumerate() {
            if place == label {
                if text.is_empty() {
                    return Err(DataError::row(path, line, LABEL, "a class", "nothing"));
                }
                classes.push(text.to_owned());
                continue;
            }
            let value = text.parse::<f32>().ok().filter(|value| value.is_finite());
            let wrong = || DataError::row(path, line, &found[place], "a number", format!("`{text}`"));
            values.push(value.ok_or_else(wrong)?);
        }
    }
    if classes.is_empty() {
        return Err(DataError::row(path, 2, "", "at least one line of values", "the end of the file"));
    }
    Ok(Table { columns: found, values, classes })
}
