//! What became of a cell: its row of the table.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    metrics::{Metric, Scores},
    reports::{EvalEvent, Weights},
};

/// A cell that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// [`Cell::id`](super::Cell::id).
    pub cell: String,
    /// The data set's name.
    pub data: String,
    /// [`Cell::settings`](super::Cell::settings).
    pub settings: Map<String, Value>,
    #[serde(flatten)]
    /// How it ended.
    pub ending: Ending,
    /// Of all examples, so that a table never mixes two states of a file.
    pub examples: String,
    /// Of this program.
    pub version: String,
    /// Where it was computed.
    pub device: String,
    /// In which numbers.
    pub precision: String,
    /// Of the processor.
    pub threads: usize,
    /// Seconds since 1970 when the last process that worked on it began.
    pub started: u64,
    /// That process went on from a state that another left; its times are those of its own part.
    pub resumed: bool,
    /// From the first look at its options to its scores.
    pub seconds: f64,
    /// Of them, in steps.
    pub step_seconds: f64,
    /// Of those steps.
    pub tokens: u64,
    /// The largest the process has been in memory while it worked on it, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Updates done.
    pub steps: u64,
    /// Every evaluation on dev.
    pub dev: Vec<EvalEvent>,
    /// Scores on the test sets, of the weights that dev chose. They are not looked at before [`Choice`] is made.
    ///
    /// [`Choice`]: super::Choice
    pub test: Vec<EvalEvent>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "lowercase")]
pub enum Ending {
    /// As it should.
    Finished {
        /// Step of the weights that were scored on test.
        exported_step: u64,
    },
    /// The training diverged; with the message. It would again.
    Failed {
        /// Why.
        message: String,
    },
}

impl Row {
    /// Whether it came to its end.
    pub fn is_finished(&self) -> bool {
        matches!(self.ending, Ending::Finished { .. })
    }

    /// The weights that the run exports.
    pub fn exported_weights(&self) -> Weights {
        let first = self.settings.get("evaluate").and_then(|evaluate| evaluate.get(0)).and_then(Value::as_str);
        first.and_then(|name| name.parse().ok()).unwrap_or_default()
    }

    /// Scores on dev of the weights that were exported.
    pub fn dev_scores(&self) -> Option<&Scores> {
        let Ending::Finished { exported_step } = self.ending else { return None };
        let weights = self.exported_weights();
        let found = self.dev.iter().find(|event| event.step == exported_step && event.weights == weights);
        found.map(|event| &event.scores)
    }

    /// The score on dev that choices are made by; the worst where there is none.
    pub(super) fn dev_score(&self, metric: Metric) -> f64 {
        self.dev_scores().map_or(f64::NAN, |scores| metric.get(scores))
    }

    /// Scores on the first test set, of the exported weights.
    pub(super) fn test_scores(&self) -> Option<&Scores> {
        let weights = self.exported_weights();
        let first = self.test.iter().find(|event| event.weights == weights);
        first.map(|event| &event.scores)
    }

    /// Tokens a second of its steps.
    pub fn tokens_per_s(&self) -> Option<f64> {
        (self.step_seconds > 0.0).then(|| self.tokens as f64 / self.step_seconds)
    }
}
