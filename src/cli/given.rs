//! Which options stand on the command line, as text: those of a file are read beneath them.

use bertsd_cuda::training::{Assignment, RunOptions};
use clap::{ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

/// The options of a run that were given. It has to be the first field of a command's options, as those after it take
/// their values out of the matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(pub Vec<Assignment>);

impl Given {
    /// Whether the option was given.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|assignment| assignment.name == name)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = RunOptions::augment_args(Command::new("options"));
        let given = options.get_arguments().filter_map(|arg| {
            let id = arg.get_id().as_str();
            let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
            let values = matches.get_raw(id).filter(|_| is_given)?;
            Some(Assignment { name: arg.get_long()?.to_owned(), values: values.map(Into::into).collect() })
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
