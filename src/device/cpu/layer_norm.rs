//! Layer normalisation, forward and backward; one row at a time, variance in two passes over a row that sits in the
//! cache.
//!
//! Backward, with x̂ = (r − mean)/σ and g = d_y ∘ γ: d_r = (g − mean(g) − x̂ · mean(g ∘ x̂)) / σ; d_γ = Σ d_y ∘ x̂,
//! d_β = Σ d_y, summed first within blocks of `ROW_BLOCK` rows, then over the blocks, both in order.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    CpuDevice,
    dropout::drop_row,
    math::{add, sum_by, sum_by2},
    memory::{CpuGradients, ROW_BLOCK},
};
use crate::{
    Result,
    device::{BranchGradient, Dropout, Matrix, NormOps, Normed, On, RowStats, Sink, Write, layer_norm::check},
    model::layout::Norm,
};

/// Mean and 1/σ of one row.
#[inline(always)]
pub(crate) fn statistics(r: &[f32], eps: f32) -> (f32, f32) {
    let n = r.len() as f32;
    let mean = sum_by(r, |v| v) / n;
    let variance = sum_by(r, |v| (v - mean) * (v - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

impl NormOps for CpuDevice {
    fn layer_norm(
        &mut self,
        y: &mut Matrix<Self>,
        stats: &mut RowStats<Self>,
        r: &Matrix<Self>,
        norm: Norm,
        on: On<'_, Self>,
    ) -> Result<()> {
        check(norm, stats, &[("y", y), ("r", r)], on);
        let (rows, block, eps) = (on.count(), ROW_BLOCK * norm.gamma.len, self.shape.layer_norm_eps);
        let (gamma, beta) = (&on.weights[norm.gamma.range()], &on.weights[norm.beta.range()]);
        let (y, r) = (y.top_mut(rows).par_chunks_mut(block), r.top(rows).par_chunks(block));
        let [mean, rstd] = [&mut stats.mean, &mut stats.rstd].map(|of| of[..rows].par_chunks_mut(ROW_BLOCK));
        (y, r, mean, rstd)
            .into_par_iter()
            .for_each(|(y, r, mean, rstd)| block_forward(y, mean, rstd, r, (gamma, beta), eps));
        Ok(())
    }

    fn layer_norm_backward(
        &mut self,
        d_r: &mut Matrix<Self>,
        branch: BranchGradient<'_, Self>,
        sink: &mut Sink<'_, Self>,
        d_y: &Matrix<Self>,
        kept: Normed<'_, Self>,
        on: On<'_, Self>,
    ) -> Result<()> {
        let Normed { r, stats, norm } = kept;
        check(norm, stats, &[("d_r", d_r), ("the gradient of the branch", branch.d), ("d_y", d_y), ("r", r)], on);
        let (rows, width) = (on.count(), norm.gamma.len);
        let (blocks, gamma) = (rows.div_ceil(ROW_BLOCK), &on.weights[norm.gamma.range()]);
        let [d_r, d_branch] = [d_r, branch.d].map(|matrix| matrix.top_mut(rows).par_chunks_mut(ROW_BLOCK * width));
        let sums = &mut self.scratch.row_sums[..blocks * 2 * width];
        let input = Input {
            d_y: d_y.top(rows),
            r: r.top(rows),
            mean: &stats.mean,
            rstd: &stats.rstd,
            gamma,
            dropout: branch.dropout,
            on,
        };
        (d_r, d_branch, sums.par_chunks_mut(2 * width))
            .into_par_iter()
            .enumerate()
            .for_each(|(block, (d_r, d_branch, sums))| block_backward(d_r, d_branch, sums, input, block * ROW_BLOCK));
        fold_row_sums(&mut sink.gradients.arena, sums, norm, sink.write);
        Ok(())
    }

    fn end_backward(&mut self, _: &mut CpuGradients) -> Result<()> {
        Ok(())
    }
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
pub(crate) fn row_backward(
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

/// What the backward pass reads.
#[derive(Clone, Copy)]
struct Input<'a> {
    d_y: &'a [f32],   // [rows, C]
    r: &'a [f32],     // [rows, C]
    mean: &'a [f32],  // [rows]
    rstd: &'a [f32],  // [rows]
    gamma: &'a [f32], // [C]
    dropout: Dropout,
    on: On<'a, CpuDevice>,
}

/// A block whose first row is `first`.
#[multiversion(targets = "simd")]
fn block_backward(d_r: &mut [f32], d_branch: &mut [f32], sums: &mut [f32], input: Input, first: usize) {
    let width = input.gamma.len();
    sums.fill(0.0);
    let (d_gamma, d_beta) = sums.split_at_mut(width);
    for (i, (d_r, d_branch)) in d_r.chunks_exact_mut(width).zip(d_branch.chunks_exact_mut(width)).enumerate() {
        let row = first + i;
        let span = row * width..(row + 1) * width;
        let (d_y, r) = (&input.d_y[span.clone()], &input.r[span]);
        row_backward(d_r, d_gamma, d_beta, d_y, r, (input.mean[row], input.rstd[row]), input.gamma);
        d_branch.copy_from_slice(d_r);
        let (slot, position) = input.on.batch.place(input.on.rows, row);
        drop_row(d_branch, input.dropout, slot, position * width);
    }
}

/// d_γ, d_β (+)= the sum over the blocks, in their order.
#[multiversion(targets = "simd")]
pub fn fold_row_sums(gradients: &mut [f32], sums_of_blocks: &[f32], norm: Norm, write: Write) {
    let width = norm.gamma.len;
    for (view, offset) in [(norm.gamma, 0), (norm.beta, width)] {
        let sums = &mut gradients[view.range()];
        if write == Write::Overwrite {
            sums.fill(0.0);
        }
        for block in sums_of_blocks.chunks_exact(2 * width) {
            add(sums, &block[offset..offset + width]);
        }
    }
}
