//! Embedding and its deterministic scatter (kernels/embedding.cu).

use std::mem::offset_of;

use cudarc::driver::{DeviceRepr, PushKernelArg};

use super::{
    CudaBatch, CudaDevice, CudaGradients, Setup,
    arguments::{DropoutArgs, RowsArgs},
    element::Element,
    kernels::{Kernel, PACK, geometry},
    row_sums::{Destination, RowShape},
};
use crate::{
    Result,
    device::{Dropout, EmbeddingOps, Matrix, On, RowStats, Rows, Uploaded, Write, check::Check, embedding::check},
    model::{View, layout::Embeddings},
};

/// Stretches of the arena, in packs. Mirrors `Stretches` in kernels/embedding.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Stretches {
    start: [u32; 4],
    packs: [u32; 4],
}

const _: () = assert!(size_of::<Stretches>() == 32 && offset_of!(Stretches, packs) == 16);
// SAFETY: plain words, laid out as the kernel's struct, which asserts the same.
unsafe impl DeviceRepr for Stretches {}

/// Kernels, and the gradient of the summed embeddings.
pub(crate) struct Embedder<E: Element> {
    forward: Kernel,
    backward: Kernel,
    backward_types: Kernel,
    backward_words: Kernel,
    backward_positions: Kernel,
    clear: Kernel,
    d_sum: Matrix<CudaDevice<E>>, // [T, C]
    shape: RowShape,
}

impl<E: Element> Embedder<E> {
    pub(crate) fn new(setup: &Setup, shape: RowShape, d_sum: Matrix<CudaDevice<E>>) -> Result<Self> {
        let kernels = setup.kernels;
        let of_width = |narrow: [&'static str; 2], wide: [&'static str; 2]| {
            let [bf16, f32] = shape.choose(narrow, wide);
            kernels.of::<E>(bf16, f32)
        };
        Ok(Self {
            forward: of_width(
                ["embed_forward_bf16", "embed_forward_f32"],
                ["embed_forward_wide_bf16", "embed_forward_wide_f32"],
            )?,
            backward: of_width(
                ["embed_backward_bf16", "embed_backward_f32"],
                ["embed_backward_wide_bf16", "embed_backward_wide_f32"],
            )?,
            backward_types: of_width(
                ["embed_backward_types_bf16", "embed_backward_types_f32"],
                ["embed_backward_types_wide_bf16", "embed_backward_types_wide_f32"],
            )?,
            backward_words: kernels.of::<E>("embed_backward_words_bf16", "embed_backward_words_f32")?,
            backward_positions: kernels.of::<E>("embed_backward_positions_bf16", "embed_backward_positions_f32")?,
            clear: kernels.get("embed_clear")?,
            d_sum,
            shape,
        })
    }
}

impl<E: Element> EmbeddingOps for CudaDevice<E> {
    fn embed(
        &mut self,
        x: &mut Matrix<Self>,
        stats: &mut RowStats<Self>,
        table: &Embeddings,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("embed", &self.shape, x, stats, table, on);
        let (Embedder { forward, shape, .. }, batch) = (&self.embedding, on.batch);
        let [word, position, kind] = [table.word, table.position, table.kind].map(|view| on.weights.matrix(view));
        let [gamma, beta] = [table.norm.gamma, table.norm.beta].map(|view| on.weights.vector(view));
        let (header, ids, types) = (batch.header(), batch.ids(), batch.types());
        let (rows, dropout) = (RowsArgs::new(Rows::Tokens, batch), DropoutArgs::new(dropout, batch));
        let (grid, eps) = ([shape.blocks(batch.bucket().tokens), 1, 1], self.shape.layer_norm_eps);
        // SAFETY: checked above: x has a row of `width`, mean and rstd an element for each token; the tables have rows
        // of `width`, and one for each position of a batch. Ids and types that the shape has no row for were refused
        // when the batch was uploaded.
        unsafe {
            self.launcher.launch(forward, grid, geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut x.elements).arg(&mut stats.mean).arg(&mut stats.rstd);
                args.arg(&word).arg(&position).arg(&kind).arg(&gamma).arg(&beta);
                args.arg(&header).arg(&ids).arg(&types).arg(&rows).arg(&shape.width).arg(&eps).arg(&dropout);
            })
        }
    }

    fn embed_backward(
        &mut self,
        gradients: &mut CudaGradients,
        d_x: &Matrix<Self>,
        stats: &RowStats<Self>,
        table: &Embeddings,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("embed backward", &self.shape, d_x, stats, table, on);
        let tokens = on.batch.limits().tokens;
        Check("embed backward").matrix("the gradient of the sum", &self.embedding.d_sum, tokens, self.shape.hidden);
        self.backward_rows(gradients, d_x, stats, table, dropout, on)?;
        self.backward_types(gradients, on.batch, table.kind)?;
        self.scatter(gradients, on.batch, table)
    }

    fn begin_step(&mut self, gradients: &mut CudaGradients, table: &Embeddings) -> Result<()> {
        let Embedder { clear, shape, .. } = &self.embedding;
        let views = [table.position, table.kind, table.norm.gamma, table.norm.beta];
        let packs = views.map(|view| view.len.div_ceil(PACK));
        let stretches =
            Stretches { start: views.map(|view| (view.start / PACK) as u32), packs: packs.map(|packs| packs as u32) };
        let (start, vocabulary) = (table.word.start as u32, table.word.len as u32 / shape.width);
        let threads = geometry::ROW_THREADS;
        let blocks = vocabulary.div_ceil(threads) + (packs.iter().sum::<usize>() as u32).div_ceil(threads);
        Check("begin a step")
            .vector(
                "the arena of gradients",
                &gradients.arena,
                views.map(|view| view.range().end).into_iter().max().unwrap_or(0),
            )
            .vector("the arena of gradients", &gradients.arena, table.word.range().end)
            .vector("the flags of touched words", &gradients.touched, vocabulary as usize);
        // SAFETY: checked above: the views lie in the arena, which has the word table's rows at `start`; `touched` has
        // a flag for each of them.
        unsafe {
            self.launcher.launch(clear, [blocks, 1, 1], threads, 0, |args| {
                args.arg(&mut gradients.arena).arg(&mut gradients.touched).arg(&stretches);
                args.arg(&start).arg(&vocabulary).arg(&shape.width);
            })
        }
    }
}

