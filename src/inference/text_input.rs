//! Texts to classify: a table's columns, or plain lines.
//!
//! A plain line is one text, also an empty one, so that line i of the answers belongs to line i of the input. For pairs
//! the two texts stand on one line with a tab between them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    data::{Row, ShardRows, Table, lines},
};

/// How errors call standard input.
pub const STANDARD_INPUT: &str = "standard input";

/// A file, or standard input, and how to read it.
#[derive(Clone, Debug)]
pub enum TextInput {
    /// Tables in files, one after another; their label column, if given, is not read.
    Tables(Vec<Table>),
    /// A table from standard input.
    Stream(Table),
    /// Plain text, one example per line.
    Lines {
        /// The file.
        path: PathBuf,
        /// Whether a tab separates two texts.
        paired: bool,
        /// Whether the lines come from standard input.
        stdin: bool,
    },
}

impl TextInput {
    /// Calls `visit` for every text, in order, until it returns an error. Returns what there is to say about the texts
    /// besides.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Table`] naming line and column of what cannot be used.
    pub fn for_each(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<Vec<String>> {
        match self {
            Self::Tables(tables) => {
                let mut rows = ShardRows::open(tables)?;
                while let Some(row) = rows.next_row()? {
                    visit(row)?;
                }
                Ok(rows.remarks().describe("the input", &self.files()))
            }
            Self::Stream(table) => {
                let mut rows = table.rows_from(std::io::stdin().lock())?;
                while let Some(row) = rows.next_row()? {
                    visit(row)?;
                }
                Ok(rows.remarks().describe("the input", &[&table.path]))
            }
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
            Self::Tables(tables) => tables.iter().any(|table| table.columns.pair.is_some()),
            Self::Stream(table) => table.columns.pair.is_some(),
            Self::Lines { paired, .. } => *paired,
        }
    }

    /// The first file, or [`STANDARD_INPUT`].
    pub fn path(&self) -> &Path {
        match self {
            Self::Tables(tables) => tables.first().map_or(Path::new(""), |table| &table.path),
            Self::Stream(table) => &table.path,
            Self::Lines { path, .. } => path,
        }
    }

    /// The files that are read; none of a stream.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Tables(tables) => tables.iter().map(|table| table.path.as_path()).collect(),
            Self::Stream(_) | Self::Lines { stdin: true, .. } => Vec::new(),
            Self::Lines { path, .. } => vec![path],
        }
    }

    /// What [`Row::position`] counts up to; 0 if unknown.
    pub fn size(&self) -> u64 {
        match self {
            Self::Stream(_) | Self::Lines { stdin: true, .. } => 0,
            Self::Tables(tables) => tables.iter().map(Table::size).sum(),
            Self::Lines { path, .. } => std::fs::metadata(path).map_or(0, |file| file.len()),
        }
    }
}

fn read_lines(
    path: &Path,
    paired: bool,
    reader: impl Read,
    visit: &mut dyn FnMut(Row<'_>) -> Result<()>,
) -> Result<Vec<String>> {
    let mut lines = lines::LineReader::new(reader, path)?;
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
        visit(Row { text, pair, label: None, kept: Default::default(), path, line, position: lines.position() })?;
    }
    Ok(Vec::new())
}
