//! The binary: parse, run, and the one place that shows an error and picks the exit code.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::try_parse() {
        Ok(cli) => commands::run(cli.command),
        Err(answer) => commands::console::answer(&answer),
    }
}
