//! The numbers themselves, flat, as they stand in `metrics.jsonl` and in `eval --json`.
//!
//! JSON has no NaN: what is not finite is written as `null` and read back as NaN.

use serde::{Deserialize, Deserializer, Serialize};

/// Every score of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of examples whose most probable class is the label; 0..=1, as are the F1 and calibration scores.
    #[serde(deserialize_with = "null_is_nan")]
    pub accuracy: f64,
    /// Mean of the classes' F1.
    #[serde(deserialize_with = "null_is_nan")]
    pub macro_f1: f64,
    /// The same, weighted by their examples.
    #[serde(deserialize_with = "null_is_nan")]
    pub weighted_f1: f64,
    /// Matthews' correlation, −1..=1.
    #[serde(deserialize_with = "null_is_nan")]
    pub mcc: f64,
    /// Mean cross entropy in nats, without label smoothing or class weights.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Expected calibration error.
    #[serde(deserialize_with = "null_is_nan")]
    pub ece: f64,
    /// How many examples were scored.
    pub examples: u64,
}

/// Scores of one class against all others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Share of the predictions of this class that are right.
    pub precision: f64,
    /// Share of the examples of this class that are found.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Examples that truly are of this class.
    pub support: u64,
}

/// For `#[serde(deserialize_with)]`: the `null` that a non-finite number was written as.
pub(crate) fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
