//! Answers as rows of CSV or TSV, or as JSON lines.
//!
//! CSV and TSV have a header: the columns kept from the input, `text`, `text_pair`, `truth` as far as asked for, then
//! `label` and `probability`, then `probability_NAME` and `logit_NAME` of every class. JSON lines have the same names,
//! but `probabilities` is one object by class name, `logits` a list in the order of the classes, and `input_ids` the
//! token ids. Numbers are the shortest that read back as the same float32.

use std::path::Path;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

use super::{OutputFile, largest};
use crate::{Error, Result, text_value::text_enum};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PredictionFormat {
    /// Commas, quoted as need be.
    Csv,
    /// Tabs, no quoting; tabs and line breaks in texts become spaces.
    Tsv,
    /// An object per line.
    #[value(name = "jsonl")]
    JsonLines,
}

text_enum!(PredictionFormat);

impl PredictionFormat {
    /// By the file's extension; CSV for what has none, standard output among them.
    pub fn for_path(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "tsv" => Self::Tsv,
            "jsonl" | "ndjson" => Self::JsonLines,
            _ => Self::Csv,
        }
    }
}

/// What is written beside `label` and `probability`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PredictionFields {
    /// Columns of the input that are written as they came, first of all. A name that the answers use themselves gets
    /// the suffix `_input`.
    pub kept: Vec<String>,
    /// The text.
    pub text: bool,
    /// The second text.
    pub pair: bool,
    /// The label that the data gives.
    pub truth: bool,
    /// Those of all classes.
    pub probabilities: bool,
    /// Those of all classes.
    pub logits: bool,
    /// JSON lines only.
    pub input_ids: bool,
}

/// One answer. What [`PredictionFields`] does not ask for may be empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prediction<'a> {
    /// Values of the kept columns.
    pub kept: &'a [&'a str],
    /// The text.
    pub text: &'a str,
    /// The second text.
    pub pair: &'a str,
    /// The label that the data gives.
    pub truth: &'a str,
    /// By class.
    pub probabilities: &'a [f64], // [N]
    /// By class.
    pub logits: &'a [f32], // [N]
    /// What the model read.
    pub input_ids: &'a [u32],
}

/// Writes answers to a file or stream.
pub struct PredictionWriter<'l> {
    file: OutputFile,
    format: PredictionFormat,
    fields: PredictionFields,
    labels: &'l [String],
    line: Vec<u8>,
}

impl<'l> PredictionWriter<'l> {
    /// Writes the header, if the format has one. `labels` are the names of the classes.
    ///
    /// # Errors
    /// [`Error::Setting`] when the format cannot hold what is asked for, and of the file.
    pub fn new(
        file: OutputFile,
        format: PredictionFormat,
        mut fields: PredictionFields,
        labels: &'l [String],
    ) -> Result<Self> {
        if fields.input_ids && format != PredictionFormat::JsonLines {
            return Err(Error::setting("input-ids", format!("{format} has no lists; write jsonl instead")));
        }
        let own = own_names(format, &fields, labels);
        let kept = distinct(std::mem::take(&mut fields.kept), &own);
        let mut writer = Self { file, format, fields: PredictionFields { kept, ..fields }, labels, line: Vec::new() };
        if format != PredictionFormat::JsonLines {
            let kept = writer.fields.kept.clone();
            kept.iter().chain(&own).for_each(|name| writer.cell(name));
            writer.end_line()?;
        }
        Ok(writer)
    }

    /// Appends an answer.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when it cannot be written.
    pub fn write(&mut self, prediction: &Prediction<'_>) -> Result<()> {
        let best = largest(prediction.probabilities);
        let label = self.labels.get(best).map_or("", String::as_str);
        let probability = prediction.probabilities.get(best).map_or(f32::NAN, |&p| p as f32);
        if self.format == PredictionFormat::JsonLines {
            return self.write_json(prediction, label, probability);
        }
        let PredictionFields { text, pair, truth, probabilities, logits, .. } = self.fields;
        prediction.kept.iter().for_each(|cell| self.cell(cell));
        for (_, cell) in [(text, prediction.text), (pair, prediction.pair), (truth, prediction.truth)]
            .iter()
            .filter(|(wanted, _)| *wanted)
        {
            self.cell(cell);
        }
        self.cell(label);
        self.cell(&probability.to_string());
        for p in prediction.probabilities.iter().filter(|_| probabilities) {
            self.cell(&(*p as f32).to_string());
        }
        for z in prediction.logits.iter().filter(|_| logits) {
            self.cell(&z.to_string());
        }
        self.end_line()
    }

