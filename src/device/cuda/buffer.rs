//! Allocating a buffer of a stream's device, reading and writing it.

use std::{borrow::Cow, sync::Arc};

use cudarc::driver::{CudaSlice, CudaStream, DeviceRepr, ValidAsZeroBits};

use super::{
    element::Element,
    fault::{DeviceLabel, driver_error},
};
use crate::Result;

/// Allocates and clears.
pub(crate) fn zeros<T: DeviceRepr + ValidAsZeroBits>(
    stream: &Arc<CudaStream>,
    device: &DeviceLabel,
    len: usize,
) -> Result<CudaSlice<T>> {
    let bytes = len * size_of::<T>();
    // A buffer of no elements has no address; kernels are never given one they would read.
    stream.alloc_zeros(len.max(1)).map_err(driver_error(device, format!("allocate {bytes} bytes of GPU memory")))
}

/// The numbers of a buffer on the host, in float32; waits for the device.
pub(crate) fn download<'a, E: Element>(
    stream: &Arc<CudaStream>,
    device: &DeviceLabel,
    buffer: &CudaSlice<E>,
) -> Result<Cow<'a, [f32]>> {
    let values =
        stream.clone_dtoh(buffer).map_err(driver_error(device, "finish the work before it and read a result"))?;
    Ok(Cow::Owned(values.into_iter().map(E::value).collect()))
}

/// Overwrites the first elements of a buffer.
pub(crate) fn write<T: DeviceRepr>(
    stream: &Arc<CudaStream>,
    device: &DeviceLabel,
    buffer: &mut CudaSlice<T>,
    values: &[T],
) -> Result<()> {
    stream.memcpy_htod(values, buffer).map_err(driver_error(device, "copy to the GPU"))
}
