//! A batch as the CPU device keeps it: the packed tokens, and what is derived from them once.

use std::ops::Range;

use crate::{
    Result,
    data::PackedBatch,
    device::{Capacity, Limits, Rows, Shape, StepScalars, Uploaded, batch_index::Index},
};

/// Buffers are as large as the capacity from the start; an upload allocates nothing.
#[derive(Debug)]
pub struct CpuBatch {
    /// The batch as it came.
    pub packed: PackedBatch,
    /// The numbers of its step.
    pub scalars: StepScalars,
    capacity: Capacity,
    shape: Shape,
    limits: Limits,
    positions: Vec<u32>,   // [T]
    token_slots: Vec<u32>, // [T]
    order: Vec<u32>,       // [T]
    runs: usize,
    run_ids: Vec<u32>,    // [T]
    run_starts: Vec<u32>, // [T + 1]
}

impl Uploaded for CpuBatch {
    fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl CpuBatch {
    pub(super) fn new(shape: Shape, capacity: Capacity) -> Self {
        let (tokens, sequences) = (capacity.tokens, capacity.sequences);
        let of_tokens = || vec![0; tokens];
        Self {
            packed: PackedBatch {
                ids: Vec::with_capacity(tokens),
                types: Vec::with_capacity(tokens),
                offsets: Vec::with_capacity(sequences + 1),
                labels: Vec::with_capacity(sequences),
                slots: Vec::with_capacity(sequences),
            },
            scalars: StepScalars::default(),
            capacity,
            shape,
            limits: Limits::default(),
            positions: of_tokens(),
            token_slots: of_tokens(),
            order: of_tokens(),
            runs: 0,
            run_ids: of_tokens(),
            run_starts: vec![0; tokens + 1],
        }
    }

    pub(super) fn fill(&mut self, source: &PackedBatch, scalars: StepScalars) -> Result<()> {
        self.limits = Limits::new(source, self.capacity, &self.shape)?;
        self.packed.clone_from(source);
        self.scalars = scalars;
        let index = Index {
            positions: &mut self.positions,
            token_slots: &mut self.token_slots,
            order: &mut self.order[..self.limits.tokens],
            run_ids: &mut self.run_ids,
            run_starts: &mut self.run_starts,
        };
        self.runs = index.fill(source);
        Ok(())
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        self.packed.sequences()
    }

    /// Tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.packed.tokens()
    }

    /// The words of the batch, ascending.
    pub fn run_ids(&self) -> &[u32] {
        &self.run_ids[..self.runs]
    }

    /// Tokens of the `run`-th word, in order of appearance.
    pub fn run(&self, run: usize) -> &[u32] {
        &self.order[self.run_starts[run] as usize..self.run_starts[run + 1] as usize]
    }

    /// Tokens of sequence b.
    pub fn sequence(&self, b: usize) -> Range<usize> {
        self.packed.offsets[b] as usize..self.packed.offsets[b + 1] as usize
    }

    /// Position in its sequence of token t.
    #[inline(always)]
    pub fn position(&self, t: usize) -> u32 {
        self.positions[t]
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
