//! Options of `train`: those of the run, which the library has, and those of this start of it.

use std::path::PathBuf;

use bertsd_cuda::training::RunOptions;
use clap::{Args, ValueHint};

use super::given::Given;

#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    #[command(flatten)]
    pub given: Given,

    /// Continue the run in this directory to the bit; beside it go --stop-after, --trace, and, where files have moved,
    /// --train, --dev, --test, --data-dir, --model; also --threads, which changes the last bits
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Run")]
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
    pub options: RunOptions,
}
