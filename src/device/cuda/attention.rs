//! Attention: of all tokens (kernels/attention.cu, attention_backward.cu, attention_f32.cu) and of first tokens only
//! (kernels/attention_first.cu).
//!
//! Kernels are compiled for the head sizes of `HEAD_SIZES`; another multiple of 8 runs on the next larger one, whose
//! columns beyond it are zeros in shared memory. Heads of other sizes come filled up to one ([`Shape`]). A block owns rows of one head of one sequence: grids are (blocks of rows of the
//! longest sequence, sequences, heads).

use std::{marker::PhantomData, mem::offset_of};

use cudarc::driver::{CudaSlice, DeviceRepr, PushKernelArg, sys::CUfunction_attribute_enum};

use super::{
    CudaBatch, CudaDevice, Setup,
    arguments::DropoutArgs,
    element::Element,
    fault::{DeviceLabel, driver_error},
    kernels::{Kernel, Kernels, PACK, geometry},
    launch::ByDropout,
};
use crate::{
    Result,
    device::{
        Attended, AttendedFirst, AttentionOps, Dropout, Matrix, Shape, Uploaded,
        attention::{check, check_first},
        check::Check,
    },
};

/// Names of the forward, the query and the key-value pass.
type Names = [ByDropout<&'static str>; 3];

/// The kernels of a head size, in bf16 and in float32.
struct HeadSize {
    columns: usize,
    bf16: Names,
    f32: Names,
}

/// Both forms of a kernel: `_dropout` stands before the precision.
macro_rules! by_dropout {
    ($pass:literal, $form:literal) => {
        ByDropout { drops: concat!($pass, "_dropout", $form), keeps: concat!($pass, $form) }
    };
}

/// [`Names`] that end in the precision and the head size.
macro_rules! passes {
    ($form:literal) => {
        [
            by_dropout!("attention_forward", $form),
            by_dropout!("attention_backward_query", $form),
            by_dropout!("attention_backward_key_value", $form),
        ]
    };
}

/// Head sizes that have kernels.
const HEAD_SIZES: [HeadSize; 5] = [
    HeadSize { columns: 16, bf16: passes!("_bf16_d16"), f32: passes!("_f32_d16") },
    HeadSize { columns: 32, bf16: passes!("_bf16_d32"), f32: passes!("_f32_d32") },
    HeadSize { columns: 64, bf16: passes!("_bf16_d64"), f32: passes!("_f32_d64") },
    HeadSize { columns: 96, bf16: passes!("_bf16_d96"), f32: passes!("_f32_d96") },
    HeadSize { columns: 128, bf16: passes!("_bf16_d128"), f32: passes!("_f32_d128") },
];

/// Where the sequences of a batch lie. Mirrors `Sequences` in kernels/attention.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct SequencesArgs {
    header: u64,
    offsets: u64,
    slots: u64,
}

const _: () = assert!(size_of::<SequencesArgs>() == 24 && offset_of!(SequencesArgs, slots) == 16);
// SAFETY: three device addresses, laid out as the kernel's struct, which asserts the same.
unsafe impl DeviceRepr for SequencesArgs {}

impl SequencesArgs {
    fn new(batch: &CudaBatch) -> Self {
        Self { header: batch.header(), offsets: batch.offsets(), slots: batch.slots() }
    }
}

/// How the columns are cut into heads. Mirrors `Heads` in kernels/attention.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct HeadsArgs {
    width: u32,
    columns: u32,
    root: f32,
}

const _: () = assert!(size_of::<HeadsArgs>() == 12 && offset_of!(HeadsArgs, root) == 8);
// SAFETY: three numbers, laid out as the kernel's struct, which asserts the same.
unsafe impl DeviceRepr for HeadsArgs {}

impl HeadsArgs {
    fn new(shape: &Shape) -> Self {
        Self { width: shape.attention as u32, columns: shape.head_size as u32, root: shape.score_scale() }
    }
}

/// −lse · log₂e and d_ctx · ctx of a row: the kernel's float2.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowStatistics {
    shift: f32,
    delta: f32,
}

const _: () = assert!(size_of::<RowStatistics>() == 8 && offset_of!(RowStatistics, delta) == 4);
// SAFETY: two floats, laid out as the kernel's float2.
unsafe impl DeviceRepr for RowStatistics {}
// SAFETY: zeros are two floats.
unsafe impl cudarc::driver::ValidAsZeroBits for RowStatistics {}

/// A kernel of all tokens, and the dynamic shared memory of its block.
struct Tiled {
    kernel: Kernel,
    shared_bytes: u32,
}

