//! Options of `report`.

use clap::Args;

#[derive(Args)]
pub struct ReportArgs {}
