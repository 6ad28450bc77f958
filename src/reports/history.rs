//! Reads what a run recorded, for reports.
//!
//! A line that is not an event is an error with its number; the last line may be half written (the run may be going on,
//! or may have been killed) and is then left out. Events of unknown kinds are left out too: a newer program may have
//! written them.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{EvalEvent, Event, StepEvent};
use crate::{Error, Result};

/// The events of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunHistory {
    /// How the run is called in legends and tables.
    pub name: String,
    /// The file it was read from.
    pub path: PathBuf,
    /// Its steps, in order.
    pub steps: Vec<StepEvent>,
    /// Its evaluations, in order.
    pub evals: Vec<EvalEvent>,
}

impl RunHistory {
    /// Reads a run directory, or a `metrics.jsonl` itself. The run's name is the directory's.
    ///
    /// # Errors
    /// As [`read_events`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join("metrics.jsonl") } else { path.to_path_buf() };
        let directory = file.canonicalize().map_err(Error::io("open", &file))?;
        let name = directory.parent().and_then(Path::file_name).unwrap_or(directory.as_os_str());
        let mut history = Self { name: name.to_string_lossy().into_owned(), ..Self::default() };
        for event in read_events(&file)? {
            match event {
                Event::Step(event) => history.steps.push(event),
                Event::Eval(event) => history.evals.push(event),
            }
        }
        history.path = file;
        Ok(history)
    }

    /// Reads several runs; those that would have the same name are told apart by the path they were given as.
    ///
    /// # Errors
    /// As [`RunHistory::open`].
    pub fn open_all<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Self>> {
        let mut runs = paths.iter().map(Self::open).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        for (run, path) in runs.iter_mut().zip(paths) {
            if names.iter().filter(|&name| *name == run.name).count() > 1 {
                run.name = path.as_ref().display().to_string();
            }
        }
        Ok(runs)
    }
}

/// The events of a `metrics.jsonl`, in file order.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Table`] for a line that is no event.
pub fn read_events(path: impl AsRef<Path>) -> Result<Vec<Event>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut reader = BufReader::new(file);
    let mut events = Vec::new();
    let mut line = Vec::new();
    for line_number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(Error::io("read", path))? == 0 {
            break;
        }
        match parse(&line) {
            Ok(event) => events.extend(event),
            Err(_) if line.last() != Some(&b'\n') => break,
            Err(message) => return Err(Error::table_line(path, line_number, message)),
        }
    }
    Ok(events)
}

fn parse(line: &[u8]) -> Result<Option<Event>, String> {
    let value: Value = serde_json::from_slice(line).map_err(|e| format!("is not JSON: {e}"))?;
    let kind = value.get("event").and_then(Value::as_str).ok_or("has no field \"event\"")?;
    if !matches!(kind, "step" | "eval") {
        return Ok(None);
    }
    let kind = kind.to_owned();
    serde_json::from_value(value).map(Some).map_err(|e| format!("is no '{kind}' event: {e}"))
}
