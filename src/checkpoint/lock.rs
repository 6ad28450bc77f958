//! One process a run directory, and one run.
//!
//! The lock is the operating system's on `RUN/.lock`: it ends with the process, however that ends, so a killed run
//! leaves nothing to clean up. The file itself stays (removing it would let two processes lock two files of the same
//! name) and holds the id of its last owner, for the message to the next.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

const LOCK: &str = ".lock";
/// Holding one of these makes a directory a run, or at least one that a run would damage: it replaces `model` when it
/// ends.
const MARKS: [&str; 4] = ["run.toml", "metrics.jsonl", "checkpoints", "model"];
/// What a run writes into its directory, and all that overwriting removes from it.
pub const RUN_FILES: [&str; 5] = ["run.toml", "metrics.jsonl", "checkpoints", "tensorboard", "model"];

/// The right to write into a run directory, until it is dropped.
///
/// A directory that was made for a run which then never began is removed again.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
    directory: PathBuf,
    /// The directory and its parents as far as they had to be made, innermost first.
    made: Vec<PathBuf>,
}

impl RunLock {
    /// Locks a directory for a new run, making it if it is missing. One that already holds a run is refused, or, with
    /// `overwrite`, emptied of [`RUN_FILES`] and of nothing else.
    ///
    /// # Errors
    /// [`Error::Run`] when the directory holds a run that is not to be overwritten, or another process uses it;
    /// [`Error::Io`] when it cannot be made, locked or emptied.
    pub fn for_new_run(directory: impl Into<PathBuf>, overwrite: bool) -> Result<Self> {
        let lock = Self::for_overwriting(directory)?;
        if holds_run(&lock.directory)? {
            if !overwrite {
                return Err(Error::run(&lock.directory, refusal(&lock.directory)));
            }
            lock.clear()?;
        }
        Ok(lock)
    }

    /// Locks a directory whose run a new one will replace, once [`clear`](Self::clear) is called: not before all else
    /// is known to work.
    ///
    /// # Errors
    /// [`Error::Run`] when another process uses the directory; [`Error::Io`] when it cannot be made or locked.
    pub fn for_overwriting(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made = directory.ancestors().take_while(missing).map(Path::to_path_buf).collect();
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        match Self::acquire(directory.clone()) {
            Ok(mut lock) => {
                lock.made = made;
                Ok(lock)
            }
            Err(error) => {
                remove_made(&directory, &made);
                Err(error)
            }
        }
    }

    /// Removes [`RUN_FILES`].
    ///
    /// # Errors
    /// [`Error::Io`] for what cannot be removed.
    pub fn clear(&self) -> Result<()> {
        RUN_FILES.iter().try_for_each(|name| remove(&self.directory.join(name)))
    }

    /// Locks a directory whose run is to be continued.
    ///
    /// # Errors
    /// [`Error::Run`] when the directory holds no run, or another process uses it; [`Error::Io`] when it cannot be
    /// locked.
    pub fn for_resume(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        if !holds_run(&directory)? {
            return Err(Error::run(directory, "holds no run to resume"));
        }
        Self::acquire(directory)
    }

    /// The directory of the run.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn acquire(directory: PathBuf) -> Result<Self> {
        let path = directory.join(LOCK);
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let known = file.take(32).read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
                let owner = if known { format!("process {}", owner.trim()) } else { "another process".to_owned() };
                return Err(Error::run(directory, format!("is in use by {owner}; wait for it or give another --out")));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path)(e)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::io("write", &path))?;
        Ok(Self { _file: file, directory, made: Vec::new() })
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        if self.made.is_empty() || holds_run(&self.directory).unwrap_or(true) {
            return;
        }
        remove_made(&self.directory, &self.made);
    }
}

/// What cannot be removed holds something of somebody else's, and stays.
fn remove_made(directory: &Path, made: &[PathBuf]) {
    if !made.is_empty() {
        let _ = fs::remove_file(directory.join(LOCK));
        let _ = made.iter().try_for_each(fs::remove_dir);
    }
}

/// Why a new run cannot be here, and what can be done about it.
fn refusal(directory: &Path) -> &'static str {
    match directory.join("run.toml").exists() {
        true => "already holds a run; continue it with --resume, give another --out, or add --overwrite to delete it",
        false => {
            "already holds files of a run or a model, which the new run would replace; give another --out, or add \
             --overwrite to delete them"
        }
    }
}

/// Whether a directory holds a run, finished or not.
///
/// # Errors
/// [`Error::Io`] when the directory cannot be looked into.
pub fn holds_run(directory: &Path) -> Result<bool> {
    for path in MARKS.map(|name| directory.join(name)) {
        if path.try_exists().map_err(Error::io("look for", &path))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    removed.map_err(Error::io("remove", path))
}
