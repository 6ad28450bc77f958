//! Options of `experiment`.

use std::path::PathBuf;

use bertsd_cuda::{device::DeviceChoice, experiment::Share, text_value::parser};
use clap::{Args, Subcommand, ValueHint};

use super::scoring::at_least_one;

#[derive(Args, Clone, Debug)]
pub struct ExperimentArgs {
    #[command(subcommand)]
    pub action: ExperimentAction,
}

#[derive(Subcommand, Clone, Debug)]
pub enum ExperimentAction {
    /// Run the cells of an experiment that are not done yet
    Run(ExperimentRunArgs),
    /// Sum up what is done, and write it as a table
    Table(ExperimentTableArgs),
}

#[derive(Args, Clone, Debug)]
pub struct ExperimentRunArgs {
    /// The experiment: a TOML file with options of train, lists of values for some of them, and what is chosen and
    /// compared
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Directory of the experiment; what is done there already is not done again
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Experiment")]
    pub out: PathBuf,

    /// List the cells, and run none
    #[arg(long, help_heading = "Experiment")]
    pub list: bool,

    /// Keep each run's model, and its states at the ends of epochs
    #[arg(long, help_heading = "Experiment")]
    pub keep_models: bool,

    /// Save the state of a run that takes longer than this, and so often
    #[arg(long, value_name = "SECONDS", default_value = "60", help_heading = "Experiment")]
    pub save_after: u64,

    /// Processes that work at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Computing")]
    pub jobs: usize,

    /// CPU threads of each process, which show in the last bits of results [default: all cores, divided among the
    /// processes]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Computing")]
    pub threads: Option<usize>,

    /// Where to compute: auto, cpu, cuda, cuda:N; several separated by commas are taken by the processes in turn
    /// [default: the file's]
    #[arg(
        long, value_name = "DEVICE", value_delimiter = ',', value_parser = parser::<DeviceChoice>(),
        help_heading = "Computing"
    )]
    pub device: Vec<DeviceChoice>,

    /// Run only part I of N of the cells [default: a Slurm job array's task its part, else all]
    #[arg(long, value_name = "I/N", value_parser = parser::<Share>(), help_heading = "Computing")]
    pub share: Option<Share>,

    /// Be one of the processes of another, and end with it
    #[arg(long, hide = true)]
    pub worker: bool,
}

#[derive(Args, Clone, Debug)]
pub struct ExperimentTableArgs {
    /// Directory of the experiment
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,

    /// Write every run with all its settings and scores here: .parquet, with lists, or .csv; may be given several times
    /// [default: nowhere]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: Vec<PathBuf>,

    /// Print one JSON object instead of tables
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
