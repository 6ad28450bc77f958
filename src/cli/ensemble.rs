//! Options of `ensemble`: those of `train`, for the seeds it trains, and how the members are combined.
//!
//! `--method` says how members are combined, so the method each is trained with is `--train-method` here.

use std::path::PathBuf;

use bertsd_cuda::training::RunOptions;
use clap::{Args, ValueEnum, ValueHint};

use super::{given::Given, scoring::PredictionsOption};

#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("method", |arg| arg.long("train-method")),
    mut_arg("model", |arg| arg.requires("seeds")),
    mut_arg("predictions", |arg| arg.visible_alias("output")),
)]
pub struct EnsembleArgs {
    #[command(flatten)]
    pub given: Given,

    /// How members are combined: vote sums their probabilities, avg takes the mean of their weights
    #[arg(id = "combine", long = "method", value_name = "METHOD", help_heading = "Ensemble")]
    pub method: Combine,

    /// Finished runs or model directories, two or more [default: those that --seeds trains]
    #[arg(
        id = "members", value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "seeds",
        help_heading = "Ensemble"
    )]
    pub members: Vec<String>,

    /// The same as naming them without an option
    #[arg(
        long, num_args = 1.., value_name = "DIR", value_hint = ValueHint::DirPath,
        conflicts_with_all = ["seeds", "members"], help_heading = "Ensemble"
    )]
    pub models: Vec<String>,

    /// Train one run for each of these seeds, in OUT/seed-N, with the options of train [default: none]
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Ensemble")]
    pub seeds: Vec<u64>,

    /// Replace the runs and the model that OUT already holds
    #[arg(long, help_heading = "Ensemble")]
    pub overwrite: bool,

    /// Take options of train from this file; the command line wins over it [default: none]
    #[arg(long, value_name = "FILE", requires = "seeds", help_heading = "Ensemble")]
    pub config: Option<PathBuf>,

    /// Examples that the ensemble classifies, in files as those of --train [default: those of --test, else the first
    /// run's test set]
    #[arg(long, value_name = "FILE", help_heading = "Ensemble")]
    pub data: Vec<PathBuf>,

    /// The data has no labels: write predictions, compute no scores
    #[arg(long, requires = "predictions", help_heading = "Ensemble")]
    pub unlabelled: bool,

    /// Print one JSON object instead of tables
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    #[command(flatten)]
    pub output: PredictionsOption,

    #[command(flatten)]
    pub options: RunOptions,
}

/// How members become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Combine {
    /// Sum of their probabilities
    Vote,
    /// Mean of their weights
    Avg,
}
