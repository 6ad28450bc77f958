//! Attention of each sequence's first token only, for the last layer: classification reads no other row of it.
//!
//! One task per sequence. Per head: p = softmax(k q / √D) [S], ctx = (p ∘ f) v [D]; backward as in `attention`, with
//! d_q one row and d_k, d_v outer products. Work is T·A, bound by reading keys and values once. The dropout mask is
//! that of query 0.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    batch::CpuBatch,
    dropout::fill_factors,
    math::{exp, max, sum_by, sum_by2},
    memory::with_scratch,
    product::MatMut,
};
use crate::device::{Dropout, Shape};

/// Sizes of a task, and where its rows lie.
struct Sizes {
    a: usize,
    d: usize,
    heads: usize,
    scale: f32,
}

impl Sizes {
    fn new(shape: &Shape) -> Self {
        Self { a: shape.attention, d: shape.head_size, heads: shape.heads, scale: shape.score_scale() }
    }
}

/// Number of the first mask element of query 0 of a head.
fn mask_row(length: usize, head: usize) -> usize {
    head * length * length.next_multiple_of(Dropout::GROUP)
}

pub(crate) fn forward(
    ctx: &mut [f32],           // [B, A]
    lse: &mut [f32],           // [B, H]
    (q, kv): (&[f32], &[f32]), // [B, A], [T, 2A]
    dropout: Dropout,
    batch: &CpuBatch,
    shape: &Shape,
) {
    let sizes = Sizes::new(shape);
    let (a, heads) = (sizes.a, sizes.heads);
    (ctx.par_chunks_exact_mut(a), lse.par_chunks_exact_mut(heads)).into_par_iter().enumerate().for_each(
        |(b, (ctx, lse))| {
            let tokens = batch.sequence(b);
            let length = tokens.len();
            let inputs = (&q[b * a..][..a], &kv[tokens.start * 2 * a..tokens.end * 2 * a]);
            let masks = Masks { dropout, slot: batch.packed.slots[b] };
            with_scratch(2 * length, |scratch| {
                let (p, factors) = scratch.split_at_mut(length);
                sequence_forward(ctx, lse, (p, factors), inputs, &sizes, masks);
            });
        },
    );
}

/// The masks of a sequence.
#[derive(Clone, Copy)]
struct Masks {
    dropout: Dropout,
    slot: u32,
}

#[multiversion(targets = "simd")]
fn sequence_forward(
    ctx: &mut [f32],                        // [A]
    lse: &mut [f32],                        // [H]
    (p, factors): (&mut [f32], &mut [f32]), // [S] each, scratch
    (q, kv): (&[f32], &[f32]),              // [A], [S, 2A]
    sizes: &Sizes,
    masks: Masks,
) {
    let &Sizes { a, d, scale, .. } = sizes;
    for (head, lse) in lse.iter_mut().enumerate() {
        let span = head * d..(head + 1) * d;
        let q = &q[span.clone()];
        for (p, row) in p.iter_mut().zip(kv.chunks_exact(2 * a)) {
            *p = scale * sum_by2(&row[span.clone()], q, |a, b| a * b);
        }
        let largest = max(p);
        for v in p.iter_mut() {
            *v = exp(*v - largest);
        }
        let sum = sum_by(p, |v| v);
        *lse = largest + sum.ln();
        if masks.dropout.is_active() {
            fill_factors(factors, masks.dropout, masks.slot, mask_row(p.len(), head));
            for (p, &f) in p.iter_mut().zip(&*factors) {
                *p *= f;
            }
        }
        let out = &mut ctx[span.clone()];
        out.fill(0.0);
        for (&p, row) in p.iter().zip(kv.chunks_exact(2 * a)) {
            for (o, &v) in out.iter_mut().zip(&row[a..][span.clone()]) {
                *o = p.mul_add(v, *o);
            }
        }
        for o in out.iter_mut() {
            *o /= sum;
        }
    }
}

/// What the backward pass reads: of the batch, or of one sequence.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    pub d_ctx: &'a [f32], // [B, A], or [A]
    pub ctx: &'a [f32],   // [B, A], or [A]
    pub lse: &'a [f32],   // [B, H], or [H]
    pub q: &'a [f32],     // [B, A], or [A]
    pub kv: &'a [f32],    // [T, 2A], or [S, 2A]
}

