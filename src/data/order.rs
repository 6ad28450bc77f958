//! Which examples each optimizer step sees, and how a step is cut into micro-batches.
//!
//! The order of an epoch is a function of the seed and the epoch alone, so a run can go on anywhere and look ahead any
//! number of steps, over the end of an epoch too. With length bucketing an epoch is shuffled, cut into pools of several
//! steps, sorted by length within each pool and cut into steps, which are shuffled again: steps hold texts of like
//! length, and a pool is large enough that who meets whom still changes every epoch.

use std::ops::Range;

use super::{Examples, batch::StepBatches};
use crate::{Error, Result, random::Philox};

/// Names this use of the run's generator.
const PURPOSE: u32 = u32::from_be_bytes(*b"orde");

/// How training examples are ordered and grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSettings {
    /// Decides all orders.
    pub seed: u64,
    /// Most sequences of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of a step; a step sees `batch_size · grad_accum` examples.
    pub grad_accum: usize,
    /// Most tokens of a micro-batch; a step is cut into more of them where need be. A single longer sequence still
    /// goes.
    pub max_tokens: Option<usize>,
    /// False: every epoch goes through the examples as they stand in the file.
    pub shuffle: bool,
    /// Steps in a pool of length bucketing; 0: no bucketing. 50 is a good number.
    pub bucket_steps: usize,
    /// Leave out the examples that do not fill the last step of an epoch; otherwise that step is smaller.
    pub drop_last: bool,
}

impl OrderSettings {
    /// Examples of a full step.
    pub fn step_size(&self) -> usize {
        self.batch_size.saturating_mul(self.grad_accum)
    }
}

/// The examples of every step of a run; steps count from 0 through all epochs.
#[derive(Clone, Debug)]
pub struct StepPlan {
    settings: OrderSettings,
    lengths: Vec<u32>,
    /// Orders of the epochs used last, so that a look-ahead over the end of an epoch does not make them again.
    recent: [Option<(u64, Vec<u32>)>; 2],
}

