//! Attention: of all tokens, and of first tokens only.

use super::{Buffers, Dropout, Matrix, Rows, Shape, batch_index::rows, check::Check};
use crate::Result;

/// What attention reads and what it leaves, as its backward pass takes it.
pub struct Attended<'a, D: Buffers> {
    /// Queries, keys and values.
    pub qkv: &'a Matrix<D>, // [T, 3C]
    /// Its result.
    pub ctx: &'a Matrix<D>, // [T, C]
    /// Log-sum-exp of each row of scores.
    pub lse: &'a D::Vector, // [H, T]
}

/// The same of first tokens only.
pub struct AttendedFirst<'a, D: Buffers> {
    /// Queries of first tokens.
    pub q: &'a Matrix<D>, // [B, C]
    /// Keys and values of all tokens.
    pub kv: &'a Matrix<D>, // [T, 2C]
    /// Its result.
    pub ctx: &'a Matrix<D>, // [B, C]
    /// Log-sum-exp of each row of scores.
    pub lse: &'a D::Vector, // [B, H]
}

/// # Errors
/// [`Error::Device`](crate::Error::Device) where the device has failed.
///
/// # Panics
/// Where a buffer is too small for the batch.
pub trait AttentionOps: Buffers {
    /// ctx = dropout(softmax(q kᵀ / √D)) v, sequence by sequence, head by head; keeps the log-sum-exp of each row \[H,
    /// T\].
    fn attention(
        &mut self,
        ctx: &mut Matrix<Self>,
        lse: &mut Self::Vector,
        qkv: &Matrix<Self>,
        dropout: Dropout,
        batch: &Self::Batch,
    ) -> Result<()>;

    /// Overwrites d_qkv \[T, 3C\]. Probabilities are recomputed from qkv and the log-sum-exp.
    fn attention_backward(
        &mut self,
        d_qkv: &mut Matrix<Self>,
        d_ctx: &Matrix<Self>,
        kept: Attended<'_, Self>,
        dropout: Dropout,
        batch: &Self::Batch,
    ) -> Result<()>;

    /// Attention of each sequence's first token only: q \[B, C\], kv \[T, 2C\] → ctx \[B, C\], log-sum-exp \[B, H\].
    fn attention_first(
        &mut self,
        ctx: &mut Matrix<Self>,
        lse: &mut Self::Vector,
        q: &Matrix<Self>,
        kv: &Matrix<Self>,
        dropout: Dropout,
        batch: &Self::Batch,
    ) -> Result<()>;

    /// Overwrites d_q \[B, C\] and d_kv \[T, 2C\].
    fn attention_first_backward(
        &mut self,
        d_q: &mut Matrix<Self>,
        d_kv: &mut Matrix<Self>,
        d_ctx: &Matrix<Self>,
        kept: AttendedFirst<'_, Self>,
        dropout: Dropout,
        batch: &Self::Batch,
    ) -> Result<()>;
}

/// `of_c` are [T, C], `of_3c` [T, 3C].
pub(super) fn check<D: Buffers>(
    shape: &Shape,
    batch: &D::Batch,
    lse: &D::Vector,
    of_c: &[(&str, &Matrix<D>)],
    of_3c: &[(&str, &Matrix<D>)],
) {
    let (tokens, c) = (rows::<D>(batch, Rows::Tokens), shape.hidden);
    let check = Check("attention").vector("the log-sum-exp", lse, shape.heads * tokens);
    for (matrices, cols) in [(of_c, c), (of_3c, 3 * c)] {
        for &(name, matrix) in matrices {
            check.matrix(name, matrix, tokens, cols);
        }
    }
}

/// `of_sequences` are [B, C], `of_tokens` [T, 2C].
pub(super) fn check_first<D: Buffers>(
    shape: &Shape,
    batch: &D::Batch,
    lse: &D::Vector,
    of_sequences: &[(&str, &Matrix<D>)],
    of_tokens: &[(&str, &Matrix<D>)],
) {
    let [tokens, sequences] = [Rows::Tokens, Rows::Sequences].map(|kind| rows::<D>(batch, kind));
    let check = Check("attention of first tokens").vector("the log-sum-exp", lse, shape.heads * sequences);
    for (matrices, rows, cols) in [(of_sequences, sequences, shape.hidden), (of_tokens, tokens, 2 * shape.hidden)] {
        for &(name, matrix) in matrices {
            check.matrix(name, matrix, rows, cols);
        }
    }
}
