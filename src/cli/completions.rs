//! Options of `completions`.

use clap::Args;

#[derive(Args)]
pub struct CompletionsArgs {}
