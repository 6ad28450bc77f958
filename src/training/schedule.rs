//! Learning rates: linear warm-up, then linear to 0 (the formula of `transformers`), the classifier's own rate, and an
//! optional decay from layer to layer downwards.

use crate::{
    device::ParameterRange,
    model::{Layout, layout::Group},
};

/// The rates of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRates {
    /// Peak rate of the encoder.
    pub encoder: f64,
    /// Peak rate of the head.
    pub head: f64,
    /// Factor from one layer to the one below it; 1: none.
    pub layer_decay: f64,
    /// Of matrices.
    pub weight_decay: f64,
    /// Updates until the peak.
    pub warmup_steps: u64,
    /// Updates until 0.
    pub total_steps: u64,
}

impl LearningRates {
    /// Share of the full rate at step t.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let left = self.total_steps.saturating_sub(step) as f64;
        left / self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64
    }

    /// The ranges of the optimizer, at step t. `ranges` is refilled.
    pub fn fill_ranges(&self, ranges: &mut Vec<ParameterRange>, layout: &Layout, step: u64) {
        let factor = self.factor(step);
        let top = layout.layers.len() + 1;
        ranges.clear();
        ranges.extend(layout.segments.iter().map(|segment| {
            let base = match segment.group {
                Group::Head => self.head,
                Group::Encoder { height } => self.encoder * self.layer_decay.powi((top - height) as i32),
            };
            let is_word_table = segment.view == layout.embeddings.word;
            ParameterRange {
                start: segment.view.start,
                len: segment.view.len,
                lr: (base * factor) as f32,
                decay: if segment.decay { self.weight_decay as f32 } else { 0.0 },
                sparse_row: is_word_table.then_some(layout.embeddings.norm.gamma.len),
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: LearningRates = LearningRates {
        encoder: 1.0,
        head: 10.0,
        layer_decay: 1.0,
        weight_decay: 0.01,
        warmup_steps: 2,
        total_steps: 8,
    };

    #[test]
    fn warms_up_and_falls_to_zero() {
        let factors: Vec<f64> = (0..=9).map(|t| RATES.factor(t)).collect();
        let expected = [0.0, 0.5, 1.0, 5.0 / 6.0, 4.0 / 6.0, 0.5, 2.0 / 6.0, 1.0 / 6.0, 0.0, 0.0];
        for (a, b) in factors.iter().zip(expected) {
            assert!((a - b).abs() < 1e-15, "{factors:?}");
        }
        assert_eq!(LearningRates { warmup_steps: 0, ..RATES }.factor(0), 1.0);
        assert!(LearningRates { warmup_steps: 8, ..RATES }.factor(8).is_finite());
    }
}
