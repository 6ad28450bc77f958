//! Where rows come from: tables, or folders with one text per file.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    BadRows, Columns, Conventions, Folders, Format, LabelNames, Remarks, Row, Table, folders::FolderRows,
    reading::ShardRows, shards::expand,
};
use crate::{Error, Result, Stop};

/// Rows that can be read from their start any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One table, or several that are read one after another.
    Tables(Vec<Table>),
    /// Texts in files, by folder.
    Folders(Folders),
}

/// How files are read as tables.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// `None`: by each file's extension.
    pub format: Option<Format>,
    /// There is no first row that names the columns.
    pub no_header: bool,
    /// Which columns are read.
    pub columns: Columns,
    /// What holds beyond the format.
    pub conventions: Conventions,
}

impl TableOptions {
    /// The tables in the files that `paths` lead to: each may be a file, a pattern such as `train-*.parquet`, or a
    /// directory of shards.
    ///
    /// # Errors
    /// [`Error::Table`] where a pattern or directory leads to no tables, or a file's format cannot be told.
    pub fn tables(&self, paths: &[PathBuf]) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        for path in paths {
            for file in expand(path)? {
                tables.push(self.table(file)?);
            }
        }
        Ok(tables)
    }

    /// The table in one file.
    ///
    /// # Errors
    /// As [`Format::from_path`], where no format is given.
    pub fn table(&self, path: PathBuf) -> Result<Table> {
        let format = self.format.map_or_else(|| Format::from_path(&path), Ok)?;
        let (columns, conventions) = (self.columns.clone(), self.conventions.clone());
        Ok(Table { path, format, header: !self.no_header, columns, conventions })
    }
}

impl From<Table> for Source {
    fn from(table: Table) -> Self {
        Self::Tables(vec![table])
    }
}

impl Source {
    /// Opens the source at its first row.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::Table`] when it is empty, or lacks a column that is asked
    /// for.
    pub fn rows(&self) -> Result<Rows<'_>> {
        let reader = match self {
            Self::Tables(tables) => Reader::Tables(Box::new(ShardRows::open(tables)?)),
            Self::Folders(folders) => Reader::Folders(folders.rows()?),
        };
        Ok(Rows { source: self, reader, count: 0 })
    }

    /// The first file, or the folder that holds the folders.
    pub fn path(&self) -> &Path {
        match self {
            Self::Tables(tables) => tables.first().map_or(Path::new(""), |table| &table.path),
            Self::Folders(folders) => &folders.root,
        }
    }

    /// What the source is called.
    pub fn name(&self) -> String {
        let first = self.path().display();
        match self.files().len() {
            2 => format!("{first} and another file"),
            3.. => format!("{first} and {} more files", self.files().len() - 1),
            _ => first.to_string(),
        }
    }

    /// The files, or the folder that holds the folders.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Tables(tables) => tables.iter().map(|table| table.path.as_path()).collect(),
            Self::Folders(folders) => vec![&folders.root],
        }
    }

    /// Whether its rows are pairs of texts.
    pub fn is_paired(&self) -> bool {
        matches!(self, Self::Tables(tables) if tables.iter().any(|table| table.columns.pair.is_some()))
    }

    /// Whether its rows have labels.
    pub fn is_labelled(&self) -> bool {
        match self {
            Self::Tables(tables) => tables.iter().all(|table| table.columns.label.is_some()),
            Self::Folders(_) => true,
        }
    }

    /// What labels are called, in the order in which the classes so named are numbered.
    pub(super) fn label_names(&self) -> LabelNames {
        match self {
            Self::Tables(tables) => {
                tables.first().map(|table| table.conventions.label_names.clone()).unwrap_or_default()
            }
            Self::Folders(_) => LabelNames::default(),
        }
    }

    /// Sets what becomes of rows that cannot be read.
    pub fn set_bad_rows(&mut self, bad_rows: BadRows) {
        if let Self::Tables(tables) = self {
            tables.iter_mut().for_each(|table| table.conventions.bad_rows = bad_rows);
        }
    }

    /// What [`Row::position`] counts up to: bytes of text, rows of Parquet, files of folders. 0 if unknown.
    pub fn size(&self) -> u64 {
        match self {
            Self::Tables(tables) => tables.iter().map(Table::size).sum(),
            Self::Folders(folders) => folders.files().map_or(0, |files| files.len() as u64),
        }
    }

    /// A hash of all content and of how it is read; not of where it lies.
    pub(super) fn digest(&self, stop: Stop<'_>) -> Result<u128> {
        let mut hash = Xxh3::new();
        match self {
            Self::Tables(tables) => {
                for Table { path, format, header, columns, conventions } in tables {
                    hash_debug(&mut hash, &(format, header, columns, conventions));
                    hash_file(&mut hash, path, stop)?;
                }
            }
            Self::Folders(folders) => {
                for (path, label) in folders.files()? {
                    hash_debug(&mut hash, &(path.file_name(), label));
                    hash_file(&mut hash, &path, stop)?;
                }
            }
        }
        Ok(hash.digest128())
    }
}

/// The rows of a source, one after another.
pub struct Rows<'s> {
    source: &'s Source,
    reader: Reader<'s>,
    count: u64,
}

enum Reader<'s> {
    Tables(Box<ShardRows<'s>>),
    Folders(FolderRows<'s>),
}

impl Rows<'_> {
    /// The next row; none at the end.
    ///
    /// # Errors
    /// [`Error::Table`] naming line and column of what cannot be used, and at the end if there was no row at all;
    /// [`Error::Io`].
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        let found = match &mut self.reader {
            Reader::Tables(rows) => rows.advance()?,
            Reader::Folders(rows) => rows.advance()?,
        };
        if !found {
            return if self.count > 0 { Ok(None) } else { Err(self.no_rows()) };
        }
        self.count += 1;
        Ok(match &self.reader {
            Reader::Tables(rows) => rows.row(),
            Reader::Folders(rows) => Some(rows.row()),
        })
    }

    /// What there is to say about the rows so far.
    pub fn remarks(&self) -> Remarks {
        match &self.reader {
            Reader::Tables(rows) => rows.remarks(),
            Reader::Folders(_) => Remarks::default(),
        }
    }

    fn no_rows(&self) -> Error {
        let remarks = self.remarks().describe(&self.source.name(), &self.source.files());
        match remarks.is_empty() {
            true => {
                Error::table(self.source.path(), "the file has no rows to read; is there anything below its header?")
            }
            false => Error::table(self.source.path(), format!("no row is left to read: {}", remarks.join("; "))),
        }
    }
}

/// Settings enter a digest as their debug text: it names every field, so a new one cannot be forgotten.
pub(super) fn hash_debug(hash: &mut Xxh3, settings: &dyn fmt::Debug) {
    let text = format!("{settings:?}");
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn hash_file(hash: &mut Xxh3, path: &Path, stop: Stop<'_>) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0u64;
    loop {
        stop.check()?;
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
