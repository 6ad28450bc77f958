//! `report`: a table and learning curves of runs.

use bertsd_cuda::reports::{CurveOptions, RunHistory, Summary, write_curves};

use super::console;
use crate::cli::ReportArgs;

pub fn run(args: ReportArgs) -> anyhow::Result<()> {
    let runs = RunHistory::open_all(&args.runs)?;
    let options =
        CurveOptions { title: args.title, metric: args.metric, width: args.width, smoothing_steps: args.smoothing };
    for path in &args.out {
        write_curves(&runs, &options, path)?;
        console::say(format_args!("wrote {}", path.display()));
    }
    let summary = Summary::new(&runs, args.metric);
    let text = if args.json { format!("{}\n", serde_json::to_string(&summary)?) } else { summary.to_string() };
    Ok(console::print(&text)?)
}
