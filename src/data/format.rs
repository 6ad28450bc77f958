//! The layout of a table's bytes, and how its name tells it.

use std::path::Path;

use clap::ValueEnum;

use crate::{
    Error, Result,
    text_value::{text_enum, text_serde},
};

/// The layout of a table's bytes, below any compression.
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
    /// Apache Parquet.
    Parquet,
}

text_enum!(Format);
text_serde!(Format);

impl Format {
    /// By the file's extension: `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet`; all but the last also with `.gz` or
    /// `.zst` after it.
    ///
    /// # Errors
    /// [`Error::Table`] when it has none of these.
    pub fn from_path(path: &Path) -> Result<Self> {
        Self::guess(path).ok_or_else(|| {
            let message = "the extension does not tell the format (.csv, .tsv, .jsonl, .ndjson, .parquet; text also \
                           with .gz or .zst after it); give it with --format";
            Error::table(path, message)
        })
    }

    /// As [`Format::from_path`]; `None` where the extension does not tell.
    pub(super) fn guess(path: &Path) -> Option<Self> {
        let lower = |path: &Path| Some(path.extension()?.to_str()?.to_ascii_lowercase());
        let mut extension = lower(path)?;
        if PACKED.contains(&extension.as_str()) {
            extension = lower(Path::new(path.file_stem()?))?;
        }
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Extensions of compressed files. They only help to find the format: compression itself shows in a file's first bytes.
const PACKED: [&str; 2] = ["gz", "zst"];
