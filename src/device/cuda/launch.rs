//! Launching kernels: one place that talks to the driver.

use std::{cell::RefCell, sync::Arc};

use cudarc::driver::{CudaStream, LaunchArgs, LaunchConfig, PushKernelArg};

use super::{
    fault::{DeviceLabel, driver_error},
    kernels::Kernel,
    last_begun::LastBegun,
    ranges::{Level, Ranges},
    tracer::Tracer,
};
use crate::{
    Result,
    device::{Dropout, Scope, timeline::Span},
};

/// Puts kernels on the device's stream.
pub(crate) struct Launcher {
    pub stream: Arc<CudaStream>,
    /// For errors.
    pub device: DeviceLabel,
    pub tracer: Option<RefCell<Tracer>>,
    /// What is being launched for.
    scope: Option<Scope>,
    last_begun: Arc<LastBegun>,
    pub ranges: Ranges,
}

impl Launcher {
    pub(crate) fn new(stream: Arc<CudaStream>, device: DeviceLabel, last_begun: Arc<LastBegun>) -> Self {
        Self { stream, device, tracer: None, scope: None, last_begun, ranges: Ranges::new() }
    }

    /// Names what follows, to profilers too.
    pub(crate) fn enter(&mut self, scope: Scope) {
        self.ranges.enter(Level::Part, scope);
        self.scope = Some(scope);
    }

    /// The kernels since the last call.
    pub(crate) fn take_spans(&mut self) -> Result<Vec<Span>> {
        let Some(tracer) = &mut self.tracer else { return Ok(Vec::new()) };
        tracer.get_mut().take(&self.stream).map_err(driver_error(&self.device, "time the kernels"))
    }

    /// Launches `kernel` with the arguments that `push` gives: outputs, inputs, sizes, scalars, as the kernel lists
    /// them; its mark comes after them.
    ///
    /// # Safety
    /// The arguments have the types of the kernel's parameters, in their order, and the buffers behind them the lengths
    /// that the kernel's comment states for this grid.
    pub(crate) unsafe fn launch<'a>(
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
        for _ in 0..self.tracer.as_ref().map_or(1, |tracer| tracer.borrow().repeats()) {
            // SAFETY: the caller's promise.
            let launched = unsafe { arguments.launch(config) };
            launched.map_err(driver_error(&self.device, format_args!("launch {}", kernel.name)))?;
        }
        Ok(())
    }
}

/// A kernel's two forms, for passes that drop something and for those that keep all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByDropout<T> {
    pub drops: T,
    pub keeps: T,
}

impl<T> ByDropout<T> {
    pub(crate) fn choose(&self, dropout: Dropout) -> &T {
        if dropout.threshold == 0 { &self.keeps } else { &self.drops }
    }

    pub(crate) fn try_map<U, E>(self, f: impl Fn(T) -> Result<U, E>) -> Result<ByDropout<U>, E> {
        Ok(ByDropout { drops: f(self.drops)?, keeps: f(self.keeps)? })
    }
}
