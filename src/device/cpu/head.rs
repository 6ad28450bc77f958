//! Pooler, dropout and classifier: B rows, forward and backward.

use multiversion::multiversion;

use super::{batch::CpuBatch, dropout::drop_row, linear, math::tanh};
use crate::{
    device::{Dropout, Rows, Write},
    model::layout::Linear,
};

/// `x = dropout(x)`, one row a sequence.
#[multiversion(targets = "simd")]
fn drop_rows(x: &mut [f32], batch: &CpuBatch, width: usize, dropout: Dropout) {
    for (b, row) in x.chunks_exact_mut(width).enumerate() {
        let (slot, _) = batch.place(Rows::Sequences, b);
        drop_row(row, dropout, slot, 0);
    }
}

#[multiversion(targets = "simd")]
fn tanh_in_place(x: &mut [f32]) {
    for v in x {
        *v = tanh(*v);
    }
}

pub fn classify(
    pooled: &mut [f32],  // [B, C]
    dropped: &mut [f32], // [B, C]
    logits: &mut [f32],  // [B, N]
    first: &[f32],       // [B, C]
    weights: &[f32],
    batch: &CpuBatch,
    pooler: Linear,
    classifier: Linear,
    dropout: Dropout,
) {
    let rows = batch.sequences();
    linear::linear(pooled, first, weights, rows, pooler);
    tanh_in_place(pooled);
    dropped.copy_from_slice(pooled);
    drop_rows(dropped, batch, pooler.bias.len, dropout);
    linear::linear(logits, dropped, weights, rows, classifier);
}

/// What the forward pass kept.
pub struct Kept<'a> {
    pub first: &'a [f32],   // [B, C]
    pub pooled: &'a [f32],  // [B, C]
    pub dropped: &'a [f32], // [B, C]
}

/// Overwrites d_first; `scratch` [B, C].
pub fn classify_backward(
    d_first: &mut [f32],
    gradients: &mut [f32],
    scratch: &mut [f32],
    d_logits: &[f32],
    kept: Kept,
    weights: &[f32],
    batch: &CpuBatch,
    pooler: Linear,
    classifier: Linear,
    dropout: Dropout,
    write: Write,
) {
    let rows = batch.sequences();
    linear::linear_backward_weight(gradients, d_logits, kept.dropped, rows, classifier, write);
    linear::linear_backward_input(scratch, d_logits, None, weights, rows, classifier);
    drop_rows(scratch, batch, pooler.bias.len, dropout);
    for (d, &y) in scratch.iter_mut().zip(kept.pooled) {
        *d *= 1.0 - y * y;
    }
    linear::linear_backward_weight(gradients, scratch, kept.first, rows, pooler, write);
    linear::linear_backward_input(d_first, scratch, None, weights, rows, pooler);
}
