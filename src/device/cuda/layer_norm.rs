//! LayerNorm over the rows of a matrix (kernels/layer_norm.cu).

use std::marker::PhantomData;

use cudarc::driver::{CudaSlice, PushKernelArg};

use super::{
    CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup,
    element::Element,
    kernels::{Kernel, geometry},
    launch::{DropoutArgs, RowsArgs},
    partials::{Destination, Partials, RowShape},
};
use crate::{
    Result,
    device::{Dropout, Rows, Shape, Write},
    model::layout::Norm,
};

/// Kernels, and the sums that backward passes leave.
pub struct LayerNorms<E: Element> {
    forward: Kernel,
    backward: Kernel,
    pub shape: RowShape,
    pub partials: Partials,
    element: PhantomData<E>,
}

impl<E: Element> LayerNorms<E> {
    pub fn new(setup: &Setup) -> Result<Self> {
        let shape = RowShape::new(setup)?;
        let [forward, backward] = [
            shape.choose(
                ["layer_norm_forward_bf16", "layer_norm_forward_f32"],
                ["layer_norm_forward_wide_bf16", "layer_norm_forward_wide_f32"],
            ),
            shape.choose(
                ["layer_norm_backward_bf16", "layer_norm_backward_f32"],
                ["layer_norm_backward_wide_bf16", "layer_norm_backward_wide_f32"],
            ),
        ]
        .map(|[bf16, f32]| setup.kernels.of::<E>(bf16, f32));
        Ok(Self {
            forward: forward?,
            backward: backward?,
            shape,
            partials: Partials::new(setup, shape)?,
            element: PhantomData,
        })
    }
}

pub fn scratch_bytes(shape: Shape) -> usize {
    Partials::scratch_bytes(shape.hidden)
}

pub fn layer_norm<E: Element>(
    device: &mut CudaDevice<E>,
    y: &mut CudaSlice<E>,
    mean: &mut CudaSlice<f32>,
    rstd: &mut CudaSlice<f32>,
    r: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    norm: Norm,
) -> Result<()> {
    let LayerNorms { forward, shape, .. } = &device.layer_norm;
    let (gamma, beta) = (weights.vector(norm.gamma), weights.vector(norm.beta));
    let (grid, eps) = ([shape.blocks(batch.bucket_rows(rows)), 1, 1], device.shape.layer_norm_eps);
    let rows = RowsArgs::new(rows, batch);
    // SAFETY: the matrices have a row of `width`, mean and rstd an element for each row of the batch; γ and β have `width`.
    unsafe {
        device.launcher.launch(forward, grid, geometry::ROW_THREADS, 0, |args| {
            args.arg(y).arg(mean).arg(rstd).arg(r).arg(&gamma).arg(&beta).arg(&rows).arg(&shape.width).arg(&eps);
        })
    }
}

pub fn layer_norm_backward<E: Element>(
    device: &mut CudaDevice<E>,
    d_r: &mut CudaSlice<E>,
    d_branch: &mut CudaSlice<E>,
    gradients: &mut CudaGradients,
    d_y: &CudaSlice<E>,
    r: &CudaSlice<E>,
    mean: &CudaSlice<f32>,
    rstd: &CudaSlice<f32>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    norm: Norm,
    dropout: Dropout,
    write: Write,
) -> Result<()> {
    let LayerNorms { backward, partials, shape, .. } = &mut device.layer_norm;
    let (rows, dropout) = (RowsArgs::new(rows, batch), DropoutArgs::new(dropout, batch));
    let to = Destination { first: norm.gamma.start, second: Some(norm.beta.start), write, count: rows.count_address() };
    let grid = [partials.blocks(), 1, 1];
    let mut partial = partials.take(&device.launcher, gradients, to)?;
    let (gamma, header) = (weights.vector(norm.gamma), batch.header());
    // SAFETY: the matrices have a row of `width`, mean and rstd an element for each row of the batch; γ has `width`, the slot
    // 2 · `width` for each block.
    unsafe {
        device.launcher.launch(backward, grid, geometry::ROW_THREADS, 0, |args| {
            args.arg(d_r).arg(d_branch).arg(&mut partial).arg(d_y).arg(r).arg(mean).arg(rstd).arg(&gamma);
            args.arg(&header).arg(&rows).arg(&shape.width).arg(&dropout);
        })
    }
}

/// Folds what the pass has left in slots.
pub fn end_backward<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    _: &CudaBatch,
) -> Result<()> {
    device.layer_norm.partials.fold(&device.launcher, gradients)
}
