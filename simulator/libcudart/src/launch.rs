//! Launches, attributes of kernels, occupancy.

use std::ffi::{c_char, c_int, c_uint, c_void};

use crate::driver::{self, HostFn};
use crate::error::{INVALID_CONFIGURATION, INVALID_VALUE, Outcome};
use crate::state::{function, get, put, ready, runtime};

/// `dim3`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Dim3 {
    pub x: c_uint,
    pub y: c_uint,
    pub z: c_uint,
}

impl Dim3 {
    fn fits(self, limits: [u32; 3]) -> bool {
        [self.x, self.y, self.z].iter().zip(limits).all(|(&n, limit)| n > 0 && n <= limit)
    }
}

/// `CUlaunchConfig`
#[repr(C)]
struct DriverConfig {
    grid: Dim3,
    block: Dim3,
    shared: c_uint,
    stream: u64,
    attributes: *const c_void,
    attribute_count: c_uint,
}

/// `cudaLaunchConfig_t`; its attributes are the driver's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Config {
    grid: Dim3,
    block: Dim3,
    shared: usize,
    stream: u64,
    attributes: *const c_void,
    attribute_count: c_uint,
}

/// `CUlaunchAttribute` that makes a launch cooperative.
#[repr(C, align(8))]
struct Cooperative {
    id: c_uint,
    value: [u32; 17],
}

const GRID_LIMITS: [u32; 3] = [0x7fff_ffff, 65535, 65535];
const BLOCK_LIMITS: [u32; 3] = [1024, 1024, 64];
const BLOCK_THREADS: u32 = 1024;

/// What the driver calls an invalid value is, of a grid or block that no device takes, an invalid configuration.
fn explain(code: u32, grid: Dim3, block: Dim3) -> u32 {
    let threads = block.x.saturating_mul(block.y).saturating_mul(block.z);
    let possible = grid.fits(GRID_LIMITS) && block.fits(BLOCK_LIMITS) && threads <= BLOCK_THREADS;
    if code == INVALID_VALUE && !possible { INVALID_CONFIGURATION } else { code }
}

pub fn launch(
    function: u64,
    grid: Dim3,
    block: Dim3,
    params: *const *const c_void,
    shared: usize,
    stream: u64,
    cooperative: bool,
) -> Outcome {
    const COOPERATIVE: c_uint = 2;
    let mut attribute = Cooperative { id: COOPERATIVE, value: [0; 17] };
    // After four bytes of padding.
    attribute.value[1] = 1;
    let config = DriverConfig {
        grid,
        block,
        shared: c_uint::try_from(shared).map_err(|_| INVALID_VALUE)?,
        stream,
        attributes: (&raw const attribute).cast(),
        attribute_count: c_uint::from(cooperative),
    };
    let outcome = driver::cuLaunchKernelEx((&raw const config).cast(), function, params, std::ptr::null());
    outcome.map_err(|code| explain(code, grid, block))
}

/// `cudaFuncAttributes`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Attributes {
    shared_bytes: usize,
    constant_bytes: usize,
    local_bytes: usize,
    most_threads: c_int,
    registers: c_int,
    ptx_version: c_int,
    binary_version: c_int,
    cache_mode: c_int,
    most_dynamic_shared: c_int,
    carveout: c_int,
}

fn attributes(function: u64) -> Outcome<Attributes> {
    let value = |which: c_int| {
        let mut value = 0;
        driver::cuFuncGetAttribute(&mut value, which, function).map(|()| value)
    };
    Ok(Attributes {
        most_threads: value(0)?,
        shared_bytes: value(1)? as usize,
        constant_bytes: value(2)? as usize,
        local_bytes: value(3)? as usize,
        registers: value(4)?,
        ptx_version: value(5)?,
        binary_version: value(6)?,
        cache_mode: value(7)?,
        most_dynamic_shared: value(8)?,
        carveout: value(9)?,
    })
}

