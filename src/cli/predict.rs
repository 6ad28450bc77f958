//! Options of `predict`.

use std::{path::PathBuf, str::FromStr};

use bertsd_cuda::{
    data::Format,
    inference::PredictionFormat,
    text_value::{InvalidValue, TextValue, list, parser},
};
use clap::{Args, ValueEnum, ValueHint, builder::PossibleValue};

use super::scoring::{ColumnOptions, ComputeOptions, EncodeOptions, at_least_one};

#[derive(Args, Clone, Debug)]
pub struct PredictArgs {
    /// Model to classify with: a Hugging Face directory, a run's directory, or owner/name on the hub (cached)
    #[arg(
        long, value_name = "DIR|NAME", value_parser = parser::<String>(), value_hint = ValueHint::DirPath,
        help_heading = "Model"
    )]
    pub model: String,

    #[command(flatten)]
    pub encode: EncodeOptions,

    /// Texts to classify: a file, a directory of shards, or a pattern; give several to read one after another; - is
    /// standard input
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Data")]
    pub input: Vec<PathBuf>,

    /// Format of the input: lines (one text a line), csv, tsv, tsv-quoted, jsonl, parquet [default: by the file's
    /// extension; lines from standard input and .txt]
    #[arg(long, value_parser = parser::<InputFormat>(), value_name = "FORMAT", help_heading = "Data")]
    pub format: Option<InputFormat>,

    #[command(flatten)]
    pub columns: ColumnOptions,

    /// Where the answers go, in the order of the texts; - is standard output; a file appears when it is complete
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Output")]
    pub output: PathBuf,

    /// Format of the answers: csv, tsv, jsonl [default: by the output's extension, else csv]
    #[arg(long, value_parser = parser::<PredictionFormat>(), value_name = "FORMAT", help_heading = "Output")]
    pub output_format: Option<PredictionFormat>,

    /// Which probabilities are written: all, that of the predicted label and those of every label; top, the first alone
    #[arg(long, value_enum, value_name = "WHICH", default_value = "all", help_heading = "Output")]
    pub probabilities: Probabilities,

    /// Write every label's logit too
    #[arg(long, help_heading = "Output")]
    pub logits: bool,

    /// Write the token ids too (jsonl only)
    #[arg(long, help_heading = "Output")]
    pub input_ids: bool,

    /// Column of the input, by name or by number from 0, that is written too, as it is; give several to keep more; a
    /// name that the answers use themselves gets the suffix _input [default: none]
    #[arg(long, value_name = "COL", help_heading = "Output")]
    pub keep: Vec<String>,

    /// Write the texts too, before the label
    #[arg(long, help_heading = "Output")]
    pub echo: bool,

    /// Texts that are read, classified and answered together; 1 answers each at once [default: 4096; 1 from a terminal]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Computing")]
    pub chunk: Option<usize>,

    #[command(flatten)]
    pub compute: ComputeOptions,
}

/// Which probabilities are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probabilities {
    /// That of the predicted label
    Top,
    /// Those of every label too
    All,
}

/// How the input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    Lines,
    Table(Format),
}

impl FromStr for InputFormat {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "lines" => Ok(Self::Lines),
            _ => text
                .parse()
                .map(Self::Table)
                .map_err(|_| InvalidValue(format!("'{text}' is none of {}", list(&Self::offered())))),
        }
    }
}

impl TextValue for InputFormat {
    fn offered() -> Vec<PossibleValue> {
        std::iter::once(PossibleValue::new("lines")).chain(Format::offered()).collect()
    }
}
