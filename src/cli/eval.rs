//! Options of `eval`.

use std::path::PathBuf;

use bertsd_cuda::{data::Preset, text_value::parser};
use clap::{Args, ValueHint};

use super::scoring::{ComputeOptions, DataOptions, EncodeOptions, PredictionsOption};

#[derive(Args, Clone, Debug)]
pub struct EvalArgs {
    /// Model to score: a Hugging Face directory, a run's directory, or owner/name on the hub (cached)
    #[arg(
        long, value_name = "DIR|NAME", value_parser = parser::<String>(), value_hint = ValueHint::DirPath,
        help_heading = "Model"
    )]
    pub model: String,

    #[command(flatten)]
    pub encode: EncodeOptions,

    /// Labelled examples: .csv, .tsv, .jsonl (also with .gz or .zst after it) or .parquet, a directory of shards, or a
    /// pattern; give several to read one after another; with --preset, the directory of its files
    #[arg(long, value_name = "FILE", required = true, help_heading = "Data")]
    pub data: Vec<PathBuf>,

    #[command(flatten)]
    pub options: DataOptions,

    /// The data is one of imdb, ag-news, dbpedia, yelp-p, yelp-f, snli, mnli, as it is distributed [default: files of
    /// one's own]
    #[arg(
        long, value_parser = parser::<Preset>(), value_name = "NAME",
        conflicts_with_all = [
            "text", "text_pair", "label", "format", "no_header", "delimiter", "ignore_label", "label_map"
        ],
        help_heading = "Data"
    )]
    pub preset: Option<Preset>,

    /// Part of the preset: train, dev, test, or its own name for it [default: test]
    #[arg(long, value_name = "PART", requires = "preset", help_heading = "Data")]
    pub split: Option<String>,

    /// Print one JSON object instead of tables
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    #[command(flatten)]
    pub output: PredictionsOption,

    #[command(flatten)]
    pub compute: ComputeOptions,
}
