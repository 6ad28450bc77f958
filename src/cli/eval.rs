//! Options of `eval`.

use clap::Args;

#[derive(Args)]
pub struct EvalArgs {}
