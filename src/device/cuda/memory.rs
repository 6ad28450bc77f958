//! Buffers in device memory: weights with their copies in the working precision, and gradients.

use std::{borrow::Cow, sync::Arc};

use cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DeviceRepr};

use super::{
    element::Element,
    fault::{Place, driver_error},
};
use crate::{Result, model::View};

/// Weights that a forward pass reads.
pub struct CudaParameters<E: Element> {
    /// The float32 arena; biases and LayerNorms are read from it.
    pub master: CudaSlice<f32>, // [len]
    /// The same in the working precision, where that is another; matrices are read from it.
    pub working: Option<CudaSlice<E>>, // [len]
}

impl<E: Element> CudaParameters<E> {
    /// A matrix in the working precision.
    pub fn matrix(&self, view: View) -> CudaView<'_, E> {
        match &self.working {
            Some(working) => working.slice(view.range()),
            None => {
                let view = self.master.slice(view.range());
                // SAFETY: without copies the working precision is float32, so E is a float.
                unsafe { view.transmute(view.len()) }.expect("as many elements of the same size")
            }
        }
    }

    /// A bias, or a scale or shift of a LayerNorm, in float32.
    pub fn vector(&self, view: View) -> CudaView<'_, f32> {
        self.master.slice(view.range())
    }
}

/// A float32 arena of gradients. Padding between views stays 0; so do word embeddings that the last step has not touched.
pub struct CudaGradients {
    pub arena: CudaSlice<f32>, // [len]
    /// 1 for each row of the word embeddings that may not be 0.
    pub touched: CudaSlice<u8>, // [V]
    pub word: View,
}

impl CudaGradients {
    pub fn view(&mut self, view: View) -> CudaViewMut<'_, f32> {
        self.arena.slice_mut(view.range())
    }
}

/// Allocates and clears.
pub fn zeros<T: DeviceRepr + cudarc::driver::ValidAsZeroBits>(
    stream: &Arc<CudaStream>,
    device: &Place,
    len: usize,
) -> Result<CudaSlice<T>> {
    let bytes = len * size_of::<T>();
    // A buffer of no elements has no address; kernels are never given one they would read.
    stream.alloc_zeros(len.max(1)).map_err(driver_error(device, format!("allocate {bytes} bytes of GPU memory")))
}

/// The numbers of a buffer on the host, in float32; waits for the device.
pub fn download<'a, E: Element>(
    stream: &Arc<CudaStream>,
    device: &Place,
    buffer: &CudaSlice<E>,
) -> Result<Cow<'a, [f32]>> {
    let values =
        stream.clone_dtoh(buffer).map_err(driver_error(device, "finish the work before it and read a result"))?;
    Ok(Cow::Owned(values.into_iter().map(E::value).collect()))
}

/// Overwrites the first elements of a buffer.
pub fn write<T: DeviceRepr>(
    stream: &Arc<CudaStream>,
    device: &Place,
    buffer: &mut CudaSlice<T>,
    values: &[T],
) -> Result<()> {
    stream.memcpy_htod(values, buffer).map_err(driver_error(device, "copy to the GPU"))
}
