//! Look-ahead voting: logits that earlier weights left for coming batches.
//!
//! `sdv` wants the mean over k of logits(θ_{t−k}) on batch t. At step s the weights θ_s are run on batches s+1..s+K,
//! with the dropout masks of teacher k at step s+k, and only the logits are kept: K·E·N numbers instead of K copies of
//! the weights. They stay on the device, so that no step waits for them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Forward, LogitSizes};
use crate::{
    Error, Result,
    data::PackedBatch,
    device::{Buffers, Device, ForwardWeights, Memory, StepScalars, Write},
};

/// A step that has votes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Pending {
    /// The step whose batch it is.
    pub step: u64,
    /// How many iterates have voted.
    pub votes: u32,
}

/// Sums of logits that wait for their steps.
pub struct LookAhead<D: Buffers> {
    /// That of step t is at t modulo K: steps that wait are neighbours.
    sums: Vec<D::Vector>, // each [E, N], by the slot of the example in its step
    /// In order.
    queue: VecDeque<Pending>,
    target: D::Vector, // [B, N]
    /// What waited before the votes of this step, in case they are called off.
    before: Before,
}

/// Sums and queue at the beginning of a step.
struct Before {
    sums: Vec<Vec<f32>>,
    queue: VecDeque<Pending>,
}

impl<D: Memory> LookAhead<D> {
    /// For K steps at a time.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn new(device: &D, steps: usize, logits: LogitSizes) -> Result<Self> {
        let sums = (0..steps).map(|_| device.vector(logits.step)).collect::<Result<_>>()?;
        let before = Before { sums: vec![vec![0.0; logits.step]; steps], queue: VecDeque::with_capacity(steps) };
        Ok(Self { sums, queue: VecDeque::with_capacity(steps), target: device.vector(logits.batch)?, before })
    }
}

impl<D: Buffers> LookAhead<D> {
    /// K.
    pub fn steps(&self) -> usize {
        self.sums.len()
    }

    /// The steps that have votes, in order.
    pub fn pending(&self) -> impl Iterator<Item = Pending> {
        self.queue.iter().copied()
    }

    fn place(&self, step: u64) -> usize {
        (step % self.sums.len() as u64) as usize
    }

    /// Where one more vote for a coming step goes, and whether it is the first.
    fn ballot(&mut self, step: u64) -> (&mut D::Vector, Write) {
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
}

impl<D: Device> LookAhead<D> {
    /// The mean of the votes on the uploaded part of the batch of step t > 0.
    ///
    /// # Errors
    /// [`Error::Misuse`] where not all the iterates there were have voted; and those of the device.
    pub(super) fn target(&mut self, step: u64, device: &mut D, batch: &D::Batch) -> Result<&D::Vector> {
        let votes = self.queue.iter().find(|pending| pending.step == step).map_or(0, |pending| pending.votes);
        let voters = step.min(self.sums.len() as u64);
        if u64::from(votes) != voters {
            let message = format!(
                "{votes} of {voters} earlier iterates have voted on the batch of step {step}; each step is to be given \
                 the batches of the {} after it",
                self.sums.len()
            );
            return Err(Error::misuse("Learner::queue", message));
        }
        let place = self.place(step);
        device.mean_of_votes(&mut self.target, &self.sums[place], batch, votes)?;
        Ok(&self.target)
    }

    /// See [`Teacher::look_ahead`](super::Teacher::look_ahead).
    pub(super) fn vote(
        &mut self,
        step: u64,
        ahead: &[&[PackedBatch]],
        weights: &D::Parameters,
        device: &mut D,
        forward: Forward<'_, D>,
        uploaded: &mut D::Batch,
    ) -> Result<()> {
        // A device that queues does not call a pass off.
        if D::QUEUES {
            return self.vote_on_all(step, ahead, weights, device, forward, uploaded);
        }
        self.remember(device)?;
        let voted = self.vote_on_all(step, ahead, weights, device, forward, uploaded);
        if matches!(voted, Err(Error::Interrupted { .. })) {
            self.go_back(device)?;
        }
        voted
    }

    fn remember(&mut self, device: &D) -> Result<()> {
        let Self { sums, queue, before, .. } = self;
        before.queue.clear();
        before.queue.extend(&*queue);
        before.sums.iter_mut().zip(sums).try_for_each(|(copy, sums)| {
            copy.copy_from_slice(&device.read_vector(sums)?);
            Ok(())
        })
    }

    fn go_back(&mut self, device: &D) -> Result<()> {
        let Self { sums, queue, before, .. } = self;
        std::mem::swap(queue, &mut before.queue);
        sums.iter_mut().zip(&before.sums).try_for_each(|(sums, copy)| device.write_vector(sums, copy))
    }

