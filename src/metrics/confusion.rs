//! The confusion matrix, and every score that is a function of it alone.
//!
//! Only cells that were hit are stored, so 5,000 classes cost what the examples cost and not 5,000² counters. Rows are
//! true labels, columns predictions, as in scikit-learn. Cells are kept in order, so every sum over them is repeatable.

use std::collections::BTreeMap;

use super::ClassScores;

/// Counts of (true label, prediction) pairs over `N` classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    cells: BTreeMap<(u32, u32), u64>,
    examples: u64,
    correct: u64,
}

/// What one class has on the diagonal, in its row and in its column.
#[derive(Clone, Copy, Default)]
struct Margins {
    hits: u64,
    support: u64,
    predicted: u64,
}

impl ConfusionMatrix {
    /// No examples yet, of so many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, cells: BTreeMap::new(), examples: 0, correct: 0 }
    }

    pub(super) fn add(&mut self, label: u32, prediction: u32, count: u64) {
        *self.cells.entry((label, prediction)).or_insert(0) += count;
        self.examples += count;
        if label == prediction {
            self.correct += count;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (&(label, prediction), &count) in &other.cells {
            self.add(label, prediction, count);
        }
    }

    /// N.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many examples were counted.
    pub fn examples(&self) -> u64 {
        self.examples
    }

    /// Examples of class `label` that were predicted as `prediction`; 0 for classes that do not exist.
    pub fn count(&self, label: usize, prediction: usize) -> u64 {
        let key = u32::try_from(label).ok().zip(u32::try_from(prediction).ok());
        key.and_then(|key| self.cells.get(&key)).copied().unwrap_or(0)
    }

    /// The cells that are not 0 as (true label, prediction, count), row by row.
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
        self.cells.iter().map(|(&(label, prediction), &count)| (label as usize, prediction as usize, count))
    }

    /// Correct over all; 0 without examples.
    pub fn accuracy(&self) -> f64 {
        ratio(self.correct as f64, self.examples as f64)
    }

    /// Precision, recall, F1 and support of each of the `N` classes, in order of the class index.
    pub fn per_class(&self) -> Vec<ClassScores> {
        self.margins().iter().map(Margins::scores).collect()
    }

    /// Mean F1 over the classes that occur among the labels or the predictions.
    pub fn macro_f1(&self) -> f64 {
        let occurring: Vec<f64> =
            self.margins().iter().filter(|m| m.support + m.predicted > 0).map(|m| m.scores().f1).collect();
        ratio(occurring.iter().sum(), occurring.len() as f64)
    }

    /// Mean F1 over the classes, each weighted by its number of true examples.
    pub fn weighted_f1(&self) -> f64 {
        let weighted: f64 = self.margins().iter().map(|m| m.scores().f1 * m.support as f64).sum();
        ratio(weighted, self.examples as f64)
    }

    /// Matthews' correlation coefficient in its form for `N` classes (R_K; Gorodkin 2004):
    /// `(c·s − Σ p_k t_k) / √((s² − Σ p_k²)(s² − Σ t_k²))` with `s` examples, `c` correct ones, `t_k` true and `p_k`
    /// predicted examples of class `k`; 0 where all labels or all predictions are one class.
    pub fn mcc(&self) -> f64 {
        let (mut label_prediction, mut predictions, mut labels) = (0u128, 0u128, 0u128);
        for Margins { support, predicted, .. } in self.margins() {
            let (support, predicted) = (u128::from(support), u128::from(predicted));
            label_prediction += support * predicted;
            predictions += predicted * predicted;
            labels += support * support;
        }
        let (examples, correct) = (u128::from(self.examples), u128::from(self.correct));
        let covariance = (correct * examples) as f64 - label_prediction as f64;
        let spread = (examples * examples - predictions) as f64 * (examples * examples - labels) as f64;
        ratio(covariance, spread.sqrt())
    }

    fn margins(&self) -> Vec<Margins> {
        let mut margins = vec![Margins::default(); self.classes];
        for (&(label, prediction), &count) in &self.cells {
            margins[label as usize].support += count;
            margins[prediction as usize].predicted += count;
            if label == prediction {
                margins[label as usize].hits += count;
            }
        }
        margins
    }
}

impl Margins {
    fn scores(&self) -> ClassScores {
        let hits = self.hits as f64;
        ClassScores {
            precision: ratio(hits, self.predicted as f64),
            recall: ratio(hits, self.support as f64),
            f1: ratio(2.0 * hits, (self.support + self.predicted) as f64),
            support: self.support,
        }
    }
}

/// `numerator / denominator`, and 0 where the denominator is 0.
fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}
