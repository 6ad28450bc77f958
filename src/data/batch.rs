//! A packed batch: the real tokens of its sequences one after another, and no padding.

/// `T` tokens of `B` sequences in one row. Sequence b owns tokens `offsets[b]..offsets[b + 1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    pub ids: Vec<u32>,     // [T]
    pub types: Vec<u32>,   // [T]
    pub offsets: Vec<u32>, // [B + 1]
    pub labels: Vec<u32>,  // [B]
    /// Place of each sequence among the examples of its optimizer step. Dropout masks are addressed by it, so that cutting a
    /// step into micro-batches leaves every mask as it is.
    pub slots: Vec<u32>, // [B]
}

impl PackedBatch {
    pub fn sequences(&self) -> usize {
        self.labels.len()
    }

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
