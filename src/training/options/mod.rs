//! What a run depends on: one structure for the command line, for `run.toml` and for programs, with one parser and one
//! default of every option.

mod check;
mod file;
mod meaning;
mod values;

pub use file::{Assignment, overlay, read_assignments};
pub(crate) use file::{parse, texts};
pub(super) use meaning::given;
pub use values::{ClassWeights, DistillationTerm, Export, Order, Switch, TokenCache};

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde::Serialize;

use crate::{
    data::{BadRows, Delimiter, Format, LabelNames, Preset, Truncation},
    device::{DeviceChoice, Precision},
    distillation::{Method, SdvMode, TeacherKind},
    encoder::Recompute,
    metrics::Metric,
    reports::Weights,
    text_value::parser,
    training::Schedule,
};

/// Tokens of the longest sequence where neither the user nor the model says fewer.
pub const MAX_LENGTH: usize = 512;
/// Most tokens of an evaluation batch, unless training batches, or a single text, have more.
pub const EVALUATION_TOKENS: usize = 4096;

/// The options of `train`. [`RunOptions::default`] has the defaults of the command line; `run.toml` holds all of them,
/// with what was left open filled in.
///
/// ```
/// use bertsd_cuda::training::RunOptions;
///
/// let options = RunOptions { epochs: Some(2), lr: 5e-5, ..RunOptions::for_files("model", "train.csv", "run") };
/// assert_eq!((options.batch_size, options.method.to_string()), (16, "sda".to_owned()));
/// ```
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunOptions {
    /// Checkpoint to start from: a directory in Hugging Face's layout, or owner/name on the hub (cached)
    #[arg(
        long, value_name = "DIR|NAME", value_parser = parser::<String>(), value_hint = ValueHint::DirPath,
        help_heading = "Model"
    )]
    pub model: Option<String>,

    /// Longest sequence in tokens, special tokens included; longer texts are cut [default: 512, or what the model
    /// knows]
    #[arg(long, value_name = "TOKENS", help_heading = "Model")]
    pub max_length: Option<usize>,

    /// Which part of a text that is too long stays: head, tail, head+tail
    #[arg(
        long, value_name = "PART", default_value = "head", value_parser = parser::<Truncation>(), help_heading = "Model"
    )]
    pub truncate: Truncation,

    /// Probability of dropping hidden units [default: the model's, 0.1 in BERT]
    #[arg(long, value_name = "P", help_heading = "Model")]
    pub dropout: Option<f32>,

    /// Probability of dropping attention probabilities [default: the model's, 0.1 in BERT]
    #[arg(long, value_name = "P", help_heading = "Model")]
    pub attention_dropout: Option<f32>,

    /// Training examples: .csv, .tsv, .jsonl (also with .gz or .zst after it) or .parquet; a directory of shards, or a
    /// pattern such as 'train-*.csv'; give several to read one after another
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<PathBuf>,

    /// Development examples, in files as those of --train: the best checkpoint is chosen on them [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dev: Vec<PathBuf>,

    /// Test examples, in files as those of --train, scored once at the end [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<PathBuf>,

    /// Keep this share of the training examples for development, the same of every class [default: none]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    pub dev_fraction: Option<f64>,

    /// A data set in the layout in which it is distributed: imdb, ag-news, dbpedia, yelp-p, yelp-f, snli, mnli
    /// [default: none]
    #[arg(long, value_name = "NAME", value_parser = parser::<Preset>(), help_heading = "Data")]
    pub preset: Option<Preset>,

    /// Directory of the preset's files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Data")]
    pub data_dir: Option<PathBuf>,

    /// Column of the text, by name or by number from 0; give several to join them [default: text]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,

    /// Column of the second text of a pair [default: none]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    pub text_pair: Option<String>,

    /// Column of the label [default: label]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    pub label: Option<String>,

    /// Format of the files: csv, tsv, tsv-quoted, jsonl, parquet [default: by each file's extension]
    #[arg(long, value_name = "FORMAT", value_parser = parser::<Format>(), help_heading = "Data")]
    pub format: Option<Format>,

    /// The files have no header; columns are numbers from 0
    #[arg(
        long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Data"
    )]
    pub no_header: Option<bool>,

    /// What separates the columns of CSV and TSV: one character, or tab [default: the format's own, or another one that
    /// the first line shows]
    #[arg(long, value_name = "CHAR", value_parser = parser::<Delimiter>(), help_heading = "Data")]
    pub delimiter: Option<Delimiter>,

    /// Leave out the rows with this label, such as -1 or -; '' stands for empty and null; give several to leave out
    /// more [default: none]
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true, help_heading = "Data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_label: Vec<String>,

    /// Call labels by other names, and number the classes in this order: LABEL=NAME,…, such as 0=negative,1=positive
    /// [default: none]
    #[arg(
        long, value_name = "NAMES", value_parser = parser::<LabelNames>(), allow_hyphen_values = true,
        help_heading = "Data"
    )]
    pub label_map: Option<LabelNames>,

    /// What becomes of rows that cannot be read: refuse ends with the first, skip leaves them out and counts them
    #[arg(
        long, value_name = "WHAT", default_value = "refuse", value_parser = parser::<BadRows>(), help_heading = "Data"
    )]
    pub bad_rows: BadRows,

    /// Directory for tokenized data, reused by later runs; "none" keeps no file [default: the user's cache directory]
    #[arg(
        long, value_name = "DIR", value_parser = parser::<TokenCache>(), value_hint = ValueHint::DirPath,
        help_heading = "Data"
    )]
    pub token_cache: Option<TokenCache>,

    /// ft: plain fine-tuning; se: its averaged weights; sda: distill from averaged weights; sdv: from averaged logits;
    /// rdrop: two passes with other dropout masks, which teach each other
    #[arg(
        long, value_name = "METHOD", default_value = "sda", value_parser = parser::<Method>(), help_heading = "Method"
    )]
    pub method: Method,

    /// window:K, the last K steps; window:K/S, every S-th of them; all, every earlier step; ema:D, a moving average of
    /// decay D; window:P% and ema:P%, as long as P % of the run; zero, no model: a penalty on the logits
    #[arg(
        long, value_name = "TEACHER", default_value = "window:5", value_parser = parser::<TeacherKind>(),
        help_heading = "Method"
    )]
    pub teacher: TeacherKind,

    /// Weight λ of the distillation term
    #[arg(long, value_name = "X", default_value = "1", help_heading = "Method")]
    pub lambda: f64,

    /// Weight α of the divergence between the two passes of rdrop
    #[arg(long, value_name = "X", default_value = "1", help_heading = "Method")]
    pub rdrop_alpha: f64,

    /// λ climbs linearly from 0 over this many steps; 0: it is constant
    #[arg(long, value_name = "STEPS", default_value = "0", help_heading = "Method")]
    pub lambda_ramp: u64,

    /// Distillation term: mse on the logits, or kl between the softmaxes
    #[arg(
        long, value_name = "TERM", default_value = "mse", value_parser = parser::<DistillationTerm>(),
        help_heading = "Method"
    )]
    pub distill: DistillationTerm,

    /// Temperature τ of --distill kl
    #[arg(long, value_name = "T", default_value = "1", help_heading = "Method")]
    pub temperature: f32,

    /// Whether the teacher runs with dropout, its own masks: on, off
    #[arg(
        long, value_name = "ON|OFF", default_value = "on", value_parser = parser::<Switch>(), help_heading = "Method"
    )]
    pub teacher_dropout: Switch,

    /// How sdv gets old weights' logits: look-ahead, or stored copies; the numbers are the same
    #[arg(
        long, value_name = "MODE", default_value = "look-ahead", value_parser = parser::<SdvMode>(),
        help_heading = "Method"
    )]
    pub sdv_mode: SdvMode,

    /// Keep the mean of the iterates beside any method (se always does)
    #[arg(
        long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        help_heading = "Method"
    )]
    pub average: Option<bool>,

    /// First optimizer step whose result enters the mean, from 1
    #[arg(long, value_name = "STEP", default_value = "1", help_heading = "Method")]
    pub average_from: u64,

    /// Weights that are scored, several separated by commas: student, teacher, average; the first is exported [default:
    /// average for se, else student]
    #[arg(
        long, value_name = "WEIGHTS", value_parser = parser::<Weights>(), value_delimiter = ',',
        help_heading = "Method"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evaluate: Vec<Weights>,

    /// Passes over the training examples [default: 3]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub epochs: Option<u64>,

    /// Optimizer steps in all, instead of --epochs [default: none]
    #[arg(long, value_name = "STEPS", help_heading = "Optimization")]
    pub max_steps: Option<u64>,

    /// Sequences of a micro-batch
    #[arg(long, value_name = "N", default_value = "16", help_heading = "Optimization")]
    pub batch_size: usize,

    /// Micro-batches of an optimizer step
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Optimization")]
    pub grad_accum: usize,

    /// Most tokens of a micro-batch; a step is cut into more of them where need be [default: no limit]
    #[arg(long, value_name = "TOKENS", help_heading = "Optimization")]
    pub max_tokens: Option<usize>,

    /// Order of the examples: shuffled, bucketed (shuffled, like lengths together), file
    #[arg(
        long, value_name = "ORDER", default_value = "shuffled", value_parser = parser::<Order>(),
        help_heading = "Optimization"
    )]
    pub order: Order,

    /// Peak learning rate of the encoder
    #[arg(long, value_name = "X", default_value = "2e-5", help_heading = "Optimization")]
    pub lr: f64,

    /// Peak learning rate of the classifier
    #[arg(long, value_name = "X", default_value = "1e-3", help_heading = "Optimization")]
    pub head_lr: f64,

    /// Factor on the learning rate from each layer to the one below
    #[arg(long, value_name = "X", default_value = "1", help_heading = "Optimization")]
    pub layer_decay: f64,

    /// Share of the steps over which the learning rate climbs
    #[arg(long, value_name = "SHARE", default_value = "0.1", help_heading = "Optimization")]
    pub warmup: f64,

    /// How the learning rate falls after the warm-up: linear, constant, cosine
    #[arg(
        long, value_name = "SHAPE", default_value = "linear", value_parser = parser::<Schedule>(),
        help_heading = "Optimization"
    )]
    pub schedule: Schedule,

    /// Share of the peak learning rate that is left at the end
    #[arg(long, value_name = "SHARE", default_value = "0", help_heading = "Optimization")]
    pub lr_floor: f64,

    /// AdamW's weight decay, on all but biases and LayerNorms
    #[arg(long, value_name = "X", default_value = "0.01", help_heading = "Optimization")]
    pub weight_decay: f64,

    /// Largest norm of the gradient; 0: no clipping
    #[arg(long, value_name = "X", default_value = "1", help_heading = "Optimization")]
    pub clip: f64,

    /// Share of a label's probability spread over all classes
    #[arg(long, value_name = "X", default_value = "0", help_heading = "Optimization")]
    pub label_smoothing: f32,

    /// Weights of the classes in the loss: none, balanced, or LABEL=X,…
    #[arg(
        long, value_name = "WEIGHTS", default_value = "none", value_parser = parser::<ClassWeights>(),
        help_heading = "Optimization"
    )]
    pub class_weights: ClassWeights,

    /// Seed of everything random: new weights, order, dropout, split
    #[arg(long, value_name = "N", default_value = "42", help_heading = "Optimization")]
    pub seed: u64,

    /// Seed of the new classifier's weights alone [default: that of --seed]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub init_seed: Option<u64>,

    /// Seed of the order of the examples alone [default: that of --seed]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub order_seed: Option<u64>,

    /// Seed of the dropout masks alone [default: that of --seed]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub dropout_seed: Option<u64>,

    /// Where to compute: auto, cpu, cuda, cuda:N
    #[arg(
        long, value_name = "DEVICE", default_value = "auto", value_parser = parser::<DeviceChoice>(),
        help_heading = "Run"
    )]
    pub device: DeviceChoice,

    /// What the backward pass recomputes instead of keeping it: none, gelu, or layer, which takes a third more work and
    /// much less memory
    #[arg(
        long, value_name = "PART", default_value = "gelu", value_parser = parser::<Recompute>(),
        help_heading = "Optimization"
    )]
    pub recompute: Recompute,

    /// What a GPU stores activations as: auto, bf16, tf32, f32; auto is bf16 there, and float32 on the processor; tf32
    /// is f32 but for the factors of the products of linear layers, which are rounded to 10 bits of mantissa (by 0.05 %
    /// at most)
    #[arg(
        long, value_name = "TYPE", default_value = "auto", value_parser = parser::<Precision>(), help_heading = "Run"
    )]
    pub precision: Precision,

    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub threads: Option<usize>,

    /// Directory of the run: model/, metrics.jsonl, run.toml, checkpoints/, tensorboard/
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Run")]
    pub out: Option<PathBuf>,

    /// Evaluate every this many steps as well as at the end of each epoch; 0: then only
    #[arg(long, value_name = "STEPS", default_value = "0", help_heading = "Run")]
    pub eval_every: u64,

    /// Sequences of an evaluation batch
    #[arg(long, value_name = "N", default_value = "64", help_heading = "Run")]
    pub eval_batch_size: usize,

    /// Score that chooses the best checkpoint: accuracy, macro-f1, weighted-f1, mcc, loss, ece
    #[arg(
        long, value_name = "METRIC", default_value = "accuracy", value_parser = parser::<Metric>(), help_heading = "Run"
    )]
    pub best_metric: Metric,

    /// Which weights become model/: best (by --best-metric on dev), last [default: best where there is a dev set, else
    /// last]
    #[arg(long, value_name = "WHICH", value_parser = parser::<Export>(), help_heading = "Run")]
    pub export: Option<Export>,

    /// Stop after this many evaluations without improvement; 0: never
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Run")]
    pub patience: u64,

    /// Save a checkpoint every this many steps as well as at the end of each epoch; 0: then only
    #[arg(long, value_name = "STEPS", default_value = "0", help_heading = "Run")]
    pub save_every: u64,

    /// Checkpoints kept; 0: none are written, and the run cannot be resumed
    #[arg(long, value_name = "N", default_value = "2", help_heading = "Run")]
    pub keep_checkpoints: usize,

    /// Write a line of metrics every this many steps
    #[arg(long, value_name = "STEPS", default_value = "1", help_heading = "Run")]
    pub log_every: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self::from_assignments([]).expect("the defaults are values that their own parsers take, as a test shows")
    }
}
