//! What every format's reader offers: records one after another, and the chosen cells of the present one as text.

use std::{fmt, path::Path};

use crate::{Error, Result};

/// Where a reader has come to.
pub(super) enum Found {
    /// A record whose chosen cells can be asked for.
    Record,
    /// A record that cannot be used, and why; the reader can go on after it.
    Bad(Error),
    End,
}

/// The records of one file.
pub(super) trait Records {
    /// Goes to the next record.
    ///
    /// # Errors
    /// What no later record can make good: the file cannot be read, or what follows in it cannot be told apart.
    fn advance(&mut self) -> Result<Found>;

    /// The `i`-th of [`Columns::all`](crate::data::Columns::all) in the present record; null is empty.
    fn cell(&self, i: usize) -> &str;

    /// The record's first line, or its number.
    fn line(&self) -> u64;

    /// How much of the file has been read.
    fn position(&self) -> u64;

    /// The delimiter that the file turned out to have in place of its format's own.
    fn recognised(&self) -> Option<crate::data::Delimiter> {
        None
    }
}

/// An error in a record.
pub(super) fn fault(path: &Path, line: u64, column: Option<&dyn fmt::Display>, message: impl Into<String>) -> Error {
    Error::Table {
        path: path.into(),
        line: Some(line),
        column: column.map(|column| column.to_string()),
        message: message.into(),
    }
}
