//! The gradient norm and the optimizer's one pass over the arenas (kernels/optimizer.cu).

use std::{
    marker::PhantomData,
    mem::{offset_of, size_of},
    sync::Arc,
};

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, PushKernelArg, ValidAsZeroBits};

use super::{
    CudaDevice, CudaGradients, CudaParameters, Setup,
    buffer::{write, zeros},
    element::Element,
    fault::{DeviceLabel, driver_error},
    kernels::{Kernel, PACK, geometry},
    launch::Launcher,
    pinned::Pinned,
};
use crate::{
    Result,
    device::{Blend, Follower, OptimizerOps, ParameterRange, Student, Update},
};

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

/// Learning rate and decay of a range. Mirrors `Rate` in kernels/optimizer.cu.
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

/// A [`Follower`] as addresses. Mirrors `Follower` in kernels/optimizer.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct FollowerAddresses {
    mean: u64,
    rest: u64,
    working: u64,
    slot: u64,
    ring: u64,
    mode: i32,
    filled: i32,
    sums: i32,
    weight: f32,
}

// SAFETY: addresses and plain words, laid out as the kernel's struct.
unsafe impl DeviceRepr for FollowerAddresses {}

/// `FollowMode` of kernels/optimizer.cu; 0 stays.
const WINDOW: i32 = 1;
const COPY: i32 = 2;
const BEFORE: i32 = 3;
const AFTER: i32 = 4;

// The kernels assert the same numbers of their own structs.
const _: () = {
    assert!(size_of::<Chunk>() == 12 && offset_of!(Chunk, len) == 4 && offset_of!(Chunk, range) == 8);
    assert!(size_of::<Rate>() == 8 && offset_of!(Rate, decay) == 4);
    assert!(size_of::<AdamW>() == 20 && offset_of!(AdamW, clip) == 12 && offset_of!(AdamW, step_number) == 16);
    assert!(size_of::<FollowerAddresses>() == 56 && offset_of!(FollowerAddresses, ring) == 32);
    assert!(offset_of!(FollowerAddresses, mode) == 40 && offset_of!(FollowerAddresses, weight) == 52);
};

/// Kernels, and what they share.
pub(crate) struct Optimizer<E: Element> {
    norm: Kernel,
    update: Kernel,
    working_copy: Option<Kernel>,
    partials: CudaSlice<f64>, // [NORM_BLOCKS]
    /// `Outcome` of kernels/optimizer.cu: ‖g‖₂ of the last step, and how many steps were skipped.
    pub outcome: CudaSlice<f64>, // [2]
    /// Made at the first update, when the ranges are known.
    tables: Option<Tables>,
    ring: RingTable,
    element: PhantomData<E>,
}

/// What the update knows of the arena.
struct Tables {
    chunks: CudaSlice<Chunk>,
    chunk_count: u32,
    rates: CudaSlice<Rate>,
    /// Rates on their way, two that take turns: a copy from memory that is not pinned would wait for the step before.
    host_rates: [Pinned<Rate>; 2],
    /// Which of them the next update writes.
    turn: usize,
}

/// Addresses of a window's slots, on the device and here, where they tell whether an update has the ring of the one
/// before.
struct RingTable {
    addresses: CudaSlice<u64>, // [K]
    host: Vec<u64>,
}

impl<E: Element> Optimizer<E> {
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        let &Setup { kernels, stream, device, .. } = setup;
        Ok(Self {
            norm: kernels.get("gradient_norm")?,
            update: kernels.of::<E>("update_bf16", "update_f32")?,
            working_copy: if E::STORAGE.copies_weights { Some(kernels.get("working_copy_bf16")?) } else { None },
            partials: zeros(stream, device, geometry::NORM_BLOCKS as usize)?,
            outcome: zeros(stream, device, 2)?,
            tables: None,
            ring: RingTable { addresses: zeros(stream, device, 0)?, host: Vec::new() },
            element: PhantomData,
        })
    }
}

impl Tables {
    fn new(launcher: &Launcher, ranges: &[ParameterRange]) -> Result<Self> {
        let Launcher { stream, device, .. } = launcher;
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
        let pinned = || Pinned::new(stream.context(), ranges.len());
        let pinned = || pinned().map_err(driver_error(device, "allocate pinned memory"));
        let mut tables = Self {
            chunks: zeros(stream, device, chunks.len())?,
            chunk_count: chunks.len() as u32,
            rates: zeros(stream, device, ranges.len())?,
            host_rates: [pinned()?, pinned()?],
            turn: 0,
        };
        write(stream, device, &mut tables.chunks, &chunks)?;
        Ok(tables)
    }

    /// Sends the rates of an update.
    fn send_rates(&mut self, launcher: &Launcher, ranges: &[ParameterRange]) -> Result<()> {
        let Launcher { stream, device, .. } = launcher;
        self.turn = 1 - self.turn;
        let rates = &mut self.host_rates[self.turn];
        // Waits for the copy of the update before the last.
        let words = rates.write().map_err(driver_error(device, "reuse pinned memory"))?;
        for (rate, range) in words.iter_mut().zip(ranges) {
            *rate = Rate { lr: range.lr, decay: range.decay };
        }
        rates.copy_to(stream, &mut self.rates).map_err(driver_error(device, "send learning rates"))
    }
}

