//! Pooler, dropout and classifier on the first rows (kernels/head.cu); the pooler's gradients are the linear layers'
//! own.

use cudarc::driver::{CudaSlice, PushKernelArg};

use super::{
    CudaDevice, Setup,
    arguments::{DropoutArgs, RowsArgs},
    element::Element,
    kernels::{Kernel, geometry},
};
use crate::{
    Result,
    device::{Head, HeadOps, LinearOps, Matrix, On, Pooled, Rows, Sink, Write, head::check},
    model::layout::Linear,
};

/// Columns of a warp whose lanes hold a pack each.
const STRIPE: u32 = geometry::WARP * geometry::PACK;
const WARPS: u32 = geometry::HEAD_THREADS / geometry::WARP;

/// Kernels, and the gradient before the pooler's tanh.
pub(crate) struct Classifier<E: Element> {
    forward: Kernel,
    backward: Kernel,
    backward_weight: Kernel,
    d_pre: Option<Matrix<CudaDevice<E>>>, // [B, C]; lent to the linear layers
}

impl<E: Element> Classifier<E> {
    pub(crate) fn new(setup: &Setup, d_pre: Matrix<CudaDevice<E>>) -> Result<Self> {
        let kernels = setup.kernels;
        Ok(Self {
            forward: kernels.of::<E>("classify_forward_bf16", "classify_forward_f32")?,
            backward: kernels.of::<E>("classify_backward_bf16", "classify_backward_f32")?,
            backward_weight: kernels.of::<E>("classify_backward_weight_bf16", "classify_backward_weight_f32")?,
            d_pre: Some(d_pre),
        })
    }
}

impl<E: Element> HeadOps for CudaDevice<E> {
    fn classify(
        &mut self,
        pooled: &mut Matrix<Self>,
        dropped: &mut Matrix<Self>,
        logits: &mut CudaSlice<f32>,
        first: &Matrix<Self>,
        head: Head,
        on: On<'_, Self>,
    ) -> Result<()> {
        check(head, logits, &[("pooled", pooled), ("dropped", dropped), ("the first rows", first)], on);
        let Head { pooler, classifier, dropout } = head;
        self.pooler([pooled, dropped], first, pooler, dropout, on)?;
        let (launcher, head, width) = (&self.launcher, &self.head, self.shape.hidden as u32);
        let (header, sequences) = (on.batch.header(), on.batch.bucket().sequences as u32);
        let (classes, threads) = (classifier.bias.len as u32, geometry::HEAD_THREADS);
        let (weight, bias) = (on.weights.matrix(classifier.weight), on.weights.vector(classifier.bias));
        let grid = [classes.div_ceil(WARPS), sequences.div_ceil(geometry::HEAD_ROWS), 1];
        // SAFETY: checked above: logits have a row of `classes`, dropped one of `width` for each sequence; the weight
        // is [classes, width], the bias [classes].
        unsafe {
            launcher.launch(&head.forward, grid, threads, 0, |args| {
                args.arg(logits).arg(&dropped.elements).arg(&weight).arg(&bias).arg(&header).arg(&classes).arg(&width);
            })
        }
    }

    fn classify_backward(
        &mut self,
        d_first: &mut Matrix<Self>,
        sink: &mut Sink<'_, Self>,
        d_logits: &CudaSlice<f32>,
        kept: Pooled<'_, Self>,
        head: Head,
        on: On<'_, Self>,
    ) -> Result<()> {
        let Pooled { first, pooled, dropped } = kept;
        let matrices = [("d_first", &*d_first), ("the first rows", first), ("pooled", pooled), ("dropped", dropped)];
        check(head, d_logits, &matrices, on);
        let on = On { rows: Rows::Sequences, ..on };
        self.classifier_backward_weight(sink, d_logits, dropped, head.classifier, on)?;
        let mut d_pre = self.head.d_pre.take().expect("it is given back below, whatever happens");
        check(head, d_logits, &[("the gradient before tanh", &d_pre)], on);
        let outcome = self.classifier_backward_input(&mut d_pre, d_logits, pooled, head, on).and_then(|()| {
            self.linear_backward_weight(sink, &d_pre, first, head.pooler, on)?;
            self.linear_backward_input(d_first, &d_pre, None, head.pooler, on)
        });
        self.head.d_pre = Some(d_pre);
        outcome
    }
}

impl<E: Element> CudaDevice<E> {
    /// The gradient before the pooler's tanh.
    fn classifier_backward_input(
        &self,
        d_pre: &mut Matrix<Self>,
        d_logits: &CudaSlice<f32>,
        pooled: &Matrix<Self>,
        head: Head,
        on: On<'_, Self>,
    ) -> Result<()> {
        let (classes, width) = (head.classifier.bias.len as u32, self.shape.hidden as u32);
        let (rows, dropout) = (RowsArgs::new(Rows::Sequences, on.batch), DropoutArgs::new(head.dropout, on.batch));
        let (weight, header) = (on.weights.matrix(head.classifier.weight), on.batch.header());
        let sequences = on.batch.bucket().sequences as u32;
        let grid = [width.div_ceil(STRIPE), sequences.div_ceil(geometry::HEAD_BACKWARD_ROWS), 1];
        // SAFETY: d_pre and pooled have a row of `width`, d_logits one of `classes` for each sequence; the weight is
        // [classes, width].
        unsafe {
            self.launcher.launch(&self.head.backward, grid, geometry::HEAD_THREADS, 0, |args| {
                args.arg(&mut d_pre.elements).arg(d_logits).arg(&pooled.elements).arg(&weight).arg(&header).arg(&rows);
                args.arg(&classes).arg(&width).arg(&dropout);
            })
        }
    }

    /// The gradients of the classifier's weight and bias.
    fn classifier_backward_weight(
        &self,
        sink: &mut Sink<'_, Self>,
        d_logits: &CudaSlice<f32>,
        dropped: &Matrix<Self>,
        classifier: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        let (classes, width) = (classifier.bias.len as u32, self.shape.hidden as u32);
        let (header, add) = (on.batch.header(), i32::from(sink.write == Write::Add));
        let grid = [classes.div_ceil(WARPS * geometry::HEAD_CLASSES), width.div_ceil(STRIPE), 1];
        let mut arena = sink.gradients.arena.slice_mut(..classifier.bias.range().end);
        let (mut before, mut bias) = arena.split_at_mut(classifier.bias.start);
        let mut weight = before.slice_mut(classifier.weight.range());
        // SAFETY: d_logits have a row of `classes`, dropped one of `width` for each sequence; the views are [classes,
        // width] and [classes] of the arena.
        unsafe {
            self.launcher.launch(&self.head.backward_weight, grid, geometry::HEAD_THREADS, 0, |args| {
                args.arg(&mut weight).arg(&mut bias).arg(d_logits).arg(&dropped.elements).arg(&header);
                args.arg(&classes).arg(&width).arg(&add);
            })
        }
    }
}
