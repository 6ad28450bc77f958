//! Embedding: the sum of three table rows, its layer norm and dropout, forward and backward.
//!
//! The backward pass gathers the sum again instead of keeping it. Each row of each table is written by one thread, which adds
//! its tokens in order of appearance: no atomics, the same bits every time.

use rayon::prelude::*;

use super::{
    batch::{CpuBatch, Run},
    layer_norm::{self, BLOCK},
    linear::with_factors,
    math::simd,
    matrix::MatMut,
};
use crate::{
    device::{Dropout, Rows, Write},
    model::layout::Embeddings,
};

/// The three tables.
#[derive(Clone, Copy)]
struct Tables<'a> {
    word: &'a [f32],     // [V, C]
    position: &'a [f32], // [positions, C]
    kind: &'a [f32],     // [types, C]
    width: usize,
}

impl<'a> Tables<'a> {
    fn new(weights: &'a [f32], table: &Embeddings) -> Self {
        Self {
            word: &weights[table.word.range()],
            position: &weights[table.position.range()],
            kind: &weights[table.kind.range()],
            width: table.norm.gamma.len,
        }
    }

    /// word + type + position, in the order in which `transformers` adds them.
    #[inline(always)]
    fn gather(&self, row: &mut [f32], batch: &CpuBatch, t: usize) {
        let of = |table: &'a [f32], i: u32| &table[i as usize * self.width..][..self.width];
        let word = of(self.word, batch.packed.ids[t]);
        let kind = of(self.kind, batch.packed.types[t]);
        let position = of(self.position, batch.positions[t]);
        for (((x, &w), &k), &p) in row.iter_mut().zip(word).zip(kind).zip(position) {
            *x = (w + k) + p;
        }
    }
}

pub fn embed(
    x: &mut [f32],    // [T, C]
    mean: &mut [f32], // [T]
    rstd: &mut [f32], // [T]
    weights: &[f32],
    batch: &CpuBatch,
    table: &Embeddings,
    dropout: Dropout,
    eps: f32,
) {
    let tables = Tables::new(weights, table);
    let width = tables.width;
    let (gamma, beta) = (&weights[table.norm.gamma.range()], &weights[table.norm.beta.range()]);
    (x.par_chunks_mut(BLOCK * width), mean.par_chunks_mut(BLOCK), rstd.par_chunks_mut(BLOCK))
        .into_par_iter()
        .enumerate()
        .for_each(|(block, (x, mean, rstd))| {
            simd(|| {
                for (i, row) in x.chunks_exact_mut(width).enumerate() {
                    let t = block * BLOCK + i;
                    tables.gather(row, batch, t);
                    (mean[i], rstd[i]) = layer_norm::statistics(row, eps);
                    for ((v, &g), &b) in row.iter_mut().zip(gamma).zip(beta) {
                        *v = ((*v - mean[i]) * rstd[i]).mul_add(g, b);
                    }
                    if dropout.is_active() {
                        let (slot, position) = batch.place(Rows::Tokens, t);
                        with_factors(dropout, slot, position * width, row, |v, _, factor| *v *= factor);
                    }
                }
            });
        });
}

/// Buffers of the backward pass, besides the gradients.
pub struct Scratch<'a> {
    pub d_sum: &'a mut [f32],   // [T, C]
    pub partial: &'a mut [f32], // [T / BLOCK rounded up, 4C]
}

