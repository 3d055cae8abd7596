//! Frames and events as Parquet files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;

use super::data::{Column, Frame};
use super::study::Study;
use super::{ReportError, events};

/// Events in a row group: enough to compress well, few enough to hold.
const GROUP: usize = 1 << 17;

fn write_error(path: &Path) -> impl Fn(ParquetError) -> ReportError + '_ {
    |source| ReportError::Write { path: path.to_owned(), source: std::io::Error::other(source) }
}

/// Writes a frame.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write(frame: &Frame, path: &Path) -> Result<(), ReportError> {
    let fail = write_error(path);
    let mut writer = open(frame, path)?;
    append(&mut writer, frame).map_err(&fail)?;
    writer.close().map_err(&fail)?;
    Ok(())
}

/// Writes every event of every run, in the order of the files.
///
/// # Errors
/// A file that cannot be read or written.
pub(super) fn write_events(study: &Study, path: &Path) -> Result<(), ReportError> {
    let fail = write_error(path);
    let mut rows = Rows::default();
    let mut writer = open(&rows.take(), path)?;
    for run in &study.runs {
        let metrics = run.path.join("metrics.jsonl");
        if !metrics.is_file() {
            continue;
        }
        let name = run.path.display().to_string();
        events::walk(&metrics, |event| {
            rows.push(&name, event);
            if rows.run.len() >= GROUP { append(&mut writer, &rows.take()).map_err(&fail) } else { Ok(()) }
        })?;
    }
    append(&mut writer, &rows.take()).map_err(&fail)?;
    writer.close().map_err(&fail)?;
    Ok(())
}

#[derive(Default)]
struct Rows {
    run: Vec<String>,
    arm: Vec<String>,
    agent: Vec<Option<i64>>,
    task: Vec<Option<i64>>,
    round: Vec<Option<i64>>,
    key: Vec<String>,
    of: Vec<Option<i64>>,
    value: Vec<Option<f64>>,
}

impl Rows {
    fn push(&mut self, run: &str, event: &events::EventLine<'_>) {
        self.run.push(run.to_owned());
        self.arm.push(event.arm.clone().into_owned());
        self.agent.push(event.agent.map(i64::from));
        self.task.push(Some(i64::from(event.task)));
        self.round.push(i64::try_from(event.round).ok());
        self.key.push(event.key.clone().into_owned());
        self.of.push(event.of.map(i64::from));
        self.value.push(event.value);
    }

    fn take(&mut self) -> Frame {
        let Self { run, arm, agent, task, round, key, of, value } = std::mem::take(self);
        Frame {
            name: "events",
            columns: vec![
                ("run", Column::Text(run)),
                ("arm", Column::Text(arm)),
                ("agent", Column::Integer(agent)),
                ("task", Column::Integer(task)),
                ("round", Column::Integer(round)),
                ("key", Column::Text(key)),
                ("of", Column::Integer(of)),
                ("value", Column::Number(value)),
            ],
        }
    }
}

fn open(frame: &Frame, path: &Path) -> Result<SerializedFileWriter<File>, ReportError> {
    let fail = write_error(path);
    let fields = frame.columns.iter().map(|(name, column)| {
        let (physical, converted, repetition) = match column {
            Column::Text(_) => (Physical::BYTE_ARRAY, ConvertedType::UTF8, Repetition::REQUIRED),
            Column::Integer(_) => (Physical::INT64, ConvertedType::NONE, Repetition::OPTIONAL),
            Column::Number(_) => (Physical::DOUBLE, ConvertedType::NONE, Repetition::OPTIONAL),
        };
        let field =
            Type::primitive_type_builder(name, physical).with_converted_type(converted).with_repetition(repetition);
        field.build().map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>, _>>().map_err(&fail)?;
    let schema = Type::group_type_builder(frame.name).with_fields(fields).build().map_err(&fail)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(path).map_err(|source| ReportError::Write { path: path.to_owned(), source })?;
    SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(fail)
}

/// Adds the frame as a row group; an empty one adds none.
fn append(writer: &mut SerializedFileWriter<File>, frame: &Frame) -> Result<(), ParquetError> {
    if frame.rows() == 0 {
        return Ok(());
    }
    let mut group = writer.next_row_group()?;
    for (_, column) in &frame.columns {
        let Some(mut out) = group.next_column()? else { break };
        match column {
            Column::Text(values) => {
                let values: Vec<ByteArray> = values.iter().map(|value| ByteArray::from(value.as_str())).collect();
                out.typed::<ByteArrayType>().write_batch(&values, None, None)?;
            }
            Column::Integer(values) => {
                let (values, levels) = present(values);
                out.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
            }
            Column::Number(values) => {
                let (values, levels) = present(values);
                out.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
            }
        }
        out.close()?;
    }
    group.close()?;
    Ok(())
}

/// The values that are there, and for each row whether one is.
fn present<T: Copy>(values: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
    (values.iter().flatten().copied().collect(), values.iter().map(|value| i16::from(value.is_some())).collect())
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    use ::parquet::record::RowAccessor as _;

    use super::*;

    #[test]
    fn a_frame_reads_back_with_its_values_and_gaps() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("t.parquet");
        let columns = vec![
            ("name", Column::Text(vec!["é".into(), "b".into()])),
            ("count", Column::Integer(vec![Some(7), None])),
            ("value", Column::Number(vec![None, Some(0.25)])),
        ];
        write(&Frame { name: "t", columns }, &path).expect("it can be written");
        let reader = SerializedFileReader::new(File::open(&path).expect("it is there")).expect("it is Parquet");
        let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].get_string(0).expect("text").as_str(), rows[0].get_long(1).expect("a number")), ("é", 7));
        assert!(rows[0].get_double(2).is_err() && rows[1].get_long(1).is_err(), "a gap is null");
        assert!((rows[1].get_double(2).expect("a number") - 0.25).abs() < 1e-15);
    }
}
