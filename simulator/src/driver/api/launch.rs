//! Launches, host functions, occupancy.

use std::ffi::{c_int, c_uint, c_void};

use super::device::HEAP_LIMIT;
use super::{api, get, put, put_optional};
use crate::driver::result::{Code, Outcome};
use crate::driver::state::{Driver, Function, stream_key};
use crate::driver::work::{HostFunction, Kernel, Work};
use crate::profile::{Profile, Residency};

/// Parameters' bytes from an array of pointers, one a parameter.
fn from_pointers(function: &Function, pointers: *const *const c_void) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0u8; function.program.param_bytes];
    for (k, &(offset, size)) in function.program.params.iter().enumerate() {
        let from = get(pointers.wrapping_add(k))?.cast::<u8>();
        if from.is_null() {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: the caller passes a pointer to each parameter, of the size the kernel declares.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes[offset..offset + size].as_mut_ptr(), size) };
    }
    Ok(bytes)
}

const EXTRA_END: usize = 0;
const EXTRA_BUFFER: usize = 1;
const EXTRA_SIZE: usize = 2;

/// Parameters' bytes from the `extra` list: a buffer laid out as the kernel's parameters.
fn from_extra(function: &Function, extra: *const *const c_void) -> Outcome<Vec<u8>> {
    let (mut buffer, mut size) = (std::ptr::null::<u8>(), 0);
    let mut at = 0;
    loop {
        match get(extra.wrapping_add(at))? as usize {
            EXTRA_END => break,
            EXTRA_BUFFER => buffer = get(extra.wrapping_add(at + 1))?.cast(),
            EXTRA_SIZE => size = get(get(extra.wrapping_add(at + 1))?.cast::<usize>())?,
            _ => return Err(Code::CUDA_ERROR_INVALID_VALUE),
        }
        at += 2;
    }
    let needed = function.program.param_bytes;
    if size < needed || (buffer.is_null() && needed > 0) {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: the caller's buffer holds `size` bytes, which are enough.
    Ok(if needed == 0 { Vec::new() } else { unsafe { std::slice::from_raw_parts(buffer, needed) }.to_vec() })
}

/// Blocks of a function that fit a multiprocessor at once.
fn blocks_per_sm(p: &Profile, function: &Function, threads: u32, dynamic_shared: u32) -> u32 {
    let program = &function.program;
    if threads == 0 || threads > Profile::MAX_THREADS {
        return 0;
    }
    let residency = p.residency(threads, program.registers, program.shared_bytes as u32, dynamic_shared);
    // An estimate of registers may be too high, and must not keep out what a GPU runs.
    let by_registers = residency.by_registers.max(u32::from(!program.registers_are_exact));
    Residency { by_registers, ..residency }.blocks()
}

impl Driver {
    /// Loads a kernel where that is put off to its first launch. A capture cannot wait for it.
    fn load_at_first_launch(&mut self, function: u64, stream: u64) -> Outcome {
        let captured = self.settings.lazy && self.stream(stream_key(stream))?.capture.is_some();
        let function = self.function(function)?;
        if captured && !function.loaded {
            eprintln!("cudasim: the first launch of {} is in a capture (CUDASIM_LAZY)", function.program.name);
            return self.refuse_in_capture().and(Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
        }
        function.loaded = true;
        Ok(())
    }

    pub(super) fn kernel(
        &mut self,
        function: u64,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: u32,
        params: (*const *const c_void, *const *const c_void),
        cooperative: bool,
    ) -> Outcome<Kernel> {
        let profile = self.settings.profile;
        let heap_bytes = self.limit(HEAP_LIMIT);
        let function = self.function(function)?;
        let within =
            |sizes: [u32; 3], limits: [u32; 3]| sizes.iter().zip(limits).all(|(&n, limit)| n > 0 && n <= limit);
        let threads = block.iter().try_fold(1u32, |all, &n| all.checked_mul(n)).unwrap_or(u32::MAX);
        let program = &function.program;
        if let Some(refusal) = &program.refusal {
            let log = refusal.to_string();
            return Err(self.refuse_kernel(log));
        }
        if !within(grid, Profile::GRID_LIMITS)
            || !within(block, Profile::BLOCK_LIMITS)
            || threads > Profile::MAX_THREADS
        {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        if threads > program.max_threads.unwrap_or(u32::MAX) {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        let registers = threads.next_multiple_of(32) * program.registers;
        if program.registers_are_exact && registers > Profile::REGISTERS_PER_SM {
            return Err(Code::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
        }
        let default_room = Profile::DEFAULT_SHARED.saturating_sub(program.shared_bytes as u32);
        if dynamic_shared > function.max_dynamic_shared.max(default_room)
            || (dynamic_shared > default_room && function.max_dynamic_shared <= Profile::DEFAULT_SHARED)
        {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        let fit =
            u64::from(blocks_per_sm(&profile, function, threads, dynamic_shared)) * u64::from(profile.multiprocessors);
        if cooperative && grid.iter().map(|&n| u64::from(n)).product::<u64>() > fit {
            return Err(Code::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
        }
        let (pointers, extra) = params;
        let params = match (pointers.is_null(), extra.is_null()) {
            (false, true) => from_pointers(function, pointers)?,
            (true, false) => from_extra(function, extra)?,
            (true, true) if program.params.is_empty() => Vec::new(),
            _ => return Err(Code::CUDA_ERROR_INVALID_VALUE),
        };
        Ok(Kernel {
            program: program.clone(),
            grid,
            block,
            dynamic_shared,
            params,
            cooperative,
            resident_blocks: fit,
            heap_bytes,
        })
    }
}

/// `CUlaunchConfig`, as far as it is used.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    stream: u64,
    attributes: *const c_void,
    attribute_count: c_uint,
}

/// `CUlaunchAttribute`: a number, padding, and 64 bytes for the value.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Attribute {
    id: c_uint,
    _pad: c_uint,
    value: [u32; 16],
}

const COOPERATIVE: c_uint = 2;
const CLUSTER_DIMENSION: c_uint = 4;
/// Windows, priorities, serialization, domains and preferences: hints, or an order no stricter than a stream's.
const HINTS: [c_uint; 11] = [0, 1, 3, 5, 6, 8, 9, 10, 11, 14, 16];

impl LaunchConfig {
    /// Whether the launch is cooperative. What would change a launch and is not known here is refused.
    fn is_cooperative(&self) -> Outcome<bool> {
        let mut cooperative = false;
        for k in 0..self.attribute_count as usize {
            let attribute = get(self.attributes.cast::<Attribute>().wrapping_add(k))?;
            match attribute.id {
                COOPERATIVE => cooperative = attribute.value[0] != 0,
                CLUSTER_DIMENSION if attribute.value[..3] == [1, 1, 1] => {}
                id if HINTS.contains(&id) => {}
                _ => return Err(Code::CUDA_ERROR_NOT_SUPPORTED),
            }
        }
        Ok(cooperative)
    }
}

type HostFn = Option<extern "C" fn(*mut c_void)>;

api! {
    call fn cuLaunchKernel(
        function: u64, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared: c_uint, stream:
        u64, params: *const *const c_void, extra: *const *const c_void,
    ) |s| {
        let driver = s.driver()?;
        driver.load_at_first_launch(function, stream)?;
        let kernel = driver.kernel(function, [gx, gy, gz], [bx, by, bz], shared, (params, extra), false)?;
        driver.enqueue(stream, Work::Kernel(kernel), None).map(|_| ())
    }
    call fn cuLaunchKernelEx(
        config: *const LaunchConfig, function: u64, params: *const *const c_void, extra: *const *const c_void,
    ) |s| {
        let config = get(config)?;
        let driver = s.driver()?;
        let cooperative = config.is_cooperative()?;
        driver.load_at_first_launch(function, config.stream)?;
        let LaunchConfig { grid, block, shared_bytes, .. } = config;
        let kernel = driver.kernel(function, grid, block, shared_bytes, (params, extra), cooperative)?;
        driver.enqueue(config.stream, Work::Kernel(kernel), None).map(|_| ())
    }
    call fn cuLaunchCooperativeKernel(
        function: u64, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared: c_uint, stream:
        u64, params: *const *const c_void,
    ) |s| {
        let driver = s.driver()?;
        driver.load_at_first_launch(function, stream)?;
        let kernel = driver.kernel(function, [gx, gy, gz], [bx, by, bz], shared, (params, std::ptr::null()), true)?;
        driver.enqueue(stream, Work::Kernel(kernel), None).map(|_| ())
    }
    call fn cuLaunchHostFunc(stream: u64, function: HostFn, data: *mut c_void) |s| {
        let function = function.ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let work = Work::Host(HostFunction { function, data: data as usize });
        s.driver()?.enqueue(stream, work, None).map(|_| ())
    }
    call fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: *mut c_int, function: u64, threads: c_int, shared: usize,
    ) |s| {
        put(blocks, active_blocks(s.driver()?, function, threads, shared)?)
    }
    call fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: *mut c_int, function: u64, threads: c_int, shared: usize, _flags: c_uint,
    ) |s| {
        put(blocks, active_blocks(s.driver()?, function, threads, shared)?)
    }
    call fn cuOccupancyAvailableDynamicSMemPerBlock(
        bytes: *mut usize, function: u64, blocks: c_int, _threads: c_int,
    ) |s| {
        let driver = s.driver()?;
        let profile = driver.settings.profile;
        let used = driver.function(function)?.program.shared_bytes as u32 + profile.reserved_shared;
        let each = profile.shared_per_sm / blocks.max(1) as u32;
        put(bytes, each.saturating_sub(used).min(profile.shared_per_block) as usize)
    }
    call fn cuOccupancyMaxPotentialBlockSize(
        grid: *mut c_int, block: *mut c_int, function: u64, size: Option<extern "C" fn(c_int) -> usize>, shared: usize,
        limit: c_int,
    ) |s| {
        potential(s.driver()?, (grid, block), function, size, shared, limit)
    }
    call fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: *mut c_int, block: *mut c_int, function: u64, size: Option<extern "C" fn(c_int) -> usize>, shared: usize,
        limit: c_int, _flags: c_uint,
    ) |s| {
        potential(s.driver()?, (grid, block), function, size, shared, limit)
    }
    call fn cuOccupancyMaxPotentialClusterSize(size: *mut c_int, _function: u64, _config: *const LaunchConfig) |_s| {
        put(size, 1)
    }
    call fn cuOccupancyMaxActiveClusters(count: *mut c_int, function: u64, config: *const LaunchConfig) |s| {
        let config = get(config)?;
        let driver = s.driver()?;
        let profile = driver.settings.profile;
        let threads = config.block.iter().product();
        let blocks = blocks_per_sm(&profile, driver.function(function)?, threads, config.shared_bytes);
        put(count, (blocks * profile.multiprocessors) as c_int)
    }
}

fn active_blocks(driver: &mut Driver, function: u64, threads: c_int, shared: usize) -> Outcome<c_int> {
    let profile = driver.settings.profile;
    let function = driver.function(function)?;
    if threads <= 0 {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    let shared = u32::try_from(shared).unwrap_or(u32::MAX);
    Ok(blocks_per_sm(&profile, function, threads as u32, shared) as c_int)
}

/// The block size with the most threads resident, and the grid that fills the device.
fn potential(
    driver: &mut Driver,
    results: (*mut c_int, *mut c_int),
    function: u64,
    size: Option<extern "C" fn(c_int) -> usize>,
    shared: usize,
    limit: c_int,
) -> Outcome {
    let profile = driver.settings.profile;
    let function = driver.function(function)?;
    let most = function.program.max_threads.unwrap_or(Profile::MAX_THREADS).min(Profile::MAX_THREADS);
    let most = if limit > 0 { most.min(limit as u32) } else { most };
    let candidates = (1..=most / 32).rev().map(|warps| warps * 32).chain([most]);
    let resident = |threads: u32| {
        let bytes = size.map_or(shared, |size| size(threads as c_int));
        threads * blocks_per_sm(&profile, function, threads, bytes as u32)
    };
    let best = candidates
        .fold((0, 0), |best, threads| if resident(threads) > best.0 { (resident(threads), threads) } else { best });
    put_optional(results.0, (best.0 / best.1.max(1) * profile.multiprocessors) as c_int);
    put(results.1, best.1 as c_int)
}
