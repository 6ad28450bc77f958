//! linear.

use cudarc::driver::CudaSlice;

use super::{CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup, element::Element};
use crate::{
    Result,
    device::{Dropout, Rows, Write},
    model::layout::Linear,
};

pub struct Linears<E: Element> {
    element: std::marker::PhantomData<E>,
}

impl<E: Element> Linears<E> {
    pub fn new(_: &Setup) -> Result<Self> {
        Ok(Self { element: std::marker::PhantomData })
    }
}

pub fn linear<E: Element>(
    device: &mut CudaDevice<E>,
    y: &mut CudaSlice<E>,
    x: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    layer: Linear,
) -> Result<()> {
    let _ = (device, y, x, weights, batch, rows, layer);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn linear_gelu<E: Element>(
    device: &mut CudaDevice<E>,
    h: &mut CudaSlice<E>,
    u: Option<&mut CudaSlice<E>>,
    x: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    layer: Linear,
) -> Result<()> {
    let _ = (device, h, u, x, weights, batch, rows, layer);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn linear_dropout_residual<E: Element>(
    device: &mut CudaDevice<E>,
    r: &mut CudaSlice<E>,
    x: &CudaSlice<E>,
    residual: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    layer: Linear,
    dropout: Dropout,
) -> Result<()> {
    let _ = (device, r, x, residual, weights, batch, rows, layer, dropout);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn linear_backward_input<E: Element>(
    device: &mut CudaDevice<E>,
    d_x: &mut CudaSlice<E>,
    d_y: &CudaSlice<E>,
    residual: Option<&CudaSlice<E>>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    layer: Linear,
) -> Result<()> {
    let _ = (device, d_x, d_y, residual, weights, batch, rows, layer);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn linear_backward_input_gelu<E: Element>(
    device: &mut CudaDevice<E>,
    d_u: &mut CudaSlice<E>,
    h: &mut CudaSlice<E>,
    d_y: &CudaSlice<E>,
    u: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    layer: Linear,
) -> Result<()> {
    let _ = (device, d_u, h, d_y, u, weights, batch, rows, layer);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn linear_backward_weight<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    d_y: &CudaSlice<E>,
    x: &CudaSlice<E>,
    batch: &CudaBatch,
    rows: Rows,
    layer: Linear,
    write: Write,
) -> Result<()> {
    let _ = (device, gradients, d_y, x, batch, rows, layer, write);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn project_first<E: Element>(
    device: &mut CudaDevice<E>,
    kv: &mut CudaSlice<E>,
    q: &mut CudaSlice<E>,
    first: &mut CudaSlice<E>,
    x: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    qkv: Linear,
) -> Result<()> {
    let _ = (device, kv, q, first, x, weights, batch, qkv);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn project_first_backward_input<E: Element>(
    device: &mut CudaDevice<E>,
    d_x: &mut CudaSlice<E>,
    d_first: &mut CudaSlice<E>,
    d_kv: &CudaSlice<E>,
    d_q: &CudaSlice<E>,
    residual: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    qkv: Linear,
) -> Result<()> {
    let _ = (device, d_x, d_first, d_kv, d_q, residual, weights, batch, qkv);
    Err(crate::Error::setting("cuda", "not there yet"))
}

pub fn scratch_bytes<E: Element>(_: crate::device::Shape, _: crate::device::Capacity) -> usize {
    0
}
