//! Where rows come from: a table, or folders with one text a file.

use std::{fmt, fs::File, io::Read, path::Path};

use xxhash_rust::xxh3::Xxh3;

use super::{Folders, Format, Table, parquet};
use crate::{Error, Result};

/// One example as text, borrowed from its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub text: &'a str,
    pub pair: Option<&'a str>,
    /// Present exactly if the source has a label column.
    pub label: Option<&'a str>,
    /// As [`Columns::kept`](super::Columns::kept) asks.
    pub kept: &'a [&'a str],
    pub path: &'a Path,
    /// The row's first line, from 1; in Parquet its number.
    pub line: u64,
    /// How much of [`Source::size`] lies behind this row.
    pub position: u64,
}

/// Rows that can be read from their start any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Table(Table),
    Folders(Folders),
}

impl Source {
    /// Calls `visit` for every row, in order, until it returns an error. A source without a row is an error.
    pub fn for_each(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let mut rows = 0u64;
        let mut counted = |row: Row<'_>| {
            rows += 1;
            visit(row)
        };
        match self {
            Self::Table(table) => table.for_each(&mut counted)?,
            Self::Folders(folders) => folders.for_each(&mut counted)?,
        }
        if rows == 0 {
            return Err(Error::table(self.path(), "the file has no rows to read; is there anything below its header?"));
        }
        Ok(())
    }

    /// The file, or the folder that holds the folders.
    pub fn path(&self) -> &Path {
        match self {
            Self::Table(table) => &table.path,
            Self::Folders(folders) => &folders.root,
        }
    }

    /// Whether its rows are pairs of texts.
    pub fn is_paired(&self) -> bool {
        matches!(self, Self::Table(table) if table.columns.pair.is_some())
    }

    /// Whether its rows have labels.
    pub fn is_labelled(&self) -> bool {
        match self {
            Self::Table(table) => table.columns.label.is_some(),
            Self::Folders(_) => true,
        }
    }

    /// What [`Row::position`] counts up to: bytes of text, rows of Parquet, files of folders. 0 if unknown.
    pub fn size(&self) -> u64 {
        match self {
            Self::Table(table) if table.format == Format::Parquet => File::open(&table.path).map_or(0, parquet::rows),
            Self::Table(table) => std::fs::metadata(&table.path).map_or(0, |file| file.len()),
            Self::Folders(folders) => folders.files().map_or(0, |files| files.len() as u64),
        }
    }

    /// A hash of all content and of how it is read; not of where it lies.
    pub(super) fn digest(&self) -> Result<u128> {
        let mut hash = Xxh3::new();
        match self {
            Self::Table(table) => {
                let Table { path, format, header, columns, conventions } = table;
                hash_debug(&mut hash, &(format, header, columns, conventions));
                hash_file(&mut hash, path)?;
            }
            Self::Folders(folders) => {
                for (path, label) in folders.files()? {
                    hash_debug(&mut hash, &(path.file_name(), label));
                    hash_file(&mut hash, &path)?;
                }
            }
        }
        Ok(hash.digest128())
    }
}

/// Settings enter a digest as their debug text: it names every field, so a new one cannot be forgotten.
pub(super) fn hash_debug(hash: &mut Xxh3, settings: &dyn fmt::Debug) {
    let text = format!("{settings:?}");
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn hash_file(hash: &mut Xxh3, path: &Path) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0u64;
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        length += read as u64;
    }
    hash.update(&length.to_le_bytes());
    Ok(())
}
