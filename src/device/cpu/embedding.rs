//! Embedding: the sum of three table rows, its layer norm and dropout, forward and backward.
//!
//! The backward pass gathers the sum again instead of keeping it. Each row of each table is written by one thread,
//! which adds its tokens in order of appearance: no atomics, the same bits every time.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    CpuDevice,
    batch::CpuBatch,
    dropout::drop_row,
    layer_norm,
    math::add,
    memory::{CpuGradients, ROW_BLOCK},
    product::MatMut,
};
use crate::{
    Result,
    device::{Dropout, EmbeddingOps, Matrix, On, RowStats, Rows, Write, embedding::check},
    model::layout::Embeddings,
};

impl EmbeddingOps for CpuDevice {
    fn embed(
        &mut self,
        x: &mut Matrix<Self>,
        stats: &mut RowStats<Self>,
        table: &Embeddings,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("embed", &self.shape, x, stats, table, on);
        let (tokens, tables) = (on.batch.tokens(), Tables::new(on, table, dropout));
        let (width, eps) = (tables.width, self.shape.layer_norm_eps);
        let x = x.top_mut(tokens).par_chunks_mut(ROW_BLOCK * width);
        let [mean, rstd] = [&mut stats.mean, &mut stats.rstd].map(|of| of[..tokens].par_chunks_mut(ROW_BLOCK));
        (x, mean, rstd)
            .into_par_iter()
            .enumerate()
            .for_each(|(block, (x, mean, rstd))| block_forward(x, mean, rstd, &tables, block * ROW_BLOCK, eps));
        Ok(())
    }

    fn embed_backward(
        &mut self,
        gradients: &mut CpuGradients,
        d_x: &Matrix<Self>,
        stats: &RowStats<Self>,
        table: &Embeddings,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("embed backward", &self.shape, d_x, stats, table, on);
        gradients.touch(on.batch);
        let (tokens, tables) = (on.batch.tokens(), Tables::new(on, table, dropout));
        let (width, blocks) = (tables.width, tokens.div_ceil(ROW_BLOCK));
        let input = Input { d_x: d_x.top(tokens), mean: &stats.mean, rstd: &stats.rstd };
        // The first half holds the sums [blocks, 2C], the second each block's copy of a row of r and of d_y.
        let (sums, rows) = self.scratch.row_sums[..blocks * 4 * width].split_at_mut(blocks * 2 * width);
        let d_sum = &mut self.scratch.d_sum[..tokens * width];
        (d_sum.par_chunks_mut(ROW_BLOCK * width), sums.par_chunks_mut(2 * width), rows.par_chunks_mut(2 * width))
            .into_par_iter()
            .enumerate()
            .for_each(|(block, (d_sum, sums, rows))| {
                block_backward(d_sum, sums, rows, &tables, input, block * ROW_BLOCK)
            });
        let arena = &mut gradients.arena;
        layer_norm::fold_row_sums(arena, sums, table.norm, Write::Add);
        let (d_sum, words) = (&*d_sum, table.word.len / width);
        scatter_words(
            MatMut::dense(&mut arena[table.word.range()], words, width),
            0,
            0..on.batch.run_ids().len(),
            on.batch,
            d_sum,
        );
        scatter_positions(&mut arena[table.position.range()], width, on.batch, d_sum);
        scatter_types(&mut arena[table.kind.range()], width, on.batch, d_sum);
        Ok(())
    }

    fn begin_step(&mut self, gradients: &mut CpuGradients, table: &Embeddings) -> Result<()> {
        gradients.clear_rows();
        for view in [table.position, table.kind, table.norm.gamma, table.norm.beta] {
            gradients.arena[view.range()].fill(0.0);
        }
        Ok(())
    }
}

/// The three tables, and what becomes of a row of their sum.
#[derive(Clone, Copy)]
struct Tables<'a> {
    word: &'a [f32],     // [V, C]
    position: &'a [f32], // [positions, C]
    kind: &'a [f32],     // [types, C]
    gamma: &'a [f32],    // [C]
    beta: &'a [f32],     // [C]
    width: usize,
    batch: &'a CpuBatch,
    dropout: Dropout,
}

