//! A development set out of the training set.

use crate::{Error, Result, random::Philox};

/// Names this use of the run's generator.
const PURPOSE: u32 = u32::from_be_bytes(*b"spli");

/// Splits the examples `0..labels.len()` into training and development indexes, both ascending.
///
/// Every label gives the same fraction to development, rounded so that the whole is as near to `fraction` as it can be
/// (largest remainder), and keeps at least one example for training. A function of its arguments only.
///
/// # Errors
/// [`Error::Setting`] when the share leaves no example on one of the sides.
pub fn stratified_split(labels: &[u32], fraction: f64, seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::setting("dev-fraction", format!("{fraction} is not between 0 and 1, both excluded")));
    }
    let classes = labels.iter().max().map_or(0, |last| *last as usize + 1);
    let mut members = vec![Vec::new(); classes];
    for (example, label) in labels.iter().enumerate() {
        members[*label as usize].push(example as u32);
    }
    let mut quotas: Vec<usize> =
        members.iter().map(|of| ((of.len() as f64 * fraction) as usize).min(of.len().saturating_sub(1))).collect();
    let wanted = (labels.len() as f64 * fraction).round() as usize;
    let mut by_remainder: Vec<usize> = (0..classes).collect();
    let remainder = |class: &usize| (members[*class].len() as f64 * fraction).fract();
    by_remainder.sort_by(|a, b| remainder(b).total_cmp(&remainder(a)));
    let missing = wanted.saturating_sub(quotas.iter().sum());
    by_remainder.retain(|class| quotas[*class] + 1 < members[*class].len());
    by_remainder.into_iter().take(missing).for_each(|class| quotas[class] += 1);
    let mut is_dev = vec![false; labels.len()];
    for (class, (members, quota)) in members.iter_mut().zip(quotas).enumerate() {
        Philox::new(seed).stream(PURPOSE, class as u32).shuffle(members);
        members[..quota].iter().for_each(|example| is_dev[*example as usize] = true);
    }
    let (dev, train): (Vec<u32>, Vec<u32>) = (0..labels.len() as u32).partition(|example| is_dev[*example as usize]);
    if dev.is_empty() {
        let message = format!("{fraction} of {} examples leaves none for development; raise it", labels.len());
        return Err(Error::setting("dev-fraction", message));
    }
    Ok((train, dev))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_single_example_of_a_label_stays_in_training() {
        let (train, dev) = stratified_split(&[0, 0, 0, 0, 1], 0.9, 1).unwrap();
        assert!(train.contains(&4) && train.iter().any(|example| *example < 4));
        assert_eq!(dev.len(), 3);
    }

    #[test]
    fn fractions_outside_are_refused() {
        for fraction in [0.0, 1.0, -0.1, f64::NAN, 0.001] {
            assert!(stratified_split(&[0, 1, 0, 1], fraction, 1).is_err(), "{fraction}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let labels: Vec<u32> = (0..100).map(|i| i % 3).collect();
        assert_eq!(stratified_split(&labels, 0.2, 7).unwrap(), stratified_split(&labels, 0.2, 7).unwrap());
        assert_ne!(stratified_split(&labels, 0.2, 7).unwrap(), stratified_split(&labels, 0.2, 8).unwrap());
    }

    proptest! {
        #[test]
        fn every_label_is_split_alike(labels in prop::collection::vec(0u32..5, 20..300), fraction in 0.05f64..0.95) {
            let (train, dev) = stratified_split(&labels, fraction, 3).unwrap();
            let mut all = [train.clone(), dev.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len() as u32).collect::<Vec<_>>());
            for class in 0..5 {
                let count = |of: &[u32]| of.iter().filter(|example| labels[**example as usize] == class).count();
                let total = labels.iter().filter(|label| **label == class).count();
                prop_assert!(total == 0 || count(&train) >= 1);
                let exact = total as f64 * fraction;
                prop_assert!((count(&dev) as f64 - exact).abs() <= 1.0, "{} of {total}, {exact}", count(&dev));
            }
        }
    }
}
