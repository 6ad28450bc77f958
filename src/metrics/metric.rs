//! The score that decides which checkpoint is best, chosen by name.

use clap::ValueEnum;

use super::Scores;
use crate::text_value::{text_enum, text_serde};

/// A score by name: `accuracy`, `macro-f1`, `weighted-f1`, `mcc`, `loss` or `ece`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Metric {
    /// Share of right answers.
    #[default]
    Accuracy,
    /// Mean of the classes' F1.
    MacroF1,
    /// The same, weighted by their examples.
    WeightedF1,
    /// Matthews' correlation coefficient.
    Mcc,
    /// Mean cross-entropy.
    Loss,
    /// Expected calibration error.
    Ece,
}

text_enum!(Metric);
text_serde!(Metric);

/// Which way a score improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Larger values are better.
    Higher,
    /// Smaller values are better.
    Lower,
}

impl Metric {
    /// Which way it improves.
    pub const fn better(self) -> Better {
        match self {
            Self::Accuracy | Self::MacroF1 | Self::WeightedF1 | Self::Mcc => Better::Higher,
            Self::Loss | Self::Ece => Better::Lower,
        }
    }

    /// Its value among `scores`.
    pub const fn get(self, scores: &Scores) -> f64 {
        match self {
            Self::Accuracy => scores.accuracy,
            Self::MacroF1 => scores.macro_f1,
            Self::WeightedF1 => scores.weighted_f1,
            Self::Mcc => scores.mcc,
            Self::Loss => scores.loss,
            Self::Ece => scores.ece,
        }
    }

    /// Whether `value` is strictly better than `best`. NaN is worse than every number, so a tie keeps the earlier
    /// checkpoint and a run that diverged never replaces one that did not.
    pub fn improves(self, value: f64, best: f64) -> bool {
        match self.better() {
            _ if value.is_nan() => false,
            _ if best.is_nan() => true,
            Better::Higher => value > best,
            Better::Lower => value < best,
        }
    }
}
