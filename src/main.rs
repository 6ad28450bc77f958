//! The binary: parse, run, and the one place that prints an error and picks the exit code.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The library's errors name their cause themselves; others are told with theirs.
            match error.downcast_ref::<bertsd_cuda::Error>() {
                Some(error) => eprintln!("error: {error}"),
                None => eprintln!("error: {error:#}"),
            }
            commands::exit_code(&error)
        }
    }
}
