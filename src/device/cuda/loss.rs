//! The loss of every example and its gradient, in one launch, and the sums of votes (kernels/loss.cu).

use std::mem::offset_of;

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, PushKernelArg};

use super::{
    CudaBatch, CudaDevice, Setup,
    element::Element,
    kernels::{Kernel, geometry},
};
use crate::{
    Result,
    device::{
        Distance, LossInputs, LossKind, LossOps, Uploaded, Write,
        loss::{check, check_votes},
    },
};

pub(crate) struct Loss {
    kernel: Kernel,
    add_votes: Kernel,
    mean_of_votes: Kernel,
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

const _: () = assert!(size_of::<LossArgs>() == 32 && offset_of!(LossArgs, inverse_temperature) == 24);
// SAFETY: plain floats, laid out as the kernel's struct, which asserts the same.
unsafe impl DeviceRepr for LossArgs {}

impl LossArgs {
    fn new(kind: LossKind, classes: usize) -> Self {
        let (temperature, inverse_temperature) = match kind.distance {
            Distance::Mse => (0.0, 0.0),
            Distance::Kl { temperature } => (f64::from(temperature), 1.0 / f64::from(temperature)),
            Distance::Twins => (-1.0, 1.0),
        };
        let (smoothing, class_share) = (f64::from(kind.label_smoothing), 1.0 / classes as f64);
        Self { smoothing, class_share, temperature, inverse_temperature }
    }
}

impl Loss {
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        let get = |name| setup.kernels.get(name);
        Ok(Self {
            kernel: get("distillation_loss")?,
            add_votes: get("add_votes")?,
            mean_of_votes: get("mean_of_votes")?,
        })
    }
}

impl<E: Element> LossOps for CudaDevice<E> {
    fn distillation_loss(
        &mut self,
        losses: &mut CudaSlice<f32>,
        d_logits: &mut CudaSlice<f32>,
        inputs: LossInputs<'_, Self>,
        loss: LossKind,
        batch: &CudaBatch,
    ) -> Result<()> {
        check(&self.shape, losses, d_logits, inputs, batch);
        let (launcher, classes) = (&self.launcher, self.shape.labels);
        // A null pointer says that there is none.
        let address =
            |buffer: Option<&CudaSlice<f32>>| buffer.map_or(0u64, |buffer| buffer.device_ptr(&launcher.stream).0);
        let (target, class_weights) = (address(inputs.target), address(inputs.class_weights));
        let (header, labels, slots) = (batch.header(), batch.labels(), batch.slots());
        let (examples, args, classes) = ((losses.len() / 2) as u32, LossArgs::new(loss, classes), classes as u32);
        let grid = [batch.bucket().sequences as u32, 1, 1];
        // SAFETY: checked above: logits, d_logits and the target have a row of `classes` for each sequence, the weights
        // an element for each class, and slots are below `examples`; that labels are below `classes` was checked at the
        // upload.
        unsafe {
            launcher.launch(&self.loss.kernel, grid, geometry::LOSS_THREADS, 0, |launch| {
                launch.arg(losses).arg(d_logits).arg(inputs.logits).arg(&target).arg(&class_weights);
                launch.arg(&header).arg(&labels).arg(&slots).arg(&examples).arg(&classes).arg(&args);
            })
        }
    }

    fn add_votes(
        &mut self,
        votes: &mut CudaSlice<f32>,
        logits: &CudaSlice<f32>,
        batch: &CudaBatch,
        write: Write,
    ) -> Result<()> {
        check_votes::<Self>(&self.shape, votes, logits, batch);
        let (header, slots, classes) = (batch.header(), batch.slots(), self.shape.labels as u32);
        let (adds, grid) = (i32::from(write == Write::Add), vote_blocks(batch, classes));
        // SAFETY: checked above: logits have a row of `classes` for each sequence, votes one for each slot of a step.
        unsafe {
            self.launcher.launch(&self.loss.add_votes, grid, geometry::ELEMENTWISE_THREADS, 0, |launch| {
                launch.arg(votes).arg(logits).arg(&header).arg(&slots).arg(&classes).arg(&adds);
            })
        }
    }

    fn mean_of_votes(
        &mut self,
        target: &mut CudaSlice<f32>,
        votes: &CudaSlice<f32>,
        batch: &CudaBatch,
        count: u32,
    ) -> Result<()> {
        check_votes::<Self>(&self.shape, votes, target, batch);
        let (header, slots, classes) = (batch.header(), batch.slots(), self.shape.labels as u32);
        let grid = vote_blocks(batch, classes);
        // SAFETY: as in `add_votes`, the target in the place of the logits.
        unsafe {
            self.launcher.launch(&self.loss.mean_of_votes, grid, geometry::ELEMENTWISE_THREADS, 0, |launch| {
                launch.arg(target).arg(votes).arg(&header).arg(&slots).arg(&classes).arg(&count);
            })
        }
    }
}

fn vote_blocks(batch: &CudaBatch, classes: u32) -> [u32; 3] {
    [(batch.limits().sequences as u32 * classes).div_ceil(geometry::ELEMENTWISE_THREADS), 1, 1]
}
