//! Launching kernels: one place that talks to the driver, and the values that kernels take by copy.

use std::{cell::RefCell, mem::offset_of, sync::Arc};

use cudarc::driver::{CudaStream, DeviceRepr, LaunchArgs, LaunchConfig, PushKernelArg};

use super::{
    batch::CudaBatch,
    fault::{Place, driver_error},
    kernels::Kernel,
    last_begun::LastBegun,
    ranges::{Level, Ranges},
    tracer::Tracer,
};
use crate::{
    Result,
    device::{Dropout, Rows, Scope, timeline::Span},
};

/// Puts kernels on the device's stream.
pub struct Launcher {
    pub stream: Arc<CudaStream>,
    /// For errors.
    pub device: Place,
    pub tracer: Option<RefCell<Tracer>>,
    /// What is being launched for.
    scope: Option<Scope>,
    last_begun: Arc<LastBegun>,
    pub ranges: Ranges,
}

impl Launcher {
    pub fn new(stream: Arc<CudaStream>, device: Place, last_begun: Arc<LastBegun>) -> Self {
        Self { stream, device, tracer: None, scope: None, last_begun, ranges: Ranges::new() }
    }

    /// Names what follows, to profilers too.
    pub fn enter(&mut self, scope: Scope) {
        self.ranges.enter(Level::Part, scope);
        self.scope = Some(scope);
    }

    /// The kernels since the last call.
    pub fn take_spans(&mut self) -> Result<Vec<Span>> {
        let Some(tracer) = &mut self.tracer else { return Ok(Vec::new()) };
        tracer.get_mut().take(&self.stream).map_err(driver_error(&self.device, "time the kernels"))
    }

    /// Launches `kernel` with the arguments that `push` gives: outputs, inputs, sizes, scalars, as the kernel lists
    /// them; its mark comes after them.
    ///
    /// # Safety
    /// The arguments have the types of the kernel's parameters, in their order, and the buffers behind them the lengths
    /// that the kernel's comment states for this grid.
    pub unsafe fn launch<'a>(
        &'a self,
        kernel: &'a Kernel,
        grid: [u32; 3],
        threads: u32,
        shared_bytes: u32,
        push: impl FnOnce(&mut LaunchArgs<'a>),
    ) -> Result<()> {
        if let Some(tracer) = &self.tracer {
            let traced = tracer.borrow_mut().launch(&self.stream, kernel.name, self.scope);
            traced.map_err(driver_error(&self.device, "time a kernel"))?;
        }
        let mut arguments = self.stream.launch_builder(&kernel.function);
        push(&mut arguments);
        let mark = self.last_begun.mark(kernel.number, self.scope, self.tracer.is_some());
        // Arguments of this function's own may not live as long as the caller's.
        let mut arguments: LaunchArgs<'_> = arguments;
        arguments.arg(&mark);
        let [x, y, z] = grid;
        let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (threads, 1, 1), shared_mem_bytes: shared_bytes };
        // SAFETY: the caller's promise.
        let launched = unsafe { arguments.launch(config) };
        launched.map(drop).map_err(driver_error(&self.device, format_args!("launch {}", kernel.name)))
    }
}

/// A kernel's two forms, for passes that drop something and for those that keep all.
#[derive(Clone, Copy, Debug)]
pub struct ByDropout<T> {
    pub drops: T,
    pub keeps: T,
}

impl<T> ByDropout<T> {
    pub fn choose(&self, dropout: Dropout) -> &T {
        if dropout.threshold == 0 { &self.keeps } else { &self.drops }
    }

    pub fn try_map<U, E>(self, f: impl Fn(T) -> Result<U, E>) -> Result<ByDropout<U>, E> {
        Ok(ByDropout { drops: f(self.drops)?, keeps: f(self.keeps)? })
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

const _: () = assert!(size_of::<DropoutArgs>() == 20 && offset_of!(DropoutArgs, scale) == 16);
// SAFETY: plain words, laid out as the kernel's struct, which asserts the same.
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

const _: () = assert!(size_of::<RowsArgs>() == 24 && offset_of!(RowsArgs, positions) == 16);
// SAFETY: three device addresses, laid out as the kernel's struct, which asserts the same.
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
