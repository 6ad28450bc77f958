//! One text per file, and the folder it lies in is its label, as aclImdb is distributed.

use std::{fs, path::PathBuf};

use super::{Row, reading::lines::utf8, row::Kept};
use crate::{Error, Result};

/// Folders of `.txt` files under `root`, one for each label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The folder that holds the folders.
    pub root: PathBuf,
    /// Names of the folders, which are the labels.
    pub labels: Vec<String>,
}

impl Folders {
    /// Every `.txt` file with its label: folders in their order, files by name, so that the order is the same
    /// everywhere.
    pub(super) fn files(&self) -> Result<Vec<(PathBuf, &str)>> {
        let mut files = Vec::new();
        for label in &self.labels {
            let folder = self.root.join(label);
            let start = files.len();
            for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
                let path = entry.map_err(Error::io("list", &folder))?.path();
                if path.extension().is_some_and(|extension| extension == "txt") {
                    files.push((path, label.as_str()));
                }
            }
            files[start..].sort_unstable();
        }
        Ok(files)
    }

    /// Lists the files.
    pub(super) fn rows(&self) -> Result<FolderRows<'_>> {
        Ok(FolderRows { files: self.files()?, read: 0, content: String::new() })
    }
}

/// The rows of folders: every file is one.
pub(super) struct FolderRows<'f> {
    files: Vec<(PathBuf, &'f str)>,
    /// How many have been read; the present row is the last of them.
    read: usize,
    content: String,
}

impl FolderRows<'_> {
    /// Reads the next file; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        let Some((path, _)) = self.files.get(self.read) else { return Ok(false) };
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let text = utf8(&bytes, path, 1, None)?;
        self.content.clear();
        self.content.push_str(text.strip_prefix('\u{FEFF}').unwrap_or(text));
        self.read += 1;
        Ok(true)
    }

    /// The present row.
    pub(crate) fn row(&self) -> Row<'_> {
        let (path, label) = &self.files[self.read - 1];
        Row {
            text: &self.content,
            pair: None,
            label: Some(label),
            kept: Kept::default(),
            path,
            line: 1,
            position: self.read as u64,
        }
    }
}