runtime! {
    fn cudaLaunchKernel(
        host: *const c_void, grid: Dim3, block: Dim3, params: *const *const c_void, shared: usize, stream: u64,
    ) {
        launch(function(host as usize)?, grid, block, params, shared, stream, false)
    }
    fn cudaLaunchKernel_ptsz(
        host: *const c_void, grid: Dim3, block: Dim3, params: *const *const c_void, shared: usize, stream: u64,
    ) {
        launch(function(host as usize)?, grid, block, params, shared, stream, false)
    }
    fn cudaLaunchCooperativeKernel(
        host: *const c_void, grid: Dim3, block: Dim3, params: *const *const c_void, shared: usize, stream: u64,
    ) {
        launch(function(host as usize)?, grid, block, params, shared, stream, true)
    }
    fn cudaLaunchKernelExC(config: *const Config, host: *const c_void, params: *const *const c_void) {
        let function = function(host as usize)?;
        let Config { grid, block, shared, stream, attributes, attribute_count } = get(config)?;
        let shared = c_uint::try_from(shared).map_err(|_| INVALID_VALUE)?;
        let config = DriverConfig { grid, block, shared, stream, attributes, attribute_count };
        let outcome = driver::cuLaunchKernelEx((&raw const config).cast(), function, params, std::ptr::null());
        outcome.map_err(|code| explain(code, grid, block))
    }
    fn cudaLaunchHostFunc(stream: u64, function: HostFn, data: *mut c_void) {
        ready()?;
        driver::cuLaunchHostFunc(stream, function, data)
    }
    fn cudaFuncGetAttributes(to: *mut Attributes, host: *const c_void) {
        put(to, attributes(function(host as usize)?)?)
    }
    fn cudaFuncSetAttribute(host: *const c_void, which: c_int, value: c_int) {
        driver::cuFuncSetAttribute(function(host as usize)?, which, value)
    }
    fn cudaFuncSetCacheConfig(host: *const c_void, config: c_uint) {
        driver::cuFuncSetCacheConfig(function(host as usize)?, config)
    }
    fn cudaFuncSetSharedMemConfig(host: *const c_void, _config: c_uint) { function(host as usize).map(|_| ()) }
    fn cudaFuncGetName(name: *mut *const c_char, host: *const c_void) {
        driver::cuFuncGetName(name, function(host as usize)?)
    }
    fn cudaGetFuncBySymbol(to: *mut u64, host: *const c_void) { put(to, function(host as usize)?) }
    fn cudaGetKernel(to: *mut u64, host: *const c_void) { put(to, function(host as usize)?) }
    fn cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: *mut c_int, host: *const c_void, threads: c_int, shared: usize,
    ) {
        let function = function(host as usize)?;
        driver::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared, 0)
    }
    fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: *mut c_int, host: *const c_void, threads: c_int, shared: usize, flags: c_uint,
    ) {
        let function = function(host as usize)?;
        driver::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared, flags)
    }
    fn cudaOccupancyAvailableDynamicSMemPerBlock(
        bytes: *mut usize, host: *const c_void, blocks: c_int, threads: c_int,
    ) {
        driver::cuOccupancyAvailableDynamicSMemPerBlock(bytes, function(host as usize)?, blocks, threads)
    }
    fn cudaOccupancyMaxPotentialClusterSize(size: *mut c_int, host: *const c_void, _config: *const Config) {
        driver::cuOccupancyMaxPotentialClusterSize(size, function(host as usize)?, std::ptr::null())
    }
    fn cudaOccupancyMaxActiveClusters(count: *mut c_int, host: *const c_void, config: *const Config) {
        let Config { grid, block, shared, stream, attributes, attribute_count } = get(config)?;
        let config = DriverConfig { grid, block, shared: shared as c_uint, stream, attributes, attribute_count };
        driver::cuOccupancyMaxActiveClusters(count, function(host as usize)?, (&raw const config).cast())
    }
}
