//! Variable-length self-attention, forward and backward, one task per (sequence, head).
//!
//! Queries are taken `QUERIES` at a time, so that the probabilities of a task ([QUERIES, S]) stay in the second-level
//! cache and no S × S matrix exists. The forward pass keeps the log-sum-exp of each row; the backward pass recomputes
//! the probabilities: P = exp(q kᵀ/√D − lse), with f the dropout factors and δ = d_ctx · ctx,
//! d_v = (P ∘ f)ᵀ d_ctx, d_s = P ∘ (f ∘ (d_ctx vᵀ) − δ), d_q = d_s k / √D, d_k = d_sᵀ q / √D.

use multiversion::multiversion;

use super::{
    CpuDevice, attention_first,
    batch::CpuBatch,
    dropout::fill_factors,
    math::{exp, max, sum_by, sum_by2},
    memory::with_scratch,
    product::{Into, MatMut, MatRef, matmul},
};
use crate::{
    Result,
    device::{
        Attended, AttendedFirst, AttentionOps, Dropout, Matrix, Shape,
        attention::{check, check_first},
    },
};

impl AttentionOps for CpuDevice {
    fn attention(
        &mut self,
        ctx: &mut Matrix<Self>,
        lse: &mut Vec<f32>,
        qkv: &Matrix<Self>,
        dropout: Dropout,
        batch: &CpuBatch,
    ) -> Result<()> {
        check(&self.shape, batch, lse, &[("ctx", ctx)], &[("qkv", qkv)]);
        forward(ctx.top_mut(batch.tokens()), lse, &qkv.elements, dropout, batch, &self.shape);
        Ok(())
    }

    fn attention_backward(
        &mut self,
        d_qkv: &mut Matrix<Self>,
        d_ctx: &Matrix<Self>,
        kept: Attended<'_, Self>,
        dropout: Dropout,
        batch: &CpuBatch,
    ) -> Result<()> {
        let (of_a, of_3a) = ([("d_ctx", d_ctx), ("ctx", kept.ctx)], [("d_qkv", &*d_qkv), ("qkv", kept.qkv)]);
        check(&self.shape, batch, kept.lse, &of_a, &of_3a);
        let input = Kept { d_ctx: &d_ctx.elements, qkv: &kept.qkv.elements, ctx: &kept.ctx.elements, lse: kept.lse };
        backward(d_qkv.top_mut(batch.tokens()), input, dropout, batch, &self.shape);
        Ok(())
    }

    fn attention_first(
        &mut self,
        ctx: &mut Matrix<Self>,
        lse: &mut Vec<f32>,
        q: &Matrix<Self>,
        kv: &Matrix<Self>,
        dropout: Dropout,
        batch: &CpuBatch,
    ) -> Result<()> {
        check_first(&self.shape, batch, lse, &[("ctx", ctx), ("q", q)], &[("kv", kv)]);
        let lse = &mut lse[..batch.sequences() * self.shape.heads];
        let inputs = (&q.elements[..], &kv.elements[..]);
        attention_first::forward(ctx.top_mut(batch.sequences()), lse, inputs, dropout, batch, &self.shape);
        Ok(())
    }

    fn attention_first_backward(
        &mut self,
        d_q: &mut Matrix<Self>,
        d_kv: &mut Matrix<Self>,
        d_ctx: &Matrix<Self>,
        kept: AttendedFirst<'_, Self>,
        dropout: Dropout,
        batch: &CpuBatch,
    ) -> Result<()> {
        let of_sequences = [("d_q", &*d_q), ("d_ctx", d_ctx), ("q", kept.q), ("ctx", kept.ctx)];
        check_first(&self.shape, batch, kept.lse, &of_sequences, &[("d_kv", d_kv), ("kv", kept.kv)]);
        let input = attention_first::Kept {
            d_ctx: &d_ctx.elements,
            ctx: &kept.ctx.elements,
            lse: kept.lse,
            q: &kept.q.elements,
            kv: &kept.kv.elements,
        };
        let (d_q, d_kv) = (d_q.top_mut(batch.sequences()), d_kv.top_mut(batch.tokens()));
        attention_first::backward(d_q, d_kv, input, dropout, batch, &self.shape);
        Ok(())
    }
}

