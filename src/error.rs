//! The library's one error type. Every variant carries what went wrong, where, and — in its text — what to do.

use std::{io, path::PathBuf};

/// The library's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is; the binary derives its exit code from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command line or a configuration file asks for something impossible: exit code 2.
    Usage,
    /// An input file (data, model, checkpoint) is missing, damaged or contradictory: exit code 3.
    Data,
    /// Everything else: disk full, device lost, training diverged: exit code 1.
    Runtime,
    /// SIGINT or SIGTERM; the state was saved: exit code 130.
    Interrupted,
}

/// What can go wrong, by what it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range or contradicts another.
    #[error("{setting}: {message}")]
    Setting {
        /// The option, as on the command line without dashes.
        setting: String,
        /// What is wrong, and what to do.
        message: String,
    },

    /// The operating system refused an action on a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Of which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },

    /// A table of examples cannot be used as it is. `line` counts from 1 and includes the header.
    #[error("{}{}{}: {message}", path.display(), at_line(line), in_column(column))]
    Table {
        /// Of which file.
        path: PathBuf,
        /// Counts from 1, the header included.
        line: Option<u64>,
        /// Its name.
        column: Option<String>,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A model directory, its configuration, its weights or its tokenizer cannot be used.
    #[error("{}: {message}", path.display())]
    Model {
        /// Of which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A model name could not be resolved to files.
    #[error("model '{name}': {message}")]
    Hub {
        /// As it was given.
        name: String,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A run directory or checkpoint cannot be used.
    #[error("{}: {message}", path.display())]
    Run {
        /// Of which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },

    /// The loss or the gradient stopped being a number.
    #[error("step {step}: {what} is not finite; {advice}")]
    NotFinite {
        /// Of which step.
        step: u64,
        /// Loss or gradient.
        what: &'static str,
        /// What to do.
        advice: String,
    },

    /// The library was used in a way that its documentation excludes: an error of the program, not of its user.
    #[error("{call}: {message}")]
    Misuse {
        /// Of the library.
        call: &'static str,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A picture cannot be drawn, whatever it shows.
    #[error("the picture cannot be drawn: {message}")]
    Picture {
        /// What is wrong, and what to do.
        message: String,
    },

    /// No such device, or it cannot do what was asked.
    #[error("device {device}: {message}")]
    Device {
        /// As the user calls it.
        device: String,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A signal asked to stop; everything up to `step` is saved. None: no step was done yet.
    #[error("interrupted {}; continue with: {resume}", after(step))]
    Interrupted {
        /// Of which step.
        step: Option<u64>,
        /// The command that goes on.
        resume: String,
    },
}

impl Error {
    /// An error of an action on a file, as `map_err` takes it.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// An error of a setting.
    pub fn setting(setting: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), message: message.into() }
    }

    /// An error of a whole table.
    pub fn table(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Table { path: path.into(), line: None, column: None, message: message.into() }
    }

    /// An error of one line of a table.
    pub fn table_line(path: impl Into<PathBuf>, line: u64, message: impl Into<String>) -> Self {
        Self::Table { path: path.into(), line: Some(line), column: None, message: message.into() }
    }

    /// An error of a model directory or a file in it.
    pub fn model(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Model { path: path.into(), message: message.into() }
    }

    /// An error of a run directory or a file in it.
    pub fn run(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Run { path: path.into(), message: message.into() }
    }

    /// An error of the caller.
    pub fn misuse(call: &'static str, message: impl Into<String>) -> Self {
        Self::Misuse { call, message: message.into() }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Setting { .. } => Fault::Usage,
            Self::Table { .. } | Self::Model { .. } | Self::Hub { .. } | Self::Run { .. } => Fault::Data,
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) =>
            {
                Fault::Data
            }
            Self::Io { .. }
            | Self::NotFinite { .. }
            | Self::Misuse { .. }
            | Self::Picture { .. }
            | Self::Device { .. } => Fault::Runtime,
            Self::Interrupted { .. } => Fault::Interrupted,
        }
    }
}

fn after(step: &Option<u64>) -> String {
    step.map_or_else(|| "before a step was done".to_owned(), |step| format!("after step {step}"))
}

fn at_line(line: &Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

fn in_column(column: &Option<String>) -> String {
    column.as_ref().map_or_else(String::new, |column| format!(", column '{column}'"))
}