impl StepPlan {
    /// A plan over examples of these `lengths`, in tokens.
    ///
    /// # Errors
    /// [`Error::Setting`] when the sizes contradict each other or an example is longer than a micro-batch may be.
    pub fn new(lengths: Vec<u32>, settings: OrderSettings) -> Result<Self> {
        for (setting, value) in [
            ("batch-size", settings.batch_size),
            ("grad-accum", settings.grad_accum),
            ("max-tokens", settings.max_tokens.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::setting(setting, "must be at least 1"));
            }
        }
        if lengths.is_empty() {
            return Err(Error::setting("train", "there are no examples to train on"));
        }
        if settings.drop_last && lengths.len() < settings.step_size() {
            let message = format!(
                "all {} examples would be dropped: they do not fill one step of {}; lower the batch size",
                lengths.len(),
                settings.step_size()
            );
            return Err(Error::setting("drop-last", message));
        }
        Ok(Self { settings, lengths, recent: [None, None] })
    }

    /// What the plan was made with.
    pub fn settings(&self) -> &OrderSettings {
        &self.settings
    }

    /// Steps in which every example is seen once.
    pub fn steps_per_epoch(&self) -> u64 {
        let (examples, size) = (self.lengths.len(), self.settings.step_size());
        (if self.settings.drop_last { examples / size } else { examples.div_ceil(size) }) as u64
    }

    /// The epoch of a step and its place within the epoch.
    pub fn place(&self, step: u64) -> (u64, u64) {
        (step / self.steps_per_epoch(), step % self.steps_per_epoch())
    }

    /// The examples of a step.
    pub fn examples(&mut self, step: u64) -> &[u32] {
        self.prepare(step);
        self.prepared(step)
    }

    /// Packs the micro-batches of a step. Once `batches` has held the largest step, and but for the first of an epoch,
    /// this allocates nothing.
    pub fn pack(&mut self, step: u64, from: &Examples, batches: &mut StepBatches) {
        self.prepare(step);
        batches.clear();
        let examples = self.prepared(step);
        for piece in self.micro_batches(examples) {
            from.fill(&examples[piece.clone()], piece.start as u32, batches.next());
        }
    }

    /// Makes the order of the step's epoch known.
    fn prepare(&mut self, step: u64) {
        let (epoch, _) = self.place(step);
        let slot = (epoch % 2) as usize;
        if self.recent[slot].as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.recent[slot] = Some((epoch, self.epoch(epoch)));
        }
    }

    /// The examples of a step whose epoch's order is known.
    fn prepared(&self, step: u64) -> &[u32] {
        let (epoch, within) = self.place(step);
        let order = self.recent[(epoch % 2) as usize].as_ref().map_or(&[][..], |(_, order)| order);
        let start = within as usize * self.settings.step_size();
        &order[start..order.len().min(start.saturating_add(self.settings.step_size()))]
    }

    /// All examples of an epoch in order; steps are consecutive parts of it.
    pub fn epoch(&self, epoch: u64) -> Vec<u32> {
        let OrderSettings { seed, bucket_steps, drop_last, .. } = self.settings;
        let size = self.settings.step_size();
        // Streams are numbered by 32 bits; epochs beyond them exist on paper only, and differ by their seed.
        let mut stream = Philox::new(seed ^ (epoch >> 32)).stream(PURPOSE, epoch as u32);
        let mut order: Vec<u32> = (0..self.lengths.len() as u32).collect();
        if self.settings.shuffle {
            stream.shuffle(&mut order);
        }
        if drop_last {
            order.truncate(order.len() / size * size);
        }
        if bucket_steps > 0 {
            for pool in order.chunks_mut(size.saturating_mul(bucket_steps)) {
                pool.sort_by_key(|example| self.lengths[*example as usize]);
            }
            // Only full steps change places, so that the small one stays the last.
            let full = order.len() / size;
            let mut steps: Vec<usize> = (0..full).collect();
            stream.shuffle(&mut steps);
            let sorted = order.clone();
            for (to, from) in steps.into_iter().enumerate() {
                order[to * size..(to + 1) * size].copy_from_slice(&sorted[from * size..(from + 1) * size]);
            }
        }
        order
    }

    /// The micro-batches of a step as ranges of its examples; a range's start is the slot of its first sequence.
    pub fn micro_batches<'a>(&'a self, examples: &'a [u32]) -> impl Iterator<Item = Range<usize>> + 'a {
        micro_batches(examples, &self.lengths, self.settings.grad_accum, self.settings.max_tokens)
    }

    /// No step of the run has more examples.
    pub fn example_capacity(&self) -> usize {
        self.settings.step_size().min(self.lengths.len())
    }

    /// No micro-batch of the run has more tokens. Reached where the longest examples can meet, which without bucketing
    /// and `max_tokens` they can.
    pub fn token_capacity(&self) -> usize {
        let mut lengths = self.lengths.clone();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let longest = lengths[0] as usize;
        let together = lengths.iter().take(self.settings.batch_size).map(|length| *length as usize).sum();
        self.settings.max_tokens.map_or(together, |most| most.min(together).max(longest))
    }

    /// No micro-batch of the run has more sequences.
    pub fn sequence_capacity(&self) -> usize {
        let most = self.settings.batch_size.min(self.lengths.len());
        let Some(max_tokens) = self.settings.max_tokens else { return most };
        let mut lengths = self.lengths.clone();
        lengths.sort_unstable();
        let mut tokens = 0;
        let fitting = lengths.iter().take_while(|length| {
            tokens += **length as usize;
            tokens <= max_tokens
        });
        fitting.count().clamp(1, most)
    }
}

/// Cuts the examples of a step into `grad_accum` parts whose numbers of sequences differ by at most one, and each part
/// further so that no micro-batch has more than `max_tokens` tokens unless it is a single sequence.
pub fn micro_batches<'a>(
    examples: &'a [u32],
    lengths: &'a [u32],
    grad_accum: usize,
    max_tokens: Option<usize>,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let count = examples.len();
    let parts = grad_accum.min(count).max(1);
    let part_end = move |part: usize| (part + 1) * (count / parts) + (part + 1).min(count % parts);
    let (mut start, mut part) = (0, 0);
    std::iter::from_fn(move || {
        if start == count {
            return None;
        }
        if start == part_end(part) {
            part += 1;
        }
        let mut end = start + 1;
        let mut tokens = lengths[examples[start] as usize] as usize;
        while end < part_end(part) {
            tokens += lengths[examples[end] as usize] as usize;
            if max_tokens.is_some_and(|most| tokens > most) {
                break;
            }
            end += 1;
        }
        let range = start..end;
        start = end;
        Some(range)
    })
}