impl<'a> Tables<'a> {
    fn new(on: On<'a, CpuDevice>, table: &Embeddings, dropout: Dropout) -> Self {
        let [word, position, kind, gamma, beta] =
            [table.word, table.position, table.kind, table.norm.gamma, table.norm.beta]
                .map(|view| &on.weights[view.range()]);
        Self { word, position, kind, gamma, beta, width: gamma.len(), batch: on.batch, dropout }
    }

    /// word + type + position, in the order in which `transformers` adds them.
    #[inline(always)]
    fn gather(&self, row: &mut [f32], t: usize) {
        let batch = self.batch;
        let of = |table: &'a [f32], i: u32| &table[i as usize * self.width..][..self.width];
        let word = of(self.word, batch.packed.ids[t]);
        let kind = of(self.kind, batch.packed.types[t]);
        let position = of(self.position, batch.position(t));
        for (((x, &w), &k), &p) in row.iter_mut().zip(word).zip(kind).zip(position) {
            *x = (w + k) + p;
        }
    }
}

#[multiversion(targets = "simd")]
fn block_forward(x: &mut [f32], mean: &mut [f32], rstd: &mut [f32], tables: &Tables, first: usize, eps: f32) {
    let &Tables { gamma, beta, width, batch, dropout, .. } = tables;
    for (i, row) in x.chunks_exact_mut(width).enumerate() {
        tables.gather(row, first + i);
        (mean[i], rstd[i]) = layer_norm::statistics(row, eps);
        for ((v, &g), &b) in row.iter_mut().zip(gamma).zip(beta) {
            *v = ((*v - mean[i]) * rstd[i]).mul_add(g, b);
        }
        let (slot, position) = batch.place(Rows::Tokens, first + i);
        drop_row(row, dropout, slot, position * width);
    }
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
struct Input<'a> {
    d_x: &'a [f32],  // [T, C]
    mean: &'a [f32], // [T]
    rstd: &'a [f32], // [T]
}

#[multiversion(targets = "simd")]
fn block_backward(d_sum: &mut [f32], sums: &mut [f32], rows: &mut [f32], tables: &Tables, input: Input, first: usize) {
    let &Tables { gamma, width, batch, dropout, .. } = tables;
    sums.fill(0.0);
    let (d_gamma, d_beta) = sums.split_at_mut(width);
    let (r, d_y) = rows.split_at_mut(width);
    for (i, d_sum) in d_sum.chunks_exact_mut(width).enumerate() {
        let t = first + i;
        tables.gather(r, t);
        d_y.copy_from_slice(&input.d_x[t * width..(t + 1) * width]);
        let (slot, position) = batch.place(Rows::Tokens, t);
        drop_row(d_y, dropout, slot, position * width);
        layer_norm::row_backward(d_sum, d_gamma, d_beta, d_y, r, (input.mean[t], input.rstd[t]), gamma);
    }
}

/// Rows `first..` of the word table, and the runs (ascending ids) that fall into them.
fn scatter_words(mut rows: MatMut, first: usize, runs: Range<usize>, batch: &CpuBatch, d_sum: &[f32]) {
    const RUNS_PER_TASK: usize = 32;
    let ids = batch.run_ids();
    if runs.len() > RUNS_PER_TASK {
        let half = runs.start + runs.len() / 2;
        let at = ids[half] as usize;
        let (low, high) = rows.split_at_row(at - first);
        rayon::join(
            || scatter_words(low, first, runs.start..half, batch, d_sum),
            || scatter_words(high, at, half..runs.end, batch, d_sum),
        );
        return;
    }
    for run in runs {
        let row = rows.row(ids[run] as usize - first);
        add_rows(row, d_sum, batch.run(run).iter().map(|&t| t as usize));
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
            for (block, types) in batch.packed.types.chunks(ROW_BLOCK).enumerate() {
                let mut partial = [0.0f32; COLS];
                for (i, _) in types.iter().enumerate().filter(|&(_, &of)| of as usize == kind) {
                    let start = (block * ROW_BLOCK + i) * width + stripe * COLS;
                    add_row(&mut partial, &d_sum[start..start + sums.len()]);
                }
                add_row(sums, &partial);
            }
        });
    }
}
