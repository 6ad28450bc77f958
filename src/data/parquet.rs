//! Parquet: the chosen columns only, a page at a time.
//!
//! Columns hold strings, integers or booleans at the top level; anything else is refused by name before a row is read.
//! The `parquet` crate panics on some damaged files (a negative offset, an impossible bit width), so every call that
//! decodes is a boundary where a panic becomes an error.

use std::{
    cell::Cell,
    fs::File,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Once},
};

use parquet::{
    basic::{ConvertedType, LogicalType, Type as PhysicalType},
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
    schema::types::{Type, TypePtr},
};

use super::{Table, lines::utf8, table::Assembler};
use crate::{Error, Result};

/// Passes every row of `file` to `rows`; a row's line is its number from 1, and so is its position.
pub(super) fn read(table: &Table, file: File, rows: &mut Assembler) -> Result<()> {
    let path = &table.path;
    if file.metadata().map_err(Error::io("read", path))?.len() == 0 {
        return Err(Error::table(path, "the file is empty"));
    }
    let damaged = |fault: ParquetError| Error::table(path, format!("not a readable Parquet file: {}", brief(&fault)));
    let reader = guarded(|| SerializedFileReader::new(file)).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
    let chosen = table.columns.resolve_names(&names, path)?;

    // The reader yields each projected column once, in the order of the projection.
    let mut projected: Vec<usize> = chosen.clone();
    projected.sort_unstable();
    projected.dedup();
    let places: Vec<usize> = chosen.iter().filter_map(|index| projected.binary_search(index).ok()).collect();
    let fields: Vec<TypePtr> = projected.iter().map(|index| Arc::clone(&schema.get_fields()[*index])).collect();
    for field in &fields {
        check(table, field)?;
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build().map_err(damaged)?;

    let mut cells: Vec<String> = vec![String::new(); projected.len()];
    let mut number = 0;
    for group in 0..reader.num_row_groups() {
        let group = guarded(|| reader.get_row_group(group)).map_err(damaged)?;
        let mut decoded = guarded(|| group.get_row_iter(Some(projection.clone()))).map_err(damaged)?;
        while let Some(row) =
            guarded(|| decoded.next().transpose()).map_err(|fault| table.fault(number + 1, None, brief(&fault)))?
        {
            number += 1;
            for ((name, field), cell) in row.get_column_iter().zip(&mut cells) {
                cell.clear();
                match field {
                    Field::Str(text) => cell.push_str(text),
                    Field::Bytes(bytes) => cell.push_str(utf8(bytes.data(), path, number, Some(name))?),
                    Field::Null => {
                        let message = "the value is null; give it a string or leave the row out";
                        return Err(table.fault(number, Some(name), message));
                    }
                    Field::Bool(value) => cell.push_str(if *value { "true" } else { "false" }),
                    Field::Byte(value) => cell.push_str(&value.to_string()),
                    Field::Short(value) => cell.push_str(&value.to_string()),
                    Field::Int(value) => cell.push_str(&value.to_string()),
                    Field::Long(value) => cell.push_str(&value.to_string()),
                    Field::UByte(value) => cell.push_str(&value.to_string()),
                    Field::UShort(value) => cell.push_str(&value.to_string()),
                    Field::UInt(value) => cell.push_str(&value.to_string()),
                    Field::ULong(value) => cell.push_str(&value.to_string()),
                    other => return Err(table.fault(number, Some(name), format!("cannot be read: {other}"))),
                }
            }
            rows.row(|i| &cells[places[i]], number, number)?;
        }
    }
    Ok(())
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
fn check(table: &Table, field: &Type) -> Result<()> {
    let info = field.get_basic_info();
    let plain =
        field.is_primitive() && !(info.has_repetition() && info.repetition() == parquet::basic::Repetition::REPEATED);
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
    Err(Error::Table { path: table.path.clone(), line: None, column: Some(field.name().to_owned()), message })
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
