//! The checkpoints of one run: `RUN/checkpoints/step-00001234.ckpt`, the last `keep` of them, and `best.ckpt`.
//!
//! A checkpoint counts once it has its name, and older ones are removed only after that. `best.ckpt` is its own file,
//! replaced atomically and never touched by the rotation. Damaged checkpoints are skipped and reported, not deleted:
//! the caller may put them aside, after which they neither count for the rotation nor are looked at again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{AtomicFile, CheckpointPlan, CheckpointReader, CheckpointWriter, atomic};
use crate::{Error, Result};

const PREFIX: &str = "step-";
const EXTENSION: &str = ".ckpt";
const BEST: &str = "best.ckpt";
const ASIDE: &str = ".damaged";

/// The directory `checkpoints` of a run.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    directory: PathBuf,
    keep: usize,
}

/// A checkpoint that cannot be used, and why.
#[derive(Debug)]
pub struct Damaged {
    /// Its step, by its name.
    pub step: u64,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: Error,
}

/// What [`CheckpointStore::latest_valid`] found.
#[derive(Debug)]
pub struct LatestValid {
    /// The newest checkpoint all of whose checksums hold, with its step.
    pub checkpoint: Option<(u64, CheckpointReader)>,
    /// Newer ones that were skipped, newest first.
    pub damaged: Vec<Damaged>,
}

impl CheckpointStore {
    /// Opens the store of a run, made if it is missing, and clears what a killed process left half-written. Call it
    /// under the run's lock. `keep` is how many checkpoints stay; at least 1.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be made or cleared; [`Error::Misuse`] when `keep` is 0.
    pub fn open(run: impl AsRef<Path>, keep: usize) -> Result<Self> {
        if keep == 0 {
            return Err(Error::misuse(
                "CheckpointStore::open",
                "at least 1 checkpoint is kept, or the run could not be resumed",
            ));
        }
        let directory = run.as_ref().join("checkpoints");
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        atomic::remove_partial(&directory)?;
        Ok(Self { directory, keep })
    }

    /// The file of the checkpoint of `step`.
    pub fn path(&self, step: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{step:08}{EXTENSION}"))
    }

    /// The file of the best checkpoint.
    pub fn best_path(&self) -> PathBuf {
        self.directory.join(BEST)
    }

    /// Starts the checkpoint of `step`; its `finish`, then [`prune`](Self::prune).
    ///
    /// # Errors
    /// As [`CheckpointWriter::create`].
    pub fn begin(&self, step: u64, plan: CheckpointPlan) -> Result<CheckpointWriter<'static>> {
        CheckpointWriter::create(self.path(step), plan)
    }

    /// Starts a new `best.ckpt` with content of its own (the weights alone, say).
    ///
    /// # Errors
    /// As [`CheckpointWriter::create`].
    pub fn begin_best(&self, plan: CheckpointPlan) -> Result<CheckpointWriter<'static>> {
        CheckpointWriter::create(self.best_path(), plan)
    }

    /// Makes the checkpoint of `step` the best one. It costs no space while that checkpoint is kept: the file gets a
    /// second name, or, on a file system without hard links, a copy.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can neither be linked nor copied.
    pub fn mark_best(&self, step: u64) -> Result<()> {
        let (from, best) = (self.path(step), self.best_path());
        let file = AtomicFile::create(&best)?;
        file.link_or_copy(&from)
    }

    /// `best.ckpt`, if there is one.
    ///
    /// # Errors
    /// As [`CheckpointReader::open`].
    pub fn best(&self) -> Result<Option<CheckpointReader>> {
        let path = self.best_path();
        if path.try_exists().map_err(Error::io("open", &path))? {
            CheckpointReader::open(path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Steps of which there is a checkpoint, ascending, whether intact or not.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(Error::io("list", &self.directory))? {
            let name = entry.map_err(Error::io("list", &self.directory))?.file_name();
            steps.extend(name.to_str().and_then(step_from_name));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Removes all but the newest checkpoints.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be removed.
    pub fn prune(&self) -> Result<()> {
        let steps = self.steps()?;
        for &step in &steps[..steps.len().saturating_sub(self.keep)] {
            let path = self.path(step);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// The newest checkpoint that is intact to the last byte, and the damaged ones that are newer. Reads those files
    /// whole.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed; what is wrong with a file is no error here.
    pub fn latest_valid(&self) -> Result<LatestValid> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            match open_verified(&path) {
                Ok(reader) => return Ok(LatestValid { checkpoint: Some((step, reader)), damaged }),
                Err(reason) => damaged.push(Damaged { step, path, reason }),
            }
        }
        Ok(LatestValid { checkpoint: None, damaged })
    }

    /// Renames a damaged checkpoint to `….ckpt.damaged`, so that it is out of the way but not lost. Returns its new
    /// path.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be renamed.
    pub fn put_aside(&self, damaged: &Damaged) -> Result<PathBuf> {
        let mut name = damaged.path.clone().into_os_string();
        name.push(ASIDE);
        let aside = PathBuf::from(name);
        fs::rename(&damaged.path, &aside).map_err(Error::io("rename", &damaged.path))?;
        Ok(aside)
    }
}

fn open_verified(path: &Path) -> Result<CheckpointReader> {
    let mut reader = CheckpointReader::open(path)?;
    reader.verify()?;
    Ok(reader)
}

/// The step in `step-00001234.ckpt`; `None` for every other name, also for other spellings of the same number.
fn step_from_name(name: &str) -> Option<u64> {
    let step = name.strip_prefix(PREFIX)?.strip_suffix(EXTENSION)?.parse().ok()?;
    (name == format!("{PREFIX}{step:08}{EXTENSION}")).then_some(step)
}
