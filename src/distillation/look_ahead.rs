//! Look-ahead voting: logits that earlier weights left for coming batches.
//!
//! `sdv` wants the mean over k of logits(θ_{t−k}) on batch t. At step s the weights θ_s are run on batches s+1..s+K, with the
//! dropout masks of teacher k at step s+k, and only the logits are kept: K·E·N numbers instead of K copies of the weights. They
//! stay on the device, so that no step waits for them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    device::{Device, Write},
};

/// A step that has votes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Pending {
    pub step: u64,
    /// How many iterates have voted.
    pub votes: u32,
}

/// Sums of logits that wait for their steps.
pub struct Votes<D: Device> {
    /// That of step t is at t modulo their number: steps that wait are neighbours.
    sums: Vec<D::Vector>, // each [E, N], by the slot of the example in its step
    queue: VecDeque<Pending>,
}

impl<D: Device> Votes<D> {
    /// For so many steps at a time, of `len` logits each.
    pub fn new(device: &D, steps: usize, len: usize) -> Result<Self> {
        let sums = (0..steps).map(|_| device.vector(len)).collect::<Result<_>>()?;
        Ok(Self { sums, queue: VecDeque::with_capacity(steps) })
    }

    /// The steps that have votes, in order.
    pub fn pending(&self) -> impl Iterator<Item = Pending> {
        self.queue.iter().copied()
    }

    pub fn sums(&self, step: u64) -> &D::Vector {
        &self.sums[self.place(step)]
    }

    fn place(&self, step: u64) -> usize {
        (step % self.sums.len() as u64) as usize
    }

    /// Where one more vote for a coming step goes, and whether it is the first.
    pub fn vote(&mut self, step: u64) -> (&mut D::Vector, Write) {
        let at = match self.queue.iter().position(|pending| pending.step == step) {
            Some(at) => at,
            None => {
                self.queue.push_back(Pending { step, votes: 0 });
                self.queue.len() - 1
            }
        };
        self.queue[at].votes += 1;
        let write = if self.queue[at].votes == 1 { Write::Overwrite } else { Write::Add };
        let place = self.place(step);
        (&mut self.sums[place], write)
    }

    /// The votes for a step, if there are any. They and those for earlier steps wait no longer; the sums are there until the next
    /// vote.
    pub fn take(&mut self, step: u64) -> Option<Pending> {
        while self.queue.front().is_some_and(|pending| pending.step < step) {
            self.queue.pop_front();
        }
        if self.queue.front()?.step == step { self.queue.pop_front() } else { None }
    }

    /// Puts a step and its sums back, in order.
    pub fn restore(&mut self, device: &D, pending: Pending, sums: &[f32]) -> Result<()> {
        let place = self.place(pending.step);
        self.queue.push_back(pending);
        device.write_vector(&mut self.sums[place], sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Capacity, Shape, cpu::CpuDevice};
    use crate::model::Activation;

    #[test]
    fn a_step_gets_its_votes_once() {
        let shape = Shape {
            hidden: 8,
            heads: 1,
            head_size: 8,
            intermediate: 8,
            labels: 2,
            vocabulary: 1,
            types: 1,
            layer_norm_eps: 1e-12,
            activation: Activation::GeluErf,
        };
        let device = CpuDevice::new(shape, Capacity { tokens: 1, sequences: 1, length: 1 });
        let mut votes = Votes::new(&device, 2, 2).unwrap();
        let mut first = Vec::new();
        for (step, value) in [(1, 2.0), (2, 4.0), (2, 8.0)] {
            let (sums, write) = votes.vote(step);
            first.push(write == Write::Overwrite);
            sums.fill(value);
        }
        assert_eq!(first, [true, true, false]);
        assert_eq!(votes.take(0), None);
        assert_eq!(votes.take(2), Some(Pending { step: 2, votes: 2 }), "those of step 1 are dropped");
        assert_eq!(votes.sums(2), &[8.0, 8.0]);
        assert_eq!(votes.take(2), None);
        let (_, write) = votes.vote(3);
        assert_eq!(write, Write::Overwrite);
        assert_eq!(votes.pending().collect::<Vec<_>>(), [Pending { step: 3, votes: 1 }]);
    }
}
