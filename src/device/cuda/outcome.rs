//! What a step tells the host, in pinned memory: it arrives while the next step is under way.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice};

use super::{
    CudaDevice,
    element::Element,
    fault::{Place, driver_error},
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
    pub fn new(context: &Arc<CudaContext>, place: &Place, losses: usize) -> Result<Self> {
        let losses = Pinned::new(context, losses.max(1));
        let outcome = losses.and_then(|losses| Ok(Self { losses, norm: Pinned::new(context, 2)? }));
        outcome.map_err(driver_error(place, "allocate pinned memory"))
    }
}

pub fn send<E: Element>(device: &CudaDevice<E>, outcome: &mut CudaOutcome, losses: &CudaSlice<f32>) -> Result<()> {
    let Launcher { stream, device: place, .. } = &device.launcher;
    let sent = outcome.losses.copy_from(stream, losses);
    let sent = sent.and_then(|()| outcome.norm.copy_from(stream, &device.optimizer.outcome));
    sent.map_err(driver_error(place, "copy from the GPU"))
}

pub fn receive<'a, E: Element>(device: &CudaDevice<E>, outcome: &'a CudaOutcome) -> Result<(&'a [f32], f64)> {
    let received = outcome.losses.read().and_then(|losses| Ok((losses, outcome.norm.read()?[0])));
    received.map_err(driver_error(&device.launcher.device, "finish a step"))
}
