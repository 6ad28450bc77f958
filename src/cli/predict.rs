//! Options of `predict`.

use clap::Args;

#[derive(Args)]
pub struct PredictArgs {}