/// Adds to the gradients of the tables and of the layer norm.
pub fn embed_backward(
    gradients: &mut [f32],
    scratch: Scratch,
    d_x: &[f32],
    (mean, rstd): (&[f32], &[f32]),
    weights: &[f32],
    batch: &CpuBatch,
    table: &Embeddings,
    dropout: Dropout,
) {
    let tables = Tables::new(weights, table);
    let width = tables.width;
    let gamma = &weights[table.norm.gamma.range()];
    let blocks = batch.tokens().div_ceil(BLOCK);
    // The first half of `partial` holds the sums [blocks, 2C], the second each block's copy of a row of r and of d_y.
    let (sums, rows) = scratch.partial.split_at_mut(blocks * 2 * width);
    (scratch.d_sum.par_chunks_mut(BLOCK * width), sums.par_chunks_mut(2 * width), rows.par_chunks_mut(2 * width))
        .into_par_iter()
        .enumerate()
        .for_each(|(block, (d_sum, sums, rows))| {
            sums.fill(0.0);
            let (d_gamma, d_beta) = sums.split_at_mut(width);
            let (r, d_y) = rows.split_at_mut(width);
            simd(|| {
                for (i, d_sum) in d_sum.chunks_exact_mut(width).enumerate() {
                    let t = block * BLOCK + i;
                    tables.gather(r, batch, t);
                    d_y.copy_from_slice(&d_x[t * width..(t + 1) * width]);
                    if dropout.is_active() {
                        let (slot, position) = batch.place(Rows::Tokens, t);
                        with_factors(dropout, slot, position * width, d_y, |v, _, factor| *v *= factor);
                    }
                    layer_norm::row_backward(d_sum, d_gamma, d_beta, d_y, r, (mean[t], rstd[t]), gamma);
                }
            });
        });
    layer_norm::fold_partials(gradients, sums, table.norm, Write::Add);
    let d_sum = &*scratch.d_sum;
    let vocabulary = table.word.len / width;
    scatter_words(MatMut::dense(&mut gradients[table.word.range()], vocabulary, width), 0, &batch.runs, batch, d_sum);
    scatter_positions(&mut gradients[table.position.range()], width, batch, d_sum);
    scatter_types(&mut gradients[table.kind.range()], width, batch, d_sum);
}

/// Rows `first..` of the word table, and the runs (ascending ids) that fall into them.
fn scatter_words(mut rows: MatMut, first: usize, runs: &[Run], batch: &CpuBatch, d_sum: &[f32]) {
    const RUNS_A_TASK: usize = 32;
    if runs.len() > RUNS_A_TASK {
        let half = runs.len() / 2;
        let at = runs[half].id as usize;
        let (low, high) = rows.split_at_row(at - first);
        rayon::join(
            || scatter_words(low, first, &runs[..half], batch, d_sum),
            || scatter_words(high, at, &runs[half..], batch, d_sum),
        );
        return;
    }
    let width = rows.cols();
    simd(|| {
        for run in runs {
            let row = rows.row(run.id as usize - first);
            for &t in &batch.order[run.range.clone()] {
                add_row(row, d_sum, t as usize, width);
            }
        }
    });
}

#[inline(always)]
fn add_row(sum: &mut [f32], rows: &[f32], t: usize, width: usize) {
    for (s, &v) in sum.iter_mut().zip(&rows[t * width..(t + 1) * width]) {
        *s += v;
    }
}

fn scatter_positions(d_position: &mut [f32], width: usize, batch: &CpuBatch, d_sum: &[f32]) {
    d_position.par_chunks_exact_mut(width).with_min_len(8).enumerate().for_each(|(position, row)| {
        simd(|| {
            for b in 0..batch.sequences() {
                let tokens = batch.sequence(b);
                if position < tokens.len() {
                    add_row(row, d_sum, tokens.start + position, width);
                }
            }
        });
    });
}

/// There are few types and many tokens of each: threads share the columns.
fn scatter_types(d_kind: &mut [f32], width: usize, batch: &CpuBatch, d_sum: &[f32]) {
    const COLS: usize = 64;
    for (kind, row) in d_kind.chunks_exact_mut(width).enumerate() {
        row.par_chunks_mut(COLS).enumerate().for_each(|(stripe, sums)| {
            simd(|| {
                for block in batch.packed.types.chunks(BLOCK).enumerate() {
                    let (block, types) = block;
                    let mut partial = [0.0f32; COLS];
                    for (i, &of) in types.iter().enumerate() {
                        if of as usize == kind {
                            let start = (block * BLOCK + i) * width + stripe * COLS;
                            for (p, &v) in partial.iter_mut().zip(&d_sum[start..start + sums.len()]) {
                                *p += v;
                            }
                        }
                    }
                    for (sum, &p) in sums.iter_mut().zip(&partial) {
                        *sum += p;
                    }
                }
            });
        });
    }
}
