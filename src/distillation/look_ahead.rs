//! Look-ahead voting: logits that earlier weights left for coming batches.
//!
//! `sdv` wants the mean over k of logits(θ_{t−k}) on batch t. At step s the weights θ_s are run on batches s+1..s+K, with the
//! dropout masks of teacher k at step s+k, and only the logits are kept: K·B·N numbers instead of K copies of the weights.

use std::collections::VecDeque;

/// Sums of logits waiting for their step.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub step: u64,
    /// How many iterates have voted.
    pub votes: u32,
    pub sums: Vec<f32>, // [examples of the step, N]
}

/// The steps that have votes, in order.
#[derive(Clone, Debug, Default)]
pub struct Votes {
    queue: VecDeque<Pending>,
    /// Sums of a step that is over, for the next that begins: a step allocates nothing.
    spare: Vec<f32>,
}

impl Votes {
    pub fn restore(pending: impl IntoIterator<Item = Pending>) -> Self {
        Self { queue: pending.into_iter().collect(), spare: Vec::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.queue.iter()
    }

    /// The sums of a coming step, of `len` numbers, with one more vote counted.
    pub fn vote(&mut self, step: u64, len: usize) -> &mut [f32] {
        let at = match self.queue.iter().position(|pending| pending.step == step) {
            Some(at) => at,
            None => {
                let mut sums = std::mem::take(&mut self.spare);
                sums.clear();
                sums.resize(len, 0.0);
                self.queue.push_back(Pending { step, votes: 0, sums });
                self.queue.len() - 1
            }
        };
        let pending = &mut self.queue[at];
        pending.votes += 1;
        &mut pending.sums
    }

    /// The mean logits for a step, if any iterate has voted; earlier steps are dropped. To be handed to
    /// [`give_back`](Self::give_back) when the step is over.
    pub fn take(&mut self, step: u64) -> Option<Vec<f32>> {
        while self.queue.front().is_some_and(|pending| pending.step < step) {
            self.queue.pop_front();
        }
        if self.queue.front()?.step != step {
            return None;
        }
        let Pending { votes, mut sums, .. } = self.queue.pop_front()?;
        for sum in &mut sums {
            *sum /= votes as f32;
        }
        Some(sums)
    }

    pub fn give_back(&mut self, sums: Vec<f32>) {
        self.spare = sums;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_gets_the_mean_of_its_votes_once() {
        let mut votes = Votes::default();
        for (step, value) in [(1, 2.0), (2, 4.0), (2, 8.0), (3, 1.0)] {
            votes.vote(step, 2).iter_mut().for_each(|sum| *sum += value);
        }
        assert_eq!(votes.take(0), None);
        assert_eq!(votes.take(2), Some(vec![6.0, 6.0]));
        assert_eq!(votes.take(2), None);
        assert_eq!(votes.take(3), Some(vec![1.0, 1.0]));
        assert_eq!(votes.take(4), None);
    }
}