    fn vote_on_all(
        &mut self,
        step: u64,
        ahead: &[&[PackedBatch]],
        weights: &D::Parameters,
        device: &mut D,
        mut forward: Forward<'_, D>,
        uploaded: &mut D::Batch,
    ) -> Result<()> {
        self.forget(step);
        for (k, micro) in (1..).zip(ahead.iter().take(self.steps())) {
            let coming = step + k as u64;
            let mask = forward.masks.at(coming, k);
            let (sums, write) = self.ballot(coming);
            for batch in *micro {
                device.upload(uploaded, batch, &StepScalars { step: coming as u32, ..StepScalars::default() })?;
                forward.run(device, ForwardWeights::Student, weights, uploaded, mask)?;
                device.add_votes(sums, &forward.workspace.logits, uploaded, write)?;
            }
        }
        Ok(())
    }
}

impl<D: Buffers> LookAhead<D> {
    /// Votes up to those of `step` wait no longer.
    fn forget(&mut self, step: u64) {
        while self.queue.front().is_some_and(|pending| pending.step <= step) {
            self.queue.pop_front();
        }
    }

    /// Makes room for the votes that waited after `steps` updates.
    ///
    /// # Errors
    /// A text that says what is wrong with them.
    pub(super) fn expect(&mut self, pending: &[Pending], steps: u64) -> Result<(), String> {
        let size = self.sums.len();
        // θ_0..θ_{steps−1} have voted on the K steps after each.
        let voters = |ahead: usize| steps.min(size.saturating_sub(ahead) as u64);
        let is_due = |(ahead, waiting): (usize, &Pending)| {
            waiting.votes > 0 && waiting.step == steps + ahead as u64 && u64::from(waiting.votes) == voters(ahead)
        };
        if !pending.iter().enumerate().all(is_due) {
            return Err(format!("votes that are not those of the {size} iterates before each step"));
        }
        self.queue = pending.iter().copied().collect();
        Ok(())
    }

    /// The sums of the steps that wait, in their order.
    pub(super) fn sums(&mut self) -> impl Iterator<Item = &mut D::Vector> {
        let first = self.queue.front().map_or(0, |pending| self.place(pending.step));
        // Neighbours in a ring: those from the first one's place on, then those before it.
        let (low, high) = self.sums.split_at_mut(first);
        high.iter_mut().chain(low).take(self.queue.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::cpu::CpuDevice, distillation::tests::device};

    fn look_ahead(steps: usize) -> LookAhead<CpuDevice> {
        LookAhead::new(&device(), steps, LogitSizes { step: 2, batch: 2 }).unwrap()
    }

    #[test]
    fn a_step_gets_its_votes_once() {
        let mut votes = look_ahead(2);
        let mut first = Vec::new();
        for (step, value) in [(1, 2.0), (2, 4.0), (2, 8.0)] {
            let (sums, write) = votes.ballot(step);
            first.push(write == Write::Overwrite);
            sums.fill(value);
        }
        assert_eq!(first, [true, true, false]);
        let pending = |votes: &LookAhead<CpuDevice>| votes.pending().collect::<Vec<_>>();
        votes.forget(0);
        assert_eq!(pending(&votes), [Pending { step: 1, votes: 1 }, Pending { step: 2, votes: 2 }]);
        assert_eq!(votes.sums().collect::<Vec<_>>(), [&[2.0, 2.0], &[8.0, 8.0]], "in the order of their steps");
        votes.forget(1);
        assert_eq!(pending(&votes), [Pending { step: 2, votes: 2 }]);
        assert_eq!(votes.sums().collect::<Vec<_>>(), [&[8.0, 8.0]]);
        votes.forget(2);
        assert_eq!(votes.sums().count(), 0);
        assert_eq!(votes.ballot(3).1, Write::Overwrite);
        assert_eq!(pending(&votes), [Pending { step: 3, votes: 1 }]);
    }

    #[test]
    fn votes_that_cannot_be_are_refused() {
        let of = |pairs: &[(u64, u32)]| pairs.iter().map(|&(step, votes)| Pending { step, votes }).collect::<Vec<_>>();
        let takes = |pairs: &[(u64, u32)], steps| look_ahead(3).expect(&of(pairs), steps).is_ok();
        assert!(takes(&[(9, 3), (10, 2), (11, 1)], 9));
        assert!(takes(&[(9, 3), (10, 2)], 9), "the run ends before step 11");
        assert!(takes(&[(2, 2), (3, 2), (4, 1)], 2), "there were two iterates");
        assert!(takes(&[], 9), "the run is over");
        assert!(takes(&[], 0));
        assert!(!takes(&[(9, 2), (10, 2), (11, 1)], 9), "a vote is missing");
        assert!(!takes(&[(10, 2), (11, 1)], 9), "a step is missing");
        assert!(!takes(&[(9, 3), (10, 2), (11, 1), (12, 0)], 9), "more steps than wait");
        assert!(!takes(&[(0, 0)], 0), "nobody can have voted");
    }
}