/// Rows of queries that are worked on together.
const QUERIES: usize = 64;

/// Elements of a row of probabilities with its dropout mask aligned.
fn mask_stride(length: usize) -> usize {
    length.next_multiple_of(Dropout::GROUP)
}

/// Number of the first mask element of the row (head, query) of a sequence of `length` tokens.
fn mask_row(length: usize, head: usize, query: usize) -> usize {
    (head * length + query) * mask_stride(length)
}

/// A task: head `head` of sequence `b`.
#[derive(Clone, Copy)]
struct Task<'a> {
    batch: &'a CpuBatch,
    shape: &'a Shape,
    b: usize,
    head: usize,
}

impl<'a> Task<'a> {
    fn length(&self) -> usize {
        self.batch.sequence(self.b).len()
    }

    /// The `part`-th (0 query, 1 key, 2 value) matrix [S, D] of a packed [T, 3A].
    fn part(&self, qkv: &'a [f32], part: usize) -> MatRef<'a> {
        let (a, d) = (self.shape.attention, self.shape.head_size);
        let tokens = self.batch.sequence(self.b);
        MatRef::new(&qkv[tokens.start * 3 * a + part * a + self.head * d..], tokens.len(), d, 3 * a)
    }

    /// [S, D] of a packed [T, A].
    fn head_columns(&self, x: &'a [f32]) -> MatRef<'a> {
        let (a, d) = (self.shape.attention, self.shape.head_size);
        let tokens = self.batch.sequence(self.b);
        MatRef::new(&x[tokens.start * a + self.head * d..], tokens.len(), d, a)
    }

    fn slot(&self) -> u32 {
        self.batch.packed.slots[self.b]
    }
}

/// Outputs that are cut by sequence (rows of tokens) and head (columns).
trait Split: Sized + Send {
    fn at_token(self, tokens: usize) -> (Self, Self);
    fn at_head(self, heads: usize, head_size: usize) -> (Self, Self);
}

/// Cuts the outputs into tasks, sequences first, balanced by tokens, and runs them on all threads.
fn for_each_task<O: Split>(outputs: O, batch: &CpuBatch, shape: &Shape, f: &(impl Fn(Task, O) + Sync)) {
    /// (first sequence, sequences, first head, heads)
    type Span = (usize, usize, usize, usize);
    fn recurse<O: Split>(outputs: O, (b, sequences, head, heads): Span, task: Task, f: &(impl Fn(Task, O) + Sync)) {
        if sequences > 1 {
            let half = sequences / 2;
            let tokens = task.batch.packed.offsets[b + half] - task.batch.packed.offsets[b];
            let (low, high) = outputs.at_token(tokens as usize);
            rayon::join(
                || recurse(low, (b, half, head, heads), task, f),
                || recurse(high, (b + half, sequences - half, head, heads), task, f),
            );
        } else if heads > 1 {
            let half = heads / 2;
            let (low, high) = outputs.at_head(half, task.shape.head_size);
            rayon::join(
                || recurse(low, (b, sequences, head, half), task, f),
                || recurse(high, (b, sequences, head + half, heads - half), task, f),
            );
        } else {
            f(Task { b, head, ..task }, outputs);
        }
    }
    if batch.sequences() > 0 {
        let task = Task { batch, shape, b: 0, head: 0 };
        recurse(outputs, (0, batch.sequences(), 0, shape.heads), task, f);
    }
}

struct Forward<'a> {
    ctx: MatMut<'a>, // [T, A]
    lse: MatMut<'a>, // [H, T]
}

impl Split for Forward<'_> {
    fn at_token(self, tokens: usize) -> (Self, Self) {
        let (ctx, ctx_high) = self.ctx.split_at_row(tokens);
        let (lse, lse_high) = self.lse.split_at_col(tokens);
        (Self { ctx, lse }, Self { ctx: ctx_high, lse: lse_high })
    }

