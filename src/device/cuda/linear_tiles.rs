//! Which block tile a product takes, and into how many parts the sum of a weight gradient is split.
//!
//! | tile (rows × columns, bytes of depth × stages) | for |
//! |---|---|
//! | large, 128 × 128, 64 × 4 | many tokens: 64 × 64 per warp, the fewest reads of shared memory per product |
//! | medium, 64 × 64, 128 × 3 | products whose large tiles leave a quarter of the multiprocessors idle |
//! | small, 32 × 64, 128 × 4 | the same of medium ones; one row per sequence |
//! | SIMT, 64 × 64, 64 × 2 | float32 |
//!
//! The first three are for bf16 and tf32, as tensor cores take either in rows of 32 bytes.
//!
//! Neither choice changes the bits of a forward product or of d_x. Those of a weight gradient depend on its shape and
//! the true number of rows, and on how many multiprocessors the GPU has.

use cudarc::driver::{CudaSlice, sys::CUfunction_attribute};

use super::{
    Setup,
    element::Element,
    fault::driver_error,
    kernels::{Kernel, geometry as sizes},
};
use crate::{
    Result,
    device::{Capacity, Shape},
};

/// How many blocks suit a GPU of so many multiprocessors (an A100 has 108, an H100 132).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multiprocessors(pub usize);

impl Multiprocessors {
    /// Blocks that keep most of them at work: with fewer, smaller tiles are faster, although they read more.
    const fn busy(self) -> usize {
        self.0 * 8 / 11
    }

    /// Tiles of a weight gradient from which on large ones are taken; parts of the sum make up the number of blocks.
    const fn busy_with_parts(self) -> usize {
        self.busy() / 3
    }

    /// Blocks that a weight gradient is split into at most: what registers allow on each.
    const fn split_blocks(self) -> usize {
        2 * self.0
    }
}

/// Parts that a sum is split into at most; the last block of a tile reads them one by one.
const MOST_PARTS: usize = 8;

/// A block's part of the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    rows: usize,
    columns: usize,
    /// Dynamic shared memory: the stages of both operands' tiles.
    shared_bytes: u32,
}

impl Tile {
    const fn tensor(rows: u32, columns: u32, depth_bytes: u32, stages: u32) -> Self {
        let shared_bytes = stages * (rows + columns) * depth_bytes;
        Self { rows: rows as usize, columns: columns as usize, shared_bytes }
    }

    const LARGE: Self =
        Self::tensor(sizes::GEMM_LARGE_M, sizes::GEMM_LARGE_N, sizes::GEMM_LARGE_DEPTH_BYTES, sizes::GEMM_LARGE_STAGES);
    const MEDIUM: Self = Self::tensor(
        sizes::GEMM_MEDIUM_M,
        sizes::GEMM_MEDIUM_N,
        sizes::GEMM_MEDIUM_DEPTH_BYTES,
        sizes::GEMM_MEDIUM_STAGES,
    );
    const SMALL: Self =
        Self::tensor(sizes::GEMM_SMALL_M, sizes::GEMM_SMALL_N, sizes::GEMM_SMALL_DEPTH_BYTES, sizes::GEMM_SMALL_STAGES);
    const SIMT: Self =
        Self { rows: sizes::GEMM_SIMT_M as usize, columns: sizes::GEMM_SIMT_N as usize, shared_bytes: 0 };

    fn along_rows(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows)
    }

    fn along_columns(&self, columns: usize) -> usize {
        columns.div_ceil(self.columns)
    }

    fn blocks(&self, rows: usize, columns: usize) -> usize {
        self.along_rows(rows) * self.along_columns(columns)
    }

    /// float32 numbers of a part of a tile's sum: the tile, and the row sums that make up d_b.
    fn partial(&self) -> usize {
        self.rows * self.columns + self.rows
    }
}

/// Names of an operation's kernels: `_bf16` and `_tf32` by tile, the largest first, and `_f32`, which has one tile.
pub(crate) struct Names<const TILES: usize> {
    pub bf16: [&'static str; TILES],
    pub tf32: [&'static str; TILES],
    pub f32: &'static str,
}

impl<const TILES: usize> Names<TILES> {
    fn get<E: Element>(&self) -> Vec<&'static str> {
        E::choose_product(self.bf16.to_vec(), self.tf32.to_vec(), vec![self.f32])
    }
}

/// [`Names`] of an operation's kernels in all precisions and in the tiles named, or in its only one.
macro_rules! names {
    ($operation:literal) => {
        $crate::device::cuda::linear_tiles::Names {
            bf16: [concat!($operation, "_bf16")],
            tf32: [concat!($operation, "_tf32")],
            f32: concat!($operation, "_f32"),
        }
    };
    ($operation:literal, $($tile:literal),+) => {
        $crate::device::cuda::linear_tiles::Names {
            bf16: [$(concat!($operation, "_bf16_", $tile)),+],
            tf32: [$(concat!($operation, "_tf32_", $tile)),+],
            f32: concat!($operation, "_f32"),
        }
    };
}

pub(super) use names;

/// The kernels of one operation, by tile, the largest first.
pub(crate) struct Tiled {
    tiles: Vec<Tile>,
    kernels: Vec<Kernel>,
    /// Blocks with which a tile is small enough.
    busy: usize,
}

/// A kernel and the grid that covers an output with its tiles.
pub(crate) struct Choice<'a> {
    pub kernel: &'a Kernel,
    pub tile: Tile,
    /// Tiles along the columns and along the rows.
    pub grid: [u32; 3],
    pub shared_bytes: u32,
}

