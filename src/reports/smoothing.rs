//! Exponential moving averages that are right from the first value on.
//!
//! `m ← β·m + (1−β)·x` starts at 0 and is divided by `1 − β^t`, so early values are plain means and not drawn to 0 (the
//! same correction as Adam's). Values that are not finite are left out.

/// A bias-corrected exponential moving average.
#[derive(Clone, Copy, Debug)]
pub(super) struct Smoothed {
    decay: f64,
    sum: f64,
    weight: f64,
}

impl Smoothed {
    /// `span`: how many values the average looks back over, about; its decay is `1 − 1/span`.
    pub(crate) fn over(span: f64) -> Self {
        Self { decay: 1.0 - 1.0 / span.max(1.0), sum: 0.0, weight: 0.0 }
    }

    pub(crate) fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.sum = self.decay * self.sum + (1.0 - self.decay) * value;
            self.weight = self.decay * self.weight + (1.0 - self.decay);
        }
    }

    /// `None` before the first value.
    pub(crate) fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}
