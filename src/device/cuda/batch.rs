//! A batch in device memory: one buffer of words, filled by one copy from pinned memory.
//!
//! ```text
//! header [8]                       sizes and scalars (kernels/batch.cuh)
//! offsets [B + 1] labels [B] slots [B]
//! ids [T] types [T] positions [T] token_slots [T]
//! order [T]                        tokens by word id, equal ids in order of appearance
//! run_ids [T] run_starts [T + 1]   run r: tokens order[run_starts[r]..run_starts[r + 1]] have the word run_ids[r]
//! ```
//!
//! Sections start where the capacity puts them, so addresses never change. Two pinned buffers take turns: the next
//! batch is filled in while the copy of the last may still be under way.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr};

use super::{
    fault::{DeviceLabel, driver_error},
    launch::Launcher,
    pinned::Pinned,
};
use crate::{
    Result,
    data::PackedBatch,
    device::{Capacity, Limits, Rows, Shape, StepScalars, Uploaded, batch_index::Index},
};

const HEADER: usize = 8;
/// Sections start at multiples of this many words: 16 bytes.
const ALIGN: usize = 4;

/// First words of the sections.
#[derive(Clone, Copy, Debug)]
struct Sections {
    offsets: usize,
    labels: usize,
    slots: usize,
    ids: usize,
    types: usize,
    positions: usize,
    token_slots: usize,
    order: usize,
    run_ids: usize,
    run_starts: usize,
    end: usize,
}

impl Sections {
    fn new(capacity: Capacity) -> Self {
        let mut end = HEADER;
        let mut section = |len: usize| {
            let start = end;
            end = (start + len).next_multiple_of(ALIGN);
            start
        };
        let (t, b) = (capacity.tokens, capacity.sequences);
        Self {
            offsets: section(b + 1),
            labels: section(b),
            slots: section(b),
            ids: section(t),
            types: section(t),
            positions: section(t),
            token_slots: section(t),
            order: section(t),
            run_ids: section(t),
            run_starts: section(t + 1),
            end,
        }
    }
}

/// An uploaded batch.
pub struct CudaBatch {
    words: CudaSlice<u32>,
    /// Address of `words`.
    base: u64,
    sections: Sections,
    staging: [Pinned<u32>; 2],
    /// Which of `staging` the next batch is written to.
    turn: usize,
    shape: Shape,
    capacity: Capacity,
    bucket: Capacity,
    limits: Limits,
    step: u32,
    device: DeviceLabel,
}

impl Uploaded for CudaBatch {
    fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl CudaBatch {
    pub(crate) fn new(
        context: &Arc<CudaContext>,
        launcher: &Launcher,
        shape: Shape,
        capacity: Capacity,
    ) -> Result<Self> {
        let Launcher { stream, device, .. } = launcher;
        let sections = Sections::new(capacity);
        let words = stream.alloc_zeros(sections.end).map_err(driver_error(device, "allocate a batch"))?;
        let base = words.device_ptr(stream).0;
        let pinned = || Pinned::new(context, sections.end);
        let pinned = || pinned().map_err(driver_error(device, "allocate pinned memory"));
        let staging = [pinned()?, pinned()?];
        Ok(Self {
            words,
            base,
            sections,
            staging,
            turn: 0,
            shape,
            capacity,
            bucket: capacity,
            limits: Limits::default(),
            step: 0,
            device: device.clone(),
        })
    }

    pub(crate) fn upload(
        &mut self,
        stream: &Arc<CudaStream>,
        source: &PackedBatch,
        scalars: &StepScalars,
    ) -> Result<()> {
        let limits = Limits::new(source, self.capacity, &self.shape)?;
        let Limits { tokens, sequences, longest, .. } = limits;
        self.turn = 1 - self.turn;
        let Self { staging, sections, turn, device, .. } = self;
        // Waits for the copy that last read this buffer.
        let words = staging[*turn].write().map_err(driver_error(device, "reuse pinned memory"))?;
        let runs = fill(words, sections, source);
        let header = [
            tokens as u32,
            sequences as u32,
            scalars.step,
            runs as u32,
            longest as u32,
            scalars.ce_scale.to_bits(),
            (scalars.lambda * scalars.distill_scale).to_bits(),
            0,
        ];
        words[..HEADER].copy_from_slice(&header);
        words[sections.offsets + sequences..sections.labels].fill(tokens as u32);
        staging[*turn].copy_to(stream, &mut self.words).map_err(driver_error(device, "upload a batch"))?;
        (self.limits, self.step) = (limits, scalars.step);
        self.bucket = bucket(self.capacity, Capacity { tokens, sequences, length: longest });
        Ok(())
    }

    /// The sizes that grids are made for: at least the batch's own. Equal buckets have equal launches.
    pub fn bucket(&self) -> Capacity {
        self.bucket
    }

    /// Rows that grids are made for.
    pub(crate) fn bucket_rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.bucket.tokens,
            Rows::Sequences => self.bucket.sequences,
        }
    }

    pub(crate) fn step(&self) -> u32 {
        self.step
    }

    fn address(&self, word: usize) -> u64 {
        self.base + (word * size_of::<u32>()) as u64
    }
}

