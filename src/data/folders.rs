//! One text a file, and the folder it lies in is its label, as aclImdb is distributed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Row, lines::utf8};
use crate::{Error, Result};

/// Folders of `.txt` files under `root`, one a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    pub root: PathBuf,
    /// Names of the folders, which are the labels.
    pub labels: Vec<String>,
}

impl Folders {
    /// Every `.txt` file with its label: folders in their order, files by name, so that the order is the same everywhere.
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

    pub(super) fn for_each(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        for (i, (path, label)) in self.files()?.into_iter().enumerate() {
            let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
            let text = text(&bytes, &path)?;
            visit(Row {
                text,
                pair: None,
                label: Some(label),
                kept: &[],
                path: &path,
                line: 1,
                position: i as u64 + 1,
            })?;
        }
        Ok(())
    }
}

fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str> {
    let text = utf8(bytes, path, 1, None)?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}
