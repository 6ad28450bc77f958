//! The command line: what can be asked, with help for every option. Nothing is opened here.

pub mod ensemble;
mod eval;
pub mod experiment;
mod given;
mod info;
pub mod predict;
mod report;
pub mod scoring;
pub mod train;

pub use ensemble::EnsembleArgs;
pub use eval::EvalArgs;
pub use experiment::ExperimentArgs;
pub use given::Given;
pub use info::InfoArgs;
pub use predict::PredictArgs;
pub use report::ReportArgs;
pub use train::TrainArgs;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Fine-tune BERT classifiers with self-ensemble and self-distillation (arXiv 2002.10345).
#[derive(Parser)]
#[command(
    name = "bertsd-cuda",
    version,
    arg_required_else_help = true,
    max_term_width = 110,
    hide_possible_values = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Fine-tune a checkpoint on labelled text
    Train(Box<TrainArgs>),
    /// Score a model on labelled text
    Eval(EvalArgs),
    /// Classify text, row by row
    Predict(PredictArgs),
    /// Combine several runs by voting or by averaging their weights
    Ensemble(Box<EnsembleArgs>),
    /// Run a grid of runs from one file, and compare its arms
    Experiment(Box<ExperimentArgs>),
    /// Draw the learning curves of one or several runs
    Report(ReportArgs),
    /// Describe a model, the memory a run needs, and the devices here
    Info(InfoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Options of `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// Shell to complete for; put the script where the shell looks for completions
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// clap's own checks: no name twice, every reference to an argument resolves.
    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_help_and_says_its_default() {
        let mut cli = Cli::command();
        cli.build();
        let commands: Vec<_> = cli.get_subcommands().filter(|command| command.get_name() != "help").collect();
        assert_eq!(commands.len(), 8);
        let nested = commands.iter().flat_map(|command| command.get_subcommands());
        let nested = nested.filter(|command| command.get_name() != "help");
        for command in commands.iter().copied().chain(nested) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                let place = format!("{} --{}", command.get_name(), arg.get_id());
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.len() > 10 || arg.get_id() == "help", "{place} has no help");
                let optional = arg.get_action().takes_values() && !arg.is_required_set();
                // A switch that may be given as `--no-header false` has a value if it is given without one.
                let switch = arg.get_num_args().is_some_and(|values| values.min_values() == 0);
                let says_default = help.contains("[default: ") || !arg.get_default_values().is_empty();
                let excepted = EXCEPTED.contains(&arg.get_id().as_str());
                assert!(says_default || !optional || switch || excepted, "{place} does not say its default");
            }
        }
    }

    /// What `train` needs unless it resumes, so that there is no default, and what makes it another command.
    const EXCEPTED: [&str; 8] = ["resume", "config", "stop_after", "model", "train", "data_dir", "out", "models"];
}
