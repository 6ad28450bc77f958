//! head.

use cudarc::driver::CudaSlice;

use super::{CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup, element::Element};
use crate::{
    Result,
    device::{Dropout, Write},
    model::layout::Linear,
};

pub struct Head<E: Element> {
    element: std::marker::PhantomData<E>,
}

impl<E: Element> Head<E> {
    pub fn new(_: &Setup) -> Result<Self> {
        Ok(Self { element: std::marker::PhantomData })
    }
}

pub fn classify<E: Element>(
    device: &mut CudaDevice<E>,
    pooled: &mut CudaSlice<E>,
    dropped: &mut CudaSlice<E>,
    logits: &mut CudaSlice<f32>,
    first: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    pooler: Linear,
    classifier: Linear,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, pooled, dropped, logits, first, weights, batch, pooler, classifier, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn classify_backward<E: Element>(
    device: &mut CudaDevice<E>,
    d_first: &mut CudaSlice<E>,
    gradients: &mut CudaGradients,
    d_logits: &CudaSlice<f32>,
    first: &CudaSlice<E>,
    pooled: &CudaSlice<E>,
    dropped: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    pooler: Linear,
    classifier: Linear,
    dropout: Dropout,
    write: Write,
) -> Result<()> {
    let _ = (
        device, d_first, gradients, d_logits, first, pooled, dropped, weights, batch, pooler, classifier, dropout,
        write,
    );
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn scratch_bytes<E: Element>(_: crate::device::Shape, _: crate::device::Capacity) -> usize {
    0
}
