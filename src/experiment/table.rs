//! All rows as one table, as CSV or Parquet: every setting, what the run cost, its scores on dev at each evaluation, and,
//! where the choice that they might influence is made, its scores and its answers on test.

use std::{path::Path, sync::Arc};

use parquet::{
    basic::{Compression, ConvertedType, Repetition, Type as Physical, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::Type,
};
use serde_json::Value;

use super::{Cell, Choice, Ending, Row, Store};
use crate::{Error, Result, checkpoint::AtomicFile, metrics::Metric, reports::EvalEvent, text_value::InvalidValue};

/// What a table is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated text.
    Csv,
    /// Typed columns, compressed.
    Parquet,
}

impl TableFormat {
    /// By the file's extension.
    ///
    /// # Errors
    /// [`InvalidValue`] for another one.
    pub fn of(path: &Path) -> Result<Self, InvalidValue> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(InvalidValue(format!("{}: a table is .csv or .parquet", path.display()))),
        }
    }
}

/// The cells of one column, row by row; what a row does not have is left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Texts.
    Text(Vec<Option<String>>),
    /// Whole numbers.
    Integer(Vec<Option<i64>>),
    /// Real numbers.
    Number(Vec<Option<f64>>),
    /// Lists of whole numbers.
    Integers(Vec<Vec<i64>>),
    /// Lists of real numbers.
    Numbers(Vec<Vec<f64>>),
}

/// Named columns of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// In their order.
    pub columns: Vec<(String, Column)>,
    /// How long each of them is.
    pub rows: usize,
}

const METRICS: [Metric; 6] =
    [Metric::Accuracy, Metric::MacroF1, Metric::WeightedF1, Metric::Mcc, Metric::Loss, Metric::Ece];

