//! Scores of a classifier: from predicted logits or probabilities and true labels to one flat row of numbers.
//!
//! [`Accumulator`] sees each example once, keeps counts and f64 sums only, and can be merged; nothing depends on how
//! the examples were batched except the order of the two floating-point sums. Conventions are scikit-learn's defaults:
//! a quotient
//! `0 / 0` is 0, and the means over classes are over those classes that occur among the labels or the predictions.

mod accumulator;
mod calibration;
mod confusion;
mod metric;
mod scores;

pub use accumulator::Accumulator;
pub use calibration::{Calibration, ECE_BINS};
pub use confusion::ConfusionMatrix;
pub use metric::{Better, Metric};
pub(crate) use scores::null_is_nan;
pub use scores::{ClassScores, Scores};
