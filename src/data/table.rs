//! A table of examples in one file, described: where it is and how it is read.
//!
//! `.tsv` is what IANA registered and what GLUE and SNLI ship: no quoting, so a `"` is a character like any other.
//! The wrong guess here only leaves visible quotes in a text, whereas reading unquoted files as quoted ones would
//! silently swallow rows. Spreadsheets' quoted variant is [`Format::TsvQuoted`].

use std::path::PathBuf;

use clap::ValueEnum;

use super::{Columns, Delimiter, Format, LabelNames};
use crate::{
    Result,
    text_value::{text_enum, text_serde},
};

/// How a file is read beyond its format. All off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conventions {
    /// What separates the columns of CSV and TSV; `None`: the format's own delimiter, or another one that the first
    /// line shows.
    pub delimiter: Option<Delimiter>,
    /// Rows may lack columns at their end, as long as those that are read exist.
    pub ragged: bool,
    /// A backslash followed by `n` stands for a line break.
    pub escaped_newlines: bool,
    /// Rows with one of these labels have none and are left out. The empty one stands for null too.
    pub ignored_labels: Vec<String>,
    /// The label is a position from 1 in this list; empty: the label is what the file says.
    pub class_names: Vec<String>,
    /// Labels of the file and what they are called instead.
    pub label_names: LabelNames,
    /// What becomes of rows that cannot be read.
    pub bad_rows: BadRows,
}

/// What becomes of rows that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BadRows {
    /// The first one ends the reading.
    #[default]
    Refuse,
    /// They are left out and counted.
    Skip,
}

text_enum!(BadRows);
text_serde!(BadRows);

/// One file and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The file.
    pub path: PathBuf,
    /// The layout of its bytes.
    pub format: Format,
    /// The first row of a CSV or TSV file names the columns.
    pub header: bool,
    /// Which columns are read.
    pub columns: Columns,
    /// What holds beyond the format.
    pub conventions: Conventions,
}

impl Table {
    /// A table with a header, in the format its extension tells.
    ///
    /// # Errors
    /// As [`Format::from_path`].
    pub fn new(path: impl Into<PathBuf>, columns: Columns) -> Result<Self> {
        let path = path.into();
        let format = Format::from_path(&path)?;
        Ok(Self { path, format, header: true, columns, conventions: Conventions::default() })
    }
}
