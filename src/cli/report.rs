//! Options of `report`.

use std::path::PathBuf;

use bertsd_cuda::{metrics::Metric, text_value::parser};
use clap::Args;

use super::scoring::at_least_one;

#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Runs: their directories, or metrics.jsonl files
    #[arg(required = true, value_name = "DIR")]
    pub runs: Vec<PathBuf>,

    /// Draw the learning curves into this file, .png or .svg; may be given several times [default: no picture]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: Vec<PathBuf>,

    /// Score on dev that is drawn and listed: accuracy, macro-f1, weighted-f1, mcc, loss, ece
    #[arg(
        long, value_parser = parser::<Metric>(), value_name = "METRIC", default_value = "accuracy",
        help_heading = "Output"
    )]
    pub metric: Metric,

    /// Print one JSON object instead of the table
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Title of the picture
    #[arg(long, value_name = "TEXT", default_value = "Learning curves", help_heading = "Picture")]
    pub title: String,

    /// Width of the picture in pixels, 400 to 8000
    #[arg(long, value_name = "PIXELS", default_value_t = 1200, help_heading = "Picture")]
    pub width: u32,

    /// Training losses are averaged over this many steps; 1: as they are [default: a fortieth of each run, at least 10]
    #[arg(long, value_name = "STEPS", value_parser = smoothing, help_heading = "Picture")]
    pub smoothing: Option<u32>,
}

fn smoothing(text: &str) -> Result<u32, String> {
    u32::try_from(at_least_one(text)?).map_err(|_| "is more steps than any run has".to_owned())
}