    fn at_head(self, heads: usize, head_size: usize) -> (Self, Self) {
        let (ctx, ctx_high) = self.ctx.split_at_col(heads * head_size);
        let (lse, lse_high) = self.lse.split_at_row(heads);
        (Self { ctx, lse }, Self { ctx: ctx_high, lse: lse_high })
    }
}

fn forward(
    ctx: &mut [f32], // [T, A]
    lse: &mut [f32], // [H, T]
    qkv: &[f32],     // [T, 3A]
    dropout: Dropout,
    batch: &CpuBatch,
    shape: &Shape,
) {
    let tokens = batch.tokens();
    let outputs =
        Forward { ctx: MatMut::dense(ctx, tokens, shape.attention), lse: MatMut::dense(lse, shape.heads, tokens) };
    for_each_task(outputs, batch, shape, &|task, mut out: Forward| {
        let length = task.length();
        let (q, k, v) = (task.part(qkv, 0), task.part(qkv, 1), task.part(qkv, 2));
        let lse = out.lse.row(0);
        let mut ctx = out.ctx;
        with_scratch(QUERIES.min(length) * length + mask_stride(length), |scratch| {
            let (p, factors) = scratch.split_at_mut(QUERIES.min(length) * length);
            for first in (0..length).step_by(QUERIES) {
                let n = QUERIES.min(length - first);
                let p = &mut p[..n * length];
                let mut scores = MatMut::dense(p, n, length);
                matmul(&mut scores, q.rows_from(first, n), k.t(), task.shape.score_scale(), Into::Overwrite);
                softmax_rows(p, &mut lse[first..first + n], factors, task, first, dropout);
                let (mut block, rest) = ctx.split_at_row(n);
                matmul(&mut block, MatRef::dense(p, n, length), v, 1.0, Into::Overwrite);
                ctx = rest;
            }
        });
    });
}

#[multiversion(targets = "simd")]
fn softmax_rows(p: &mut [f32], lse: &mut [f32], factors: &mut [f32], task: Task, first: usize, dropout: Dropout) {
    let length = p.len() / lse.len();
    for (i, (row, lse)) in p.chunks_exact_mut(length).zip(lse).enumerate() {
        *lse = softmax(row);
        if dropout.is_active() {
            fill_factors(factors, dropout, task.slot(), mask_row(length, task.head, first + i));
            for (p, &f) in row.iter_mut().zip(&*factors) {
                *p *= f;
            }
        }
    }
}

/// Softmax of a row in place; returns its log-sum-exp.
#[inline(always)]
fn softmax(row: &mut [f32]) -> f32 {
    let largest = max(row);
    for v in row.iter_mut() {
        *v = exp(*v - largest);
    }
    let sum = sum_by(row, |v| v);
    let inverse = 1.0 / sum;
    for v in row.iter_mut() {
        *v *= inverse;
    }
    largest + sum.ln()
}

struct Backward<'a> {
    d_q: MatMut<'a>, // [T, A], columns of d_qkv
    d_k: MatMut<'a>, // [T, A]
    d_v: MatMut<'a>, // [T, A]
}

impl<'a> Backward<'a> {
    fn map2(self, f: impl Fn(MatMut<'a>) -> (MatMut<'a>, MatMut<'a>)) -> (Self, Self) {
        let ((d_q, q), (d_k, k), (d_v, v)) = (f(self.d_q), f(self.d_k), f(self.d_v));
        (Self { d_q, d_k, d_v }, Self { d_q: q, d_k: k, d_v: v })
    }
}

impl Split for Backward<'_> {
    fn at_token(self, tokens: usize) -> (Self, Self) {
        self.map2(|m| m.split_at_row(tokens))
    }

    fn at_head(self, heads: usize, head_size: usize) -> (Self, Self) {
        self.map2(|m| m.split_at_col(heads * head_size))
    }
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
struct Kept<'a> {
    d_ctx: &'a [f32], // [T, A]
    qkv: &'a [f32],   // [T, 3A]
    ctx: &'a [f32],   // [T, A]
    lse: &'a [f32],   // [H, T]
}

