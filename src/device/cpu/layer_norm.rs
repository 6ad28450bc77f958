//! Layer normalisation, forward and backward; one row at a time, variance in two passes over a row that sits in the cache.
//!
//! Backward, with x̂ = (r − mean)/σ and g = d_y ∘ γ: d_r = (g − mean(g) − x̂ · mean(g ∘ x̂)) / σ; d_γ = Σ d_y ∘ x̂,
//! d_β = Σ d_y, summed first within blocks of `BLOCK` rows, then over the blocks, both in order.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    batch::CpuBatch,
    dropout::drop_row,
    math::{add, sum_by, sum_by2},
};
use crate::{
    device::{Dropout, Rows, Write},
    model::layout::Norm,
};

/// Rows that one task takes and whose parameter gradients are one partial sum.
pub const BLOCK: usize = 32;

/// Mean and 1/σ of one row.
#[inline(always)]
pub fn statistics(r: &[f32], eps: f32) -> (f32, f32) {
    let n = r.len() as f32;
    let mean = sum_by(r, |v| v) / n;
    let variance = sum_by(r, |v| (v - mean) * (v - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

pub fn layer_norm(
    y: &mut [f32],    // [rows, C]
    mean: &mut [f32], // [rows]
    rstd: &mut [f32], // [rows]
    r: &[f32],        // [rows, C]
    weights: &[f32],
    norm: Norm,
    eps: f32,
) {
    let width = norm.gamma.len;
    let (gamma, beta) = (&weights[norm.gamma.range()], &weights[norm.beta.range()]);
    (
        y.par_chunks_mut(BLOCK * width),
        r.par_chunks(BLOCK * width),
        mean.par_chunks_mut(BLOCK),
        rstd.par_chunks_mut(BLOCK),
    )
        .into_par_iter()
        .for_each(|(y, r, mean, rstd)| block_forward(y, mean, rstd, r, (gamma, beta), eps));
}

#[multiversion(targets = "simd")]
fn block_forward(
    y: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
    r: &[f32],
    (gamma, beta): (&[f32], &[f32]),
    eps: f32,
) {
    let width = gamma.len();
    for (i, (y, r)) in y.chunks_exact_mut(width).zip(r.chunks_exact(width)).enumerate() {
        (mean[i], rstd[i]) = statistics(r, eps);
        for (((y, &r), &g), &b) in y.iter_mut().zip(r).zip(gamma).zip(beta) {
            *y = ((r - mean[i]) * rstd[i]).mul_add(g, b);
        }
    }
}

/// One row of the backward pass: `d_r` from `d_y`; adds to the partial sums `d_gamma`, `d_beta`.
#[inline(always)]
pub fn row_backward(
    d_r: &mut [f32],
    d_gamma: &mut [f32],
    d_beta: &mut [f32],
    d_y: &[f32],
    r: &[f32],
    (mean, rstd): (f32, f32),
    gamma: &[f32],
) {
    let n = d_y.len() as f32;
    // g and g·x̂ are made twice rather than kept: the row is in the first-level cache.
    let mean_g = sum_by2(d_y, gamma, |d, g| d * g) / n;
    for (((o, &d), &g), &v) in d_r.iter_mut().zip(d_y).zip(gamma).zip(r) {
        *o = d * g * ((v - mean) * rstd);
    }
    let mean_gx = sum_by(d_r, |v| v) / n;
    for i in 0..d_y.len() {
        let xhat = (r[i] - mean) * rstd;
        d_r[i] = (d_y[i] * gamma[i] - mean_g - xhat * mean_gx) * rstd;
        d_gamma[i] += d_y[i] * xhat;
        d_beta[i] += d_y[i];
    }
}

/// Buffers of the backward pass, besides `partial` as in [`row_backward`].
pub struct Backward<'a> {
    pub d_r: &'a mut [f32],      // [rows, C]
    pub d_branch: &'a mut [f32], // [rows, C]
    pub gradients: &'a mut [f32],
    pub partial: &'a mut [f32], // [rows / BLOCK rounded up, 2C]
}

pub fn layer_norm_backward(
    out: Backward,
    d_y: &[f32],
    r: &[f32],
    (mean, rstd): (&[f32], &[f32]),
    weights: &[f32],
    batch: &CpuBatch,
    rows: Rows,
    norm: Norm,
    dropout: Dropout,
    write: Write,
) {
    let width = norm.gamma.len;
    let gamma = &weights[norm.gamma.range()];
    let blocks = d_y.len().div_ceil(BLOCK * width);
    (
        out.d_r.par_chunks_mut(BLOCK * width),
        out.d_branch.par_chunks_mut(BLOCK * width),
        out.partial[..blocks * 2 * width].par_chunks_mut(2 * width),
    )
        .into_par_iter()
        .enumerate()
        .for_each(|(block, (d_r, d_branch, partial))| {
            let first = block * BLOCK;
            let input = Input { first, d_y, r, mean, rstd, gamma };
            block_backward(d_r, d_branch, partial, input, batch, rows, dropout);
        });
    fold_partials(out.gradients, &out.partial[..blocks * 2 * width], norm, write);
}

/// What a block of the backward pass reads, its first row being `first`.
#[derive(Clone, Copy)]
struct Input<'a> {
    first: usize,
    d_y: &'a [f32],
    r: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
    gamma: &'a [f32],
}

#[multiversion(targets = "simd")]
fn block_backward(
    d_r: &mut [f32],
    d_branch: &mut [f32],
    partial: &mut [f32],
    input: Input,
    batch: &CpuBatch,
    rows: Rows,
    dropout: Dropout,
) {
    let width = input.gamma.len();
    partial.fill(0.0);
    let (d_gamma, d_beta) = partial.split_at_mut(width);
    for (i, (d_r, d_branch)) in d_r.chunks_exact_mut(width).zip(d_branch.chunks_exact_mut(width)).enumerate() {
        let row = input.first + i;
        let span = row * width..(row + 1) * width;
        let (d_y, r) = (&input.d_y[span.clone()], &input.r[span]);
        row_backward(d_r, d_gamma, d_beta, d_y, r, (input.mean[row], input.rstd[row]), input.gamma);
        d_branch.copy_from_slice(d_r);
        let (slot, position) = batch.place(rows, row);
        drop_row(d_branch, dropout, slot, position * width);
    }
}

/// d_γ, d_β (+)= the sum of the blocks' partial sums, in block order.
#[multiversion(targets = "simd")]
pub fn fold_partials(gradients: &mut [f32], partial: &[f32], norm: Norm, write: Write) {
    let width = norm.gamma.len;
    for (view, offset) in [(norm.gamma, 0), (norm.beta, width)] {
        let sums = &mut gradients[view.range()];
        if write == Write::Overwrite {
            sums.fill(0.0);
        }
        for block in partial.chunks_exact(2 * width) {
            add(sums, &block[offset..offset + width]);
        }
    }
}