/// The tiles that kernels for weight gradients are compiled for.
pub(crate) fn weight_tiles<E: Element>() -> Vec<Tile> {
    let tensor = vec![Tile::LARGE, Tile::MEDIUM];
    E::choose_product(tensor.clone(), tensor, vec![Tile::SIMT])
}

/// Number of the largest tile that makes `busy` blocks, or of the last, which is the smallest.
fn pick(tiles: &[Tile], rows: usize, columns: usize, busy: usize) -> usize {
    tiles.iter().position(|tile| tile.blocks(rows, columns) >= busy).unwrap_or(tiles.len() - 1)
}

impl Tiled {
    /// Products of a matrix of activations with weights.
    pub(crate) fn new<E: Element>(setup: &Setup, names: Names<3>) -> Result<Self> {
        let tensor = vec![Tile::LARGE, Tile::MEDIUM, Tile::SMALL];
        let tiles = E::choose_product(tensor.clone(), tensor, vec![Tile::SIMT]);
        Self::load(setup, tiles, &names.get::<E>(), setup.multiprocessors.busy())
    }

    /// Products with one row per sequence only.
    pub(crate) fn for_sequences<E: Element>(setup: &Setup, names: Names<1>) -> Result<Self> {
        let tile = E::choose_product(Tile::SMALL, Tile::SMALL, Tile::SIMT);
        Self::load(setup, vec![tile], &names.get::<E>(), setup.multiprocessors.busy())
    }

    /// Gradients of weights.
    pub(crate) fn for_weights<E: Element>(setup: &Setup, names: Names<2>) -> Result<Self> {
        let busy = setup.multiprocessors.busy_with_parts();
        Self::load(setup, weight_tiles::<E>(), &names.get::<E>(), busy)
    }

    fn load(setup: &Setup, tiles: Vec<Tile>, names: &[&'static str], busy: usize) -> Result<Self> {
        let load = |(tile, &name): (&Tile, &&'static str)| {
            let kernel = setup.kernels.get(name)?;
            let bytes = tile.shared_bytes;
            // More than 48 KB has to be asked for.
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let set = kernel.function.set_attribute(attribute, bytes as i32);
            set.map_err(driver_error(setup.device, format!("give {name} {bytes} bytes of shared memory")))?;
            Ok(kernel)
        };
        let kernels = tiles.iter().zip(names).map(load).collect::<Result<_>>()?;
        Ok(Self { tiles, kernels, busy })
    }

    /// The largest tile that makes enough blocks, or the smallest there is.
    pub(crate) fn choose(&self, rows: usize, columns: usize) -> Choice<'_> {
        let number = pick(&self.tiles, rows, columns, self.busy);
        let (tile, kernel) = (self.tiles[number], &self.kernels[number]);
        let grid = [tile.along_columns(columns) as u32, tile.along_rows(rows) as u32, 1];
        Choice { kernel, tile, grid, shared_bytes: tile.shared_bytes }
    }
}

impl Choice<'_> {
    /// Tiles along this many rows.
    pub(crate) fn tiles_of_rows(&self, rows: usize) -> u32 {
        self.tile.along_rows(rows) as u32
    }
}

/// Where the parts of a split sum wait for each other.
pub(crate) struct Parts {
    pub partials: CudaSlice<f32>, // [parts, tiles, partial]
    /// How many parts of a tile are there; 0 between launches.
    pub arrivals: CudaSlice<u32>, // [tiles]
    /// Parts beyond this would have no row in the largest batch.
    most: usize,
    multiprocessors: Multiprocessors,
}

/// Numbers of [`Parts::partials`] and [`Parts::arrivals`] that the layers of a model need.
pub(crate) fn plan(tiles: &[Tile], on: Multiprocessors, shape: Shape, capacity: Capacity) -> (usize, usize) {
    let Shape { hidden: c, attention: a, intermediate: f, .. } = shape;
    let most = most_parts(capacity);
    let (mut partials, mut arrivals) = (0, 0);
    for (outputs, inputs) in [(3 * a, c), (2 * a, c), (a, c), (c, a), (c, c), (f, c), (c, f)] {
        let tile = tiles[pick(tiles, outputs, inputs, on.busy_with_parts())];
        let count = tile.blocks(outputs, inputs);
        let parts = wanted_parts(count, most, on);
        if parts > 1 {
            partials = partials.max(parts * count * tile.partial());
            arrivals = arrivals.max(count);
        }
    }
    (partials, arrivals)
}

impl Parts {
    /// Of buffers as large as [`plan`] says.
    pub(crate) fn new(setup: &Setup, partials: CudaSlice<f32>, arrivals: CudaSlice<u32>) -> Self {
        let &Setup { capacity, multiprocessors, .. } = setup;
        Self { partials, arrivals, most: most_parts(capacity), multiprocessors }
    }

    /// Parts for a gradient of this shape: as many as are wanted and have a place.
    pub(crate) fn count(&self, choice: &Choice, outputs: usize, inputs: usize) -> u32 {
        let tiles = choice.tile.blocks(outputs, inputs);
        let places =
            if tiles > self.arrivals.len() { 1 } else { self.partials.len() / (tiles * choice.tile.partial()) };
        wanted_parts(tiles, self.most, self.multiprocessors).min(places.max(1)) as u32
    }
}

/// The kernel gives a part [`sizes::GEMM_SPLIT_LEAST`] rows or more. So fewer parts than this do not change where parts
/// begin.
fn most_parts(capacity: Capacity) -> usize {
    capacity.tokens.div_ceil(sizes::GEMM_SPLIT_LEAST as usize).min(MOST_PARTS)
}

fn wanted_parts(tiles: usize, most: usize, on: Multiprocessors) -> usize {
    (on.split_blocks() / tiles).clamp(1, most.max(1))
}
