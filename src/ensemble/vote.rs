//! Sums of probabilities, over members.

use super::ClassOrder;
use crate::{
    Error, Result,
    inference::{largest, softmax},
};

/// Probabilities of a set of examples, summed over the members so far, in f64.
#[derive(Clone, Debug)]
pub struct Vote {
    classes: usize,
    members: usize,
    sums: Vec<f64>, // [examples, N]
}

impl Vote {
    /// No members yet.
    pub fn new(examples: usize, classes: usize) -> Self {
        Self { classes, members: 0, sums: vec![0.0; examples * classes] }
    }

    /// Adds one member's say, from its logits \[examples, N\] in its own order of classes.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the shapes differ.
    pub fn add(&mut self, logits: &[f32], order: &ClassOrder) -> Result<()> {
        if logits.len() != self.sums.len() || order.numbers().len() != self.classes {
            let message = format!("{} logits do not match {} sums", logits.len(), self.sums.len());
            return Err(Error::misuse("Vote::add", message));
        }
        for (sums, row) in self.sums.chunks_exact_mut(self.classes).zip(logits.chunks_exact(self.classes)) {
            let probabilities = softmax(row);
            for (sum, &theirs) in sums.iter_mut().zip(order.numbers()) {
                *sum += probabilities[theirs];
            }
        }
        self.members += 1;
        Ok(())
    }

    /// The members' mean probabilities of example `i` \[N\].
    pub fn probabilities(&self, i: usize) -> Vec<f64> {
        let members = self.members.max(1) as f64;
        self.sums[i * self.classes..][..self.classes].iter().map(|sum| sum / members).collect()
    }

    /// The class with the largest sum.
    pub fn prediction(&self, i: usize) -> usize {
        largest(&self.sums[i * self.classes..][..self.classes])
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn sums_follow_the_names_of_the_classes() {
        let names = |list: [&str; 2]| list.map(str::to_owned);
        let same = ClassOrder::new(&names(["a", "b"]), &names(["a", "b"]), Path::new("m")).unwrap();
        let turned = ClassOrder::new(&names(["a", "b"]), &names(["b", "a"]), Path::new("m")).unwrap();
        let mut vote = Vote::new(1, 2);
        // a: 0.9 and 0.4, though the second model lists b first.
        vote.add(&[0.9f32.ln(), 0.1f32.ln()], &same).unwrap();
        vote.add(&[0.6f32.ln(), 0.4f32.ln()], &turned).unwrap();
        let mean = vote.probabilities(0);
        assert!((mean[0] - 0.65).abs() < 1e-7 && (mean[1] - 0.35).abs() < 1e-7, "{mean:?}");
        assert_eq!(vote.prediction(0), 0);
        assert!(vote.add(&[0.0], &same).is_err());
    }
}
