//! Pooler, dropout and classifier on the first rows (kernels/head.cu); the pooler's gradients are the linear layers' own.

use cudarc::driver::{CudaSlice, PushKernelArg};

use super::{
    CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup,
    element::Element,
    kernels::{Kernel, geometry},
    launch::{DropoutArgs, RowsArgs},
    linear,
    memory::zeros,
};
use crate::{
    Result,
    device::{Capacity, Dropout, Rows, Shape, Write},
    model::layout::Linear,
};

/// Columns of a warp whose lanes hold a pack each.
const STRIPE: u32 = geometry::WARP * 8;
const WARPS: u32 = geometry::HEAD_THREADS / geometry::WARP;

/// Kernels, and the gradient before the pooler's tanh.
pub struct Head<E: Element> {
    forward: Kernel,
    backward: Kernel,
    backward_weight: Kernel,
    d_pre: Option<CudaSlice<E>>, // [B, C]; lent to the linear layers
}

impl<E: Element> Head<E> {
    pub fn new(setup: &Setup) -> Result<Self> {
        let &Setup { kernels, stream, device, shape, capacity } = setup;
        Ok(Self {
            forward: kernels.of::<E>("classify_forward_bf16", "classify_forward_f32")?,
            backward: kernels.of::<E>("classify_backward_bf16", "classify_backward_f32")?,
            backward_weight: kernels.of::<E>("classify_backward_weight_bf16", "classify_backward_weight_f32")?,
            d_pre: Some(zeros(stream, device, d_pre_len(shape, capacity))?),
        })
    }
}

fn d_pre_len(shape: Shape, capacity: Capacity) -> usize {
    capacity.sequences * shape.hidden
}

pub fn scratch_bytes<E: Element>(shape: Shape, capacity: Capacity) -> usize {
    d_pre_len(shape, capacity) * size_of::<E>()
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
    linear::pooler(device, pooled, dropped, first, weights, batch, pooler, dropout)?;
    let (launcher, head, width) = (&device.launcher, &device.head, device.shape.hidden as u32);
    let (header, sequences, threads) = (batch.header(), batch.bucket().sequences as u32, geometry::HEAD_THREADS);
    let classes = classifier.bias.len as u32;
    let (weight, bias) = (weights.matrix(classifier.weight), weights.vector(classifier.bias));
    let grid = [classes.div_ceil(WARPS), sequences.div_ceil(geometry::HEAD_ROWS), 1];
    // SAFETY: logits have a row of `classes`, dropped one of `width` for each sequence; the weight is [classes, width], the bias
    // [classes].
    unsafe {
        launcher.launch(&head.forward, grid, threads, 0, |args| {
            args.arg(logits).arg(&*dropped).arg(&weight).arg(&bias).arg(&header).arg(&classes).arg(&width);
        })
    }
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
    backward_weight(device, gradients, d_logits, dropped, batch, classifier, write)?;
    let mut d_pre = device.head.d_pre.take().expect("it is given back below, whatever happens");
    let outcome =
        backward_input(device, &mut d_pre, d_logits, pooled, weights, batch, classifier, dropout).and_then(|()| {
            linear::linear_backward_weight(device, gradients, &d_pre, first, batch, Rows::Sequences, pooler, write)?;
            linear::linear_backward_input(device, d_first, &d_pre, None, weights, batch, Rows::Sequences, pooler)
        });
    device.head.d_pre = Some(d_pre);
    outcome
}

/// The gradient before the pooler's tanh.
fn backward_input<E: Element>(
    device: &CudaDevice<E>,
    d_pre: &mut CudaSlice<E>,
    d_logits: &CudaSlice<f32>,
    pooled: &CudaSlice<E>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    classifier: Linear,
    dropout: Dropout,
) -> Result<()> {
    let (classes, width) = (classifier.bias.len as u32, device.shape.hidden as u32);
    let (rows, dropout) = (RowsArgs::new(Rows::Sequences, batch), DropoutArgs::new(dropout, batch));
    let (weight, header) = (weights.matrix(classifier.weight), batch.header());
    let sequences = batch.bucket().sequences as u32;
    let grid = [width.div_ceil(STRIPE), sequences.div_ceil(geometry::HEAD_BACKWARD_ROWS), 1];
    // SAFETY: d_pre and pooled have a row of `width`, d_logits one of `classes` for each sequence; the weight is
    // [classes, width].
    unsafe {
        device.launcher.launch(&device.head.backward, grid, geometry::HEAD_THREADS, 0, |args| {
            args.arg(d_pre).arg(d_logits).arg(pooled).arg(&weight).arg(&header).arg(&rows);
            args.arg(&classes).arg(&width).arg(&dropout);
        })
    }
}

/// The gradients of the classifier's weight and bias.
fn backward_weight<E: Element>(
    device: &CudaDevice<E>,
    gradients: &mut CudaGradients,
    d_logits: &CudaSlice<f32>,
    dropped: &CudaSlice<E>,
    batch: &CudaBatch,
    classifier: Linear,
    write: Write,
) -> Result<()> {
    let (classes, width) = (classifier.bias.len as u32, device.shape.hidden as u32);
    let (header, add) = (batch.header(), i32::from(write == Write::Add));
    let grid = [classes.div_ceil(WARPS * geometry::HEAD_CLASSES), width.div_ceil(STRIPE), 1];
    let mut arena = gradients.arena.slice_mut(..);
    let (mut before, mut bias) = arena.split_at_mut(classifier.bias.start);
    let mut weight = before.slice_mut(classifier.weight.range());
    // SAFETY: d_logits have a row of `classes`, dropped one of `width` for each sequence; the views are [classes, width] and
    // [classes] of the arena.
    unsafe {
        device.launcher.launch(&device.head.backward_weight, grid, geometry::HEAD_THREADS, 0, |args| {
            args.arg(&mut weight).arg(&mut bias).arg(d_logits).arg(dropped).arg(&header);
            args.arg(&classes).arg(&width).arg(&add);
        })
    }
}
