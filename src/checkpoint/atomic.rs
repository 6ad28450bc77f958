//! Files that appear whole or not at all.
//!
//! `name` is written as `.name.partial` beside it, synchronised, renamed over `name`, and then the directory is
//! synchronised, so that the new name survives a power cut too. Until the rename the old file is untouched. Dropping an
//! uncommitted file removes its temporary; a killed process leaves it, and [`remove_partial`] clears it at the next
//! start.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

const PARTIAL_SUFFIX: &str = ".partial";

/// A file being written; [`commit`](Self::commit) gives it its name.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    path: PathBuf,
    partial: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Starts the file that will be `path`. A partial file left there by a killed process is overwritten.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let name = path.file_name().ok_or_else(|| Error::run(&path, "is not the name of a file"))?;
        let partial = path.with_file_name(format!(".{}{PARTIAL_SUFFIX}", name.to_string_lossy()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&partial);
        let file = file.map_err(Error::io("create", &path))?;
        Ok(Self { file, path, partial, committed: false })
    }

    /// The same where several processes may make the file at once: each writes its own, and the last to commit stays.
    /// What a killed process leaves is not overwritten.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub fn create_shared(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let name = path.file_name().ok_or_else(|| Error::run(&path, "is not the name of a file"))?;
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut builder = tempfile::Builder::new();
        let file = builder.prefix(&prefix).suffix(PARTIAL_SUFFIX).tempfile_in(directory_holding(&path));
        let file = file.and_then(|file| file.keep().map_err(|fault| fault.error));
        let (file, partial) = file.map_err(Error::io("create", &path))?;
        Ok(Self { file, path, partial, committed: false })
    }

    /// The final path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the disk has what was written.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk says that it has not.
    pub(super) fn synchronise(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write", &self.path))
    }

    /// Gives `from` this file's name as a second one, replacing what was there, or copies it where there are no hard
    /// links.
    pub(super) fn link_or_copy(mut self, from: &Path) -> Result<()> {
        fs::remove_file(&self.partial).map_err(Error::io("write", &self.path))?;
        if fs::hard_link(from, &self.partial).is_err() {
            fs::copy(from, &self.partial).map_err(Error::io("copy", from))?;
        }
        self.file = File::open(&self.partial).map_err(Error::io("write", &self.path))?;
        let partial = self.partial.clone();
        self.commit()?;
        // Renaming one name of a file over another name of the same file does nothing, by POSIX.
        let _ = fs::remove_file(partial);
        Ok(())
    }

    /// Makes it durable and gives it its name, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Io`] when that fails; the old file is still there then.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        self.rename()?;
        sync_directory_holding(&self.path)
    }

    /// Gives it its name without waiting for the disk, which may take seconds: for what can be made again, and whose
    /// reader notices when a power cut has left only a part. Returns the file, open as it was for writing.
    pub(crate) fn commit_unsynchronised(mut self) -> Result<File> {
        let file = self.file.try_clone().map_err(Error::io("write", &self.path))?;
        self.rename()?;
        Ok(file)
    }

    fn rename(&mut self) -> Result<()> {
        fs::rename(&self.partial, &self.path).map_err(Error::io("rename a finished file to", &self.path))?;
        self.committed = true;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing better can be done about a failure here: the next start tries again.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Replaces the content of a small file (settings, a model's configuration) as a whole.
///
/// # Errors
/// [`Error::Io`] when it cannot be written; the old content is still there then.
pub fn write_atomically(path: impl Into<PathBuf>, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write", file.path()))?;
    file.commit()
}

/// Removes the temporaries that killed processes left in `directory`.
pub(super) fn remove_partial(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') && name.ends_with(PARTIAL_SUFFIX) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes the names in the directory that holds `path` durable.
pub(super) fn sync_directory_holding(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let directory = directory_holding(path);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(Error::io("synchronise", directory))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn directory_holding(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
