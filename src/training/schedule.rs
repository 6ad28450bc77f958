//! Learning rates: linear warm-up, then down to a floor (the formulas of `transformers`), the classifier's own rate, and
//! an optional decay from layer to layer downwards.
//!
//! After the warm-up, p being the share of the steps after it that is done, the share of the full rate is
//! floor + (1 − floor) · s(p): 1 − p for `linear`, (1 + cos π p) / 2 for `cosine`, 1 for `constant`.

use std::f64::consts::PI;

use clap::ValueEnum;

use crate::{
    device::ParameterRange,
    model::{Layout, layout::Group},
    text_value::{text_enum, text_serde},
};

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// Evenly.
    Linear,
    /// Not at all.
    Constant,
    /// Along half a wave of the cosine.
    Cosine,
}

text_enum!(Schedule);
text_serde!(Schedule);

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
    /// How the rate falls.
    pub schedule: Schedule,
    /// Share of the full rate that is left at the end.
    pub floor: f64,
}

impl LearningRates {
    /// Share of the full rate at step t.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let left = self.total_steps.saturating_sub(step) as f64;
        let left = left / self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let share = match self.schedule {
            Schedule::Linear => left,
            Schedule::Constant => 1.0,
            Schedule::Cosine => 0.5 * (1.0 + (PI * (1.0 - left)).cos()),
        };
        self.floor + (1.0 - self.floor) * share
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
        schedule: Schedule::Linear,
        floor: 0.0,
    };

    /// Values of `tests/golden/make_schedules.py`.
    #[test]
    fn schedules_are_those_of_transformers() {
        #[derive(serde::Deserialize)]
        struct Case {
            schedule: String,
            floor: f64,
            warmup: u64,
            steps: u64,
            factors: Vec<f64>,
        }
        let text = include_str!("../../tests/golden/schedules.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 6);
        for Case { schedule, floor, warmup, steps, factors } in cases {
            let schedule: Schedule = schedule.parse().unwrap();
            let rates = LearningRates { schedule, floor, warmup_steps: warmup, total_steps: steps, ..RATES };
            for (t, expected) in (0..).zip(&factors) {
                let found = rates.factor(t);
                assert!(
                    (found - expected).abs() < 1e-14,
                    "{schedule} {floor} {warmup}/{steps}, {t}: {found} {expected}"
                );
            }
        }
    }

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
