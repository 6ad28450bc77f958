//! The loss of every example and its gradient, in one launch (kernels/loss.cu).

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, PushKernelArg};

use super::{
    CudaBatch, CudaDevice, Setup,
    element::Element,
    kernels::{Kernel, geometry},
};
use crate::{
    Result,
    device::{Distance, LossKind},
};

pub struct Loss {
    kernel: Kernel,
}

/// Mirrors `LossArgs` in kernels/loss.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct LossArgs {
    smoothing: f64,
    class_share: f64,
    temperature: f64,
    inverse_temperature: f64,
}

// SAFETY: plain floats, laid out as the kernel's struct.
unsafe impl DeviceRepr for LossArgs {}

impl LossArgs {
    fn new(kind: LossKind, classes: usize) -> Self {
        let (temperature, inverse_temperature) = match kind.distance {
            Distance::Mse => (0.0, 0.0),
            Distance::Kl { temperature } => (f64::from(temperature), 1.0 / f64::from(temperature)),
        };
        let (smoothing, class_share) = (f64::from(kind.label_smoothing), 1.0 / classes as f64);
        Self { smoothing, class_share, temperature, inverse_temperature }
    }
}

impl Loss {
    pub fn new(setup: &Setup) -> Result<Self> {
        Ok(Self { kernel: setup.kernels.get("distillation_loss")? })
    }
}

pub fn distillation_loss<E: Element>(
    device: &mut CudaDevice<E>,
    losses: &mut CudaSlice<f32>,
    d_logits: &mut CudaSlice<f32>,
    logits: &CudaSlice<f32>,
    target: Option<&CudaSlice<f32>>,
    class_weights: Option<&CudaSlice<f32>>,
    batch: &CudaBatch,
    loss: LossKind,
) -> Result<()> {
    let (launcher, classes) = (&device.launcher, device.shape.labels);
    // A null pointer says that there is none.
    let address = |buffer: Option<&CudaSlice<f32>>| buffer.map_or(0u64, |buffer| buffer.device_ptr(&launcher.stream).0);
    let (target, class_weights) = (address(target), address(class_weights));
    let (header, labels, slots) = (batch.header(), batch.labels(), batch.slots());
    let (examples, args, classes) = ((losses.len() / 2) as u32, LossArgs::new(loss, classes), classes as u32);
    let grid = [batch.bucket().sequences as u32, 1, 1];
    // SAFETY: logits, d_logits and the target have a row of `classes` for each sequence, the weights an element a class; labels
    // are below `classes` and slots below `examples`, which is checked when a batch is packed.
    unsafe {
        launcher.launch(&device.loss.kernel, grid, geometry::LOSS_THREADS, 0, |launch| {
            launch.arg(losses).arg(d_logits).arg(logits).arg(&target).arg(&class_weights);
            launch.arg(&header).arg(&labels).arg(&slots).arg(&examples).arg(&classes).arg(&args);
        })
    }
}
