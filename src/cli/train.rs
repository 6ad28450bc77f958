//! Options of `train`. Every one is optional here: a value comes from the command line, else from `--config`, else from the default.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

#[derive(Args, Clone, Debug, Default)]
pub struct TrainArgs {
    /// Continue the run in this directory to the bit; of the other options only --stop-after and --trace may be given
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub resume: Option<PathBuf>,

    /// Take options from this file (a run's run.toml, or your own); the command line wins over it
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<PathBuf>,

    /// Delete the run that DIR of --out already holds
    #[arg(long, help_heading = "Run")]
    pub overwrite: bool,

    /// Save and stop after this many optimizer steps in all, as if interrupted
    #[arg(long, value_name = "STEPS", help_heading = "Run")]
    pub stop_after: Option<u64>,

    /// Write a timeline of the run for Chrome or Perfetto here; on a GPU it has every kernel [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub trace: Option<PathBuf>,

    #[command(flatten)]
    pub options: TrainOptions,
}

/// What a run depends on; `run.toml` holds all of it.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainOptions {
    /// Checkpoint to start from: a directory in Hugging Face's layout, or owner/name on the hub (cached)
    #[arg(long, value_name = "DIR|NAME", help_heading = "Model")]
    pub model: Option<String>,

    /// Longest sequence in tokens, special tokens included; longer texts are cut [default: 512, or what the model knows]
    #[arg(long, value_name = "TOKENS", help_heading = "Model")]
    pub max_length: Option<usize>,

    /// Which part of a text that is too long stays: head, tail, head+tail [default: head]
    #[arg(long, value_name = "PART", help_heading = "Model")]
    pub truncate: Option<String>,

    /// Probability of dropping hidden units [default: the model's, 0.1 in BERT]
    #[arg(long, value_name = "P", help_heading = "Model")]
    pub dropout: Option<f32>,

    /// Probability of dropping attention probabilities [default: the model's, 0.1 in BERT]
    #[arg(long, value_name = "P", help_heading = "Model")]
    pub attention_dropout: Option<f32>,

    /// Training examples: .csv, .tsv, .jsonl or .parquet
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub train: Option<PathBuf>,

    /// Development examples: the best checkpoint is chosen on them [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub dev: Option<PathBuf>,

    /// Test examples, scored once at the end [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub test: Option<PathBuf>,

    /// Keep this share of the training examples for development, the same of every class [default: none]
    #[arg(long, value_name = "SHARE", conflicts_with = "dev", help_heading = "Data")]
    pub dev_fraction: Option<f64>,

    /// A data set in the layout in which it is distributed: imdb, ag-news, dbpedia, yelp-p, yelp-f, snli, mnli [default: none]
    #[arg(long, value_name = "NAME", requires = "data_dir", help_heading = "Data")]
    pub preset: Option<String>,

    /// Directory of the preset's files
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub data_dir: Option<PathBuf>,

    /// Column of the text, by name or by number from 0; give several to join them [default: text]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,

    /// Column of the second text of a pair [default: none]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    pub text_pair: Option<String>,

    /// Column of the label [default: label]
    #[arg(long, value_name = "COL", help_heading = "Data")]
    pub label: Option<String>,

    /// Format of the files: csv, tsv, tsv-quoted, jsonl, parquet [default: by each file's extension]
    #[arg(long, value_name = "FORMAT", help_heading = "Data")]
    pub format: Option<String>,

    /// The files have no header; columns are numbers from 0
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Data")]
    pub no_header: Option<bool>,

    /// Directory for tokenized data, reused by later runs; "none" keeps no file [default: the user's cache directory]
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub token_cache: Option<PathBuf>,

    /// ft: plain fine-tuning; se: its averaged weights; sda: distill from averaged weights; sdv: from averaged logits [default: sda]
    #[arg(long, value_name = "METHOD", help_heading = "Method")]
    pub method: Option<String>,

    /// window:K, the last K steps; all, every earlier step; ema:D, a moving average of decay D [default: window:5]
    #[arg(long, value_name = "TEACHER", help_heading = "Method")]
    pub teacher: Option<String>,

    /// Weight λ of the distillation term [default: 1]
    #[arg(long, value_name = "X", help_heading = "Method")]
    pub lambda: Option<f64>,

    /// λ climbs linearly from 0 over this many steps [default: 0, constant]
    #[arg(long, value_name = "STEPS", help_heading = "Method")]
    pub lambda_ramp: Option<u64>,

    /// Distillation term: mse on the logits, or kl between the softmaxes [default: mse]
    #[arg(long, value_name = "TERM", help_heading = "Method")]
    pub distill: Option<String>,

    /// Temperature τ of --distill kl [default: 1]
    #[arg(long, value_name = "T", help_heading = "Method")]
    pub temperature: Option<f32>,

    /// Whether the teacher runs with dropout, its own masks: on, off [default: on]
    #[arg(long, value_name = "ON|OFF", help_heading = "Method")]
    pub teacher_dropout: Option<String>,

    /// How sdv gets old weights' logits: look-ahead, or stored copies; the numbers are the same [default: look-ahead]
    #[arg(long, value_name = "MODE", help_heading = "Method")]
    pub sdv_mode: Option<String>,

    /// Keep the mean of the iterates beside any method (se always does)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", help_heading = "Method")]
    pub average: Option<bool>,

    /// First optimizer step whose result enters the mean, from 1 [default: 1]
    #[arg(long, value_name = "STEP", help_heading = "Method")]
    pub average_from: Option<u64>,

    /// Weights that are scored, several separated by commas: student, teacher, average; the first is exported [default: average for se, else student]
    #[arg(long, value_name = "WEIGHTS", value_delimiter = ',', help_heading = "Method")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluate: Vec<String>,

    /// Passes over the training examples [default: 3]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub epochs: Option<u64>,

    /// Optimizer steps in all, instead of --epochs [default: none]
    #[arg(long, value_name = "STEPS", conflicts_with = "epochs", help_heading = "Optimization")]
    pub max_steps: Option<u64>,

    /// Sequences of a micro-batch [default: 16]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub batch_size: Option<usize>,

    /// Micro-batches of an optimizer step [default: 1]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub grad_accum: Option<usize>,

    /// Most tokens of a micro-batch; a step is cut into more of them where need be [default: no limit]
    #[arg(long, value_name = "TOKENS", help_heading = "Optimization")]
    pub max_tokens: Option<usize>,

    /// Order of the examples: shuffled, bucketed (shuffled, like lengths together), file [default: shuffled]
    #[arg(long, value_name = "ORDER", help_heading = "Optimization")]
    pub order: Option<String>,

    /// Peak learning rate of the encoder [default: 2e-5]
    #[arg(long, value_name = "X", help_heading = "Optimization")]
    pub lr: Option<f64>,

    /// Peak learning rate of the classifier [default: 1e-3]
    #[arg(long, value_name = "X", help_heading = "Optimization")]
    pub head_lr: Option<f64>,

    /// Factor on the learning rate from each layer to the one below [default: 1]
    #[arg(long, value_name = "X", help_heading = "Optimization")]
    pub layer_decay: Option<f64>,

    /// Share of the steps over which the learning rate climbs [default: 0.1]
    #[arg(long, value_name = "SHARE", help_heading = "Optimization")]
    pub warmup: Option<f64>,

    /// AdamW's weight decay, on all but biases and LayerNorms [default: 0.01]
    #[arg(long, value_name = "X", help_heading = "Optimization")]
    pub weight_decay: Option<f64>,

    /// Largest norm of the gradient; 0: no clipping [default: 1]
    #[arg(long, value_name = "X", help_heading = "Optimization")]
    pub clip: Option<f64>,

    /// Share of a label's probability spread over all classes [default: 0]
    #[arg(long, value_name = "X", help_heading = "Optimization")]
    pub label_smoothing: Option<f32>,

    /// Weights of the classes in the loss: none, balanced, or LABEL=X,… [default: none]
    #[arg(long, value_name = "WEIGHTS", help_heading = "Optimization")]
    pub class_weights: Option<String>,

    /// Seed of everything random: order, dropout, new weights, split [default: 42]
    #[arg(long, value_name = "N", help_heading = "Optimization")]
    pub seed: Option<u64>,

    /// Where to compute: auto, cpu, cuda, cuda:N [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Run")]
    pub device: Option<String>,

    /// What the backward pass makes again instead of keeping it: none, gelu, or layer, which takes a third more work and much less memory [default: gelu]
    #[arg(long, value_name = "PART", help_heading = "Optimization")]
    pub recompute: Option<String>,

    /// What a GPU stores activations as: auto, bf16, tf32, f32; auto is bf16 there, and float32 on the processor; tf32 is f32 but
    /// for the factors of the products of linear layers, which are rounded to 10 bits of mantissa (by 0.05 % at most) [default: auto]
    #[arg(long, value_name = "TYPE", help_heading = "Run")]
    pub precision: Option<String>,

    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub threads: Option<usize>,

    /// Directory of the run: model/, metrics.jsonl, run.toml, checkpoints/, tensorboard/
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,

    /// Evaluate every this many steps as well as at the end of each epoch [default: 0, epochs only]
    #[arg(long, value_name = "STEPS", help_heading = "Run")]
    pub eval_every: Option<u64>,

    /// Sequences of an evaluation batch [default: 64]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub eval_batch_size: Option<usize>,

    /// Score that chooses the best checkpoint: accuracy, macro-f1, weighted-f1, mcc, loss, ece [default: accuracy]
    #[arg(long, value_name = "METRIC", help_heading = "Run")]
    pub best_metric: Option<String>,

    /// Which weights become model/: best (by --best-metric on dev), last [default: best where there is a dev set, else last]
    #[arg(long, value_name = "WHICH", help_heading = "Run")]
    pub export: Option<String>,

    /// Stop after this many evaluations without improvement; 0: never [default: 0]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub patience: Option<u64>,

    /// Save a checkpoint every this many steps as well as at the end of each epoch [default: 0, epochs only]
    #[arg(long, value_name = "STEPS", help_heading = "Run")]
    pub save_every: Option<u64>,

    /// Checkpoints kept; 0: none are written, and the run cannot be resumed [default: 2]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub keep_checkpoints: Option<usize>,

    /// Write a line of metrics every this many steps [default: 1]
    #[arg(long, value_name = "STEPS", help_heading = "Run")]
    pub log_every: Option<u64>,
}
