//! Options of `ensemble`.

use clap::Args;

#[derive(Args)]
pub struct EnsembleArgs {}
