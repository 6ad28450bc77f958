//! Does the program work on this machine's GPU, and how fast is it there?
//!
//! `make gpu-check` packs this program, the others that it runs, golden values and PyTorch's side of the timings into
//! target/gpu-check, and runs it if there is a GPU. The folder can be carried to a machine that has a driver and
//! nothing else:
//!
//! ```text
//! target/gpu-check/bin/gpu_check            every step, in order, within --budget seconds
//! target/gpu-check/bin/gpu_check smoke      this step only
//! target/gpu-check/bin/gpu_check --rehearse on the simulator: small shapes, no PyTorch, no profilers
//! ```
//!
//! Every step runs under its own time limit, and what it finds is in the results folder at once: `results.jsonl`, one
//! object a step, and `log.txt`, all that was printed. A step that has passed is not run again, so that a second call
//! goes on where the first ended; `--again` runs it. Last come `report.md` and `report.json`, which are printed too.
//! The exit status is 1 if a step failed.

mod attempt;
mod kit;
mod report;
mod speed;
mod steps;
mod workload;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;

use self::{attempt::Log, kit::Kit, report::Results, steps::Step};

/// Checks and times bertsd-cuda on this machine's GPU.
#[derive(Parser)]
pub struct Arguments {
    /// Steps to run, in this order [default: all]
    #[arg(value_enum)]
    steps: Vec<Step>,

    /// Where results go [default: the folder `results` beside the one that this program is in]
    #[arg(long)]
    out: Option<PathBuf>,

    /// Seconds that all steps together may take
    #[arg(long, default_value_t = 570)]
    budget: u64,

    /// Run steps again that have passed
    #[arg(long)]
    again: bool,

    /// On the simulator, with small shapes: whether the check itself works
    #[arg(long)]
    rehearse: bool,

    /// A Python that may have PyTorch
    #[arg(long, default_value = "python3")]
    python: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every step that ran has passed.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let kit = Kit::find(arguments)?;
    let mut log = Log::open(&kit.out, Duration::from_secs(arguments.budget))?;
    let mut results = Results::read(&kit.out)?;
    println!("{}", kit.describe());
    let every = <Step as clap::ValueEnum>::value_variants();
    let wanted = if arguments.steps.is_empty() { every } else { &arguments.steps };
    for &step in wanted {
        if results.passed(step.name()) && !arguments.again && arguments.steps.is_empty() {
            println!("{:9} has passed before", step.name());
            continue;
        }
        let outcome = step.run(&kit, &mut log).with_context(|| format!("step {}", step.name()));
        let finding = outcome.unwrap_or_else(|error| report::Finding::failed(format!("{error:#}")));
        println!("{:9} {}", step.name(), finding.line());
        results.add(step.name(), finding)?;
    }
    let text = report::text(&kit, &results);
    report::write(&kit, &results, &text)?;
    println!("\n{text}");
    println!("results: {}", kit.out.display());
    Ok(!results.has_failures())
}
