//! embedding.

use cudarc::driver::CudaSlice;

use super::{CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup, element::Element};
use crate::{Result, device::Dropout, model::layout::Embeddings};

pub struct Embedder<E: Element> {
    element: std::marker::PhantomData<E>,
}

impl<E: Element> Embedder<E> {
    pub fn new(_: &Setup) -> Result<Self> {
        Ok(Self { element: std::marker::PhantomData })
    }
}

pub fn embed<E: Element>(
    device: &mut CudaDevice<E>,
    x: &mut CudaSlice<E>,
    mean: &mut CudaSlice<f32>,
    rstd: &mut CudaSlice<f32>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    table: &Embeddings,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, x, mean, rstd, weights, batch, table, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn embed_backward<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    d_x: &CudaSlice<E>,
    mean: &CudaSlice<f32>,
    rstd: &CudaSlice<f32>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    table: &Embeddings,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, gradients, d_x, mean, rstd, weights, batch, table, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn gather_first<E: Element>(
    device: &mut CudaDevice<E>,
    first: &mut CudaSlice<E>,
    x: &CudaSlice<E>,
    batch: &CudaBatch,
) -> Result<()> {
    let _ = (device, first, x, batch);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn scatter_first<E: Element>(
    device: &mut CudaDevice<E>,
    d_x: &mut CudaSlice<E>,
    first: &CudaSlice<E>,
    batch: &CudaBatch,
) -> Result<()> {
    let _ = (device, d_x, first, batch);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn begin_step<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    table: &Embeddings,
) -> Result<()> {
    let _ = (device, gradients, table);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn scratch_bytes<E: Element>(_: crate::device::Shape, _: crate::device::Capacity) -> usize {
    0
}