impl Tiled {
    /// `tiles`: tiles [rows, D] and tiles of probabilities [rows, rows] that a float32 block has in shared memory.
    fn new<E: Element>(
        kernels: &Kernels,
        device: &DeviceLabel,
        name: &'static str,
        size: usize,
        tiles: [u32; 2],
    ) -> Result<Self> {
        let (rows, pad) = (geometry::ATTENTION_ROWS_F32, geometry::ATTENTION_PAD_F32);
        let floats = rows * (tiles[0] * (size as u32 + pad) + tiles[1] * (rows + pad));
        let kernel = kernels.get(name)?;
        let shared_bytes = E::choose(0, floats * size_of::<f32>() as u32);
        let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let allowed = kernel.function.set_attribute(attribute, shared_bytes as i32);
        allowed.map_err(driver_error(device, format!("give {} its shared memory", kernel.name)))?;
        Ok(Self { kernel, shared_bytes })
    }
}

/// Kernels, and what passes between them.
pub(crate) struct Attention<E: Element> {
    forward: ByDropout<Tiled>,
    backward_query: ByDropout<Tiled>,
    backward_key_value: ByDropout<Tiled>,
    first_forward: ByDropout<Kernel>,
    first_backward: ByDropout<Kernel>,
    /// Threads that share a head's row in the first-token kernels.
    lanes: u32,
    /// From the query pass to the key-value pass.
    statistics: CudaSlice<RowStatistics>, // [H, T]
    element: PhantomData<E>,
}

impl<E: Element> Attention<E> {
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where a head is larger than the kernels know.
    pub(crate) fn new(setup: &Setup, statistics: CudaSlice<RowStatistics>) -> Result<Self> {
        let &Setup { kernels, device, shape, .. } = setup;
        let d = shape.head_size;
        let Some(&HeadSize { columns, bf16, f32 }) = HEAD_SIZES.iter().find(|size| d <= size.columns) else {
            let message = format!(
                "attention heads of {d} columns are larger than the kernels know ({}): run on the processor with \
                 --device cpu",
                HEAD_SIZES[HEAD_SIZES.len() - 1].columns
            );
            return Err(device.error(message));
        };
        let [forward, query, key_value] = E::choose(bf16, f32);
        let tiled = |names: ByDropout<&'static str>, tiles| {
            names.try_map(|name| Tiled::new::<E>(kernels, device, name, columns, tiles))
        };
        let first = |bf16: ByDropout<&'static str>, f32| E::choose(bf16, f32).try_map(|name| kernels.get(name));
        Ok(Self {
            forward: tiled(forward, [3, 1])?,
            backward_query: tiled(query, [4, 1])?,
            backward_key_value: tiled(key_value, [4, 2])?,
            first_forward: first(
                by_dropout!("attention_first_forward", "_bf16"),
                by_dropout!("attention_first_forward", "_f32"),
            )?,
            first_backward: first(
                by_dropout!("attention_first_backward", "_bf16"),
                by_dropout!("attention_first_backward", "_f32"),
            )?,
            lanes: d.div_ceil(PACK).next_power_of_two() as u32,
            statistics,
            element: PhantomData,
        })
    }
}

/// (blocks of rows, sequences, heads).
fn grid<E: Element>(shape: &Shape, batch: &CudaBatch) -> [u32; 3] {
    let rows = E::choose(geometry::ATTENTION_ROWS, geometry::ATTENTION_ROWS_F32);
    let bucket = batch.bucket();
    [(bucket.length as u32).div_ceil(rows), bucket.sequences as u32, shape.heads as u32]
}

/// (sequences, heads).
fn first_grid(shape: &Shape, batch: &CudaBatch) -> [u32; 3] {
    [batch.bucket().sequences as u32, shape.heads as u32, 1]
}

impl<E: Element> AttentionOps for CudaDevice<E> {
    fn attention(
        &mut self,
        ctx: &mut Matrix<Self>,
        lse: &mut CudaSlice<f32>,
        qkv: &Matrix<Self>,
        dropout: Dropout,
        batch: &CudaBatch,
    ) -> Result<()> {
        let Self { launcher, shape, attention: Attention { forward, .. }, .. } = self;
        check(shape, batch, lse, &[("ctx", ctx)], &[("qkv", qkv)]);
        let forward = forward.choose(dropout);
        let (sequences, dropout) = (SequencesArgs::new(batch), DropoutArgs::new(dropout, batch));
        let heads = HeadsArgs::new(shape);
        let (grid, threads) = (grid::<E>(shape, batch), geometry::ATTENTION_THREADS);
        // SAFETY: checked above: T rows of A, 3A and H columns; the batch's sections hold its sequences.
        unsafe {
            launcher.launch(&forward.kernel, grid, threads, forward.shared_bytes, |args| {
                args.arg(&mut ctx.elements).arg(lse).arg(&qkv.elements);
                args.arg(&sequences).arg(&heads).arg(&dropout);
            })
        }
    }