impl<E: Element> CudaDevice<E> {
    /// The gradient of the summed embeddings, and the sums for that of the LayerNorm.
    fn backward_rows(
        &mut self,
        gradients: &mut CudaGradients,
        d_x: &Matrix<Self>,
        stats: &RowStats<Self>,
        table: &Embeddings,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        let (Embedder { backward, d_sum, shape, .. }, batch) = (&mut self.embedding, on.batch);
        let row_sums = &mut self.layer_norm.row_sums;
        let (rows, dropout) = (RowsArgs::new(Rows::Tokens, batch), DropoutArgs::new(dropout, batch));
        let (first, second) = (table.norm.gamma.start, Some(table.norm.beta.start));
        let to = Destination { first, second, write: Write::Add, count: rows.count_address() };
        let grid = [row_sums.blocks(), 1, 1];
        let mut sums = row_sums.take(&self.launcher, gradients, to)?;
        let [word, position, kind] = [table.word, table.position, table.kind].map(|view| on.weights.matrix(view));
        let gamma = on.weights.vector(table.norm.gamma);
        let (header, ids, types) = (batch.header(), batch.ids(), batch.types());
        // SAFETY: as for the forward pass; d_sum has a row of `width` for each token of the capacity, the slot 2 ·
        // `width` elements for each block.
        unsafe {
            self.launcher.launch(backward, grid, geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut d_sum.elements).arg(&mut sums).arg(&d_x.elements).arg(&stats.mean).arg(&stats.rstd);
                args.arg(&word).arg(&position).arg(&kind).arg(&gamma);
                args.arg(&header).arg(&ids).arg(&types).arg(&rows).arg(&shape.width).arg(&dropout);
            })
        }
    }

    /// Two types share a slot.
    fn backward_types(&mut self, gradients: &mut CudaGradients, batch: &CudaBatch, table: View) -> Result<()> {
        let Embedder { backward_types, d_sum, shape, .. } = &self.embedding;
        let row_sums = &mut self.layer_norm.row_sums;
        let (rows, types, width) = (RowsArgs::new(Rows::Tokens, batch), batch.types(), shape.width as usize);
        let grid = [row_sums.blocks(), 1, 1];
        for kind in (0..table.len / width).step_by(2) {
            let first = table.start + kind * width;
            let second = Some(first + width).filter(|&second| second < table.range().end);
            let to = Destination { first, second, write: Write::Add, count: rows.count_address() };
            let mut sums = row_sums.take(&self.launcher, gradients, to)?;
            let kind = kind as u32;
            // SAFETY: d_sum has a row of `width` for each token of the capacity, the slot 2 · `width` elements for each
            // block.
            unsafe {
                self.launcher.launch(backward_types, grid, geometry::ROW_THREADS, 0, |args| {
                    args.arg(&mut sums).arg(&d_sum.elements).arg(&types).arg(&rows).arg(&shape.width).arg(&kind);
                })?;
            }
        }
        Ok(())
    }

    /// Rows of the word and position tables.
    fn scatter(&self, gradients: &mut CudaGradients, batch: &CudaBatch, table: &Embeddings) -> Result<()> {
        let Embedder { backward_words, backward_positions, d_sum, shape, .. } = &self.embedding;
        let width = shape.width;
        let stripes = width.div_ceil(geometry::WARP * PACK as u32);
        let warps = (geometry::ROW_THREADS / geometry::WARP) as usize;
        let grid = |rows: usize| [rows.div_ceil(warps) as u32, stripes, 1];
        let (header, order, run_ids, run_starts) = (batch.header(), batch.order(), batch.run_ids(), batch.run_starts());
        let offsets = batch.offsets();
        let mut words = gradients.arena.slice_mut(table.word.range());
        // SAFETY: runs are at most as many as tokens; their words have rows in the table and flags in `touched`, their
        // tokens rows in d_sum.
        unsafe {
            self.launcher.launch(backward_words, grid(batch.bucket().tokens), geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut words).arg(&mut gradients.touched).arg(&d_sum.elements).arg(&header).arg(&order);
                args.arg(&run_ids).arg(&run_starts).arg(&width);
            })?;
        }
        let mut positions = gradients.arena.slice_mut(table.position.range());
        // SAFETY: positions below that of the longest sequence have rows in the table, the tokens of all sequences rows
        // in d_sum.
        unsafe {
            let grid = grid(batch.bucket().length);
            self.launcher.launch(backward_positions, grid, geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut positions).arg(&d_sum.elements).arg(&header).arg(&offsets).arg(&width);
            })
        }
    }
}
