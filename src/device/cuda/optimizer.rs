//! The gradient norm and the optimizer's one pass over the arenas (kernels/optimizer.cu).

use std::{marker::PhantomData, sync::Arc};

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, PushKernelArg, ValidAsZeroBits};

use super::{
    CudaDevice, CudaGradients, CudaParameters, Setup,
    element::Element,
    fault::Place,
    kernels::{Kernel, geometry},
    launch::Launcher,
    memory::{write, zeros},
};
use crate::{
    Result,
    device::{Follow, Mean, OptimizerOps, ParameterRange, Teacher, TrainingState, Update},
};

/// Elements that a thread takes.
const PACK: usize = 8;
/// Elements that a block of the update takes.
const CHUNK: usize = geometry::UPDATE_THREADS as usize * PACK;

/// A stretch of the arena that one block updates. Mirrors `Chunk` in kernels/optimizer.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    start: u32,
    len: u32,
    range: u32,
}

// SAFETY: plain words, for which zeros are a valid value, laid out as the kernel's struct.
unsafe impl DeviceRepr for Chunk {}
// SAFETY: as above.
unsafe impl ValidAsZeroBits for Chunk {}

/// Learning rate and decay of a range: the kernel's float2.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    lr: f32,
    decay: f32,
}

// SAFETY: two floats, for which zeros are a valid value.
unsafe impl DeviceRepr for Rate {}
// SAFETY: as above.
unsafe impl ValidAsZeroBits for Rate {}

/// Mirrors `AdamW` in kernels/optimizer.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct AdamW {
    beta1: f32,
    beta2: f32,
    eps: f32,
    clip: f32,
    step_number: u32,
}

// SAFETY: plain words, laid out as the kernel's struct.
unsafe impl DeviceRepr for AdamW {}

/// Mirrors `Follower` in kernels/optimizer.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Follower {
    mean: u64,
    rest: u64,
    working: u64,
    slot: u64,
    ring: u64,
    mode: i32,
    filled: i32,
    resum: i32,
    weight: f32,
}

// SAFETY: addresses and plain words, laid out as the kernel's struct.
unsafe impl DeviceRepr for Follower {}

/// `FollowMode` of kernels/optimizer.cu.
const WINDOW: i32 = 1;
const STORE: i32 = 2;
const BEFORE: i32 = 3;
const AFTER: i32 = 4;

/// Kernels, and what they share.
pub struct Optimizer<E: Element> {
    norm: Kernel,
    update: Kernel,
    working_copy: Option<Kernel>,
    partials: CudaSlice<f64>, // [NORM_BLOCKS]
    /// `Outcome` of kernels/optimizer.cu: ‖g‖₂ of the last step, and how many steps were skipped.
    pub outcome: CudaSlice<f64>, // [2]
    /// Made at the first update, when the ranges are known.
    tables: Option<Tables>,
    element: PhantomData<E>,
}

/// What the update knows of the arena.
struct Tables {
    chunks: CudaSlice<Chunk>,
    chunk_count: u32,
    rates: CudaSlice<Rate>,
    host_rates: Vec<Rate>,
    /// Addresses of the window's slots.
    ring: CudaSlice<u64>,
}

impl<E: Element> Optimizer<E> {
    pub fn new(setup: &Setup) -> Result<Self> {
        let &Setup { kernels, stream, device, .. } = setup;
        Ok(Self {
            norm: kernels.get("gradient_norm")?,
            update: kernels.of::<E>("update_bf16", "update_f32")?,
            working_copy: if E::STORAGE.copies_weights { Some(kernels.get("working_copy_bf16")?) } else { None },
            partials: zeros(stream, device, geometry::NORM_BLOCKS as usize)?,
            outcome: zeros(stream, device, 2)?,
            tables: None,
            element: PhantomData,
        })
    }
}

impl Tables {
    fn new<E: Element>(
        stream: &Arc<CudaStream>,
        device: &Place,
        ranges: &[ParameterRange],
        teacher: Option<&Teacher<CudaDevice<E>>>,
    ) -> Result<Self> {
        let chunks: Vec<Chunk> = (0..)
            .zip(ranges)
            .flat_map(|(number, range)| {
                (0..range.len).step_by(CHUNK).map(move |at| Chunk {
                    start: (range.start + at) as u32,
                    len: CHUNK.min(range.len - at) as u32,
                    range: number,
                })
            })
            .collect();
        let slots: Vec<u64> = match teacher {
            Some(Teacher::Window { ring, .. }) => ring.iter().map(|slot| address(stream, slot)).collect(),
            _ => Vec::new(),
        };
        let mut tables = Self {
            chunks: zeros(stream, device, chunks.len())?,
            chunk_count: chunks.len() as u32,
            rates: zeros(stream, device, ranges.len())?,
            host_rates: Vec::with_capacity(ranges.len()),
            ring: zeros(stream, device, slots.len())?,
        };
        write(stream, device, &mut tables.chunks, &chunks)?;
        write(stream, device, &mut tables.ring, &slots)?;
        Ok(tables)
    }
}

fn address<T>(stream: &Arc<CudaStream>, buffer: &CudaSlice<T>) -> u64 {
    buffer.device_ptr(stream).0
}

