//! Losses and gradient norm of a step on the host, in pinned memory: it arrives while the next step is under way.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice};

use super::{
    fault::{DeviceLabel, driver_error},
    launch::Launcher,
    pinned::Pinned,
};
use crate::Result;

/// Losses of a step, its gradient norm, and the steps that were skipped up to it.
pub struct CudaOutcome {
    losses: Pinned<f32>,
    norm: Pinned<f64>, // [2]
}

impl CudaOutcome {
    pub(crate) fn new(context: &Arc<CudaContext>, label: &DeviceLabel, losses: usize) -> Result<Self> {
        let losses = Pinned::new(context, losses.max(1));
        let outcome = losses.and_then(|losses| Ok(Self { losses, norm: Pinned::new(context, 2)? }));
        outcome.map_err(driver_error(label, "allocate pinned memory"))
    }

    pub(crate) fn send(&mut self, launcher: &Launcher, losses: &CudaSlice<f32>, norm: &CudaSlice<f64>) -> Result<()> {
        let Launcher { stream, device, .. } = launcher;
        let sent = self.losses.copy_from(stream, losses);
        let sent = sent.and_then(|()| self.norm.copy_from(stream, norm));
        sent.map_err(driver_error(device, "copy from the GPU"))
    }

    pub(crate) fn receive(&self, launcher: &Launcher) -> Result<(&[f32], f64)> {
        let received = self.losses.read().and_then(|losses| Ok((losses, self.norm.read()?[0])));
        received.map_err(driver_error(&launcher.device, "finish a step"))
    }
}
