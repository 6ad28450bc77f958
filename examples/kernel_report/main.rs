//! Every kernel of a training step: what it does, its floor and its limit, what it may take on an H100 and an A100.
//!
//! `make report` runs it for BERT-base, BERT-large and all-MiniLM-L6, four shapes of batch and three methods. It needs
//! no GPU: steps run on the simulator, which launches everything and executes a sample of the blocks of each kind of
//! launch (see `sample`). Where there is a GPU, the launches are timed there too, and the times stand beside.
//!
//! ```text
//! kernel_report                       all models and shapes; a table for each step
//! kernel_report --only bert-base/32x128 --method sda
//! kernel_report --json FILE --markdown FILE --picture FILE
//! ```
//!
//! - Counted: launches, grids and blocks, since every launch of the steps is made.
//! - Scaled: instructions, bytes, sectors, FLOPs and wavefronts, which are counted on a sample of blocks; exact where
//!   blocks do the same work.
//! - Read: registers, of the machine code in this build for the card, or for the nearest architecture it has.
//! - Derived, from these and the card's rates (`simulator/src/profile.rs`): floors, waves, tails, limits, estimates.
//! - Measured: with `--measure`, by events around launches that are repeated back to back, so that what they read is in
//!   L2 where it fits.

mod count;
mod markdown;
mod measure;
mod picture;
mod rows;
mod sample;
mod steps;
mod table;
mod workload;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use cudasim::profile::Profile;
use serde_json::json;

use self::{
    rows::{Card, StepReport},
    steps::MethodName,
    workload::{Case, cases},
};

/// Cards that are reported for where none is timed.
const CARDS: [&str; 2] = ["h100", "a100"];

/// Reports what each kernel of a training step does and takes.
#[derive(Parser)]
struct Arguments {
    /// Only models and shapes whose name, such as bert-base/32x128, contains this
    #[arg(long)]
    only: Option<String>,

    /// Methods [default: all of them]
    #[arg(long = "method", value_enum)]
    methods: Vec<MethodName>,

    /// Write everything as JSON
    #[arg(long)]
    json: Option<PathBuf>,

    /// Write a page in Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,

    /// Write a picture, in SVG
    #[arg(long)]
    picture: Option<PathBuf>,

    /// A small model instead of the others, to try the report itself
    #[arg(long)]
    small: bool,

    /// Also time the launches on this machine's device
    #[arg(long)]
    measure: bool,

    /// What a process of its own does for this one: run the steps of a case, and say where they begin and end
    #[arg(long, hide = true, value_enum)]
    run: Option<steps::Part>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = |case: &Case| arguments.only.as_ref().is_none_or(|part| case.name().contains(part.as_str()));
    let cases: Vec<Case> = cases(arguments.small).into_iter().filter(wanted).collect();
    let every = <MethodName as clap::ValueEnum>::value_variants();
    let methods = if arguments.methods.is_empty() { every } else { &arguments.methods };
    if let Some(part) = arguments.run {
        let case = cases.first().context("--run needs a case")?;
        return steps::run(part, case, methods);
    }
    anyhow::ensure!(
        !cases.is_empty(),
        "--only {}: no model and shape is named so",
        arguments.only.as_deref().unwrap_or("")
    );
    let mut reports: Vec<StepReport> = Vec::new();
    let mut cards: Vec<Card> = Vec::new();
    for case in &cases {
        let measured = if arguments.measure { Some(measure::measure(case, methods, arguments.small)?) } else { None };
        if cards.is_empty() {
            cards = match &measured {
                Some(times) => vec![Card::new(measure::card(times)?)],
                None => CARDS.iter().filter_map(|key| Profile::named(key)).map(Card::new).collect(),
            };
            cards.iter().for_each(|card| println!("{}: {}", card.profile.key, card.describe()));
        }
        for card in &cards {
            let program = measure::this_program(case, methods, arguments.small, "count")?;
            for step in count::count(case, methods, card.profile.key, program)? {
                let times = measured.as_ref().and_then(|all| all.iter().find(|times| times.method == step.method));
                let report = StepReport::new(case, step, times, card)?;
                println!("{}", table::table(&report));
                reports.push(report);
            }
        }
    }
    println!("{}", table::totals(&reports));
    if let Some(path) = &arguments.json {
        let described: Vec<String> = cards.iter().map(Card::describe).collect();
        let object = json!({"cards": described, "steps": reports});
        fs::write(path, format!("{object:#}\n")).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &arguments.markdown {
        fs::write(path, markdown::page(&reports)).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &arguments.picture {
        picture::draw(&reports, path).with_context(|| format!("draw {}", path.display()))?;
    }
    Ok(())
}