/// Addresses of the sections, as kernels take them.
impl CudaBatch {
    pub(crate) fn header(&self) -> u64 {
        self.address(0)
    }

    pub(crate) fn token_count(&self) -> u64 {
        self.address(0)
    }

    pub(crate) fn sequence_count(&self) -> u64 {
        self.address(1)
    }

    pub(crate) fn offsets(&self) -> u64 {
        self.address(self.sections.offsets)
    }

    pub(crate) fn labels(&self) -> u64 {
        self.address(self.sections.labels)
    }

    pub(crate) fn slots(&self) -> u64 {
        self.address(self.sections.slots)
    }

    pub(crate) fn ids(&self) -> u64 {
        self.address(self.sections.ids)
    }

    pub(crate) fn types(&self) -> u64 {
        self.address(self.sections.types)
    }

    pub(crate) fn positions(&self) -> u64 {
        self.address(self.sections.positions)
    }

    pub(crate) fn token_slots(&self) -> u64 {
        self.address(self.sections.token_slots)
    }

    pub(crate) fn order(&self) -> u64 {
        self.address(self.sections.order)
    }

    pub(crate) fn run_ids(&self) -> u64 {
        self.address(self.sections.run_ids)
    }

    pub(crate) fn run_starts(&self) -> u64 {
        self.address(self.sections.run_starts)
    }
}

/// Writes every section but the header, and returns the number of runs.
fn fill(words: &mut [u32], sections: &Sections, source: &PackedBatch) -> usize {
    let (tokens, sequences) = (source.tokens(), source.sequences());
    let spans = [
        (sections.offsets, sequences + 1),
        (sections.labels, sequences),
        (sections.slots, sequences),
        (sections.ids, tokens),
        (sections.types, tokens),
        (sections.positions, tokens),
        (sections.token_slots, tokens),
        (sections.order, tokens),
        (sections.run_ids, tokens),
        (sections.run_starts, tokens + 1),
    ];
    let [offsets, labels, slots, ids, types, positions, token_slots, order, run_ids, run_starts] =
        words.get_disjoint_mut(spans.map(|(start, len)| start..start + len)).expect("sections lie one after another");
    let copies = [
        (offsets, &source.offsets),
        (labels, &source.labels),
        (slots, &source.slots),
        (ids, &source.ids),
        (types, &source.types),
    ];
    for (section, values) in copies {
        section.copy_from_slice(values);
    }
    Index { positions, token_slots, order, run_ids, run_starts }.fill(source)
}

/// Shares of the capacity that tokens are rounded up to.
const SHARES: usize = 16;
const LEAST_TOKENS: usize = 128;
const LEAST_LENGTH: usize = 64;

/// What tokens are rounded up to.
fn unit(capacity: Capacity) -> usize {
    capacity.tokens.div_ceil(SHARES).next_multiple_of(LEAST_TOKENS)
}

/// Rounds sizes up, so that a run has few buckets: tokens to sixteenths of the capacity, lengths to powers of two.
/// Blocks for sequences that are not there return at once, so all sequences of the capacity have theirs.
fn bucket(capacity: Capacity, size: Capacity) -> Capacity {
    Capacity {
        tokens: size.tokens.max(1).next_multiple_of(unit(capacity)),
        sequences: capacity.sequences,
        length: size.length.next_power_of_two().max(LEAST_LENGTH),
    }
}

/// How many buckets batches up to a capacity can fall into.
pub(crate) fn buckets(capacity: Capacity) -> usize {
    let longest = capacity.length.next_power_of_two().max(LEAST_LENGTH);
    let lengths = (longest / LEAST_LENGTH).ilog2() as usize + 1;
    capacity.tokens.max(1).div_ceil(unit(capacity)) * lengths
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn buckets_are_as_many_as_sizes_fall_into() {
        for (tokens, sequences, length) in [(1, 1, 1), (700, 9, 80), (4096, 32, 128), (5000, 10, 512)] {
            let capacity = Capacity { tokens, sequences, length };
            let sizes = (1..=tokens).flat_map(|tokens| (1..=length).map(move |length| (tokens, length)));
            let found: BTreeSet<_> = sizes
                .map(|(tokens, length)| bucket(capacity, Capacity { tokens, sequences: 1, length }))
                .map(|bucket| (bucket.tokens, bucket.length))
                .collect();
            assert_eq!(buckets(capacity), found.len(), "{capacity:?}");
        }
    }
}
