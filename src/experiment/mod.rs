//! Experiments: a grid of runs from one file, what became of each, and what may be concluded from them.
//!
//! ```text
//! file → cells → work → rows → choice → arms → differences
//! ```
//!
//! 1. An [`ExperimentFile`] says which options vary and over which data sets; [`Cell`]s are its combinations, each a run
//!    whose id is a hash of its settings. A file that grows keeps what is done.
//! 2. A [`Worker`] runs one cell after another in a [`Store`], a directory in which any number of processes may work at
//!    once: a cell belongs to the process that holds its lock, and is done when its [`Row`] has its name.
//! 3. A [`Choice`] settles what the file leaves open (a learning rate, say) by scores on dev alone. Scores on test are
//!    not shown, by any command, before the choice that they might influence is made.
//! 4. [`Arm`]s sum the rows of a setting up over its seeds, and compare it with a baseline, seed by seed and example by
//!    example.

mod arms;
mod cell;
mod choice;
mod file;
mod grid;
mod memory;
mod predictions;
mod row;
mod share;
pub mod statistics;
mod store;
mod table;
mod worker;

pub use arms::{Arm, Comparison, Difference};
pub use cell::Cell;
pub use choice::Choice;
pub use file::{Axis, Choose, Compare, Condition, ExperimentFile, Rule, Value};
pub use predictions::Predictions;
pub use row::{Ending, Row};
pub use share::Share;
pub use store::{Claim, Store};
pub use table::{Column, Table, TableFormat};
pub use worker::{News, Worker};