/// Overwrites d_q [B, A] and d_kv [T, 2A].
pub(crate) fn backward(
    d_q: &mut [f32],
    d_kv: &mut [f32],
    kept: Kept,
    dropout: Dropout,
    batch: &CpuBatch,
    shape: &Shape,
) {
    let sizes = Sizes::new(shape);
    let (a, heads) = (sizes.a, sizes.heads);
    let task = |b: usize, d_q: &mut [f32], d_kv: MatMut| {
        let tokens = batch.sequence(b);
        let row = b * a..(b + 1) * a;
        let own = Kept {
            d_ctx: &kept.d_ctx[row.clone()],
            ctx: &kept.ctx[row.clone()],
            lse: &kept.lse[b * heads..(b + 1) * heads],
            q: &kept.q[row],
            kv: &kept.kv[tokens.start * 2 * a..tokens.end * 2 * a],
        };
        let masks = Masks { dropout, slot: batch.packed.slots[b] };
        with_scratch(tokens.len(), |factors| sequence_backward(d_q, d_kv, factors, own, &sizes, masks));
    };
    let d_kv = MatMut::dense(d_kv, batch.tokens(), 2 * sizes.a);
    recurse(0, batch.sequences(), d_q, d_kv, (batch, sizes.a), &task);
}

#[multiversion(targets = "simd")]
fn sequence_backward(
    d_q: &mut [f32],     // [A]
    mut d_kv: MatMut,    // [S, 2A]
    factors: &mut [f32], // [S]
    kept: Kept,
    sizes: &Sizes,
    masks: Masks,
) {
    let &Sizes { a, d, scale, .. } = sizes;
    d_q.fill(0.0);
    for (head, &lse) in kept.lse.iter().enumerate() {
        let span = head * d..(head + 1) * d;
        let (q, d_ctx) = (&kept.q[span.clone()], &kept.d_ctx[span.clone()]);
        let delta = sum_by2(d_ctx, &kept.ctx[span.clone()], |a, b| a * b);
        factors.fill(1.0);
        if masks.dropout.is_active() {
            fill_factors(factors, masks.dropout, masks.slot, mask_row(factors.len(), head));
        }
        let d_q = &mut d_q[span.clone()];
        for (j, row) in kept.kv.chunks_exact(2 * a).enumerate() {
            let (k, v) = (&row[span.clone()], &row[a..][span.clone()]);
            let p = exp(scale * sum_by2(k, q, |a, b| a * b) - lse);
            let d_s = scale * p * (factors[j] * sum_by2(d_ctx, v, |a, b| a * b) - delta);
            let (d_k, d_v) = d_kv.row(j).split_at_mut(a);
            let dropped = p * factors[j];
            for (o, &x) in d_q.iter_mut().zip(k) {
                *o = d_s.mul_add(x, *o);
            }
            for (o, &x) in d_k[span.clone()].iter_mut().zip(q) {
                *o = d_s * x;
            }
            for (o, &x) in d_v[span.clone()].iter_mut().zip(d_ctx) {
                *o = dropped * x;
            }
        }
    }
}

/// Cuts the outputs by sequence.
fn recurse(
    b: usize,
    sequences: usize,
    d_q: &mut [f32],
    d_kv: MatMut,
    (batch, a): (&CpuBatch, usize),
    f: &(impl Fn(usize, &mut [f32], MatMut) + Sync),
) {
    if sequences > 1 {
        let half = sequences / 2;
        let tokens = batch.packed.offsets[b + half] - batch.packed.offsets[b];
        let (q_low, q_high) = d_q.split_at_mut(half * a);
        let (kv_low, kv_high) = d_kv.split_at_row(tokens as usize);
        rayon::join(
            || recurse(b, half, q_low, kv_low, (batch, a), f),
            || recurse(b + half, sequences - half, q_high, kv_high, (batch, a), f),
        );
    } else if sequences == 1 {
        f(b, d_q, d_kv);
    }
}
