//! Options that every command which runs a finished model has.

use std::path::PathBuf;

use bertsd_cuda::{
    data::{BadRows, Delimiter, Format, LabelNames, Truncation},
    device::{DeviceChoice, Precision},
    text_value::parser,
    training::{EVALUATION_TOKENS, RunOptions},
};
use clap::Args;

/// How texts become sequences.
#[derive(Args, Clone, Debug)]
pub struct EncodeOptions {
    /// Longest sequence in tokens, special tokens included; longer texts are cut [default: as trained, else 512 or what
    /// the model knows]
    #[arg(long, value_name = "TOKENS", help_heading = "Model")]
    pub max_length: Option<usize>,

    /// Which part of a text that is too long stays: head, tail, head+tail [default: as trained, else head]
    #[arg(long, value_parser = parser::<Truncation>(), value_name = "PART", help_heading = "Model")]
    pub truncate: Option<Truncation>,
}

/// Which columns of a table are read.
#[derive(Args, Clone, Debug)]
pub struct ColumnOptions {
    /// Column of the text, by name or by number from 0; give several to join them [default: as trained, else text]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    pub text: Vec<String>,

    /// Column of the second text of a pair; "none" for single texts [default: as trained, else none]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    pub text_pair: Option<String>,

    /// The file has no header; columns are numbers from 0 [default: as trained where --text is, else its first row is
    /// one]
    #[arg(
        long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Data"
    )]
    pub no_header: Option<bool>,

    /// What separates the columns of CSV and TSV: one character, or tab [default: as trained, else the format's own, or
    /// another one that the first line shows]
    #[arg(long, value_name = "CHAR", value_parser = parser::<Delimiter>(), help_heading = "Data")]
    pub delimiter: Option<Delimiter>,

    /// What becomes of rows that cannot be read: refuse ends with the first, skip leaves them out and counts them
    #[arg(
        long, value_name = "WHAT", default_value = "refuse", value_parser = parser::<BadRows>(), help_heading = "Data"
    )]
    pub bad_rows: BadRows,
}

/// Labelled examples.
#[derive(Args, Clone, Debug)]
pub struct DataOptions {
    #[command(flatten)]
    pub columns: ColumnOptions,

    /// Column of the label [default: as trained, else label]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    pub label: Option<String>,

    /// Leave out the rows with this label; '' stands for empty and null; give several to leave out more [default: as
    /// trained, else none]
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true, help_heading = "Data")]
    pub ignore_label: Vec<String>,

    /// Call labels by other names: LABEL=NAME,…, such as 0=negative,1=positive [default: as trained, else none]
    #[arg(
        long, value_name = "NAMES", value_parser = parser::<LabelNames>(), allow_hyphen_values = true,
        help_heading = "Data"
    )]
    pub label_map: Option<LabelNames>,

    /// Format of the data: csv, tsv, tsv-quoted, jsonl, parquet [default: by the file's extension]
    #[arg(long, value_parser = parser::<Format>(), value_name = "FORMAT", help_heading = "Data")]
    pub format: Option<Format>,
}

/// Where and in what portions to compute.
#[derive(Args, Clone, Debug)]
pub struct ComputeOptions {
    /// Most sequences of a batch
    #[arg(
        long, value_name = "N", default_value_t = RunOptions::default().eval_batch_size, value_parser = at_least_one,
        help_heading = "Computing"
    )]
    pub batch_size: usize,

    /// Most tokens of a batch, unless it is a single longer text
    #[arg(
        long, value_name = "TOKENS", default_value_t = EVALUATION_TOKENS, value_parser = at_least_one,
        help_heading = "Computing"
    )]
    pub max_tokens: usize,

    /// Where to compute: auto, cpu, cuda, cuda:N
    #[arg(
        long, value_parser = parser::<DeviceChoice>(), value_name = "DEVICE", default_value = "auto",
        help_heading = "Computing"
    )]
    pub device: DeviceChoice,

    /// What a GPU stores activations as: auto, bf16, tf32, f32; auto is bf16 there, and float32 on the processor; tf32
    /// is f32 but for the factors of the products of linear layers, which are rounded to 10 bits of mantissa (by 0.05 %
    /// at most)
    #[arg(
        long, value_parser = parser::<Precision>(), value_name = "TYPE", default_value = "auto",
        help_heading = "Computing"
    )]
    pub precision: Precision,

    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Computing")]
    pub threads: Option<usize>,
}

/// Where predictions go beside what a command prints.
#[derive(Args, Clone, Debug)]
pub struct PredictionsOption {
    /// Write each example's true label, predicted label and probability here: .csv, .tsv or .jsonl [default: nowhere]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub predictions: Option<PathBuf>,
}

/// A count of which there must be one.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("is not a whole number".to_owned()),
    }
}
