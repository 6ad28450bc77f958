//! From logits to probabilities and a prediction.

/// Probabilities of one row of logits: `exp(z_j − max) / Σ exp(z_k − max)`, in f64.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mut row: Vec<f64> = logits.iter().map(|&z| (f64::from(z) - max).exp()).collect();
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= sum);
    row
}

/// Index of the largest entry; the lowest of equals, and never a NaN unless all are.
pub fn largest(row: &[f64]) -> usize {
    let mut best = 0;
    for (index, &value) in row.iter().enumerate() {
        if value > row[best] || row[best].is_nan() {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_is_the_textbook_one_and_does_not_overflow() {
        let row = softmax(&[1.0, 2.0, 3.0]);
        for (p, expected) in
            row.iter().zip([0.090_030_573_170_380_46, 0.244_728_471_054_797_65, 0.665_240_955_774_821_9])
        {
            assert!((p - expected).abs() < 1e-15, "{p}");
        }
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
    }

    #[test]
    fn the_lowest_of_equals_wins_and_nan_loses() {
        assert_eq!(largest(&[0.2, 0.4, 0.4]), 1);
        assert_eq!(largest(&[f64::NAN, 0.1, 0.3]), 2);
    }
}
