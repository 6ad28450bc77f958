//! Batches that sweep a set once: longest first, so that memory is needed most at the start and no batch mixes lengths.

use std::ops::ControlFlow;

use super::{Examples, PackedBatch};
use crate::Result;

/// A fixed division of a set into batches of example numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationPlan {
    order: Vec<u32>,
    /// Where in `order` each batch ends.
    ends: Vec<usize>,
    token_capacity: usize,
    sequence_capacity: usize,
}

impl EvaluationPlan {
    /// Batches of at most `max_sequences` sequences and `max_tokens` tokens, or of a single longer sequence.
    pub fn new(lengths: &[u32], max_sequences: usize, max_tokens: usize) -> Self {
        let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
        order.sort_by_key(|example| std::cmp::Reverse(lengths[*example as usize]));
        let mut plan = Self { order, ends: vec![], token_capacity: 0, sequence_capacity: 0 };
        let mut start = 0;
        while start < plan.order.len() {
            let mut end = start;
            let mut tokens = 0;
            while let Some(example) = plan.order.get(end) {
                let length = lengths[*example as usize] as usize;
                if end > start && (end - start >= max_sequences || tokens + length > max_tokens) {
                    break;
                }
                tokens += length;
                end += 1;
            }
            plan.ends.push(end);
            plan.token_capacity = plan.token_capacity.max(tokens);
            plan.sequence_capacity = plan.sequence_capacity.max(end - start);
            start = end;
        }
        plan
    }

    /// The examples of each batch. Results are put back by these numbers.
    pub fn batches(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.ends.len()).map(|i| &self.order[i.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[i]])
    }

    /// Packs one batch after another and hands each to `visit`, with the numbers of its examples, until that breaks
    /// off.
    ///
    /// # Errors
    /// Those of `visit`.
    pub fn sweep(
        &self,
        examples: &Examples,
        mut visit: impl FnMut(&[u32], &PackedBatch) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let mut packed = PackedBatch::default();
        for batch in self.batches() {
            examples.fill(batch, 0, &mut packed);
            if visit(batch, &packed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Tokens of the largest batch.
    pub fn token_capacity(&self) -> usize {
        self.token_capacity
    }

    /// Sequences of the largest batch.
    pub fn sequence_capacity(&self) -> usize {
        self.sequence_capacity
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn longest_first_within_the_limits() {
        let plan = EvaluationPlan::new(&[3, 9, 1, 2, 20, 3], 3, 9);
        let batches: Vec<&[u32]> = plan.batches().collect();
        assert_eq!(batches, [&[4][..], &[1], &[0, 5, 3], &[2]]);
        assert_eq!((plan.token_capacity(), plan.sequence_capacity()), (20, 3));
        assert_eq!(EvaluationPlan::new(&[], 3, 9).batches().len(), 0);
    }

    proptest! {
        #[test]
        fn every_example_is_in_one_batch(
            lengths in prop::collection::vec(1u32..50, 0..200),
            most in 1usize..20,
            tokens in 1usize..200,
        ) {
            let plan = EvaluationPlan::new(&lengths, most, tokens);
            let mut seen: Vec<u32> = plan.batches().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len() as u32).collect::<Vec<_>>());
            for batch in plan.batches() {
                let total: usize = batch.iter().map(|example| lengths[*example as usize] as usize).sum();
                prop_assert!(batch.len() <= most && (total <= tokens || batch.len() == 1));
                prop_assert!(total <= plan.token_capacity() && batch.len() <= plan.sequence_capacity());
            }
        }
    }
}
