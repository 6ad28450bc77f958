//! Parquet: the chosen columns only, a page at a time.
//!
//! Texts are strings, integers or booleans at the top level, labels any number too; anything else is refused by name
//! before a row is read. Columns that are handed on unread may hold anything. The `parquet` crate panics on some
//! damaged files (a negative offset, an impossible bit width), so every call that decodes is a boundary where a panic
//! becomes an error.

use std::{
    cell::Cell,
    fs::File,
    io::{Read, Seek},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{Arc, Once},
};

use parquet::{
    basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as PhysicalType},
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, reader::RowIter},
    schema::types::{Type, TypePtr},
};
use serde_json::Value;

use super::{
    integer,
    lines::utf8,
    records::{Found, Records, fault},
    unpack::Packing,
};
use crate::{
    Error, Result,
    data::{Table, columns::Role},
};

/// The records of a Parquet file; a record's line is its number from 1, and so is its position.
pub(super) struct Parquet<'r> {
    table: &'r Table,
    rows: RowIter<'static>,
    columns: Vec<Column>,
    /// One for each of `columns`.
    cells: Vec<String>,
    number: u64,
}

/// A column as it is asked for.
struct Column {
    name: String,
    role: Role,
    /// Which of the columns that the reader yields it is.
    place: usize,
    /// Its integers count nanoseconds since 1970.
    nanoseconds: bool,
}

impl<'r> Parquet<'r> {
    pub(crate) fn open(table: &'r Table, mut file: File) -> Result<Self> {
        let path = &table.path;
        if file.metadata().map_err(Error::io("read", path))?.len() == 0 {
            return Err(Error::table(path, "the file is empty"));
        }
        refuse_packed(path, &mut file)?;
        let damaged =
            |fault: ParquetError| Error::table(path, format!("not a readable Parquet file: {}", brief(&fault)));
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(damaged)?;
        let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
        let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
        let chosen = table.columns.resolve_names(&names, path)?;

        // The reader yields each projected column once, in the order of the projection.
        let mut projected: Vec<usize> = chosen.clone();
        projected.sort_unstable();
        projected.dedup();
        let mut columns = Vec::new();
        for (i, index) in chosen.iter().enumerate() {
            let (field, role) = (&schema.get_fields()[*index], table.columns.role(i));
            check(path, field, role)?;
            columns.push(Column {
                name: field.name().to_owned(),
                role,
                place: projected.partition_point(|before| before < index),
                nanoseconds: counts_nanoseconds(field),
            });
        }
        let fields: Vec<TypePtr> = projected.iter().map(|index| Arc::clone(&schema.get_fields()[*index])).collect();
        let projection = Type::group_type_builder(schema.name()).with_fields(fields).build().map_err(damaged)?;
        let rows = guarded(|| RowIter::from_file_into(Box::new(reader)).project(Some(projection))).map_err(damaged)?;
        Ok(Self { table, rows, cells: vec![String::new(); columns.len()], columns, number: 0 })
    }
}

impl Records for Parquet<'_> {
    fn advance(&mut self) -> Result<Found> {
        let (path, number) = (&self.table.path, self.number + 1);
        let row =
            guarded(|| self.rows.next().transpose()).map_err(|reason| fault(path, number, None, brief(&reason)))?;
        let Some(row) = row else { return Ok(Found::End) };
        self.number = number;
        for (column, cell) in self.columns.iter().zip(&mut self.cells) {
            cell.clear();
            // The reader yields every projected column in every row.
            let field = row.get_column_iter().nth(column.place).map_or(&Field::Null, |(_, field)| field);
            if let Err(bad) = fill(cell, field, column, path, number) {
                return Ok(Found::Bad(bad));
            }
        }
        Ok(Found::Record)
    }

    fn cell(&self, i: usize) -> &str {
        &self.cells[i]
    }

    fn line(&self) -> u64 {
        self.number
    }

    fn position(&self) -> u64 {
        self.number
    }
}

/// Writes a value as the text of a cell.
fn fill(cell: &mut String, field: &Field, column: &Column, path: &Path, number: u64) -> Result<()> {
    let name = Some(&column.name as &dyn std::fmt::Display);
    match (field, column.role) {
        (Field::Null, Role::Text) => {
            return Err(fault(path, number, name, "the value is null; give it a string or leave the row out"));
        }
        (Field::Null, _) => {}
        (Field::Bytes(bytes), Role::Text | Role::Label) => {
            cell.push_str(utf8(bytes.data(), path, number, Some(&column.name))?);
        }
        // Tables that lack some labels often keep the others as floats and the gaps as NaN.
        (&Field::Double(value), Role::Label) => cell.push_str(&number_label(value)),
        (&Field::Float(value), Role::Label) => cell.push_str(&number_label(value.into())),
        (Field::Float16(value), Role::Label) => cell.push_str(&number_label(value.to_f64())),
        (&Field::Long(value), _) if column.nanoseconds => {
            let micros = Field::TimestampMicros(value.div_euclid(1000));
            cell.push_str(&plain(&micros).map_err(|reason| fault(path, number, name, brief(&reason)))?);
        }
        (other, _) => cell.push_str(&plain(other).map_err(|reason| fault(path, number, name, brief(&reason)))?),
    }
    Ok(())
}

