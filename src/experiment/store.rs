//! The directory of an experiment, in which any number of processes may work.
//!
//! ```text
//! OUT/experiment.toml                      the file, as it was run last
//! OUT/cells/ID/run/                        the run: run.toml, metrics.jsonl, and its state until it is done
//! OUT/cells/ID/predictions.safetensors     logits on the test sets
//! OUT/cells/ID/row.json                    the row; a cell that has one is done
//! ```
//!
//! A row appears whole or not at all, and after everything that belongs to it; rows are never changed. So a process
//! that is killed at any moment loses no more than the steps since its run's last state.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{Cell, ExperimentFile, Predictions, Row};
use crate::{Error, Result, checkpoint::write_atomically};

const FILE: &str = "experiment.toml";
const ROW: &str = "row.json";
const PREDICTIONS: &str = "predictions.safetensors";
/// Parts of a run that are of no use once it is done.
const PASSING: [&str; 3] = ["checkpoints", "tensorboard", "model"];

/// An experiment's directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// The right to work on a cell, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
    directory: PathBuf,
}

impl Store {
    /// The directory of an experiment to be run, made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; [`Error::Run`] for a directory that holds something else.
    pub fn create(directory: &Path, file: &Path) -> Result<Self> {
        let store = Self { directory: directory.to_owned() };
        let is_ours = store.path(FILE).exists() || store.path("cells").exists();
        let is_empty = fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
        if !is_ours && !is_empty {
            return Err(Error::run(directory, "holds something else than an experiment; give another --out"));
        }
        let cells = store.path("cells");
        fs::create_dir_all(&cells).map_err(Error::io("create", &cells))?;
        let text = fs::read(file).map_err(Error::io("read", file))?;
        if fs::read(store.path(FILE)).ok().as_ref() != Some(&text) {
            write_atomically(store.path(FILE), &text)?;
        }
        Ok(store)
    }

    /// The directory of an experiment that was run.
    ///
    /// # Errors
    /// [`Error::Run`] where there is none, and as [`ExperimentFile::read`].
    pub fn open(directory: &Path) -> Result<(Self, ExperimentFile)> {
        let store = Self { directory: directory.to_owned() };
        let path = store.path(FILE);
        if !path.is_file() {
            return Err(Error::run(directory, "holds no experiment.toml, so no experiment was run here"));
        }
        let file = ExperimentFile::read(&path)?;
        Ok((store, file))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn cell(&self, cell: &Cell) -> PathBuf {
        self.directory.join("cells").join(&cell.id)
    }

    /// Where the cell's run is.
    pub fn run(&self, cell: &Cell) -> PathBuf {
        self.cell(cell).join("run")
    }

    /// Whether the cell is done.
    pub fn is_done(&self, cell: &Cell) -> bool {
        self.cell(cell).join(ROW).is_file()
    }

    /// The cell's row, if it is done.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Run`] when it is damaged, with what to do.
    pub fn row(&self, cell: &Cell) -> Result<Option<Row>> {
        let path = self.cell(cell).join(ROW);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(None),
            Err(fault) => return Err(Error::io("read", path)(fault)),
        };
        let row: Row = serde_json::from_slice(&text).map_err(|fault| {
            Error::run(&path, format!("is no row of an experiment ({fault}); remove it to run the cell again"))
        })?;
        // A default that has changed since is another setting under the same name.
        let differs =
            |(name, value): &(&String, &serde_json::Value)| cell.settings.get(*name).is_some_and(|ours| ours != *value);
        match row.settings.iter().find(differs) {
            None => Ok(Some(row)),
            Some((name, value)) => {
                let message = format!("is of a run whose {name} was {value}, which is another now; give another --out");
                Err(Error::run(path, message))
            }
        }
    }

    /// Logits of a finished cell; none where it had no test set.
    ///
    /// # Errors
    /// As [`Predictions::read`].
    pub fn predictions(&self, cell: &Cell) -> Result<Vec<Predictions>> {
        let path = self.cell(cell).join(PREDICTIONS);
        if path.is_file() { Predictions::read(&path) } else { Ok(Vec::new()) }
    }

    /// Takes a cell that is neither done nor another process's.
    ///
    /// # Errors
    /// [`Error::Io`] when its directory cannot be written.
    pub fn claim(&self, cell: &Cell) -> Result<Option<Claim>> {
        if self.is_done(cell) {
            return Ok(None);
        }
        let directory = self.cell(cell);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let path = directory.join(".lock");
        let file =
            File::options().write(true).create(true).truncate(false).open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            // Its last owner may have finished it meanwhile.
            Ok(()) if self.is_done(cell) => Ok(None),
            Ok(()) => Ok(Some(Claim { _lock: file, directory })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(fault)) => Err(Error::io("lock", path)(fault)),
        }
    }

    /// Removes what a process that was killed between a row and its tidying left.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be removed.
    pub(super) fn tidy(&self, cell: &Cell, keeps_model: bool) -> Result<()> {
        tidy(&self.run(cell), keeps_model)
    }
}

impl Claim {
    /// Makes the cell done.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be written.
    pub(super) fn finish(self, row: &Row, predictions: &[Predictions], keeps_model: bool) -> Result<()> {
        if !predictions.is_empty() {
            Predictions::write(predictions, &self.directory.join(PREDICTIONS))?;
        }
        let path = self.directory.join(ROW);
        let text = serde_json::to_vec(row).map_err(|fault| Error::run(&path, fault.to_string()))?;
        write_atomically(path, &text)?;
        tidy(&self.directory.join("run"), keeps_model)
    }
}

fn tidy(run: &Path, keeps_model: bool) -> Result<()> {
    for path in PASSING.iter().filter(|name| !keeps_model || **name != "model").map(|name| run.join(name)) {
        match fs::remove_dir_all(&path) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(Error::io("remove", path)(fault)),
            _ => {}
        }
    }
    Ok(())
}
