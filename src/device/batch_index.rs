//! What is derived from a batch once, for every device: where each token lies in its sequence and in the dropout masks,
//! and in which order tokens of one word are summed.

use super::{Buffers, Capacity, On, Rows, Shape, check::Check};
use crate::{Error, Result, data::PackedBatch};

/// Sizes of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of all sequences together.
    pub tokens: usize,
    /// How many there are.
    pub sequences: usize,
    /// Tokens of the longest sequence.
    pub longest: usize,
    /// One more than the largest slot.
    pub slots: usize,
}

impl Limits {
    /// # Errors
    /// [`Error::Misuse`] where the batch is larger than what was planned.
    ///
    /// # Panics
    /// Where the parts of the batch contradict each other, or the model has no row for one of its numbers.
    pub fn new(source: &PackedBatch, capacity: Capacity, shape: &Shape) -> Result<Self> {
        let (tokens, sequences, offsets) = (source.tokens(), source.sequences(), &source.offsets);
        assert!(
            source.types.len() == tokens
                && source.slots.len() == sequences
                && offsets.len() == sequences + 1
                && offsets.first() == Some(&0)
                && offsets.last() == Some(&(tokens as u32))
                && offsets.is_sorted(),
            "a packed batch has a type for each token, and a slot and a range of tokens for each sequence"
        );
        let longest = offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0) as usize;
        if tokens > capacity.tokens || sequences > capacity.sequences || longest > capacity.length {
            let message = format!(
                "{tokens} tokens in {sequences} sequences of up to {longest} are more than was planned: {} in {} of up \
                to {}",
                capacity.tokens, capacity.sequences, capacity.length
            );
            return Err(Error::misuse("upload", message));
        }
        let [words, types, labels, slots] = [&source.ids, &source.types, &source.labels, &source.slots]
            .map(|numbers| numbers.iter().max().map_or(0, |&largest| largest as usize + 1));
        Check("upload").table("words", shape.vocabulary, words).table("types", shape.types, types).table(
            "labels",
            shape.labels,
            labels,
        );
        Ok(Self { tokens, sequences, longest, slots })
    }

    /// Whether a batch of this size is no larger than `other` in anything.
    pub fn fits(&self, other: &Self) -> bool {
        self.tokens <= other.tokens
            && self.sequences <= other.sequences
            && self.longest <= other.longest
            && self.slots <= other.slots
    }

    /// The larger of both in everything.
    pub fn join(&self, other: &Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            sequences: self.sequences.max(other.sequences),
            longest: self.longest.max(other.longest),
            slots: self.slots.max(other.slots),
        }
    }

    /// Rows in use of a matrix.
    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens,
            Rows::Sequences => self.sequences,
        }
    }
}

/// What a device knows of an uploaded batch on the host.
pub trait Uploaded {
    /// Its sizes.
    fn limits(&self) -> &Limits;
}

impl<D: Buffers> On<'_, D> {
    /// Rows in use.
    pub(super) fn count(self) -> usize {
        rows::<D>(self.batch, self.rows)
    }
}

/// Rows of this kind that a batch has.
pub(super) fn rows<D: Buffers>(batch: &D::Batch, rows: Rows) -> usize {
    batch.limits().rows(rows)
}

/// Where the index of a batch is written.
pub(crate) struct Index<'a> {
    /// Position in its sequence, of each token.
    pub positions: &'a mut [u32], // [T]
    /// Slot of its sequence, of each token.
    pub token_slots: &'a mut [u32], // [T]
    /// Tokens by word id, equal ids in order of appearance: the fixed order of the embedding gradient's sums.
    pub order: &'a mut [u32], // [T]
    /// Run r: the tokens `order[run_starts[r]..run_starts[r + 1]]` have the word `run_ids[r]`.
    pub run_ids: &'a mut [u32], // [T]
    pub run_starts: &'a mut [u32], // [T + 1]
}

impl Index<'_> {
    /// Fills it all in, and returns the number of runs.
    pub(crate) fn fill(self, source: &PackedBatch) -> usize {
        let Index { positions, token_slots, order, run_ids, run_starts } = self;
        for (ends, &slot) in source.offsets.windows(2).zip(&source.slots) {
            for t in ends[0]..ends[1] {
                positions[t as usize] = t - ends[0];
                token_slots[t as usize] = slot;
            }
        }
        for (t, place) in (0..).zip(order.iter_mut()) {
            *place = t;
        }
        order.sort_unstable_by_key(|&t| (source.ids[t as usize], t));
        let mut runs = 0;
        for (i, &t) in order.iter().enumerate() {
            let id = source.ids[t as usize];
            if runs == 0 || run_ids[runs - 1] != id {
                (run_ids[runs], run_starts[runs]) = (id, i as u32);
                runs += 1;
            }
        }
        run_starts[runs] = order.len() as u32;
        runs
    }
}

/// Numbers of a batch and its index on a device.
pub(crate) fn words(capacity: Capacity) -> usize {
    let Capacity { tokens, sequences, .. } = capacity;
    // offsets, labels, slots; ids, types, positions, token_slots, order, run_ids, run_starts
    (3 * sequences + 1) + (7 * tokens + 1)
}
