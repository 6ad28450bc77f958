//! TensorBoard event files: `events.out.tfevents.<seconds>.<host>`.
//!
//! A file is a sequence of TFRecords: `u64 length, u32 masked CRC of the length, data, u32 masked CRC of the data`,
//! little-endian, CRC-32C, masked as `rotate_right(crc, 15) + 0xa282ead8`. Each record is a protobuf `Event`
//! (tensorflow/core/util/event.proto):
//! `wall_time = 1: double, step = 2: int64, file_version = 3: string, summary = 5: Summary, session_log = 7:
//! SessionLog`. The few fields used are encoded here by hand. A resumed run starts a new file with `SessionLog{START}`
//! at its first step, on which TensorBoard forgets what earlier files say about that step and later ones.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{EvalEvent, Event, StepEvent};
use crate::{Error, Result};

const MASK_DELTA: u32 = 0xa282_ead8;
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const SESSION_START: u64 = 1;

/// Protobuf field numbers of the messages above.
mod field {
    pub(crate) const WALL_TIME: u32 = 1;
    pub(crate) const STEP: u32 = 2;
    pub(crate) const FILE_VERSION: u32 = 3;
    pub(crate) const SUMMARY: u32 = 5;
    pub(crate) const SESSION_LOG: u32 = 7;
    pub(crate) const SUMMARY_VALUE: u32 = 1;
    pub(crate) const VALUE_TAG: u32 = 1;
    pub(crate) const VALUE_SIMPLE: u32 = 2;
    pub(crate) const SESSION_STATUS: u32 = 1;
}

/// Appends scalars to one event file; each call is one write, so TensorBoard sees it at once.
#[derive(Debug)]
pub struct TensorBoardWriter {
    file: File,
    path: PathBuf,
}

impl TensorBoardWriter {
    /// Starts the event file of a new run in `directory`, made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub fn create(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let (file, path) = create_file(directory)?;
        let mut writer = Self { file, path };
        let mut version = Message::default();
        version.bytes(field::FILE_VERSION, FILE_VERSION.as_bytes());
        writer.record(0, version)?;
        Ok(writer)
    }

    /// Starts the event file of a run that is continued after update `step`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub fn resume(directory: impl AsRef<Path>, step: u64) -> Result<Self> {
        let mut writer = Self::create(directory)?;
        let (mut event, mut session) = (Message::default(), Message::default());
        session.varint(field::SESSION_STATUS, SESSION_START);
        event.bytes(field::SESSION_LOG, &session.0);
        writer.record(step + 1, event)?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records scalars of one step under their tags.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
        let (mut event, mut summary) = (Message::default(), Message::default());
        for &(tag, scalar) in scalars {
            let mut value = Message::default();
            value.bytes(field::VALUE_TAG, tag.as_bytes());
            value.float(field::VALUE_SIMPLE, scalar as f32);
            summary.bytes(field::SUMMARY_VALUE, &value.0);
        }
        event.bytes(field::SUMMARY, &summary.0);
        self.record(step, event)
    }

    /// Records an event of `metrics.jsonl`: a step as `train/loss` …, an evaluation as `dev/accuracy/student` ….
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Step(event) => self.step(event),
            Event::Eval(event) => self.eval(event),
        }
    }

    fn step(&mut self, event: &StepEvent) -> Result<()> {
        let always = [
            ("train/loss", event.loss),
            ("train/ce", event.ce),
            ("train/distill", event.distill),
            ("train/lr", event.lr),
            ("train/grad_norm", event.grad_norm),
            ("train/tokens_per_s", event.tokens_per_s),
        ];
        let sometimes =
            [("train/epoch", event.epoch), ("train/lr_head", event.lr_head), ("train/lambda", event.lambda)];
        let sometimes = sometimes.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
        self.scalars(event.step, &always.into_iter().chain(sometimes).collect::<Vec<_>>())
    }

    fn eval(&mut self, event: &EvalEvent) -> Result<()> {
        let scores = &event.scores;
        let scores = [
            ("accuracy", scores.accuracy),
            ("macro_f1", scores.macro_f1),
            ("weighted_f1", scores.weighted_f1),
            ("mcc", scores.mcc),
            ("loss", scores.loss),
            ("ece", scores.ece),
        ];
        let (split, weights) = (event.split.name(), event.weights.name());
        let tagged = scores.map(|(name, score)| (format!("{split}/{name}/{weights}"), score));
        self.scalars(event.step, &tagged.each_ref().map(|(tag, score)| (tag.as_str(), *score)))
    }

    fn record(&mut self, step: u64, content: Message) -> Result<()> {
        let mut event = Message::default();
        let wall_time = since_epoch().as_secs_f64();
        event.double(field::WALL_TIME, wall_time);
        event.varint(field::STEP, step);
        event.0.extend_from_slice(&content.0);
        self.file.write_all(&frame(&event.0)).map_err(Error::io("write", &self.path))
    }
}

/// A file that did not exist: two runs may start in the same second, so the name may get a number.
fn create_file(directory: &Path) -> Result<(File, PathBuf)> {
    let host = gethostname::gethostname().to_string_lossy().replace(['/', '\\'], "-");
    let name = format!("events.out.tfevents.{:010}.{host}", since_epoch().as_secs());
    let mut path = directory.join(&name);
    for number in 1.. {
        match File::create_new(&path) {
            Ok(file) => return Ok((file, path)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => path = directory.join(format!("{name}.{number}")),
            Err(e) => return Err(Error::io("create", path)(e)),
        }
    }
    Err(Error::run(directory, "holds too many event files of this second"))
}

/// A clock before 1970 counts as 1970.
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// One TFRecord.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), data, &masked_crc(data)].concat()
}

fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(MASK_DELTA).to_le_bytes()
}

/// A protobuf message under construction; the four wire types that are needed.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.base_128(value);
    }

    fn double(&mut self, field: u32, value: f64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.base_128(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn float(&mut self, field: u32, value: f32) {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.base_128(u64::from(field << 3 | wire_type));
    }

    fn base_128(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
