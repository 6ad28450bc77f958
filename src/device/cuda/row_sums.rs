//! Sums over rows in two stages: blocks leave theirs in slots, one launch folds all slots of a backward pass
//! (kernels/layer_norm.cu).
//!
//! A slot holds the sums of two vectors [C] (d_γ and d_β, or the gradients of two token types) of each block, and the
//! table that the fold takes by value says where they go. Slots are taken in the order of the calls, so the launches of
//! a recorded pass find theirs again. A pass with more sums than slots folds as often as they run out.

use std::mem::offset_of;

use cudarc::driver::{CudaSlice, CudaViewMut, DeviceRepr, PushKernelArg};

use super::{
    CudaGradients, Setup,
    kernels::{Kernel, PACK, geometry},
    launch::Launcher,
};
use crate::{Result, device::Write};

const SLOTS: usize = geometry::NORM_SLOTS as usize;
/// Elements of a fold's quads that one block takes.
const FOLD_COLUMNS: u32 = 4 * geometry::WARP;
/// `NOWHERE` in kernels/layer_norm.cu.
const NOWHERE: u32 = u32::MAX;

/// Where the sums of a slot go. Mirrors `Fold` in kernels/layer_norm.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Fold {
    count: u64,
    first: u32,
    second: u32,
    add: u32,
    unused: u32,
}

const _: () = assert!(size_of::<Fold>() == 24 && offset_of!(Fold, second) == 12 && offset_of!(Fold, add) == 16);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Folds([Fold; SLOTS]);

// SAFETY: addresses and plain words, laid out as the kernel's struct, which asserts the same.
unsafe impl DeviceRepr for Folds {}

/// Two vectors of the arena that get the sums of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination {
    /// First element of each.
    pub first: usize,
    pub second: Option<usize>,
    pub write: Write,
    /// Device address of the number of rows that are summed.
    pub count: u64,
}

/// How a row of C elements is shared out: a warp has it, or a block where it is too wide for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowShape {
    pub width: u32,
    wide: bool,
}

impl RowShape {
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where a block cannot hold a row.
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        let packs = setup.shape.hidden.div_ceil(PACK);
        let most = |threads: u32| (threads * geometry::ROW_PACKS) as usize;
        if packs > most(geometry::ROW_THREADS) {
            let most = most(geometry::ROW_THREADS) * PACK;
            let message = format!("the kernels take a hidden size of at most {most}, not {}", setup.shape.hidden);
            return Err(setup.device.error(message));
        }
        Ok(Self { width: setup.shape.hidden as u32, wide: packs > most(geometry::WARP) })
    }

    /// The kernel for this width.
    pub(crate) fn choose<T>(self, narrow: T, wide: T) -> T {
        if self.wide { wide } else { narrow }
    }

    /// Rows that a block has at a time.
    pub(crate) fn teams(self) -> u32 {
        if self.wide { 1 } else { geometry::ROW_THREADS / geometry::WARP }
    }

    /// Blocks of a kernel that gives each team one row.
    pub(crate) fn blocks(self, rows: usize) -> u32 {
        (rows as u32).div_ceil(self.teams())
    }
}

/// The slots, and those of them that the pass under way has taken.
pub(crate) struct RowSums {
    fold: Kernel,
    sums: CudaSlice<f32>, // [SLOTS, NORM_PARTIAL_BLOCKS, 2, C]
    shape: RowShape,
    taken: Vec<Fold>,
}

impl RowSums {
    pub(crate) fn new(setup: &Setup, sums: CudaSlice<f32>, shape: RowShape) -> Result<Self> {
        Ok(Self { fold: setup.kernels.get("norm_fold")?, sums, shape, taken: Vec::with_capacity(SLOTS) })
    }

    /// Numbers of all slots.
    pub(crate) fn len(width: usize) -> usize {
        SLOTS * geometry::NORM_PARTIAL_BLOCKS as usize * 2 * width
    }

    /// Blocks of a kernel that fills a slot: those after the last row return at once.
    pub(crate) fn blocks(&self) -> u32 {
        geometry::NORM_PARTIAL_BLOCKS
    }

    /// The next slot. A destination is taken once between two folds.
    pub(crate) fn take(
        &mut self,
        launcher: &Launcher,
        gradients: &mut CudaGradients,
        to: Destination,
    ) -> Result<CudaViewMut<'_, f32>> {
        if self.taken.len() == SLOTS {
            self.fold(launcher, gradients)?;
        }
        let slot = self.taken.len();
        let second = to.second.map_or(NOWHERE, |start| start as u32);
        let add = u32::from(to.write == Write::Add);
        self.taken.push(Fold { count: to.count, first: to.first as u32, second, add, unused: 0 });
        let len = Self::len(self.shape.width as usize) / SLOTS;
        Ok(self.sums.slice_mut(slot * len..(slot + 1) * len))
    }

    /// Folds the slots that are taken, and gives them back.
    pub(crate) fn fold(&mut self, launcher: &Launcher, gradients: &mut CudaGradients) -> Result<()> {
        let Self { fold, sums, shape, taken } = self;
        if taken.is_empty() {
            return Ok(());
        }
        let mut folds = Folds([Fold::default(); SLOTS]);
        folds.0[..taken.len()].copy_from_slice(taken);
        let (blocks, width, teams) = (geometry::NORM_PARTIAL_BLOCKS, shape.width, shape.teams());
        let grid = [(2 * width).div_ceil(FOLD_COLUMNS), taken.len() as u32, 1];
        taken.clear();
        // SAFETY: a slot of the sums for each row of blocks; every destination is a view of `width` elements of the
        // arena, and every count an address in a batch.
        unsafe {
            launcher.launch(fold, grid, geometry::ROW_THREADS, 0, |args| {
                args.arg(&mut gradients.arena).arg(&*sums).arg(&folds).arg(&blocks).arg(&width).arg(&teams);
            })
        }
    }
}