impl Table {
    /// The cells that are done, in the order of the grid.
    ///
    /// # Errors
    /// As [`Store::predictions`].
    pub fn new<'r>(
        store: &Store,
        cells: &[Cell],
        choice: &Choice,
        row: impl Fn(&Cell) -> Option<&'r Row>,
    ) -> Result<Self> {
        let done: Vec<(&Cell, &Row)> = cells.iter().filter_map(|cell| Some((cell, row(cell)?))).collect();
        let mut table = Self { columns: Vec::new(), rows: done.len() };
        table.add_identity(&done, choice);
        table.add_settings(&done);
        table.add_cost(&done);
        table.add_scores("dev", &done, |_, row| &row.dev);
        // Not even their number shows what is sealed.
        let seals = |cell: &Cell| !choice.is_settled(cell);
        table.add_scores("test", &done, |cell, row| if seals(cell) { &[] } else { &row.test });
        let mut answers = Vec::new();
        for (cell, _) in &done {
            let all = if seals(cell) { Vec::new() } else { store.predictions(cell)? };
            answers.push(all);
        }
        let sets = answers.iter().flatten().map(|part| (part.set.clone(), part.weights));
        let mut names: Vec<_> = sets.collect();
        names.sort_unstable();
        names.dedup();
        for (set, weights) in names {
            let find = |all: &Vec<super::Predictions>| {
                all.iter().find(|part| part.set == set && part.weights == weights).cloned()
            };
            let parts: Vec<Option<super::Predictions>> = answers.iter().map(find).collect();
            let classes = |part: &Option<super::Predictions>| {
                part.as_ref().map_or_else(Vec::new, |part| part.classes().into_iter().map(i64::from).collect())
            };
            let logits = |part: &Option<super::Predictions>| {
                part.as_ref().map_or_else(Vec::new, |part| part.logits.iter().map(|&z| f64::from(z)).collect())
            };
            table.push(&format!("predictions_{set}_{weights}"), Column::Integers(parts.iter().map(classes).collect()));
            table.push(&format!("logits_{set}_{weights}"), Column::Numbers(parts.iter().map(logits).collect()));
        }
        Ok(table)
    }

    fn push(&mut self, name: &str, column: Column) {
        self.columns.push((name.to_owned(), column));
    }

    fn add_identity(&mut self, done: &[(&Cell, &Row)], choice: &Choice) {
        let text = |of: &dyn Fn(&Cell, &Row) -> String| {
            Column::Text(done.iter().map(|(cell, row)| Some(of(cell, row))).collect())
        };
        let holds = |of: &dyn Fn(&Cell) -> bool| {
            Column::Integer(done.iter().map(|(cell, _)| Some(i64::from(of(cell)))).collect())
        };
        let ending = |_: &Cell, row: &Row| match &row.ending {
            Ending::Finished { .. } => "finished".to_owned(),
            Ending::Failed { message } => message.clone(),
        };
        self.push("cell", text(&|cell, _| cell.id.clone()));
        self.push("data", text(&|cell, _| cell.data.clone()));
        self.push("arm", text(&|cell, _| cell.arm(&[])));
        self.push("seeds", text(&|cell, _| cell.seed()));
        self.push("chosen", holds(&|cell| choice.has_chosen(cell)));
        self.push("test_may_be_read", holds(&|cell| choice.is_settled(cell)));
        self.push("ending", text(&ending));
    }

    /// One column for each option that any row has; numbers stay numbers.
    fn add_settings(&mut self, done: &[(&Cell, &Row)]) {
        let mut names: Vec<&String> = Vec::new();
        for name in done.iter().flat_map(|(_, row)| row.settings.keys()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let values: Vec<Option<&Value>> = done.iter().map(|(_, row)| row.settings.get(name)).collect();
            let all = |holds: &dyn Fn(&Value) -> bool| values.iter().flatten().all(|value| holds(value));
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let column = if all(&|value| value.as_i64().is_some()) {
                Column::Integer(values.iter().map(|value| value.and_then(Value::as_i64)).collect())
            } else if all(&Value::is_number) {
                Column::Number(values.iter().map(|value| value.and_then(Value::as_f64)).collect())
            } else {
                Column::Text(values.iter().map(|value| value.map(text)).collect())
            };
            self.push(&name.replace('-', "_"), column);
        }
    }

    fn add_cost(&mut self, done: &[(&Cell, &Row)]) {
        let text = |of: fn(&Row) -> &str| Column::Text(done.iter().map(|(_, row)| Some(of(row).to_owned())).collect());
        let number = |of: fn(&Row) -> Option<f64>| Column::Number(done.iter().map(|(_, row)| of(row)).collect());
        let integer = |of: fn(&Row) -> Option<u64>| {
            let value = |row: &Row| of(row).and_then(|value| i64::try_from(value).ok());
            Column::Integer(done.iter().map(|(_, row)| value(row)).collect())
        };
        let exported = |row: &Row| match row.ending {
            Ending::Finished { exported_step } => Some(exported_step),
            Ending::Failed { .. } => None,
        };
        self.push("examples", text(|row| &row.examples));
        self.push("version", text(|row| &row.version));
        self.push("device", text(|row| &row.device));
        self.push("computed_in", text(|row| &row.precision));
        self.push("threads", integer(|row| Some(row.threads as u64)));
        self.push("started", integer(|row| Some(row.started)));
        self.push("resumed", integer(|row| Some(row.resumed.into())));
        self.push("seconds", number(|row| Some(row.seconds)));
        self.push("step_seconds", number(|row| Some(row.step_seconds)));
        self.push("tokens_per_s", number(Row::tokens_per_s));
        self.push("peak_memory_bytes", integer(|row| row.peak_memory_bytes));
        self.push("steps", integer(|row| Some(row.steps)));
        self.push("exported_step", integer(exported));
    }

    /// For each kind of weights the steps that were scored, and a list of each score.
    fn add_scores<'r>(
        &mut self,
        split: &str,
        done: &[(&Cell, &'r Row)],
        events: impl Fn(&Cell, &'r Row) -> &'r [EvalEvent],
    ) {
        let key = |event: &EvalEvent| {
            let set = event.extra.get("set").and_then(Value::as_str).unwrap_or(split).to_owned();
            (set, event.weights)
        };
        let mut keys: Vec<_> = done.iter().flat_map(|(cell, row)| events(cell, row)).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        for (set, weights) in keys {
            let wanted = |event: &&EvalEvent| key(event) == (set.clone(), weights);
            let steps = |(cell, row): &(&Cell, &'r Row)| {
                events(cell, row).iter().filter(wanted).map(|event| event.step as i64).collect()
            };
            self.push(&format!("{set}_{weights}_step"), Column::Integers(done.iter().map(steps).collect()));
            for metric in METRICS {
                let scores = |(cell, row): &(&Cell, &'r Row)| {
                    events(cell, row).iter().filter(wanted).map(|event| metric.get(&event.scores)).collect()
                };
                let name = format!("{set}_{weights}_{}", metric.to_string().replace('-', "_"));
                self.push(&name, Column::Numbers(done.iter().map(scores).collect()));
            }
        }
    }

    /// Writes it, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written; [`Error::Setting`] for another kind of file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let format = TableFormat::of(path).map_err(|reason| Error::setting("out", reason.to_string()))?;
        let mut file = AtomicFile::create(path)?;
        let written = match format {
            TableFormat::Csv => self.write_csv(&mut file).map_err(std::io::Error::from),
            TableFormat::Parquet => self.write_parquet(&mut file).map_err(std::io::Error::other),
        };
        written.map_err(Error::io("write", path))?;
        file.commit()
    }

    /// A list is its values with spaces between them.
    fn write_csv(&self, file: &mut AtomicFile) -> Result<(), csv::Error> {
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(self.columns.iter().map(|(name, _)| name))?;
        for row in 0..self.rows {
            writer.write_record(self.columns.iter().map(|(_, column)| column.text(row)))?;
        }
        writer.flush()?;
        Ok(())
    }

    /// Lists are repeated fields.
    fn write_parquet(&self, file: &mut AtomicFile) -> Result<(), ParquetError> {
        let fields = self.columns.iter().map(|(name, column)| column.field(name).map(Arc::new));
        let schema = Type::group_type_builder("experiment").with_fields(fields.collect::<Result<_, _>>()?).build()?;
        let compression = Compression::ZSTD(ZstdLevel::try_new(9)?);
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        let mut columns = self.columns.iter();
        while let (Some((_, column)), Some(mut into)) = (columns.next(), group.next_column()?) {
            column.write(&mut into)?;
            into.close()?;
        }
        group.close()?;
        writer.close()?;
        Ok(())
    }
}

