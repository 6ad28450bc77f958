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
        Self::guess(path).or_else(|| Self::below(path, &NOT_UNPACKED)).ok_or_else(|| {
            let extension = lower_extension(path).unwrap_or_default();
            let message = match extension.as_str() {
                "zip" | "7z" | "rar" | "tar" | "tgz" => "an archive is not read; unpack it, and name the table inside",
                "xlsx" | "xls" | "ods" => "a spreadsheet is not read; save the table as CSV",
                _ => TELLS_NOTHING,
            };
            Error::table(path, message)
        })
    }

    /// As [`Format::from_path`]; `None` where the extension does not tell.
    pub(super) fn guess(path: &Path) -> Option<Self> {
        Self::below(path, &UNPACKED)
    }

    /// By the extension, or by the one before it where that is one of these.
    fn below(path: &Path, packed: &[&str]) -> Option<Self> {
        let mut extension = lower_extension(path)?;
        if packed.contains(&extension.as_str()) {
            extension = lower_extension(Path::new(path.file_stem()?))?;
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

const TELLS_NOTHING: &str = "the extension does not tell the format (.csv, .tsv, .jsonl, .ndjson, .parquet; text also with \
                             .gz or .zst after it); give it with --format";

/// Extensions of compressed files. They only help to find the format: compression itself shows in a file's first bytes.
const UNPACKED: [&str; 2] = ["gz", "zst"];
/// Those of files that are refused with the name of what they are, once their first bytes are read.
const NOT_UNPACKED: [&str; 5] = ["bz2", "xz", "lz4", "zip", "7z"];

fn lower_extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}