    fn attention_backward(
        &mut self,
        d_qkv: &mut Matrix<Self>,
        d_ctx: &Matrix<Self>,
        kept: Attended<'_, Self>,
        dropout: Dropout,
        batch: &CudaBatch,
    ) -> Result<()> {
        let Self { launcher, shape, attention, .. } = self;
        let Attention { backward_query, backward_key_value, statistics, .. } = attention;
        let Attended { qkv, ctx, lse } = kept;
        check(shape, batch, lse, &[("d_ctx", d_ctx), ("ctx", ctx)], &[("d_qkv", d_qkv), ("qkv", qkv)]);
        Check("attention").vector("the statistics", statistics, shape.heads * batch.limits().tokens);
        let (backward_query, backward_key_value) = (backward_query.choose(dropout), backward_key_value.choose(dropout));
        let (sequences, dropout) = (SequencesArgs::new(batch), DropoutArgs::new(dropout, batch));
        let heads = HeadsArgs::new(shape);
        let (grid, threads) = (grid::<E>(shape, batch), geometry::ATTENTION_THREADS);
        let (d_qkv, d_ctx, qkv) = (&mut d_qkv.elements, &d_ctx.elements, &qkv.elements);
        // SAFETY: checked above: T rows of A, 3A and H columns; the batch's sections hold its sequences.
        unsafe {
            launcher.launch(&backward_query.kernel, grid, threads, backward_query.shared_bytes, |args| {
                args.arg(&mut *d_qkv).arg(&mut *statistics).arg(d_ctx).arg(qkv).arg(&ctx.elements).arg(lse);
                args.arg(&sequences).arg(&heads).arg(&dropout);
            })?;
            // The first launch has written the statistics; the two write different columns of d_qkv.
            launcher.launch(&backward_key_value.kernel, grid, threads, backward_key_value.shared_bytes, |args| {
                args.arg(d_qkv).arg(&*statistics).arg(d_ctx).arg(qkv);
                args.arg(&sequences).arg(&heads).arg(&dropout);
            })
        }
    }

    fn attention_first(
        &mut self,
        ctx: &mut Matrix<Self>,
        lse: &mut CudaSlice<f32>,
        q: &Matrix<Self>,
        kv: &Matrix<Self>,
        dropout: Dropout,
        batch: &CudaBatch,
    ) -> Result<()> {
        let Self { launcher, shape, attention: Attention { first_forward, lanes, .. }, .. } = self;
        check_first(shape, batch, lse, &[("ctx", ctx), ("q", q)], &[("kv", kv)]);
        let first_forward = first_forward.choose(dropout);
        let (sequences, dropout) = (SequencesArgs::new(batch), DropoutArgs::new(dropout, batch));
        let heads = HeadsArgs::new(shape);
        // SAFETY: checked above: B rows of A and H columns, T rows of 2A; the batch's sections hold its sequences.
        unsafe {
            launcher.launch(first_forward, first_grid(shape, batch), geometry::ATTENTION_FIRST_THREADS, 0, |args| {
                args.arg(&mut ctx.elements).arg(lse).arg(&q.elements).arg(&kv.elements);
                args.arg(&sequences).arg(&heads).arg(&*lanes).arg(&dropout);
            })
        }
    }

    fn attention_first_backward(
        &mut self,
        d_q: &mut Matrix<Self>,
        d_kv: &mut Matrix<Self>,
        d_ctx: &Matrix<Self>,
        kept: AttendedFirst<'_, Self>,
        dropout: Dropout,
        batch: &CudaBatch,
    ) -> Result<()> {
        let Self { launcher, shape, attention: Attention { first_backward, lanes, .. }, .. } = self;
        let AttendedFirst { q, kv, ctx, lse } = kept;
        let of_sequences = [("d_q", &*d_q), ("d_ctx", d_ctx), ("q", q), ("ctx", ctx)];
        check_first(shape, batch, lse, &of_sequences, &[("d_kv", d_kv), ("kv", kv)]);
        let first_backward = first_backward.choose(dropout);
        let (sequences, dropout) = (SequencesArgs::new(batch), DropoutArgs::new(dropout, batch));
        let heads = HeadsArgs::new(shape);
        // SAFETY: checked above: B rows of A and H columns, T rows of 2A; the batch's sections hold its sequences.
        unsafe {
            launcher.launch(first_backward, first_grid(shape, batch), geometry::ATTENTION_FIRST_THREADS, 0, |args| {
                args.arg(&mut d_q.elements).arg(&mut d_kv.elements).arg(&d_ctx.elements);
                args.arg(&q.elements).arg(&kv.elements).arg(&ctx.elements).arg(lse);
                args.arg(&sequences).arg(&heads).arg(&*lanes).arg(&dropout);
            })
        }
    }
}