impl RingTable {
    /// Where the addresses of these slots are.
    fn holding(&mut self, stream: &Arc<CudaStream>, device: &DeviceLabel, slots: &[CudaSlice<f32>]) -> Result<u64> {
        let addresses = || slots.iter().map(|slot| address(stream, slot));
        if !addresses().eq(self.host.iter().copied()) {
            let host: Vec<u64> = addresses().collect();
            self.addresses = zeros(stream, device, slots.len())?;
            write(stream, device, &mut self.addresses, &host)?;
            self.host = host;
        }
        Ok(address(stream, &self.addresses))
    }
}

fn address<T>(stream: &Arc<CudaStream>, buffer: &CudaSlice<T>) -> u64 {
    buffer.device_ptr(stream).0
}

fn working_address<E: Element>(stream: &Arc<CudaStream>, parameters: &CudaParameters<E>) -> u64 {
    parameters.working.as_ref().map_or(0, |working| address(stream, working))
}

impl FollowerAddresses {
    fn parameters<E: Element>(stream: &Arc<CudaStream>, mode: i32, parameters: &CudaParameters<E>) -> Self {
        let mean = address(stream, &parameters.master);
        Self { mean, working: working_address(stream, parameters), mode, ..Self::default() }
    }

    fn blend<E: Element>(stream: &Arc<CudaStream>, mode: i32, blend: &Blend<CudaDevice<E>>) -> Self {
        let (rest, weight) = (address(stream, &blend.mean.rest), blend.weight as f32);
        Self { rest, weight, ..Self::parameters(stream, mode, &blend.mean.value) }
    }

    fn follower<E: Element>(
        stream: &Arc<CudaStream>,
        device: &DeviceLabel,
        table: &mut RingTable,
        follower: &Follower<CudaDevice<E>>,
    ) -> Result<Self> {
        Ok(match follower {
            Follower::Window { window, number } => {
                let turn = window.turn(*number);
                Self {
                    slot: address(stream, &window.ring()[turn.slot]),
                    ring: table.holding(stream, device, window.ring())?,
                    filled: turn.filled as i32,
                    sums: i32::from(turn.is_last()),
                    ..Self::parameters(stream, WINDOW, &window.mean)
                }
            }
            Follower::Copy(copy) => Self::parameters(stream, COPY, copy),
            Follower::Before(blend) => Self::blend(stream, BEFORE, blend),
            Follower::After(blend) => Self::blend(stream, AFTER, blend),
        })
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
        student: &mut Student<Self>,
        gradients: &CudaGradients,
        ranges: &[ParameterRange],
        update: Update<Self>,
    ) -> Result<()> {
        let launcher = &self.launcher;
        let (stream, name) = (&launcher.stream, &launcher.device);
        let Optimizer { update: kernel, partials, outcome, tables, ring, .. } = &mut self.optimizer;
        let tables = match tables {
            Some(tables) => tables,
            None => tables.insert(Tables::new(launcher, ranges)?),
        };
        tables.send_rates(launcher, ranges)?;
        let Update { step_number, beta1, beta2, eps, clip, teacher, average } = update;
        let teacher = match &teacher {
            Some(follower) => FollowerAddresses::follower(stream, name, ring, follower)?,
            None => FollowerAddresses::default(),
        };
        let average =
            average.map_or_else(FollowerAddresses::default, |blend| FollowerAddresses::blend(stream, AFTER, &blend));
        let adamw = AdamW { beta1, beta2, eps, clip, step_number: step_number as u32 };
        let Student { weights, first_moment, second_moment } = student;
        let working = working_address(stream, weights);
        // SAFETY: chunks lie inside the arenas, which all have one length; the followers' addresses are of arenas that
        // `update` borrows and of a table that lives as long as the device, `working` is of the student; a rate a
        // range, a partial sum a block of the norm.
        unsafe {
            launcher.launch(kernel, [tables.chunk_count, 1, 1], geometry::UPDATE_THREADS, 0, |args| {
                args.arg(&mut weights.master).arg(&working).arg(first_moment).arg(second_moment).arg(outcome);
                args.arg(&teacher)
                    .arg(&average)
                    .arg(&gradients.arena)
                    .arg(&*partials)
                    .arg(&tables.chunks)
                    .arg(&tables.rates)
                    .arg(&adamw);
            })
        }
    }

    fn set_skips(&mut self, skips: u64) -> Result<()> {
        let Launcher { stream, device, .. } = &self.launcher;
        write(stream, device, &mut self.optimizer.outcome, &[0.0, skips as f64])
    }
}

/// Makes the copy of an arena in the working precision.
pub(crate) fn working_copy<E: Element>(
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
