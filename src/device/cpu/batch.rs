//! A batch as the CPU device keeps it: the packed tokens, and what is derived from them once.

use std::ops::Range;

use super::super::{Capacity, Rows, StepScalars};
use crate::data::PackedBatch;

/// One occurrence list of a token id: tokens `order[range]` of the batch have it.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: u32,
    pub range: Range<usize>,
}

/// Buffers are as large as the capacity from the start; an upload allocates nothing.
#[derive(Debug)]
pub struct CpuBatch {
    pub packed: PackedBatch,
    pub scalars: StepScalars,
    /// Position in its sequence, of each token.
    pub positions: Vec<u32>, // [T]
    /// Slot of its sequence, of each token.
    pub token_slots: Vec<u32>, // [T]
    /// Tokens by id, equal ids in order of appearance: the fixed order of the embedding gradient's sums.
    pub order: Vec<u32>, // [T]
    pub runs: Vec<Run>,
}

impl CpuBatch {
    pub fn with_capacity(capacity: Capacity) -> Self {
        let (tokens, sequences) = (capacity.tokens, capacity.sequences);
        Self {
            packed: PackedBatch {
                ids: Vec::with_capacity(tokens),
                types: Vec::with_capacity(tokens),
                offsets: Vec::with_capacity(sequences + 1),
                labels: Vec::with_capacity(sequences),
                slots: Vec::with_capacity(sequences),
            },
            scalars: StepScalars::default(),
            positions: Vec::with_capacity(tokens),
            token_slots: Vec::with_capacity(tokens),
            order: Vec::with_capacity(tokens),
            runs: Vec::with_capacity(tokens),
        }
    }

    pub fn fill(&mut self, source: &PackedBatch, scalars: StepScalars) {
        self.packed.clone_from(source);
        self.scalars = scalars;
        self.positions.clear();
        self.token_slots.clear();
        for b in 0..self.sequences() {
            let tokens = self.sequence(b);
            self.positions.extend(0..tokens.len() as u32);
            self.token_slots.extend(std::iter::repeat_n(source.slots[b], tokens.len()));
        }
        self.order.clear();
        self.order.extend(0..source.ids.len() as u32);
        self.order.sort_unstable_by_key(|&t| (source.ids[t as usize], t));
        self.runs.clear();
        let mut start = 0;
        for end in 1..=self.order.len() {
            let id = source.ids[self.order[start] as usize];
            if end == self.order.len() || source.ids[self.order[end] as usize] != id {
                self.runs.push(Run { id, range: start..end });
                start = end;
            }
        }
    }

    pub fn sequences(&self) -> usize {
        self.packed.sequences()
    }

    pub fn tokens(&self) -> usize {
        self.packed.tokens()
    }

    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens(),
            Rows::Sequences => self.sequences(),
        }
    }

    /// Tokens of sequence b.
    pub fn sequence(&self, b: usize) -> Range<usize> {
        self.packed.offsets[b] as usize..self.packed.offsets[b + 1] as usize
    }

    /// Slot and position of a row, which address its dropout mask.
    #[inline(always)]
    pub fn place(&self, rows: Rows, row: usize) -> (u32, usize) {
        match rows {
            Rows::Tokens => (self.token_slots[row], self.positions[row] as usize),
            Rows::Sequences => (self.packed.slots[row], 0),
        }
    }
}
