//! `train`: options → a run of the library → its result.

mod show;
pub mod signals;

use std::path::{Path, PathBuf};

use bertsd_cuda::{
    Error, Result,
    training::{Outcome, RunOptions, Start, Training, Watch},
};
use serde_json::Value;

use crate::cli::{Given, TrainArgs};

/// Trains, and prints the result.
pub fn run(args: TrainArgs) -> anyhow::Result<()> {
    let outcome = train(training(args)?)?;
    Ok(show::print_outcome(&outcome)?)
}

/// Trains one run and prints nothing on standard output; `ensemble` uses it for each of its seeds.
pub fn train(training: Training) -> anyhow::Result<Outcome> {
    let stoppable = signals::Stoppable::begin()?;
    let mut screen = show::Screen::default();
    let outcome = training.run(&mut Watch::new(stoppable.flag(), &mut |observation| screen.observe(observation)));
    screen.finish();
    Ok(outcome?)
}

/// The run that the command line asks for.
fn training(args: TrainArgs) -> Result<Training> {
    let TrainArgs { given, resume, config, overwrite, stop_after, trace, options } = args;
    let training = match resume {
        Some(directory) => {
            if config.is_some() || overwrite {
                let message = "continues a run with the settings it has; neither --config nor --overwrite goes with it";
                return Err(Error::setting("resume", message));
            }
            Training::resume(&directory, given.0)?
        }
        None => {
            let start = if overwrite { Start::Overwrite } else { Start::New };
            Training { start, ..Training::new(with_config(config.as_deref(), given, options)?) }
        }
    };
    Ok(Training { stop_after, trace, ..training })
}

/// The options of the command line over those of a file.
///
/// # Errors
/// As [`RunOptions::read_under`].
pub fn with_config(config: Option<&Path>, given: Given, options: RunOptions) -> Result<RunOptions> {
    config.map_or(Ok(options), |path| RunOptions::read_under(path, given.0))
}

/// The options of the run that `directory` is, or is the model of, and where the run is.
///
/// # Errors
/// As [`RunOptions::read`].
pub fn options_of_run(directory: &Path) -> Result<Option<(PathBuf, RunOptions)>> {
    let places = [Some(directory), directory.parent().filter(|_| directory.ends_with("model"))];
    let run = places.into_iter().flatten().find(|run| run.join("run.toml").is_file());
    run.map(|run| Ok((run.to_path_buf(), RunOptions::read(&run.join("run.toml"))?))).transpose()
}

/// Refuses a run whose `run.toml` says something else than `asked`.
///
/// What was not asked for, or left to be found out, is as the run has it; a place is the same however it is written.
///
/// # Errors
/// [`Error::Run`] with the first option that differs.
pub fn require_same(directory: &Path, asked: &RunOptions) -> Result<()> {
    let json = |options: RunOptions| {
        let value = serde_json::to_value(RunOptions { out: None, ..options });
        value.map_err(|error| Error::run(directory, error.to_string()))
    };
    let there = json(RunOptions::read(&directory.join("run.toml"))?)?;
    if let Value::Object(asked) = json(asked.clone().resolved().with_absolute_paths())? {
        for (name, value) in asked {
            let is_open = value.is_null() || (["device", "precision"].contains(&name.as_str()) && value == "auto");
            if !is_open && there.get(&name) != Some(&value) {
                let stored = there.get(&name).unwrap_or(&Value::Null);
                let message = format!(
                    "was trained with other settings: {name} is {stored} there and {value} here; give another --out, \
                     or --overwrite to train it again"
                );
                return Err(Error::run(directory, message));
            }
        }
    }
    Ok(())
}
