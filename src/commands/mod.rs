//! What the subcommands do: they open files and devices, call the library, and print.

mod completions;
mod console;
mod ensemble;
mod eval;
mod info;
mod on_device;
mod predict;
mod report;
mod score_table;
mod scoring;
mod threads;
pub mod train;

use std::process::ExitCode;

use bertsd_cuda::{Error, Fault};

use crate::cli::Command;

pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Ensemble(args) => ensemble::run(*args),
        Command::Report(args) => report::run(args),
        Command::Info(args) => info::run(args),
        Command::Completions(args) => completions::run(args),
    }
}

/// 2: the command line or configuration; 3: an input file; 130: interrupted; 1: everything else.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let fault = error.downcast_ref::<Error>().map_or(Fault::Runtime, Error::fault);
    ExitCode::from(match fault {
        Fault::Runtime => 1,
        Fault::Usage => 2,
        Fault::Data => 3,
        Fault::Interrupted => 130,
    })
}
