//! One pass over predictions and labels.
//!
//! All sums are f64. The cross entropy of logits is `ln Σ exp(z_j − max) − (z_label − max)`, never the logarithm of a
//! rounded probability. Given probabilities (an ensemble's, say), it is `−ln max(p_label, ε)` with ε the f64 epsilon,
//! as in scikit-learn's
//! `log_loss`. The prediction is the largest entry; the lowest index wins a tie, and NaN never wins.

use super::{Calibration, ConfusionMatrix, Scores};
use crate::{Error, Result};

/// Collects what [`Scores`] need; `N` is fixed at the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulator {
    confusion: ConfusionMatrix,
    calibration: Calibration,
    loss: f64,
}

impl Accumulator {
    /// For a classifier of so many classes.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are fewer than two.
    pub fn new(classes: usize) -> Result<Self> {
        if classes < 2 || u32::try_from(classes).is_err() {
            return Err(Error::setting("classes", format!("a classifier needs at least 2 classes, not {classes}")));
        }
        Ok(Self { confusion: ConfusionMatrix::new(classes), calibration: Calibration::default(), loss: 0.0 })
    }

    /// Adds examples from their logits `[B, N]`, row-major, and their labels `[B]`.
    ///
    /// # Errors
    /// [`Error::Misuse`], having added none of them, when the shapes disagree or a label is not below `N`.
    pub fn add_logits(&mut self, logits: &[f32], labels: &[u32]) -> Result<()> {
        self.check(logits, labels)?;
        for (row, &label) in logits.chunks_exact(self.confusion.classes()).zip(labels) {
            let prediction = largest(row);
            let max = f64::from(row[prediction as usize]);
            let sum: f64 = row.iter().map(|&z| (f64::from(z) - max).exp()).sum();
            let loss = sum.ln() - (f64::from(row[label as usize]) - max);
            self.add(label, prediction, sum.recip(), loss);
        }
        Ok(())
    }

    /// Adds examples from their probabilities `[B, N]`, each row summing to 1; otherwise as [`Self::add_logits`].
    ///
    /// # Errors
    /// As [`add_logits`](Self::add_logits).
    pub fn add_probabilities(&mut self, probabilities: &[f32], labels: &[u32]) -> Result<()> {
        self.check(probabilities, labels)?;
        for (row, &label) in probabilities.chunks_exact(self.confusion.classes()).zip(labels) {
            let prediction = largest(row);
            let of_label = f64::from(row[label as usize]);
            let loss = if of_label.is_nan() { f64::NAN } else { -of_label.max(f64::EPSILON).ln() };
            self.add(label, prediction, f64::from(row[prediction as usize]), loss);
        }
        Ok(())
    }

    /// Adds everything that `other` has seen.
    ///
    /// # Errors
    /// [`Error::Misuse`] when it has another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let (ours, theirs) = (self.confusion.classes(), other.confusion.classes());
        if ours != theirs {
            return Err(Error::misuse(
                "Accumulator::merge",
                format!("scores over {theirs} classes cannot join those over {ours}"),
            ));
        }
        self.confusion.merge(&other.confusion);
        self.calibration.merge(&other.calibration);
        self.loss += other.loss;
        Ok(())
    }

    /// The scores of what was added so far. Without examples the loss is NaN and the rest 0.
    pub fn scores(&self) -> Scores {
        Scores {
            accuracy: self.confusion.accuracy(),
            macro_f1: self.confusion.macro_f1(),
            weighted_f1: self.confusion.weighted_f1(),
            mcc: self.confusion.mcc(),
            loss: self.loss / self.confusion.examples() as f64,
            ece: self.calibration.error(),
            examples: self.confusion.examples(),
        }
    }

    /// Counts of labels and predictions.
    pub fn confusion(&self) -> &ConfusionMatrix {
        &self.confusion
    }

    /// Confidence against accuracy.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    fn add(&mut self, label: u32, prediction: u32, confidence: f64, loss: f64) {
        self.confusion.add(label, prediction, 1);
        self.calibration.add(confidence, label == prediction);
        self.loss += loss;
    }

    fn check(&self, rows: &[f32], labels: &[u32]) -> Result<()> {
        let classes = self.confusion.classes();
        if labels.len().checked_mul(classes) != Some(rows.len()) {
            let message = format!("{} predicted values do not make {} rows of {classes}", rows.len(), labels.len());
            return Err(Error::misuse("Accumulator", message));
        }
        match labels.iter().find(|&&label| label as usize >= classes) {
            Some(label) => Err(Error::misuse("Accumulator", format!("label {label} is not below {classes}"))),
            None => Ok(()),
        }
    }
}

/// Index of the largest entry of a row; 0 where all are NaN.
fn largest(row: &[f32]) -> u32 {
    let mut best = 0;
    for (index, &value) in row.iter().enumerate() {
        if value > row[best] || row[best].is_nan() {
            best = index;
        }
    }
    best as u32
}
