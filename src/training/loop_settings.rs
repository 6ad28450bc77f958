//! When things happen in the loop around the step, and what stays of it.

use std::time::Duration;

use crate::{metrics::Metric, reports::Weights};

/// When things happen in the loop; 0 steps: never, or at the end of an epoch only.
#[derive(Clone, Debug)]
pub struct LoopSettings {
    /// Updates of the run.
    pub total_steps: u64,
    /// Updates between evaluations.
    pub eval_every: u64,
    /// Updates between checkpoints.
    pub save_every: u64,
    /// Updates between lines of the log.
    pub log_every: u64,
    /// Stop after this many evaluations without improvement; 0: never.
    pub patience: u64,
    /// By which the best weights are chosen.
    pub best_metric: Metric,
    /// Weights that are scored; the first is exported.
    pub evaluate: Vec<Weights>,
    /// Export the best weights on dev rather than the last.
    pub export_best: bool,
    /// Whether checkpoints are written at all.
    pub save: bool,
    /// What stays of the run.
    pub leaves: Leaves,
    /// Save and stop after so many updates in all.
    pub stop_after: Option<u64>,
}

/// What a run leaves in its directory beside settings and scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// Its model, and a state whenever one is due.
    Model,
    /// Nothing: it is one of many. Only if it goes on for longer than this is its state saved, and so often from then
    /// on.
    Scores {
        /// Since the run began or its state was saved last.
        save_after: Duration,
    },
}
