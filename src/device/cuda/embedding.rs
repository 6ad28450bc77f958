//! Embedding and its deterministic scatter, and the first rows of sequences (kernels/embedding.cu).

use cudarc::driver::{CudaSlice, DeviceRepr, PushKernelArg};

use super::{
    CudaBatch, CudaDevice, CudaGradients, CudaParameters, Setup,
    element::Element,
    kernels::{Kernel, geometry},
    launch::{DropoutArgs, RowsArgs},
    memory::zeros,
    partials::{Destination, RowShape},
};
use crate::{
    Result,
    device::{Capacity, Dropout, Rows, Shape, Write},
    model::{View, layout::Embeddings},
};

/// Elements that a thread takes.
const PACK: usize = 8;

/// Stretches of the arena, in packs. Mirrors `Stretches` in kernels/embedding.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Stretches {
    start: [u32; 4],
    packs: [u32; 4],
}

// SAFETY: plain words, laid out as the kernel's struct.
unsafe impl DeviceRepr for Stretches {}

/// Kernels, and the gradient of the summed embeddings.
pub struct Embedder<E: Element> {
    forward: Kernel,
    backward: Kernel,
    backward_types: Kernel,
    backward_words: Kernel,
    backward_positions: Kernel,
    clear: Kernel,
    gather_first: Kernel,
    scatter_first: Kernel,
    d_sum: CudaSlice<E>, // [T, C]
    shape: RowShape,
}

impl<E: Element> Embedder<E> {
    pub fn new(setup: &Setup) -> Result<Self> {
        let &Setup { kernels, stream, device, shape: sizes, capacity } = setup;
        let shape = RowShape::new(setup)?;
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
            gather_first: kernels.of::<E>("gather_first_bf16", "gather_first_f32")?,
            scatter_first: kernels.of::<E>("scatter_first_bf16", "scatter_first_f32")?,
            d_sum: zeros(stream, device, d_sum_len(sizes, capacity))?,
            shape,
        })
    }
}

fn d_sum_len(shape: Shape, capacity: Capacity) -> usize {
    capacity.tokens * shape.hidden
}

pub fn scratch_bytes<E: Element>(shape: Shape, capacity: Capacity) -> usize {
    d_sum_len(shape, capacity) * size_of::<E>()
}

pub fn embed<E: Element>(
    device: &mut CudaDevice<E>,
    x: &mut CudaSlice<E>,
    mean: &mut CudaSlice<f32>,
    rstd: &mut CudaSlice<f32>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    table: &Embeddings,
    dropout: Dropout,
) -> Result<()> {
    let Embedder { forward, shape, .. } = &device.embedding;
    let [word, position, kind] = [table.word, table.position, table.kind].map(|view| weights.matrix(view));
    let [gamma, beta] = [table.norm.gamma, table.norm.beta].map(|view| weights.vector(view));
    let (header, ids, types) = (batch.header(), batch.ids(), batch.types());
    let (rows, dropout) = (RowsArgs::new(Rows::Tokens, batch), DropoutArgs::new(dropout, batch));
    let (grid, eps) = ([shape.blocks(batch.bucket().tokens), 1, 1], device.shape.layer_norm_eps);
    // SAFETY: x has a row of `width`, mean and rstd an element for each token; the tables have rows of `width`, and one for each
    // id, type and position of a batch, which are checked when it is packed.
    unsafe {
        device.launcher.launch(forward, grid, geometry::ROW_THREADS, 0, |args| {
            args.arg(x).arg(mean).arg(rstd).arg(&word).arg(&position).arg(&kind).arg(&gamma).arg(&beta);
            args.arg(&header).arg(&ids).arg(&types).arg(&rows).arg(&shape.width).arg(&eps).arg(&dropout);
        })
    }
}

