//! Launching kernels: one place that talks to the driver, and the values that kernels take by copy.

use std::sync::Arc;

use cudarc::driver::{CudaStream, DeviceRepr, LaunchArgs, LaunchConfig};

use super::{fault::driver_error, kernels::Kernel};
use crate::{
    Result,
    device::{Dropout, Rows, Scope},
};

use super::batch::CudaBatch;

/// Puts kernels on the device's stream.
pub struct Launcher {
    pub stream: Arc<CudaStream>,
    /// `cuda:0`, for errors.
    pub device: String,
    /// What is being launched for.
    pub scope: Option<Scope>,
    /// Wait behind each launch, so that a fault is found at the kernel that made it.
    pub blocking: bool,
}

impl Launcher {
    /// Launches `kernel` with the arguments that `push` gives: outputs, inputs, sizes, scalars, as the kernel lists them.
    ///
    /// # Safety
    /// The arguments have the types of the kernel's parameters, in their order, and the buffers behind them the lengths that
    /// the kernel's comment states for this grid.
    pub unsafe fn launch<'a>(
        &'a self,
        kernel: &'a Kernel,
        grid: [u32; 3],
        threads: u32,
        shared_bytes: u32,
        push: impl FnOnce(&mut LaunchArgs<'a>),
    ) -> Result<()> {
        let mut arguments = self.stream.launch_builder(&kernel.function);
        push(&mut arguments);
        let [x, y, z] = grid;
        let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (threads, 1, 1), shared_mem_bytes: shared_bytes };
        // SAFETY: the caller's promise.
        let launched = unsafe { arguments.launch(config) };
        launched.map(drop).map_err(driver_error(&self.device, format!("launch {}", kernel.name)))?;
        if self.blocking {
            let scope = self.scope.map_or_else(String::new, |scope| format!(" ({scope})"));
            let action = format!("run {}{scope}", kernel.name);
            self.stream.synchronize().map_err(driver_error(&self.device, action))?;
        }
        Ok(())
    }
}

/// A dropout site as kernels take it; the step is in the batch's header. Mirrors `Dropout` in kernels/dropout.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DropoutArgs {
    key: [u32; 2],
    site: u32,
    threshold: u32,
    scale: f32,
}

// SAFETY: plain words, laid out as the kernel's struct.
unsafe impl DeviceRepr for DropoutArgs {}

impl DropoutArgs {
    /// Masks of `dropout` for a batch that was uploaded for the same step.
    pub fn new(dropout: Dropout, batch: &CudaBatch) -> Self {
        let Dropout { philox, step, site, threshold, scale } = dropout;
        debug_assert!(threshold == 0 || step == batch.step(), "a batch is uploaded for the step of its masks");
        Self { key: philox.key(), site, threshold, scale }
    }
}

/// The rows of a matrix as kernels take them. Mirrors `Rows` in kernels/batch.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RowsArgs {
    count: u64,
    slots: u64,
    positions: u64,
}

// SAFETY: three device addresses, laid out as the kernel's struct.
unsafe impl DeviceRepr for RowsArgs {}

impl RowsArgs {
    pub fn new(rows: Rows, batch: &CudaBatch) -> Self {
        match rows {
            Rows::Tokens => {
                Self { count: batch.token_count(), slots: batch.token_slots(), positions: batch.positions() }
            }
            Rows::Sequences => Self { count: batch.sequence_count(), slots: batch.slots(), positions: 0 },
        }
    }

    /// Address of the number of rows.
    pub fn count_address(&self) -> u64 {
        self.count
    }
}
