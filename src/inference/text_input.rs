//! Texts to classify: a table's columns, or plain lines.
//!
//! A plain line is one text, also an empty one, so that line i of the answers belongs to line i of the input. For pairs the two
//! texts stand on one line with a tab between them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    data::{Format, Row, Table, lines},
};

/// How errors call standard input.
pub const STANDARD_INPUT: &str = "standard input";

/// A file, or standard input, and how to read it.
#[derive(Clone, Debug)]
pub enum TextInput {
    /// A table; its label column, if given, is not read.
    Table {
        table: Table,
        stdin: bool,
    },
    Lines {
        path: PathBuf,
        paired: bool,
        stdin: bool,
    },
}

impl TextInput {
    /// Calls `visit` for every text, in order, until it returns an error.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Table`] naming line and column of what cannot be used.
    pub fn for_each(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        match self {
            Self::Table { table, stdin: true } => table.for_each_from(std::io::stdin().lock(), visit),
            Self::Table { table, stdin: false } => table.for_each(visit),
            Self::Lines { path, paired, stdin: true } => read_lines(path, *paired, std::io::stdin().lock(), visit),
            Self::Lines { path, paired, stdin: false } => {
                let file = File::open(path).map_err(Error::io("open", path))?;
                read_lines(path, *paired, file, visit)
            }
        }
    }

    /// Whether every text has a second one.
    pub fn is_paired(&self) -> bool {
        match self {
            Self::Table { table, .. } => table.columns.pair.is_some(),
            Self::Lines { paired, .. } => *paired,
        }
    }

    /// The file, or [`STANDARD_INPUT`].
    pub fn path(&self) -> &Path {
        match self {
            Self::Table { table, .. } => &table.path,
            Self::Lines { path, .. } => path,
        }
    }

    /// What [`Row::position`] counts up to, in bytes; 0 if unknown.
    pub fn size(&self) -> u64 {
        match self {
            Self::Table { stdin: true, .. } | Self::Lines { stdin: true, .. } => 0,
            Self::Table { table, .. } if table.format == Format::Parquet => 0,
            _ => std::fs::metadata(self.path()).map_or(0, |file| file.len()),
        }
    }
}

fn read_lines(
    path: &Path,
    paired: bool,
    reader: impl Read,
    visit: &mut dyn FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut lines = lines::LineReader::new(reader, path);
    let mut bytes = Vec::new();
    while lines.read(&mut bytes)? {
        let line = lines.line();
        let whole = lines::utf8(lines::without_terminator(&bytes), path, line, None)?;
        let (text, pair) = match (paired, whole.split_once('\t')) {
            (false, _) => (whole, None),
            (true, Some((text, pair))) => (text, Some(pair)),
            (true, None) => {
                let message = "this model classifies pairs; put a tab between the two texts of a line";
                return Err(Error::table_line(path, line, message));
            }
        };
        visit(Row { text, pair, label: None, kept: &[], path, line, position: lines.position() })?;
    }
    Ok(())
}
