//! The embedding of tokens with its LayerNorm and dropout.

use super::{Buffers, Dropout, Matrix, On, RowStats, Shape, Uploaded, check::Check};
use crate::{Result, model::layout::Embeddings};

/// # Errors
/// [`Error::Device`](crate::Error::Device) where the device has failed.
///
/// # Panics
/// Where a buffer is too small for the batch, or a table has fewer rows than the device was made for.
pub trait EmbeddingOps: Buffers {
    /// x = dropout(LayerNorm(word\[id\] + position\[p\] + type\[k\])), x \[T, C\]; keeps each row's mean and 1/σ \[T\].
    fn embed(
        &mut self,
        x: &mut Matrix<Self>,
        stats: &mut RowStats<Self>,
        table: &Embeddings,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// d_x \[T, C\] → gradients of the three tables and of the LayerNorm; adds (see [`EmbeddingOps::begin_step`]).
    fn embed_backward(
        &mut self,
        gradients: &mut Self::Gradients,
        d_x: &Matrix<Self>,
        stats: &RowStats<Self>,
        table: &Embeddings,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()>;

    /// Before the first backward pass of an optimizer step: clears the gradients that [`EmbeddingOps::embed_backward`]
    /// adds to.
    fn begin_step(&mut self, gradients: &mut Self::Gradients, table: &Embeddings) -> Result<()>;
}

/// `x` is x or d_x.
pub(super) fn check<D: Buffers>(
    operation: &'static str,
    shape: &Shape,
    x: &Matrix<D>,
    stats: &RowStats<D>,
    table: &Embeddings,
    on: On<'_, D>,
) {
    let (limits, width) = (on.batch.limits(), table.norm.gamma.len);
    let rows = |len: usize| len / width;
    Check(operation)
        .matrix("x", x, limits.tokens, width)
        .stats("x", stats, limits.tokens)
        .table("words", rows(table.word.len), shape.vocabulary)
        .table("positions", rows(table.position.len), limits.longest)
        .table("types", rows(table.kind.len), shape.types);
}
