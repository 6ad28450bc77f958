//! attention.

use cudarc::driver::CudaSlice;

use super::{CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup, element::Element};
use crate::{Result, device::Dropout};

pub struct Attention<E: Element> {
    element: std::marker::PhantomData<E>,
}

impl<E: Element> Attention<E> {
    pub fn new(_: &Setup) -> Result<Self> {
        Ok(Self { element: std::marker::PhantomData })
    }
}

pub fn attention<E: Element>(
    device: &mut CudaDevice<E>,
    ctx: &mut CudaSlice<E>,
    lse: &mut CudaSlice<f32>,
    qkv: &CudaSlice<E>,
    batch: &CudaBatch,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, ctx, lse, qkv, batch, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn attention_backward<E: Element>(
    device: &mut CudaDevice<E>,
    d_qkv: &mut CudaSlice<E>,
    d_ctx: &CudaSlice<E>,
    qkv: &CudaSlice<E>,
    ctx: &CudaSlice<E>,
    lse: &CudaSlice<f32>,
    batch: &CudaBatch,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, d_qkv, d_ctx, qkv, ctx, lse, batch, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn attention_first<E: Element>(
    device: &mut CudaDevice<E>,
    ctx: &mut CudaSlice<E>,
    lse: &mut CudaSlice<f32>,
    q: &CudaSlice<E>,
    kv: &CudaSlice<E>,
    batch: &CudaBatch,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, ctx, lse, q, kv, batch, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn attention_first_backward<E: Element>(
    device: &mut CudaDevice<E>,
    d_q: &mut CudaSlice<E>,
    d_kv: &mut CudaSlice<E>,
    d_ctx: &CudaSlice<E>,
    q: &CudaSlice<E>,
    kv: &CudaSlice<E>,
    ctx: &CudaSlice<E>,
    lse: &CudaSlice<f32>,
    batch: &CudaBatch,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, d_q, d_kv, d_ctx, q, kv, ctx, lse, batch, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn scratch_bytes<E: Element>(_: crate::device::Shape, _: crate::device::Capacity) -> usize {
    0
}
