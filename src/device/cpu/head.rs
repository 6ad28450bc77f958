//! Pooler, dropout and classifier: B rows, forward and backward.

use multiversion::multiversion;

use super::{CpuDevice, batch::CpuBatch, dropout::drop_row, linear, math::tanh};
use crate::{
    Result,
    device::{Dropout, Head, HeadOps, Matrix, On, Pooled, Rows, Sink, head::check},
};

impl HeadOps for CpuDevice {
    fn classify(
        &mut self,
        pooled: &mut Matrix<Self>,
        dropped: &mut Matrix<Self>,
        logits: &mut Vec<f32>,
        first: &Matrix<Self>,
        head: Head,
        on: On<'_, Self>,
    ) -> Result<()> {
        check(head, logits, &[("pooled", pooled), ("dropped", dropped), ("the first rows", first)], on);
        let Head { pooler, classifier, dropout } = head;
        let rows = on.batch.sequences();
        let (pooled, dropped) = (pooled.top_mut(rows), dropped.top_mut(rows));
        linear::linear(pooled, first.top(rows), on.weights, rows, pooler);
        tanh_in_place(pooled);
        dropped.copy_from_slice(pooled);
        drop_rows(dropped, on.batch, pooler.bias.len, dropout);
        linear::linear(&mut logits[..rows * classifier.bias.len], dropped, on.weights, rows, classifier);
        Ok(())
    }

    fn classify_backward(
        &mut self,
        d_first: &mut Matrix<Self>,
        sink: &mut Sink<'_, Self>,
        d_logits: &Vec<f32>,
        kept: Pooled<'_, Self>,
        head: Head,
        on: On<'_, Self>,
    ) -> Result<()> {
        let Pooled { first, pooled, dropped } = kept;
        let matrices = [("d_first", &*d_first), ("the first rows", first), ("pooled", pooled), ("dropped", dropped)];
        check(head, d_logits, &matrices, on);
        let Head { pooler, classifier, dropout } = head;
        let rows = on.batch.sequences();
        let (arena, d_logits) = (&mut sink.gradients.arena, &d_logits[..rows * classifier.bias.len]);
        let d_pooled = &mut self.scratch.d_first[..rows * pooler.bias.len];
        linear::linear_backward_weight(arena, d_logits, dropped.top(rows), rows, classifier, sink.write);
        linear::linear_backward_input(d_pooled, d_logits, None, on.weights, rows, classifier);
        drop_rows(d_pooled, on.batch, pooler.bias.len, dropout);
        for (d, &y) in d_pooled.iter_mut().zip(pooled.top(rows)) {
            *d *= 1.0 - y * y;
        }
        linear::linear_backward_weight(arena, d_pooled, first.top(rows), rows, pooler, sink.write);
        linear::linear_backward_input(d_first.top_mut(rows), d_pooled, None, on.weights, rows, pooler);
        Ok(())
    }
}

/// `x = dropout(x)`, one row per sequence.
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
