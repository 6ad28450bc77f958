//! Options of `info`.

use clap::Args;

#[derive(Args)]
pub struct InfoArgs {}
