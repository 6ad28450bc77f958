//! Embedding: the sum of three table rows, its layer norm and dropout, forward and backward.
//!
//! The backward pass gathers the sum again instead of keeping it. Each row of each table is written by one thread, which adds
//! its tokens in order of appearance: no atomics, the same bits every time.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    batch::{CpuBatch, Run},
    dropout::drop_row,
    layer_norm::{self, BLOCK},
    math::add,
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
            block_forward(x, mean, rstd, &tables, batch, block * BLOCK, (gamma, beta), dropout, eps);
        });
}

#[multiversion(targets = "simd")]
fn block_forward(
    x: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
    tables: &Tables,
    batch: &CpuBatch,
    first: usize,
    (gamma, beta): (&[f32], &[f32]),
    dropout: Dropout,
    eps: f32,
) {
    let width = tables.width;
    for (i, row) in x.chunks_exact_mut(width).enumerate() {
        tables.gather(row, batch, first + i);
        (mean[i], rstd[i]) = layer_norm::statistics(row, eps);
        for ((v, &g), &b) in row.iter_mut().zip(gamma).zip(beta) {
            *v = ((*v - mean[i]) * rstd[i]).mul_add(g, b);
        }
        let (slot, position) = batch.place(Rows::Tokens, first + i);
        drop_row(row, dropout, slot, position * width);
    }
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
            let input = Input { first: block * BLOCK, d_x, mean, rstd, gamma };
            block_backward(d_sum, sums, rows, &tables, batch, input, dropout);
        });
    layer_norm::fold_partials(gradients, sums, table.norm, Write::Add);
    let d_sum = &*scratch.d_sum;
    let vocabulary = table.word.len / width;
    scatter_words(MatMut::dense(&mut gradients[table.word.range()], vocabulary, width), 0, &batch.runs, batch, d_sum);
    scatter_positions(&mut gradients[table.position.range()], width, batch, d_sum);
    scatter_types(&mut gradients[table.kind.range()], width, batch, d_sum);
}

/// What a block of the backward pass reads, its first token being `first`.
#[derive(Clone, Copy)]
struct Input<'a> {
    first: usize,
    d_x: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
    gamma: &'a [f32],
}

#[multiversion(targets = "simd")]
fn block_backward(
    d_sum: &mut [f32],
    sums: &mut [f32],
    rows: &mut [f32],
    tables: &Tables,
    batch: &CpuBatch,
    input: Input,
    dropout: Dropout,
) {
    let width = tables.width;
    sums.fill(0.0);
    let (d_gamma, d_beta) = sums.split_at_mut(width);
    let (r, d_y) = rows.split_at_mut(width);
    for (i, d_sum) in d_sum.chunks_exact_mut(width).enumerate() {
        let t = input.first + i;
        tables.gather(r, batch, t);
        d_y.copy_from_slice(&input.d_x[t * width..(t + 1) * width]);
        let (slot, position) = batch.place(Rows::Tokens, t);
        drop_row(d_y, dropout, slot, position * width);
        layer_norm::row_backward(d_sum, d_gamma, d_beta, d_y, r, (input.mean[t], input.rstd[t]), input.gamma);
    }
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
    for run in runs {
        let row = rows.row(run.id as usize - first);
        add_rows(row, d_sum, batch.order[run.range.clone()].iter().map(|&t| t as usize));
    }
}

/// `sum += rows[t]` for each t.
fn add_rows(sum: &mut [f32], rows: &[f32], tokens: impl Iterator<Item = usize>) {
    let width = sum.len();
    for t in tokens {
        add_row(sum, &rows[t * width..(t + 1) * width]);
    }
}

#[multiversion(targets = "simd")]
fn add_row(sum: &mut [f32], row: &[f32]) {
    add(sum, row);
}

fn scatter_positions(d_position: &mut [f32], width: usize, batch: &CpuBatch, d_sum: &[f32]) {
    d_position.par_chunks_exact_mut(width).with_min_len(8).enumerate().for_each(|(position, row)| {
        let spans = (0..batch.sequences()).map(|b| batch.sequence(b));
        add_rows(row, d_sum, spans.filter(|span| position < span.len()).map(|span| span.start + position));
    });
}

/// There are few types and many tokens of each: threads share the columns.
fn scatter_types(d_kind: &mut [f32], width: usize, batch: &CpuBatch, d_sum: &[f32]) {
    const COLS: usize = 64;
    for (kind, row) in d_kind.chunks_exact_mut(width).enumerate() {
        row.par_chunks_mut(COLS).enumerate().for_each(|(stripe, sums)| {
            for (block, types) in batch.packed.types.chunks(BLOCK).enumerate() {
                let mut partial = [0.0f32; COLS];
                for (i, _) in types.iter().enumerate().filter(|&(_, &of)| of as usize == kind) {
                    let start = (block * BLOCK + i) * width + stripe * COLS;
                    add_row(&mut partial, &d_sum[start..start + sums.len()]);
                }
                add_row(sums, &partial);
            }
        });
    }
}