pub fn embed_backward<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    d_x: &CudaSlice<E>,
    mean: &CudaSlice<f32>,
    rstd: &CudaSlice<f32>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    table: &Embeddings,
    dropout: Dropout,
) -> Result<()> {
    backward_rows(device, gradients, d_x, mean, rstd, weights, batch, table, dropout)?;
    backward_types(device, gradients, batch, table.kind)?;
    scatter(device, gradients, batch, table)
}

/// The gradient of the summed embeddings, and the sums for that of the LayerNorm.
fn backward_rows<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    d_x: &CudaSlice<E>,
    mean: &CudaSlice<f32>,
    rstd: &CudaSlice<f32>,
    weights: &CudaParameters<E>,
    batch: &CudaBatch,
    table: &Embeddings,
    dropout: Dropout,
) -> Result<()> {
    let Embedder { backward, d_sum, shape, .. } = &mut device.embedding;
    let partials = &mut device.layer_norm.partials;
    let (rows, dropout) = (RowsArgs::new(Rows::Tokens, batch), DropoutArgs::new(dropout, batch));
    let (first, second) = (table.norm.gamma.start, Some(table.norm.beta.start));
    let to = Destination { first, second, write: Write::Add, count: rows.count_address() };
    let grid = [partials.blocks(), 1, 1];
    let mut partial = partials.take(&device.launcher, gradients, to)?;
    let [word, position, kind] = [table.word, table.position, table.kind].map(|view| weights.matrix(view));
    let gamma = weights.vector(table.norm.gamma);
    let (header, ids, types) = (batch.header(), batch.ids(), batch.types());
    // SAFETY: as for the forward pass; d_sum has a row of `width` for each token of the capacity, the slot 2 · `width` elements
    // for each block.
    unsafe {
        device.launcher.launch(backward, grid, geometry::ROW_THREADS, 0, |args| {
            args.arg(d_sum).arg(&mut partial).arg(d_x).arg(mean).arg(rstd).arg(&word).arg(&position).arg(&kind);
            args.arg(&gamma).arg(&header).arg(&ids).arg(&types).arg(&rows).arg(&shape.width).arg(&dropout);
        })
    }
}

/// Two types share a slot.
fn backward_types<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    batch: &CudaBatch,
    table: View,
) -> Result<()> {
    let Embedder { backward_types, d_sum, shape, .. } = &device.embedding;
    let partials = &mut device.layer_norm.partials;
    let (rows, types, width) = (RowsArgs::new(Rows::Tokens, batch), batch.types(), shape.width as usize);
    let grid = [partials.blocks(), 1, 1];
    for kind in (0..table.len / width).step_by(2) {
        let first = table.start + kind * width;
        let second = Some(first + width).filter(|&second| second < table.range().end);
        let to = Destination { first, second, write: Write::Add, count: rows.count_address() };
        let mut partial = partials.take(&device.launcher, gradients, to)?;
        let kind = kind as u32;
        // SAFETY: d_sum has a row of `width` for each token of the capacity, the slot 2 · `width` elements for each block.
        unsafe {
            device.launcher.launch(backward_types, grid, geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut partial).arg(d_sum).arg(&types).arg(&rows).arg(&shape.width).arg(&kind);
            })?;
        }
    }
    Ok(())
}

