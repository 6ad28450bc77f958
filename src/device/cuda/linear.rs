//! Linear layers (kernels/linear.cu, linear_input.cu, linear_weight.cu): one launch an operation.

use std::{marker::PhantomData, sync::Arc};

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut, PushKernelArg};

use super::{
    CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup,
    element::Element,
    kernels::geometry::GEMM_THREADS,
    launch::{DropoutArgs, RowsArgs},
    linear_tiles::{Choice, Parts, Tiled, names, weight_tiles},
};
use crate::{
    Result,
    device::{Capacity, Dropout, Rows, Shape, Write, outputs_of},
    model::{Activation, View, layout::Linear},
};

/// Kernels, and where split sums wait.
pub struct Linears<E: Element> {
    linear: Tiled,
    gelu: Tiled,
    dropout_residual: Tiled,
    pooler: Tiled,
    project_first: Tiled,
    backward_input: Tiled,
    backward_input_gelu: Tiled,
    project_first_backward_input: Tiled,
    backward_weight: Tiled,
    parts: Parts,
    element: PhantomData<E>,
}

impl<E: Element> Linears<E> {
    pub fn new(setup: &Setup) -> Result<Self> {
        let tiled = |names| Tiled::new::<E>(setup, names);
        let of_sequences = |names| Tiled::of_sequences::<E>(setup, names);
        Ok(Self {
            linear: tiled(names!("linear_forward", "large", "medium", "small"))?,
            gelu: tiled(names!("linear_gelu_forward", "large", "medium", "small"))?,
            dropout_residual: tiled(names!("linear_dropout_residual_forward", "large", "medium", "small"))?,
            pooler: of_sequences(names!("pooler_forward"))?,
            project_first: tiled(names!("project_first_forward", "large", "medium", "small"))?,
            backward_input: tiled(names!("linear_backward_input", "large", "medium", "small"))?,
            backward_input_gelu: tiled(names!("linear_backward_input_gelu", "large", "medium", "small"))?,
            project_first_backward_input: of_sequences(names!("project_first_backward_input"))?,
            backward_weight: Tiled::of_weights::<E>(setup, names!("linear_backward_weight", "large", "medium"))?,
            parts: Parts::new(setup, &weight_tiles::<E>())?,
            element: PhantomData,
        })
    }
}

/// Inputs I and outputs O of a layer.
fn sizes(layer: Linear) -> (u32, u32) {
    ((layer.weight.len / layer.bias.len) as u32, layer.bias.len as u32)
}

/// Address of a buffer that may not be there: 0 then.
fn address<E: Element>(stream: &Arc<CudaStream>, buffer: Option<&CudaSlice<E>>) -> u64 {
    buffer.map_or(0, |buffer| buffer.device_ptr(stream).0)
}

fn gradient_address(stream: &Arc<CudaStream>, gradients: &mut CudaGradients, view: View) -> u64 {
    gradients.view(view).device_ptr_mut(stream).0
}

/// Kernels know the two GELUs as a flag.
fn is_tanh(activation: Activation) -> i32 {
    i32::from(activation == Activation::GeluTanh)
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
    let (inputs, outputs) = sizes(layer);
    let (weight, bias) = (weights.matrix(layer.weight), weights.vector(layer.bias));
    let Choice { kernel, grid, shared_bytes, .. } =
        device.linear.linear.choose(batch.bucket_rows(rows), outputs as usize);
    let rows = RowsArgs::new(rows, batch);
    // SAFETY: x [rows, inputs] and y [rows, outputs] are as long as the seam says; the kernel stops at the true number of rows.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(y).arg(x).arg(&weight).arg(&bias).arg(&inputs).arg(&outputs).arg(&rows);
        })
    }
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
    let (inputs, outputs) = sizes(layer);
    let (weight, bias) = (weights.matrix(layer.weight), weights.vector(layer.bias));
    let u = address(&device.launcher.stream, u.as_deref());
    let Choice { kernel, grid, shared_bytes, .. } =
        device.linear.gelu.choose(batch.bucket_rows(rows), outputs as usize);
    let (rows, is_tanh) = (RowsArgs::new(rows, batch), is_tanh(device.shape.activation));
    // SAFETY: as in `linear`; u is nothing or as long as h, and the caller's borrow of it lasts until the launch is queued.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(h).arg(&u).arg(x).arg(&weight).arg(&bias).arg(&inputs).arg(&outputs).arg(&rows).arg(&is_tanh);
        })
    }
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
    let (inputs, outputs) = sizes(layer);
    let (weight, bias) = (weights.matrix(layer.weight), weights.vector(layer.bias));
    let Choice { kernel, grid, shared_bytes, .. } =
        device.linear.dropout_residual.choose(batch.bucket_rows(rows), outputs as usize);
    let (rows, header, dropout) = (RowsArgs::new(rows, batch), batch.header(), DropoutArgs::new(dropout, batch));
    // SAFETY: as in `linear`; residual is as long as r.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(r).arg(x).arg(residual).arg(&weight).arg(&bias).arg(&inputs).arg(&outputs);
            args.arg(&rows).arg(&header).arg(&dropout);
        })
    }
}

