//! The head: pooler, dropout, classifier.

use super::{Buffers, Dropout, Matrix, On, Rows, Sink, batch_index::rows, check::Check};
use crate::{Result, model::layout::Linear};

/// The head's parameters and the dropout between them.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The layer before tanh.
    pub pooler: Linear,
    /// The layer that gives logits.
    pub classifier: Linear,
    /// Of what the classifier reads.
    pub dropout: Dropout,
}

/// What the head read and what it kept, all \[B, C\], as its backward pass takes it.
pub struct Pooled<'a, D: Buffers> {
    /// First rows of the encoder's output.
    pub first: &'a Matrix<D>,
    /// After tanh.
    pub pooled: &'a Matrix<D>,
    /// After dropout.
    pub dropped: &'a Matrix<D>,
}

/// # Errors
/// [`Error::Device`](crate::Error::Device) where the device has failed.
///
/// # Panics
/// Where a buffer is too small for the batch.
pub trait HeadOps: Buffers {
    /// pooled = tanh(first · Wpᵀ + bp), dropped = dropout(pooled), logits = dropped · Wcᵀ + bc, logits \[B, N\].
    fn classify(
        &mut self,
        pooled: &mut Matrix<Self>,
        dropped: &mut Matrix<Self>,
        logits: &mut Self::Vector,
        first: &Matrix<Self>,
        head: Head,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// Gradients of pooler and classifier, and d_first \[B, C\] (overwritten).
    fn classify_backward(
        &mut self,
        d_first: &mut Matrix<Self>,
        sink: &mut Sink<'_, Self>,
        d_logits: &Self::Vector,
        kept: Pooled<'_, Self>,
        head: Head,
        on: On<'_, Self>,
    ) -> Result<()>;
}

/// `logits` are the logits or their gradient.
pub(super) fn check<D: Buffers>(head: Head, logits: &D::Vector, matrices: &[(&str, &Matrix<D>)], on: On<'_, D>) {
    let sequences = rows::<D>(on.batch, Rows::Sequences);
    let check = Check("the head").vector("the logits", logits, sequences * head.classifier.bias.len);
    for (name, matrix) in matrices {
        check.matrix(name, matrix, sequences, head.pooler.bias.len);
    }
}
