//! Axes with round tick marks: steps of 1, 2 or 5 times a power of ten, and labels with just the digits that tell ticks
//! apart.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// One axis of a panel; plotters takes its grid, ticks and labels from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// Covers exactly `low..=high`, with about `target` ticks inside. A range that is empty or not finite is widened to
    /// some range.
    pub(crate) fn covering(low: f64, high: f64, target: usize) -> Self {
        let usable = low.is_finite() && high.is_finite() && (high - low).is_finite();
        let (low, high) = if usable { (low.min(high), low.max(high)) } else { (0.0, 1.0) };
        // Far narrower than its own position: ticks could not be told apart.
        let least = (low.abs().max(high.abs()) * 1e-6).max(1e-12);
        let (low, high) = if high - low < least { (low - least, high + least) } else { (low, high) };

        let step = round_step((high - low) / target.max(1) as f64);
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let first = (low / step).ceil();
        let count = ((high / step + 1e-9).floor() - first).max(0.0) as usize + 1;
        let ticks = (0..count).map(|i| (first + i as f64) * step).filter(|tick| (low..=high).contains(tick)).collect();
        Self { low, high, ticks, decimals }
    }

    /// Covers the data with a margin of `margin` of its extent on both sides, but never beyond `limits`. A flat curve
    /// gets more room, so that its ticks are numbers that one would say.
    pub(crate) fn around(low: f64, high: f64, margin: f64, limits: (f64, f64), target: usize) -> Self {
        const LEAST_EXTENT: f64 = 0.01;
        let extent = high - low;
        let least = (high.abs().max(low.abs()) * LEAST_EXTENT).max(1e-9);
        let room = (margin * extent).max(least - extent);
        Self::covering((low - room).max(limits.0), (high + room).min(limits.1), target)
    }

    pub(crate) fn clamp(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }

    /// The label of a tick; thousands are set apart by a comma.
    pub(crate) fn label(&self, tick: f64) -> String {
        let digits = format!("{:.*}", self.decimals, tick.abs());
        let (whole, fraction) = digits.split_once('.').map_or((digits.as_str(), None), |(w, f)| (w, Some(f)));
        let mut label = String::new();
        if tick < 0.0 && digits.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
            label.push('-');
        }
        for (position, digit) in whole.char_indices() {
            if position > 0 && (whole.len() - position) % 3 == 0 {
                label.push(',');
            }
            label.push(digit);
        }
        if let Some(fraction) = fraction {
            label.push('.');
            label.push_str(fraction);
        }
        label
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        (f64::from(from) + share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(tick: &f64) -> String {
        tick.to_string()
    }

    fn format_ext(&self, tick: &f64) -> String {
        self.label(*tick)
    }
}

/// Of 1, 2 and 5 times a power of ten, the one nearest to `step`: the smallest that is at least three quarters of it.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let least = 0.75 * step;
    [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|&round| round >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(labels(&Axis::covering(0.0, 1512.0, 4)), ["0", "500", "1,000", "1,500"]);
        assert_eq!(
            labels(&Axis::covering(0.0, 1_200_000.0, 6)),
            ["0", "200,000", "400,000", "600,000", "800,000", "1,000,000", "1,200,000"]
        );
        assert_eq!(
            labels(&Axis::covering(0.62, 0.873, 5)),
            ["0.65", "0.70", "0.75", "0.80", "0.85"].map(|l| l.to_owned())
        );
        assert_eq!(labels(&Axis::covering(-0.3, 0.3, 3)), ["-0.2", "0.0", "0.2"]);
    }

    #[test]
    fn odd_ranges_still_give_an_axis() {
        for (low, high) in [(1.0, 1.0), (f64::NAN, 2.0), (5.0, -5.0), (0.0, 0.0), (1e300, 1e300), (-f64::MAX, f64::MAX)]
        {
            let axis = Axis::covering(low, high, 5);
            assert!(axis.low < axis.high && axis.ticks.len() < 20, "{low} {high}: {axis:?}");
            assert!(axis.ticks.iter().all(|tick| (axis.low..=axis.high).contains(tick)), "{axis:?}");
        }
    }

    #[test]
    fn a_margin_stops_at_the_limits() {
        let axis = Axis::around(0.5, 0.99, 0.05, (0.0, 1.0), 5);
        assert!(axis.high == 1.0 && axis.low > 0.47 && axis.low < 0.5, "{axis:?}");
        let flat = Axis::around(1.0, 1.0, 0.05, (0.0, 1.0), 5);
        assert_eq!(labels(&flat), ["0.990", "0.992", "0.994", "0.996", "0.998", "1.000"]);
    }
}
