//! What a batch gives to kernels by copy.

use std::mem::offset_of;

use cudarc::driver::DeviceRepr;

use super::batch::CudaBatch;
use crate::device::{Dropout, Rows};

/// A dropout site as kernels take it; the step is in the batch's header. Mirrors `Dropout` in kernels/dropout.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutArgs {
    key: [u32; 2],
    site: u32,
    threshold: u32,
    scale: f32,
}

const _: () = assert!(size_of::<DropoutArgs>() == 20 && offset_of!(DropoutArgs, scale) == 16);
// SAFETY: plain words, laid out as the kernel's struct, which asserts the same.
unsafe impl DeviceRepr for DropoutArgs {}

impl DropoutArgs {
    /// Masks of `dropout` for a batch that was uploaded for the same step.
    pub(crate) fn new(dropout: Dropout, batch: &CudaBatch) -> Self {
        let Dropout { philox, step, site, threshold, scale } = dropout;
        debug_assert!(threshold == 0 || step == batch.step(), "a batch is uploaded for the step of its masks");
        Self { key: philox.key(), site, threshold, scale }
    }
}

/// The rows of a matrix as kernels take them. Mirrors `Rows` in kernels/batch.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowsArgs {
    count: u64,
    slots: u64,
    positions: u64,
}

const _: () = assert!(size_of::<RowsArgs>() == 24 && offset_of!(RowsArgs, positions) == 16);
// SAFETY: three device addresses, laid out as the kernel's struct, which asserts the same.
unsafe impl DeviceRepr for RowsArgs {}

impl RowsArgs {
    pub(crate) fn new(rows: Rows, batch: &CudaBatch) -> Self {
        match rows {
            Rows::Tokens => {
                Self { count: batch.token_count(), slots: batch.token_slots(), positions: batch.positions() }
            }
            Rows::Sequences => Self { count: batch.sequence_count(), slots: batch.slots(), positions: 0 },
        }
    }

    /// Address of the number of rows.
    pub(crate) fn count_address(&self) -> u64 {
        self.count
    }
}
