//! The one place where a backend becomes a type: everything behind it is compiled for each device.

use super::{
    Backend, Capacity, Device, Shape,
    cpu::CpuDevice,
    cuda::{Bf16, CudaDevice, Tf32},
};
use crate::Result;

/// Work that is written for any device.
pub trait OnDevice {
    /// What comes back.
    type Output;

    /// Does the work on the device that `make` makes, for a model of this shape and batches of at most this capacity.
    fn run<D: Device>(self, make: impl FnOnce(Shape, Capacity) -> Result<D>) -> Self::Output;
}

impl Backend {
    /// Does the work on this device.
    pub fn run<W: OnDevice>(self, work: W) -> W::Output {
        match self {
            Self::Cpu => work.run(|shape, capacity| Ok(CpuDevice::new(shape, capacity))),
            Self::CudaBf16 { ordinal } => work.run(|shape, capacity| CudaDevice::<Bf16>::new(ordinal, shape, capacity)),
            Self::CudaTf32 { ordinal } => work.run(|shape, capacity| CudaDevice::<Tf32>::new(ordinal, shape, capacity)),
            Self::CudaF32 { ordinal } => work.run(|shape, capacity| CudaDevice::<f32>::new(ordinal, shape, capacity)),
        }
    }
}