fn of_mean<E: Element>(stream: &Arc<CudaStream>, mean: &Mean<CudaDevice<E>>, mode: i32, weight: f64) -> Follower {
    Follower { rest: address(stream, &mean.rest), mode, weight: weight as f32, ..of_parameters(stream, &mean.value) }
}

fn of_parameters<E: Element>(stream: &Arc<CudaStream>, parameters: &CudaParameters<E>) -> Follower {
    let working = parameters.working.as_ref().map_or(0, |working| address(stream, working));
    Follower { mean: address(stream, &parameters.master), working, ..Follower::default() }
}

fn of_teacher<E: Element>(
    stream: &Arc<CudaStream>,
    teacher: Option<&Teacher<CudaDevice<E>>>,
    follow: Follow,
    ring_table: u64,
) -> Follower {
    match (teacher, follow) {
        (Some(Teacher::Window { mean, ring }), Follow::Window { slot, filled }) => Follower {
            slot: address(stream, &ring[slot]),
            ring: ring_table,
            mode: WINDOW,
            filled: filled as i32,
            // Moving the mean on rounds once a step; while the ring fills, and once a round after that, it is made anew, so
            // that roundings do not pile up.
            resum: i32::from(slot + 1 == filled),
            ..of_parameters(stream, mean)
        },
        (Some(Teacher::Stored { ring }), Follow::Store { slot }) => {
            Follower { mode: STORE, ..of_parameters(stream, &ring[slot]) }
        }
        (Some(Teacher::Mean(mean)), Follow::Before { weight }) => of_mean(stream, mean, BEFORE, weight),
        (Some(Teacher::Mean(mean)), Follow::After { weight }) => of_mean(stream, mean, AFTER, weight),
        _ => Follower::default(),
    }
}

impl<E: Element> OptimizerOps for CudaDevice<E> {
    fn gradient_norm(&mut self, gradients: &CudaGradients) -> Result<()> {
        let Optimizer { norm, partials, .. } = &mut self.optimizer;
        let packs = (gradients.arena.len() / PACK) as u32;
        let grid = [geometry::NORM_BLOCKS, 1, 1];
        // SAFETY: a partial sum a block; `packs` packs lie in the arena, whose length is a multiple of PACK.
        unsafe {
            self.launcher.launch(norm, grid, geometry::NORM_THREADS, 0, |args| {
                args.arg(partials).arg(&gradients.arena).arg(&packs);
            })
        }
    }

    fn update(
        &mut self,
        state: &mut TrainingState<CudaDevice<E>>,
        gradients: &CudaGradients,
        ranges: &[ParameterRange],
        update: &Update,
    ) -> Result<()> {
        let launcher = &self.launcher;
        let (stream, name) = (&launcher.stream, &launcher.device);
        let Optimizer { update: kernel, partials, outcome, tables, .. } = &mut self.optimizer;
        if tables.is_none() {
            *tables = Some(Tables::new(stream, name, ranges, state.teacher.as_ref())?);
        }
        let Some(Tables { chunks, chunk_count, rates, host_rates, ring }) = tables else { return Ok(()) };
        host_rates.clear();
        host_rates.extend(ranges.iter().map(|range| Rate { lr: range.lr, decay: range.decay }));
        write(stream, name, rates, host_rates)?;
        let teacher = of_teacher(stream, state.teacher.as_ref(), update.teacher, address(stream, ring));
        let average = match (&state.average, update.average) {
            (Some(mean), Follow::After { weight }) => of_mean(stream, mean, AFTER, weight),
            _ => Follower::default(),
        };
        let &Update { beta1, beta2, eps, clip, step_number, .. } = update;
        let adamw = AdamW { beta1, beta2, eps, clip, step_number: step_number as u32 };
        let TrainingState { student, first_moment, second_moment, .. } = state;
        let working = student.working.as_ref().map_or(0, |working| address(stream, working));
        // SAFETY: chunks lie inside the arenas, which all have one length; the followers' addresses are of arenas that `state`
        // owns, as is `working`; a rate a range, a partial sum a block of the norm.
        unsafe {
            launcher.launch(kernel, [*chunk_count, 1, 1], geometry::UPDATE_THREADS, 0, |args| {
                args.arg(&mut student.master).arg(&working).arg(first_moment).arg(second_moment).arg(outcome);
                args.arg(&teacher)
                    .arg(&average)
                    .arg(&gradients.arena)
                    .arg(&*partials)
                    .arg(&*chunks)
                    .arg(&*rates)
                    .arg(&adamw);
            })
        }
    }

    fn set_skips(&mut self, skips: u64) -> Result<()> {
        let Launcher { stream, device: place, .. } = &self.launcher;
        write(stream, place, &mut self.optimizer.outcome, &[0.0, skips as f64])
    }
}

/// Makes the copy of an arena in the working precision.
pub fn working_copy<E: Element>(
    device: &CudaDevice<E>,
    copy: &mut CudaSlice<E>,
    master: &CudaSlice<f32>,
) -> Result<()> {
    let Some(kernel) = &device.optimizer.working_copy else { return Ok(()) };
    let packs = (master.len() / PACK) as u32;
    let threads = geometry::ELEMENTWISE_THREADS;
    // SAFETY: both have `packs` packs.
    unsafe {
        device.launcher.launch(kernel, [packs.div_ceil(threads), 1, 1], threads, 0, |args| {
            args.arg(copy).arg(master).arg(&packs);
        })
    }
}