impl Column {
    fn text(&self, row: usize) -> String {
        fn list<T: ToString>(values: &[T]) -> String {
            values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
        }
        match self {
            Self::Text(cells) => cells[row].clone().unwrap_or_default(),
            Self::Integer(cells) => cells[row].map_or_else(String::new, |value| value.to_string()),
            Self::Number(cells) => cells[row].map_or_else(String::new, |value| value.to_string()),
            Self::Integers(cells) => list(&cells[row]),
            Self::Numbers(cells) => list(&cells[row]),
        }
    }

    fn field(&self, name: &str) -> Result<Type, ParquetError> {
        let (physical, repetition) = match self {
            Self::Text(_) => (Physical::BYTE_ARRAY, Repetition::OPTIONAL),
            Self::Integer(_) => (Physical::INT64, Repetition::OPTIONAL),
            Self::Number(_) => (Physical::DOUBLE, Repetition::OPTIONAL),
            Self::Integers(_) => (Physical::INT64, Repetition::REPEATED),
            Self::Numbers(_) => (Physical::DOUBLE, Repetition::REPEATED),
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        let is_text = matches!(self, Self::Text(_));
        builder.with_converted_type(if is_text { ConvertedType::UTF8 } else { ConvertedType::NONE }).build()
    }

    fn write(&self, into: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match self {
            Self::Text(cells) => {
                let bytes: Vec<ByteArray> = cells.iter().flatten().map(|text| text.as_str().into()).collect();
                into.typed::<ByteArrayType>().write_batch(&bytes, Some(&present(cells)), None)?;
            }
            Self::Integer(cells) => {
                let values: Vec<i64> = cells.iter().flatten().copied().collect();
                into.typed::<Int64Type>().write_batch(&values, Some(&present(cells)), None)?;
            }
            Self::Number(cells) => {
                let values: Vec<f64> = cells.iter().flatten().copied().collect();
                into.typed::<DoubleType>().write_batch(&values, Some(&present(cells)), None)?;
            }
            Self::Integers(cells) => {
                let (defined, repeated) = levels(cells);
                into.typed::<Int64Type>().write_batch(&cells.concat(), Some(&defined), Some(&repeated))?;
            }
            Self::Numbers(cells) => {
                let (defined, repeated) = levels(cells);
                into.typed::<DoubleType>().write_batch(&cells.concat(), Some(&defined), Some(&repeated))?;
            }
        }
        Ok(())
    }
}

/// Definition levels of an optional column.
fn present<T>(cells: &[Option<T>]) -> Vec<i16> {
    cells.iter().map(|cell| i16::from(cell.is_some())).collect()
}

/// Definition and repetition levels of a repeated column: an empty list is one level that defines nothing.
fn levels<T>(cells: &[Vec<T>]) -> (Vec<i16>, Vec<i16>) {
    let mut levels = (Vec::new(), Vec::new());
    for cell in cells {
        levels.0.extend(std::iter::repeat_n(i16::from(!cell.is_empty()), cell.len().max(1)));
        levels.1.push(0);
        levels.1.extend(std::iter::repeat_n(1, cell.len().saturating_sub(1)));
    }
    levels
}
