//! `metrics.jsonl`: one JSON object a line, in the order in which things happened.
//!
//! ```json
//! {"event":"step","step":7,"loss":0.61,"ce":0.6,"distill":0.01,"lr":0.00002,"grad_norm":1.5,"tokens_per_s":9100.0}
//! {"event":"eval","split":"dev","weights":"student","step":7,"accuracy":0.86,"macro_f1":…,"loss":0.33,…}
//! ```
//!
//! A line is written with one call as soon as it is known, so a killed process loses at most half a line. Resuming
//! after step `s` cuts the file after the last event of a step `≤ s`: the continued file has each step once. What is
//! not finite is `null`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Error, Result,
    metrics::{Scores, null_is_nan},
    text_value::{text_enum, text_serde},
};

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// An update.
    Step(StepEvent),
    /// An evaluation.
    Eval(EvalEvent),
}

/// One optimizer update. `step` counts the updates done, this one included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Number of the update, from 1.
    pub step: u64,
    /// `ce + lambda · distill`, the loss whose gradient was taken.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Cross-entropy.
    #[serde(deserialize_with = "null_is_nan")]
    pub ce: f64,
    /// The distillation term before λ; 0 for a method without one.
    #[serde(deserialize_with = "null_is_nan")]
    pub distill: f64,
    /// Learning rate of the encoder.
    #[serde(deserialize_with = "null_is_nan")]
    pub lr: f64,
    /// Norm of the whole gradient before clipping.
    #[serde(deserialize_with = "null_is_nan")]
    pub grad_norm: f64,
    /// Real tokens; there is no padding to count.
    #[serde(deserialize_with = "null_is_nan")]
    pub tokens_per_s: f64,
    /// Passes over the training data done, with the fraction of the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Learning rate of the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_head: Option<f64>,
    /// Weight of the distillation term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Updates skipped so far because a gradient was not finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// Whatever else the writer wants to record.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One evaluation after update `step`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalEvent {
    /// Which examples.
    pub split: Split,
    /// Which weights.
    #[serde(default)]
    pub weights: Weights,
    /// Updates before it.
    pub step: u64,
    /// What it found.
    #[serde(flatten)]
    pub scores: Scores,
    /// Whatever else the writer wants to record.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Which examples were scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The development set.
    Dev,
    /// The test set.
    Test,
}

/// Which weights were scored: those being trained, the distillation teacher's, or the mean of the iterates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Weights {
    /// The weights that are trained.
    #[default]
    Student,
    /// Those of the teacher.
    Teacher,
    /// The running average.
    Average,
}

text_enum!(Weights);
text_serde!(Weights);

impl Event {
    /// The step it is about.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(event) => event.step,
            Self::Eval(event) => event.step,
        }
    }
}

impl From<StepEvent> for Event {
    fn from(event: StepEvent) -> Self {
        Self::Step(event)
    }
}

impl From<EvalEvent> for Event {
    fn from(event: EvalEvent) -> Self {
        Self::Eval(event)
    }
}

impl Split {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }
}

impl Weights {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
            Self::Average => "average",
        }
    }
}

/// Appends events to a `metrics.jsonl`.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
}

impl EventLog {
    /// Starts an empty log, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        Ok(Self { file, path })
    }

    /// Continues a log after update `step`: what was recorded of later steps, and a half line at the end, is cut off. A
    /// log that is missing starts empty. A damaged line *before* events that are to be kept is an error that names it.
    ///
    /// # Errors
    /// [`Error::Table`] for a damaged line before events that are kept; [`Error::Io`] when the file cannot be read or
    /// cut.
    pub fn resume(path: impl Into<PathBuf>, step: u64) -> Result<Self> {
        let path = path.into();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(Error::io("open", &path))?;
        let end = end_of_step(&file, &path, step)?;
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .and_then(|_| file.sync_all())
            .map_err(Error::io("write", &path))?;
        Ok(Self { file, path })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event as a line of JSON.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)
            .map_err(|e| Error::run(&self.path, format!("an event cannot be written as JSON: {e}")))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io("write", &self.path))
    }

    /// Makes all events durable; to be called before a checkpoint relies on them.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write", &self.path))
    }
}

/// What cutting needs of a line. Tests are scored after the last step, whichever step they score: a resumed run
/// repeats them.
#[derive(Deserialize)]
struct StepOnly {
    step: u64,
    #[serde(default)]
    split: Option<Split>,
}

/// The byte after the last line of a step `≤ step`.
fn end_of_step(file: &File, path: &Path, step: u64) -> Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut position, mut line_number) = (0, 0);
    // Where the file is to be cut; and, if that is for a line that cannot be read, its number.
    let mut cut: Option<(u64, Option<u64>)> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
        if bytes == 0 {
            return Ok(cut.map_or(position, |(end, _)| end));
        }
        line_number += 1;
        let whole = line.last() == Some(&b'\n');
        let found = serde_json::from_slice::<StepOnly>(&line).ok().filter(|_| whole);
        match (&found, cut) {
            (None, None) => cut = Some((position, Some(line_number))),
            (Some(event), None) if event.step > step || event.split == Some(Split::Test) => {
                cut = Some((position, None))
            }
            (Some(event), Some((_, Some(damaged)))) if event.step <= step => {
                let message = "is damaged, but later lines are not; repair or delete this line";
                return Err(Error::table_line(path, damaged, message));
            }
            _ => {}
        }
        position += bytes as u64;
    }
}

impl EvalEvent {
    /// An evaluation's event.
    pub fn new(split: Split, weights: Weights, step: u64, scores: Scores) -> Self {
        Self { split, weights, step, scores, extra: Map::new() }
    }
}