    /// See [`OutputFile::flush`].
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }

    /// See [`OutputFile::finish`].
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when it cannot be written or renamed.
    pub fn finish(self) -> Result<()> {
        self.file.finish()
    }

    fn write_json(&mut self, prediction: &Prediction<'_>, label: &str, probability: f32) -> Result<()> {
        let Prediction { kept, text, pair, truth, probabilities, logits, input_ids } = *prediction;
        let fields = &self.fields;
        let line = JsonLine {
            kept: Kept { names: &fields.kept, cells: kept },
            text: fields.text.then_some(text),
            text_pair: fields.pair.then_some(pair),
            truth: fields.truth.then_some(truth),
            label,
            probability,
            probabilities: fields.probabilities.then_some(ByName { labels: self.labels, values: probabilities }),
            logits: fields.logits.then_some(logits),
            input_ids: fields.input_ids.then_some(input_ids),
        };
        serde_json::to_writer(&mut self.line, &line)
            .map_err(|fault| Error::io("write", self.file.path())(fault.into()))?;
        self.end_line()
    }

    /// Appends a cell and the delimiter behind it.
    fn cell(&mut self, cell: &str) {
        match self.format {
            PredictionFormat::Tsv => self.line.extend(cell.bytes().map(|byte| match byte {
                b'\t' | b'\n' | b'\r' => b' ',
                other => other,
            })),
            _ if cell.contains([',', '"', '\n', '\r']) => {
                self.line.push(b'"');
                self.line.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
                self.line.push(b'"');
            }
            _ => self.line.extend_from_slice(cell.as_bytes()),
        }
        self.line.push(if self.format == PredictionFormat::Tsv { b'\t' } else { b',' });
    }

    /// Writes the line; of a row of cells the last delimiter becomes the line break.
    fn end_line(&mut self) -> Result<()> {
        if self.format != PredictionFormat::JsonLines {
            self.line.pop();
        }
        self.line.push(b'\n');
        self.file.write(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

/// The names that the answers use themselves, in the order of the columns.
fn own_names(format: PredictionFormat, fields: &PredictionFields, labels: &[String]) -> Vec<String> {
    let always = [(fields.text, "text"), (fields.pair, "text_pair"), (fields.truth, "truth")];
    let always = always.into_iter().chain([(true, "label"), (true, "probability")]);
    let mut names: Vec<String> = always.filter(|(wanted, _)| *wanted).map(|(_, name)| name.to_owned()).collect();
    let each = |prefix: &str| labels.iter().map(|label| format!("{prefix}{label}")).collect::<Vec<_>>();
    match format {
        PredictionFormat::JsonLines => {
            let lists =
                [(fields.probabilities, "probabilities"), (fields.logits, "logits"), (fields.input_ids, "input_ids")];
            names.extend(lists.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name.to_owned()));
        }
        PredictionFormat::Csv | PredictionFormat::Tsv => {
            names.extend(if fields.probabilities { each("probability_") } else { Vec::new() });
            names.extend(if fields.logits { each("logit_") } else { Vec::new() });
        }
    }
    names
}

/// Names for the columns that are kept: one that is taken gets a suffix.
fn distinct(kept: Vec<String>, own: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(kept.len());
    for mut name in kept {
        while own.contains(&name) || names.contains(&name) {
            name.push_str("_input");
        }
        names.push(name);
    }
    names
}

#[derive(Serialize)]
struct JsonLine<'a> {
    #[serde(flatten)]
    kept: Kept<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_pair: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truth: Option<&'a str>,
    label: &'a str,
    probability: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<ByName<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<&'a [f32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ids: Option<&'a [u32]>,
}

/// Probabilities as an object, in the order of the classes.
struct ByName<'a> {
    labels: &'a [String],
    values: &'a [f64],
}

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.labels.iter().zip(self.values.iter().map(|&p| p as f32)))
    }
}

/// Cells by the names of their columns.
struct Kept<'a> {
    names: &'a [String],
    cells: &'a [&'a str],
}

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.names.iter().zip(self.cells))
    }
}
