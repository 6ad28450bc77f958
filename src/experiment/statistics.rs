//! Means, intervals and how many runs a difference takes to be seen.
//!
//! - A mean over seeds has the interval of Student's t: mean ± t(0.975; n − 1) · s / √n.
//! - A difference between two arms is taken seed by seed, and its interval is that of the differences: what a seed does
//!   to both arms cancels.
//! - The same difference over test examples is resampled (paired bootstrap, Efron and Tibshirani 1993, percentiles):
//!   the examples are drawn anew with replacement, those of both arms together.
//! - The seeds that would be needed: the smallest n at which a difference of this size and spread is told from 0 by a
//!   t-test of level 0.05 four times out of five, |d| √n / s ≥ t(0.975; n − 1) + t(0.8; n − 1).

use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::random::Philox;

/// Level of all intervals.
const LEVEL: f64 = 0.95;
/// How often a difference is to be seen.
const POWER: f64 = 0.8;
/// More seeds than anybody runs.
const MOST_SEEDS: u64 = 10_000;
/// Resamples of a bootstrap interval.
pub const RESAMPLES: usize = 10_000;
/// Of the host's random numbers, those of resamples.
const PURPOSE: u32 = 0x0b00_7577;

/// A number with how sure of it one is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Of the values.
    pub mean: f64,
    /// Standard deviation of one value; NaN for fewer than two.
    pub deviation: f64,
    /// How many values there were.
    pub count: usize,
}

impl Estimate {
    /// Of values; NaN without any.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if count < 2 { f64::NAN } else { (squares / (count - 1) as f64).sqrt() };
        Self { mean, deviation, count }
    }

    /// Of the mean.
    pub fn standard_error(self) -> f64 {
        self.deviation / (self.count as f64).sqrt()
    }

    /// Half of the 95 % interval of the mean; none for fewer than two values.
    pub fn half_width(self) -> Option<f64> {
        Some(self.standard_error() * quantile(0.5 + LEVEL / 2.0, self.count.checked_sub(1)? as u64)?)
    }

    /// How many values it takes to tell such a mean from 0; none where that is more than anybody takes.
    pub fn count_needed(self) -> Option<u64> {
        if !(self.mean.abs() > 0.0 && self.deviation.is_finite()) {
            return None;
        }
        let effect = self.mean.abs() / self.deviation;
        let is_seen = |count: u64| {
            let quantiles = quantile(0.5 + LEVEL / 2.0, count - 1).zip(quantile(POWER, count - 1));
            quantiles.is_some_and(|(level, power)| effect * (count as f64).sqrt() >= level + power)
        };
        // It is monotonic: the left side grows, the right side falls.
        let (mut low, mut high) = (1, MOST_SEEDS);
        if !is_seen(high) {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_seen(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }
}

/// Of Student's t with so many degrees of freedom.
fn quantile(share: f64, freedom: u64) -> Option<f64> {
    StudentsT::new(0.0, 1.0, freedom as f64).ok().map(|t| t.inverse_cdf(share))
}

/// The 95 % percentile interval of the mean of `values` over resamples, each given by the numbers it drew; none without
/// values.
pub fn bootstrap_interval<D: IntoIterator<Item = usize>>(
    values: &[f64],
    resamples: impl IndexedParallelIterator<Item = D>,
) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mean = |drawn: D| {
        let (sum, count) = drawn.into_iter().fold((0.0, 0u64), |(sum, count), i| (sum + values[i], count + 1));
        sum / count as f64
    };
    let mut means: Vec<f64> = resamples.map(mean).collect();
    means.sort_by(f64::total_cmp);
    Some((percentile(&means, 0.5 - LEVEL / 2.0)?, percentile(&means, 0.5 + LEVEL / 2.0)?))
}

/// The same over [`RESAMPLES`] resamples, which are the same for every set of so many values.
pub fn bootstrap(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len() as u64;
    let draw = |number: u32| {
        let mut stream = Philox::new(0).stream(PURPOSE, number);
        // A product's high word is uneven by count / 2³² at most, far below what resampling itself leaves open.
        (0..count).map(move |_| ((u64::from(stream.next_u32()) * count) >> 32) as usize)
    };
    bootstrap_interval(values, (0..RESAMPLES).into_par_iter().map(|number| draw(number as u32)))
}

/// Between the two sorted values that stand next to it, in proportion.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (low, rest) = (place.floor() as usize, place.fract());
    let above = sorted.get(low + 1).copied().unwrap_or(sorted[low]);
    Some(sorted[low] + (above - sorted[low]) * rest)
}