/// Overwrites d_qkv [T, 3A].
fn backward(d_qkv: &mut [f32], kept: Kept, dropout: Dropout, batch: &CpuBatch, shape: &Shape) {
    let Kept { d_ctx, qkv, ctx, lse } = kept;
    let (tokens, a, d) = (batch.tokens(), shape.attention, shape.head_size);
    let (d_q, rest) = MatMut::dense(d_qkv, tokens, 3 * a).split_at_col(a);
    let (d_k, d_v) = rest.split_at_col(a);
    for_each_task(Backward { d_q, d_k, d_v }, batch, shape, &|task, out: Backward| {
        let (length, start) = (task.length(), batch.sequence(task.b).start);
        let (q, k, v) = (task.part(qkv, 0), task.part(qkv, 1), task.part(qkv, 2));
        let d_out = task.head_columns(d_ctx);
        let lse = &lse[task.head * tokens + start..][..length];
        let Backward { mut d_q, mut d_k, mut d_v } = out;
        let block_len = QUERIES.min(length) * length;
        with_scratch(2 * block_len + mask_stride(length), |scratch| {
            let (p, rest) = scratch.split_at_mut(block_len);
            let (d_p, factors) = rest.split_at_mut(block_len);
            for first in (0..length).step_by(QUERIES) {
                let n = QUERIES.min(length - first);
                let (p, d_p) = (&mut p[..n * length], &mut d_p[..n * length]);
                let (q, d_out) = (q.rows_from(first, n), d_out.rows_from(first, n));
                matmul(&mut MatMut::dense(p, n, length), q, k.t(), task.shape.score_scale(), Into::Overwrite);
                matmul(&mut MatMut::dense(d_p, n, length), d_out, v.t(), 1.0, Into::Overwrite);
                let at = (start + first) * a + task.head * d;
                let rows = Rows { d_ctx: &d_ctx[at..], ctx: &ctx[at..], lse: &lse[first..first + n], first };
                score_gradients(p, d_p, factors, rows, task, dropout);
                let into = if first == 0 { Into::Overwrite } else { Into::Add };
                let (p, d_s) = (MatRef::dense(p, n, length), MatRef::dense(d_p, n, length));
                matmul(&mut d_v, p.t(), d_out, 1.0, into);
                matmul(&mut d_k, d_s.t(), q, task.shape.score_scale(), into);
                let (mut block, rest) = d_q.split_at_row(n);
                matmul(&mut block, d_s, k, task.shape.score_scale(), Into::Overwrite);
                d_q = rest;
            }
        });
    });
}

/// What a block of queries reads, its first query being `first`.
#[derive(Clone, Copy)]
struct Rows<'a> {
    d_ctx: &'a [f32], // from the block's first row and this head's first column on, rows A apart
    ctx: &'a [f32],   // as d_ctx
    lse: &'a [f32],   // [n]
    first: usize,
}

/// In: `p` scores, `d_p` = d_ctx vᵀ. Out: `p` = P ∘ f, `d_p` = d_s.
#[multiversion(targets = "simd")]
fn score_gradients(p: &mut [f32], d_p: &mut [f32], factors: &mut [f32], rows: Rows, task: Task, dropout: Dropout) {
    let (a, d) = (task.shape.attention, task.shape.head_size);
    let length = p.len() / rows.lse.len();
    for (i, (p, d_p)) in p.chunks_exact_mut(length).zip(d_p.chunks_exact_mut(length)).enumerate() {
        let delta = sum_by2(&rows.d_ctx[i * a..][..d], &rows.ctx[i * a..][..d], |a, b| a * b);
        let lse = rows.lse[i];
        if dropout.is_active() {
            fill_factors(factors, dropout, task.slot(), mask_row(length, task.head, rows.first + i));
            for ((p, d_p), &f) in p.iter_mut().zip(d_p).zip(&*factors) {
                let probability = exp(*p - lse);
                *d_p = probability * (f * *d_p - delta);
                *p = probability * f;
            }
        } else {
            for (p, d_p) in p.iter_mut().zip(d_p) {
                *p = exp(*p - lse);
                *d_p = *p * (*d_p - delta);
            }
        }
    }
}