/// A number as a label: empty if there is none.
fn number_label(value: f64) -> String {
    match integer(value) {
        Some(whole) => whole,
        None if value.is_nan() => String::new(),
        None => value.to_string(),
    }
}

/// A value as text: what is nested as JSON, bytes that are no text in hexadecimal.
fn plain(field: &Field) -> Result<String, ParquetError> {
    Ok(match field {
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.data().iter().map(|byte| format!("{byte:02x}")).collect(),
        },
        Field::Float(value) => format!("{value:?}"),
        Field::Double(value) => format!("{value:?}"),
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => json(field)?.to_string(),
        // A date that no calendar has is a panic of the crate.
        other => guarded(|| Ok(other.to_string()))?,
    })
}

fn json(field: &Field) -> Result<Value, ParquetError> {
    let object = |entries: Vec<(String, &Field)>| -> Result<Value, ParquetError> {
        entries.into_iter().map(|(name, field)| Ok((name, json(field)?))).collect::<Result<_, _>>().map(Value::Object)
    };
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::from(*value),
        Field::Byte(value) => Value::from(*value),
        Field::Short(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::UByte(value) => Value::from(*value),
        Field::UShort(value) => Value::from(*value),
        Field::UInt(value) => Value::from(*value),
        Field::ULong(value) => Value::from(*value),
        Field::Float(value) => Value::from(*value),
        Field::Double(value) => Value::from(*value),
        Field::Group(row) => object(row.get_column_iter().map(|(name, field)| (name.clone(), field)).collect())?,
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(json).collect::<Result<_, _>>()?),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(key, field)| Ok((plain(key)?, field)));
            object(entries.collect::<Result<_, ParquetError>>()?)?
        }
        other => Value::from(plain(other)?),
    })
}

/// Parquet compresses its pages: what is packed once more cannot be read from its end.
fn refuse_packed(path: &Path, file: &mut File) -> Result<()> {
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start).and_then(|_| file.rewind()).map_err(Error::io("read", path))?;
    Packing::detect(&start).map_or(Ok(()), |packing| {
        let message = format!("the file is packed with {}; Parquet is compressed inside, so unpack it", packing.name());
        Err(Error::table(path, message))
    })
}

thread_local! {
    /// Set while the decoder runs: what it says in a panic is in the error, and not on the screen besides.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

fn silence_decoder() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !DECODING.get() {
                before(panic);
            }
        }));
    });
}

/// Runs a part of the decoder. What it leaves behind in a panic is not used again: the error ends the reading.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    silence_decoder();
    DECODING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(false);
    outcome.unwrap_or_else(|panic| {
        let reason =
            panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(|s| s.as_str()));
        Err(ParquetError::General(format!("the file is damaged: {}", reason.unwrap_or("it cannot be decoded"))))
    })
}

/// How many rows the file says it has; 0 where it cannot be read, which reading it will explain.
pub(super) fn rows(file: File) -> u64 {
    let reader = guarded(|| SerializedFileReader::new(file));
    let rows = reader.map_or(0, |reader| reader.metadata().file_metadata().num_rows());
    u64::try_from(rows).unwrap_or(0)
}

/// Refuses what the reader cannot turn into text; some of it would make the `parquet` crate panic.
fn check(path: &Path, field: &Type, role: Role) -> Result<()> {
    if role == Role::Kept {
        return Ok(());
    }
    let info = field.get_basic_info();
    let plain = field.is_primitive() && !(info.has_repetition() && info.repetition() == Repetition::REPEATED);
    let readable = plain
        && match (field.get_physical_type(), info.converted_type()) {
            (PhysicalType::BOOLEAN, _) => true,
            (PhysicalType::BYTE_ARRAY, kind) => {
                use ConvertedType::{ENUM, JSON, NONE, UTF8};
                matches!(kind, NONE | UTF8 | ENUM | JSON)
            }
            (PhysicalType::INT32 | PhysicalType::INT64, kind) => {
                use ConvertedType::{INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16, UINT_32, UINT_64};
                let integer = matches!(kind, NONE | INT_8 | INT_16 | INT_32 | INT_64)
                    || matches!(kind, UINT_8 | UINT_16 | UINT_32 | UINT_64);
                integer && matches!(info.logical_type_ref(), None | Some(LogicalType::Integer(_)))
            }
            (PhysicalType::FLOAT | PhysicalType::DOUBLE, _) => role == Role::Label,
            (PhysicalType::FIXED_LEN_BYTE_ARRAY, _) => {
                role == Role::Label && info.logical_type_ref() == Some(&LogicalType::Float16)
            }
            _ => false,
        };
    if readable {
        return Ok(());
    }
    let message = if field.is_primitive() {
        format!(
            "holds {} ({}); only strings, integers and booleans are read",
            field.get_physical_type(),
            info.converted_type()
        )
    } else {
        "holds nested values; only strings, integers and booleans are read".to_owned()
    };
    Err(Error::Table { path: path.to_owned(), line: None, column: Some(field.name().to_owned()), message })
}

fn counts_nanoseconds(field: &Type) -> bool {
    let kind = field.get_basic_info().logical_type_ref();
    matches!(kind, Some(LogicalType::Timestamp(timestamp)) if timestamp.unit == TimeUnit::NANOS)
}

/// The message without the values that some of them carry in full.
fn brief(fault: &ParquetError) -> String {
    const LONGEST: usize = 200;
    let message = fault.to_string();
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}
