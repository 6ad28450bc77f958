//! A packed batch: the real tokens of its sequences one after another, and no padding.

/// `T` tokens of `B` sequences in one row. Sequence b owns tokens `offsets[b]..offsets[b + 1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    /// Token ids.
    pub ids: Vec<u32>, // [T]
    /// Token types: 0 in the first text, 1 in the second.
    pub types: Vec<u32>, // [T]
    /// Where each sequence starts, and the end.
    pub offsets: Vec<u32>, // [B + 1]
    /// Numbers of the labels.
    pub labels: Vec<u32>, // [B]
    /// Place of each sequence among the examples of its optimizer step. Dropout masks are addressed by it, so that
    /// cutting a step into micro-batches leaves every mask as it is.
    pub slots: Vec<u32>, // [B]
}

impl PackedBatch {
    /// B.
    pub fn sequences(&self) -> usize {
        self.labels.len()
    }

    /// T.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.types.clear();
        self.labels.clear();
        self.slots.clear();
        self.offsets.clear();
        self.offsets.push(0);
    }

    /// Appends one sequence; call [`PackedBatch::clear`] before the first.
    pub fn push(&mut self, ids: &[u32], types: &[u32], label: u32, slot: u32) {
        debug_assert_eq!(ids.len(), types.len());
        self.ids.extend_from_slice(ids);
        self.types.extend_from_slice(types);
        self.offsets.push(self.ids.len() as u32);
        self.labels.push(label);
        self.slots.push(slot);
    }

    /// Appends every sequence once more, `shift` slots further.
    pub fn repeat(&mut self, shift: u32) {
        let (sequences, tokens) = (self.sequences(), self.ids.len() as u32);
        self.ids.extend_from_within(..);
        self.types.extend_from_within(..);
        self.labels.extend_from_within(..);
        self.slots.extend_from_within(..);
        self.slots[sequences..].iter_mut().for_each(|slot| *slot += shift);
        self.offsets.extend_from_within(1..);
        self.offsets[sequences + 1..].iter_mut().for_each(|end| *end += tokens);
    }

    /// Appends one sequence whose tokens from `second_start` on have type 1.
    pub fn push_texts(&mut self, ids: &[u32], second_start: u32, label: u32, slot: u32) {
        self.types.resize(self.ids.len() + (second_start as usize).min(ids.len()), 0);
        self.ids.extend_from_slice(ids);
        self.types.resize(self.ids.len(), 1);
        self.offsets.push(self.ids.len() as u32);
        self.labels.push(label);
        self.slots.push(slot);
    }
}

/// The micro-batches of a step, in memory that is used again for other steps.
#[derive(Debug, Default)]
pub struct StepBatches {
    batches: Vec<PackedBatch>,
    /// How many of them belong to the present step.
    used: usize,
}

impl StepBatches {
    /// Forgets the present step.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Every sequence twice, the second time in slots of its own: the twins of batch b stand half of it apart.
    pub fn repeat(&mut self) {
        let batches = &mut self.batches[..self.used];
        let examples: usize = batches.iter().map(PackedBatch::sequences).sum();
        batches.iter_mut().for_each(|batch| batch.repeat(examples as u32));
    }

    /// One more batch, which holds what it held before.
    pub(super) fn next(&mut self) -> &mut PackedBatch {
        if self.used == self.batches.len() {
            self.batches.push(PackedBatch::default());
        }
        self.used += 1;
        &mut self.batches[self.used - 1]
    }
}

impl std::ops::Deref for StepBatches {
    type Target = [PackedBatch];

    fn deref(&self) -> &[PackedBatch] {
        &self.batches[..self.used]
    }
}