/// Rows of the word and position tables.
fn scatter<E: Element>(
    device: &CudaDevice<E>,
    gradients: &mut CudaGradients,
    batch: &CudaBatch,
    table: &Embeddings,
) -> Result<()> {
    let Embedder { backward_words, backward_positions, d_sum, shape, .. } = &device.embedding;
    let width = shape.width;
    let stripes = width.div_ceil(geometry::WARP * PACK as u32);
    let warps = (geometry::ROW_THREADS / geometry::WARP) as usize;
    let grid = |rows: usize| [rows.div_ceil(warps) as u32, stripes, 1];
    let (header, order, run_ids, run_starts) = (batch.header(), batch.order(), batch.run_ids(), batch.run_starts());
    let offsets = batch.offsets();
    let mut words = gradients.arena.slice_mut(table.word.range());
    // SAFETY: runs are at most as many as tokens; their words have rows in the table and flags in `touched`, their tokens rows in
    // d_sum.
    unsafe {
        device.launcher.launch(backward_words, grid(batch.bucket().tokens), geometry::ROW_THREADS, 0, |args| {
            args.arg(&mut words).arg(&mut gradients.touched).arg(d_sum).arg(&header).arg(&order);
            args.arg(&run_ids).arg(&run_starts).arg(&width);
        })?;
    }
    let mut positions = gradients.arena.slice_mut(table.position.range());
    // SAFETY: positions below that of the longest sequence have rows in the table, the tokens of all sequences rows in d_sum.
    unsafe {
        device.launcher.launch(backward_positions, grid(batch.bucket().length), geometry::ROW_THREADS, 0, |args| {
            args.arg(&mut positions).arg(d_sum).arg(&header).arg(&offsets).arg(&width);
        })
    }
}

pub fn begin_step<E: Element>(
    device: &mut CudaDevice<E>,
    gradients: &mut CudaGradients,
    table: &Embeddings,
) -> Result<()> {
    let Embedder { clear, shape, .. } = &device.embedding;
    let views = [table.position, table.kind, table.norm.gamma, table.norm.beta];
    let packs = views.map(|view| view.len.div_ceil(PACK));
    let stretches =
        Stretches { start: views.map(|view| (view.start / PACK) as u32), packs: packs.map(|packs| packs as u32) };
    let (start, vocabulary) = (table.word.start as u32, table.word.len as u32 / shape.width);
    let threads = geometry::ROW_THREADS;
    let blocks = vocabulary.div_ceil(threads) + (packs.iter().sum::<usize>() as u32).div_ceil(threads);
    // SAFETY: the views lie in the arena, which has the word table's rows at `start`; `touched` has a flag for each of them.
    unsafe {
        device.launcher.launch(clear, [blocks, 1, 1], threads, 0, |args| {
            args.arg(&mut gradients.arena).arg(&mut gradients.touched).arg(&stretches);
            args.arg(&start).arg(&vocabulary).arg(&shape.width);
        })
    }
}

pub fn gather_first<E: Element>(
    device: &mut CudaDevice<E>,
    first: &mut CudaSlice<E>,
    x: &CudaSlice<E>,
    batch: &CudaBatch,
) -> Result<()> {
    let (kernel, packs) = (&device.embedding.gather_first, device.embedding.shape.width / PACK as u32);
    let (header, offsets, threads) = (batch.header(), batch.offsets(), geometry::ELEMENTWISE_THREADS);
    let grid = [(batch.bucket().sequences as u32 * packs).div_ceil(threads), 1, 1];
    // SAFETY: first has a row of `packs` packs for each sequence, x one for each token.
    unsafe {
        device.launcher.launch(kernel, grid, threads, 0, |args| {
            args.arg(first).arg(x).arg(&header).arg(&offsets).arg(&packs);
        })
    }
}

pub fn scatter_first<E: Element>(
    device: &mut CudaDevice<E>,
    d_x: &mut CudaSlice<E>,
    first: &CudaSlice<E>,
    batch: &CudaBatch,
) -> Result<()> {
    let (kernel, packs) = (&device.embedding.scatter_first, device.embedding.shape.width / PACK as u32);
    let (header, offsets, positions) = (batch.header(), batch.offsets(), batch.positions());
    let threads = geometry::ELEMENTWISE_THREADS;
    let grid = [(batch.bucket().tokens as u32 * packs).div_ceil(threads), 1, 1];
    // SAFETY: d_x has a row of `packs` packs for each token, first one for each sequence.
    unsafe {
        device.launcher.launch(kernel, grid, threads, 0, |args| {
            args.arg(d_x).arg(first).arg(&header).arg(&offsets).arg(&positions).arg(&packs);
        })
    }
}
