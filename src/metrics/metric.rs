//! The score that decides which checkpoint is best, chosen by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Scores;
use crate::Error;

/// A score by name: `accuracy`, `macro-f1`, `weighted-f1`, `mcc`, `loss` or `ece`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    #[default]
    Accuracy,
    MacroF1,
    WeightedF1,
    Mcc,
    Loss,
    Ece,
}

/// Which way a score improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Higher,
    Lower,
}

impl Metric {
    pub const ALL: [Self; 6] = [Self::Accuracy, Self::MacroF1, Self::WeightedF1, Self::Mcc, Self::Loss, Self::Ece];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro-f1",
            Self::WeightedF1 => "weighted-f1",
            Self::Mcc => "mcc",
            Self::Loss => "loss",
            Self::Ece => "ece",
        }
    }

    pub const fn direction(self) -> Direction {
        match self {
            Self::Accuracy | Self::MacroF1 | Self::WeightedF1 | Self::Mcc => Direction::Higher,
            Self::Loss | Self::Ece => Direction::Lower,
        }
    }

    pub const fn of(self, scores: &Scores) -> f64 {
        match self {
            Self::Accuracy => scores.accuracy,
            Self::MacroF1 => scores.macro_f1,
            Self::WeightedF1 => scores.weighted_f1,
            Self::Mcc => scores.mcc,
            Self::Loss => scores.loss,
            Self::Ece => scores.ece,
        }
    }

    /// Whether `value` is strictly better than `best`. NaN is worse than every number, so a tie keeps the earlier checkpoint and
    /// a run that diverged never replaces one that did not.
    pub fn improves(self, value: f64, best: f64) -> bool {
        match self.direction() {
            _ if value.is_nan() => false,
            _ if best.is_nan() => true,
            Direction::Higher => value > best,
            Direction::Lower => value < best,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|metric| metric.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::setting("metric", format!("there is no metric '{text}'; choose one of {names}"))
        })
    }
}
