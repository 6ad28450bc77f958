//! The one place where a choice of device becomes a type: everything behind it is compiled for each device.

/// Evaluates an expression for the device that a backend names; `$make` makes it from a shape and a capacity.
macro_rules! on_device {
    ($backend:expr, $make:ident => $body:expr) => {
        match $backend {
            bertsd_cuda::device::Backend::Cpu => {
                let $make = |shape, capacity| {
                    bertsd_cuda::Result::Ok(bertsd_cuda::device::cpu::CpuDevice::new(shape, capacity))
                };
                $body
            }
            bertsd_cuda::device::Backend::CudaBf16 { ordinal } => {
                let $make = |shape, capacity| {
                    bertsd_cuda::device::cuda::CudaDevice::<bertsd_cuda::device::cuda::Bf16>::new(
                        ordinal, shape, capacity,
                    )
                };
                $body
            }
            bertsd_cuda::device::Backend::CudaTf32 { ordinal } => {
                let $make = |shape, capacity| {
                    bertsd_cuda::device::cuda::CudaDevice::<bertsd_cuda::device::cuda::Tf32>::new(
                        ordinal, shape, capacity,
                    )
                };
                $body
            }
            bertsd_cuda::device::Backend::CudaF32 { ordinal } => {
                let $make =
                    |shape, capacity| bertsd_cuda::device::cuda::CudaDevice::<f32>::new(ordinal, shape, capacity);
                $body
            }
        }
    };
}

pub(crate) use on_device;
