//! Expected calibration error (Guo, Pleiss, Sun, Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017, eq.
//! 3).
//!
//! Examples fall into 15 bins of equal width by the probability of their prediction, bin `b` being `(b/15, (b+1)/15]`.
//! The error is `Σ_b n_b/n · |accuracy_b − confidence_b|`: how far the model's own confidence is from the share it gets
//! right.

/// Bins of the confidence, the number of the paper.
pub const ECE_BINS: usize = 15;

/// Per bin: examples, correct examples, and the sum of confidences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    bins: [Bin; ECE_BINS],
    /// Examples whose confidence was not a number; they make the error NaN.
    unusable: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    examples: u64,
    correct: u64,
    confidence: f64,
}

impl Calibration {
    pub(super) fn add(&mut self, confidence: f64, correct: bool) {
        if !confidence.is_finite() {
            self.unusable += 1;
            return;
        }
        let bin = (confidence * ECE_BINS as f64).ceil() as usize;
        let bin = &mut self.bins[bin.clamp(1, ECE_BINS) - 1];
        bin.examples += 1;
        bin.correct += u64::from(correct);
        bin.confidence += confidence;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (bin, from) in self.bins.iter_mut().zip(&other.bins) {
            bin.examples += from.examples;
            bin.correct += from.correct;
            bin.confidence += from.confidence;
        }
        self.unusable += other.unusable;
    }

    /// The error in 0..=1; 0 without examples, NaN if a confidence was not a number.
    pub fn error(&self) -> f64 {
        if self.unusable > 0 {
            return f64::NAN;
        }
        let examples: u64 = self.bins.iter().map(|bin| bin.examples).sum();
        let gap: f64 = self.bins.iter().map(|bin| (bin.correct as f64 - bin.confidence).abs()).sum();
        if examples == 0 { 0.0 } else { gap / examples as f64 }
    }

    /// For a reliability diagram: (examples, accuracy, mean confidence) of each bin that is not empty, by rising
    /// confidence.
    pub fn bins(&self) -> impl Iterator<Item = (u64, f64, f64)> + '_ {
        self.bins.iter().filter(|bin| bin.examples > 0).map(|bin| {
            let examples = bin.examples as f64;
            (bin.examples, bin.correct as f64 / examples, bin.confidence / examples)
        })
    }
}
