//! `completions`: a script for a shell.
//!
//! A shell offers files for an option of which it knows nothing. Here it knows of each: its values, a file or
//! directory, or neither.

use clap::{Command, CommandFactory, ValueHint};

use super::console;
use crate::cli::{Cli, CompletionsArgs};

pub fn run(args: CompletionsArgs) -> anyhow::Result<()> {
    let mut command = without_files_where_none_is_meant(Cli::command());
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, &name, &mut script);
    // Of a name with a hyphen clap_complete 4.6 writes two forms into bash's script, and the subcommands are not found.
    let (right, wrong) = (name.replace('-', "__"), name.replace('-', "__subcmd__"));
    Ok(console::print(&String::from_utf8_lossy(&script).replace(&wrong, &right))?)
}

fn without_files_where_none_is_meant(command: Command) -> Command {
    command.mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| match arg.get_value_hint() {
            ValueHint::Unknown if arg.get_possible_values().is_empty() => arg.value_hint(ValueHint::Other),
            _ => arg,
        })
    })
}
