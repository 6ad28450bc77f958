//! Files out of what a user names: a file, a pattern such as `train-*.parquet`, or a directory of shards.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Format;
use crate::{Error, Result};

/// The files that `path` leads to, by name; one that does not exist leads to itself, and opening it says what is wrong.
///
/// # Errors
/// [`Error::Table`] for a pattern that matches nothing, and for a directory that holds no tables, or tables that do not
/// belong together; [`Error::Io`] when a directory cannot be listed.
pub fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        return in_directory(path);
    }
    let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']) && !path.exists());
    pattern.map_or_else(|| Ok(vec![path.to_owned()]), |pattern| matching(pattern, path))
}

fn matching(pattern: &str, path: &Path) -> Result<Vec<PathBuf>> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let found =
        glob::glob_with(pattern, options).map_err(|fault| Error::table(path, format!("is no pattern: {fault}")))?;
    let listed = |entry: glob::GlobResult| {
        entry.map_err(|fault| {
            let place = fault.path().to_owned();
            Error::io("list", place)(fault.into())
        })
    };
    let mut files = found.map(listed).collect::<Result<Vec<_>>>()?;
    files.retain(|file| !file.is_dir());
    if files.is_empty() {
        return Err(Error::table(path, "no file matches this pattern"));
    }
    Ok(files)
}

fn in_directory(directory: &Path) -> Result<Vec<PathBuf>> {
    if directory.join("run.toml").is_file() {
        let message = "is a directory that a run has left; give the file or directory that holds the examples";
        return Err(Error::table(directory, message));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let file = entry.map_err(Error::io("list", directory))?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.is_file() && Format::guess(&file).is_some() {
            files.push(file);
        }
    }
    files.sort_unstable();
    let Some(first) = files.first() else {
        let message = "is a directory without tables (.csv, .tsv, .jsonl, .ndjson, .parquet); give the file that \
                       holds the examples, or a pattern such as DIR/*/*.parquet";
        return Err(Error::table(directory, message));
    };
    let differs = |kind: &dyn Fn(&Path) -> Option<String>| {
        files.iter().map(|file| kind(file)).find(|other| *other != kind(first)).map(|other| (kind(first), other))
    };
    let name = |kind: Option<String>| kind.unwrap_or_else(|| "others".to_owned());
    if let Some((one, other)) = differs(&|file| Format::guess(file).map(|format| format.to_string())) {
        let message = format!(
            "is a directory of files in several formats, {} and {}; name them, or give a pattern",
            name(one),
            name(other)
        );
        return Err(Error::table(directory, message));
    }
    if let Some((one, other)) = differs(&split_in_name) {
        let message = format!(
            "is a directory of files of several parts, {} and {}; name them, or give a pattern such as DIR/train-*",
            name(one),
            name(other)
        );
        return Err(Error::table(directory, message));
    }
    Ok(files)
}

/// The part of a data set that a file's name starts with.
fn split_in_name(file: &Path) -> Option<String> {
    const PARTS: [&str; 6] = ["train", "dev", "valid", "validation", "eval", "test"];
    let name = file.file_name()?.to_str()?.to_lowercase();
    let word = name.split(|character: char| !character.is_alphabetic()).next()?;
    PARTS.contains(&word).then(|| word.to_owned())
}