/// pooled = tanh(first · Wpᵀ + b), dropped = dropout(pooled), all \[B, C\].
pub(super) fn pooler<E: Element>(
    device: &mut CudaDevice<E>,
    pooled: &mut CudaSlice<E>,
    dropped: &mut CudaSlice<E>,
    first: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    layer: Linear,
    dropout: Dropout,
) -> Result<()> {
    let (inputs, outputs) = sizes(layer);
    let (weight, bias) = (weights.matrix(layer.weight), weights.vector(layer.bias));
    let Choice { kernel, grid, shared_bytes, .. } =
        device.linear.pooler.choose(batch.bucket_rows(Rows::Sequences), outputs as usize);
    let (rows, header) = (RowsArgs::new(Rows::Sequences, batch), batch.header());
    let dropout = DropoutArgs::new(dropout, batch);
    // SAFETY: as in `linear`, with a row a sequence; both outputs are [B, C].
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(pooled).arg(dropped).arg(first).arg(&weight).arg(&bias).arg(&inputs).arg(&outputs);
            args.arg(&rows).arg(&header).arg(&dropout);
        })
    }
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
    let (inputs, outputs) = sizes(layer);
    let weight = weights.matrix(layer.weight);
    let residual = address(&device.launcher.stream, residual);
    let Choice { kernel, grid, shared_bytes, .. } =
        device.linear.backward_input.choose(batch.bucket_rows(rows), inputs as usize);
    let rows = RowsArgs::new(rows, batch);
    // SAFETY: d_y [rows, outputs], d_x [rows, inputs] and a residual like d_x are as long as the seam says.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(d_x).arg(d_y).arg(&residual).arg(&weight).arg(&inputs).arg(&outputs).arg(&rows);
        })
    }
}

pub fn linear_backward_input_gelu<E: Element>(
    device: &mut CudaDevice<E>,
    d_u: &mut CudaSlice<E>,
    h: Option<&mut CudaSlice<E>>,
    d_y: &CudaSlice<E>,
    u: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    rows: Rows,
    layer: Linear,
) -> Result<()> {
    let (inputs, outputs) = sizes(layer);
    let weight = weights.matrix(layer.weight);
    let h = address(&device.launcher.stream, h.as_deref());
    let Choice { kernel, grid, shared_bytes, .. } =
        device.linear.backward_input_gelu.choose(batch.bucket_rows(rows), inputs as usize);
    let (rows, is_tanh) = (RowsArgs::new(rows, batch), is_tanh(device.shape.activation));
    // SAFETY: as in `linear_backward_input`; u is as long as d_u, h too or nothing, and its borrow lasts until the launch is queued.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(d_u).arg(&h).arg(d_y).arg(u).arg(&weight).arg(&inputs).arg(&outputs).arg(&rows).arg(&is_tanh);
        })
    }
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
    let (inputs, outputs) = sizes(layer);
    let stream = &device.launcher.stream;
    let d_weight = gradient_address(stream, gradients, layer.weight);
    let d_bias = gradient_address(stream, gradients, layer.bias);
    let Linears { backward_weight, parts, .. } = &mut device.linear;
    let choice = backward_weight.choose(outputs as usize, inputs as usize);
    let [x_tiles, y_tiles, _] = choice.grid;
    let grid = [x_tiles, y_tiles, parts.of(&choice, outputs as usize, inputs as usize)];
    let Choice { kernel, shared_bytes, .. } = choice;
    let (rows, adds) = (RowsArgs::new(rows, batch), i32::from(write == Write::Add));
    let Parts { partials, arrivals, .. } = parts;
    // SAFETY: the views lie in the arena, which `gradients` lends for this launch; `Parts::of` gives no more parts than have a
    // place; d_y [rows, outputs], x [rows, inputs] are as long as the seam says.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(&d_weight).arg(&d_bias).arg(partials).arg(arrivals).arg(d_y).arg(x);
            args.arg(&inputs).arg(&outputs).arg(&rows).arg(&adds);
        })
    }
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
    let (width, _) = sizes(qkv);
    let (weight, bias) = (weights.matrix(qkv.weight), weights.vector(qkv.bias));
    let choice = device.linear.project_first.choose(batch.bucket_rows(Rows::Tokens), 2 * width as usize);
    let [columns, token_tiles, _] = choice.grid;
    let grid = [columns, token_tiles + choice.tiles_of_rows(batch.bucket_rows(Rows::Sequences)), 1];
    let Choice { kernel, shared_bytes, .. } = choice;
    let (offsets, header) = (batch.offsets(), batch.header());
    // SAFETY: x [T, C], kv [T, 2C], q and first [B, C] are as long as the seam says; offsets are of rows of x.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(kv).arg(q).arg(first).arg(x).arg(&weight).arg(&bias).arg(&offsets).arg(&header);
            args.arg(&width).arg(&token_tiles);
        })
    }
}

/// Two launches; `_d_first` is not needed, as the second adds to the first rows where they lie.
pub fn project_first_backward_input<E: Element>(
    device: &mut CudaDevice<E>,
    d_x: &mut CudaSlice<E>,
    _d_first: &mut CudaSlice<E>,
    d_kv: &CudaSlice<E>,
    d_q: &CudaSlice<E>,
    residual: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    qkv: Linear,
) -> Result<()> {
    let (width, _) = sizes(qkv);
    let c = width as usize;
    let key_value = outputs_of(qkv, c, c, 2 * c);
    linear_backward_input(device, d_x, d_kv, None, weights, batch, Rows::Tokens, key_value)?;
    let weight = weights.matrix(outputs_of(qkv, c, 0, c).weight);
    let Choice { kernel, grid, shared_bytes, .. } =
        device.linear.project_first_backward_input.choose(batch.bucket_rows(Rows::Sequences), c);
    let (offsets, rows) = (batch.offsets(), RowsArgs::new(Rows::Sequences, batch));
    // SAFETY: d_q and residual are [B, C], d_x is [T, C] and offsets are of its rows.
    unsafe {
        device.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
            args.arg(d_x).arg(d_q).arg(residual).arg(&weight).arg(&offsets).arg(&width).arg(&rows);
        })
    }
}

/// Bytes that [`Linears::new`] allocates.
pub fn scratch_bytes<E: Element>(shape: Shape, capacity: Capacity) -> usize {
    Parts::bytes(&weight_tiles::<E>(), shape, capacity)
}
