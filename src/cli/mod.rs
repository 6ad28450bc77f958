//! The command line: what can be asked, with help for every option. Nothing is opened here.

mod completions;
pub mod ensemble;
mod eval;
mod info;
pub mod predict;
mod report;
pub mod scoring;
pub mod train;

pub use completions::CompletionsArgs;
pub use ensemble::EnsembleArgs;
pub use eval::EvalArgs;
pub use info::InfoArgs;
pub use predict::PredictArgs;
pub use report::ReportArgs;
pub use train::TrainArgs;

use clap::{Parser, Subcommand};

/// Fine-tune BERT classifiers with self-ensemble and self-distillation (arXiv 2002.10345).
#[derive(Parser)]
#[command(name = "bertsd-cuda", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Fine-tune a checkpoint on labelled text
    Train(Box<TrainArgs>),
    /// Score a model on labelled text
    Eval(EvalArgs),
    /// Classify text, row by row
    Predict(PredictArgs),
    /// Combine several runs by voting or by averaging their weights
    Ensemble(Box<EnsembleArgs>),
    /// Draw the learning curves of one or several runs
    Report(ReportArgs),
    /// Describe a model, the memory a run needs, and the devices here
    Info(InfoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}
