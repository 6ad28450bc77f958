//! What the subcommands do: they open files and devices, call the library, and print.

mod completions;
pub mod console;
mod ensemble;
mod eval;
mod experiment;
mod info;
mod predict;
mod report;
mod score_table;
mod scoring;
pub mod train;

use std::process::ExitCode;

use bertsd_cuda::{Error, Fault};
use clap::CommandFactory;

use crate::cli::{Cli, Command};

/// Runs a command, shows the error it may end with, and picks the exit code.
pub fn run(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Ensemble(args) => ensemble::run(*args),
        Command::Experiment(args) => experiment::run(*args),
        Command::Report(args) => report::run(args),
        Command::Info(args) => info::run(args),
        Command::Completions(args) => completions::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(format_args!("error: {}", message(&error)));
            exit_code(&error)
        }
    }
}

/// An error with its causes; one whose text already ends with its cause's does not say it twice.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = match cause.downcast_ref() {
            // Named as the user writes it.
            Some(Error::Setting { setting, message }) if is_option(setting) => format!("--{setting}: {message}"),
            _ => cause.to_string(),
        };
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether a setting of the library is an option of some command.
fn is_option(setting: &str) -> bool {
    fn has(command: &clap::Command, setting: &str) -> bool {
        command.get_arguments().any(|arg| arg.get_long() == Some(setting))
            || command.get_subcommands().any(|command| has(command, setting))
    }
    has(&Cli::command(), setting)
}

/// 2: the command line or configuration; 3: an input file; 130: interrupted; 1: everything else.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let fault = error.downcast_ref::<Error>().map_or(Fault::Runtime, Error::fault);
    ExitCode::from(match fault {
        Fault::Runtime => 1,
        Fault::Usage => 2,
        Fault::Data => 3,
        Fault::Interrupted => 130,
    })
}
