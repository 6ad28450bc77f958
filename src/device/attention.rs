//! Attention: of all tokens, and of first tokens only.

use super::{Buffers, Dropout, Matrix, Rows, Shape, batch_index::rows, check::Check};
use crate::Result;

/// What attention reads and what it leaves, as its backward pass takes it.
pub struct Attended<'a, D: Buffers> {
    /// Queries, keys and values.
    pub qkv: &'a Matrix<D>, // [T, 3A]
    /// Its result.
    pub ctx: &'a Matrix<D>, // [T, A]
    /// Log-sum-exp of each row of scores.
    pub lse: &'a D::Vector, // [H, T]
}

/// The same of first tokens only.
pub struct AttendedFirst<'a, D: Buffers> {
    /// Queries of first tokens.
    pub q: &'a Matrix<D>, // [B, A]
    /// Keys and values of all tokens.
    pub kv: &'a Matrix<D>, // [T, 2A]
    /// Its result.
    pub ctx: &'a Matrix<D>, // [B, A]
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

    /// Overwrites d_qkv \[T, 3A\]. Probabilities are recomputed from qkv and the log-sum-exp.
    fn attention_backward(
        &mut self,
        d_qkv: &mut Matrix<Self>,
        d_ctx: &Matrix<Self>,
        kept: Attended<'_, Self>,
        dropout: Dropout,
        batch: &Self::Batch,
    ) -> Result<()>;

    /// Attention of each sequence's first token only: q \[B, A\], kv \[T, 2A\] → ctx \[B, A\], log-sum-exp \[B, H\].
    fn attention_first(
        &mut self,
        ctx: &mut Matrix<Self>,
        lse: &mut Self::Vector,
        q: &Matrix<Self>,
        kv: &Matrix<Self>,
        dropout: Dropout,
        batch: &Self::Batch,
    ) -> Result<()>;

    /// Overwrites d_q \[B, A\] and d_kv \[T, 2A\].
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

/// `of_a` are [T, A], `of_3a` [T, 3A].
pub(super) fn check<D: Buffers>(
    shape: &Shape,
    batch: &D::Batch,
    lse: &D::Vector,
    of_a: &[(&str, &Matrix<D>)],
    of_3a: &[(&str, &Matrix<D>)],
) {
    let (tokens, a) = (rows::<D>(batch, Rows::Tokens), shape.attention);
    let check = Check("attention").vector("the log-sum-exp", lse, shape.heads * tokens);
    for (matrices, cols) in [(of_a, a), (of_3a, 3 * a)] {
        for &(name, matrix) in matrices {
            check.matrix(name, matrix, tokens, cols);
        }
    }
}

/// `of_sequences` are [B, A], `of_tokens` [T, 2A].
pub(super) fn check_first<D: Buffers>(
    shape: &Shape,
    batch: &D::Batch,
    lse: &D::Vector,
    of_sequences: &[(&str, &Matrix<D>)],
    of_tokens: &[(&str, &Matrix<D>)],
) {
    let [tokens, sequences] = [Rows::Tokens, Rows::Sequences].map(|kind| rows::<D>(batch, kind));
    let check = Check("attention of first tokens").vector("the log-sum-exp", lse, shape.heads * sequences);
    let a = shape.attention;
    for (matrices, rows, cols) in [(of_sequences, sequences, a), (of_tokens, tokens, 2 * a)] {
        for &(name, matrix) in matrices {
            check.matrix(name, matrix, rows, cols);
        }
    }
}
