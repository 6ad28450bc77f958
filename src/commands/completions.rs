//! `completions`: a script for a shell.

use clap::CommandFactory;

use super::console;
use crate::cli::{Cli, CompletionsArgs};

pub fn run(args: CompletionsArgs) -> anyhow::Result<()> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    Ok(console::print(&String::from_utf8_lossy(&script))?)
}
