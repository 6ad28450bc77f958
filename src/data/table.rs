//! A table of examples in one file: CSV, TSV, JSON lines or Parquet.
//!
//! Rows are read one at a time; no file is ever held. Line numbers count from 1, the header included, and are those of a
//! row's first line (in Parquet: the row's number). Integers and booleans are read as their decimal string or `true` and
//! `false`; a null is an error, an empty text is not.
//!
//! `.tsv` is what IANA registered and what GLUE and SNLI ship: no quoting, so a `"` is a character like any other.
//! The wrong guess here only leaves visible quotes in a text, whereas reading unquoted files as quoted ones would silently
//! swallow rows. Spreadsheets' quoted variant is [`Format::TsvQuoted`].

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use super::{
    Columns, Row,
    delimited::{self, Quoting},
    jsonl, parquet,
};
use crate::{
    Error, Result,
    text_value::{text_enum, text_serde},
};

/// The layout of a table's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Commas, RFC 4180 quoting.
    Csv,
    /// Tabs, no quoting.
    Tsv,
    /// Tabs, RFC 4180 quoting.
    TsvQuoted,
    /// One JSON object a line.
    #[value(name = "jsonl")]
    JsonLines,
    Parquet,
}

text_enum!(Format);
text_serde!(Format);

impl Format {
    /// By the file's extension: `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet`.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "parquet" => Ok(Self::Parquet),
            _ => Err(Error::table(
                path,
                "the extension does not tell the format (.csv, .tsv, .jsonl, .ndjson, .parquet); give it with --format",
            )),
        }
    }
}

/// What some published files do beyond their format. All off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conventions {
    /// Rows may lack columns at their end, as long as those that are read exist.
    pub ragged: bool,
    /// A backslash followed by `n` stands for a line break.
    pub escaped_newlines: bool,
    /// Rows with this label have none and are left out.
    pub unlabelled: Option<String>,
    /// The label is a position from 1 in this list; empty: the label is what the file says.
    pub class_names: Vec<String>,
}

/// One file and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub path: PathBuf,
    pub format: Format,
    /// The first row of a CSV or TSV file names the columns.
    pub header: bool,
    pub columns: Columns,
    pub conventions: Conventions,
}

impl Table {
    /// A table with a header, in the format its extension tells.
    pub fn new(path: impl Into<PathBuf>, columns: Columns) -> Result<Self> {
        let path = path.into();
        let format = Format::of(&path)?;
        Ok(Self { path, format, header: true, columns, conventions: Conventions::default() })
    }

    /// Calls `visit` for every row, in order, until it returns an error.
    pub fn for_each(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        match self.format {
            Format::Parquet => parquet::read(self, file, &mut Assembler::new(self, visit)),
            _ => self.for_each_from(file, visit),
        }
    }

    /// The same over a stream, such as standard input; `path` only names it in errors. Parquet cannot be streamed.
    pub fn for_each_from(&self, reader: impl Read, visit: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let rows = &mut Assembler::new(self, visit);
        match self.format {
            Format::Csv => delimited::read(self, reader, b',', Quoting::Rfc4180, rows),
            Format::Tsv => delimited::read(self, reader, b'\t', Quoting::None, rows),
            Format::TsvQuoted => delimited::read(self, reader, b'\t', Quoting::Rfc4180, rows),
            Format::JsonLines => jsonl::read(self, reader, rows),
            Format::Parquet => {
                Err(Error::table(&self.path, "Parquet cannot be read from a stream; write it to a file first"))
            }
        }
    }

    /// An error in this table.
    pub(super) fn fault(&self, line: u64, column: Option<&dyn fmt::Display>, message: impl Into<String>) -> Error {
        Error::Table {
            path: self.path.clone(),
            line: Some(line),
            column: column.map(|column| column.to_string()),
            message: message.into(),
        }
    }
}

/// Makes rows from the cells a format's reader finds.
pub(super) struct Assembler<'a> {
    table: &'a Table,
    visit: &'a mut dyn FnMut(Row<'_>) -> Result<()>,
    joined: String,
    text: String,
    pair: String,
}

impl<'a> Assembler<'a> {
    fn new(table: &'a Table, visit: &'a mut dyn FnMut(Row<'_>) -> Result<()>) -> Self {
        Self { table, visit, joined: String::new(), text: String::new(), pair: String::new() }
    }

    /// One row; `cell(i)` is the i-th of [`Columns::all`].
    pub fn row<'c>(&mut self, cell: impl Fn(usize) -> &'c str, line: u64, position: u64) -> Result<()> {
        let Table { columns, conventions, path, .. } = self.table;
        let texts = columns.text.len();
        let label = match &columns.label {
            None => None,
            Some(column) => {
                let label = cell(texts + usize::from(columns.pair.is_some()));
                if conventions.unlabelled.as_deref() == Some(label) {
                    return Ok(());
                }
                if label.is_empty() {
                    return Err(self.table.fault(
                        line,
                        Some(column),
                        "the label is empty; give the row one, or delete it",
                    ));
                }
                Some(self.class_name(label, line)?)
            }
        };
        let mut text = if texts == 1 { cell(0) } else { "" };
        if texts > 1 {
            self.joined.clear();
            for i in 0..texts {
                self.joined.push_str(if i == 0 { "" } else { " " });
                self.joined.push_str(cell(i));
            }
            text = &self.joined;
        }
        let mut pair = columns.pair.as_ref().map(|_| cell(texts));
        if conventions.escaped_newlines {
            text = unescape(text, &mut self.text);
            pair = pair.map(|pair| unescape(pair, &mut self.pair));
        }
        let before = texts + usize::from(columns.pair.is_some()) + usize::from(columns.label.is_some());
        let kept: Vec<&str> = (before..before + columns.kept.len()).map(cell).collect();
        (self.visit)(Row { text, pair, label, kept: &kept, path, line, position })
    }

    fn class_name<'l>(&self, label: &'l str, line: u64) -> Result<&'l str>
    where
        'a: 'l,
    {
        let names = &self.table.conventions.class_names;
        if names.is_empty() {
            return Ok(label);
        }
        let name = label.parse::<usize>().ok().and_then(|class| names.get(class.checked_sub(1)?));
        name.map(String::as_str).ok_or_else(|| {
            let column = self.table.columns.label.as_ref().map(|column| column as &dyn fmt::Display);
            let message =
                format!("class '{label}' is not a number from 1 to {}, the length of classes.txt", names.len());
            self.table.fault(line, column, message)
        })
    }
}

fn unescape<'a>(text: &'a str, buffer: &'a mut String) -> &'a str {
    if !text.contains("\\n") {
        return text;
    }
    *buffer = text.replace("\\n", "\n");
    buffer
}
