//! Initialisation, devices, contexts, error texts.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::{api, put, put_text};
use crate::driver::current;
use crate::driver::lifecycle::{api_version, initialize};
use crate::driver::result::{Code, Outcome};
use crate::driver::session::Session;
use crate::driver::state::Driver;
use crate::profile::Profile;

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> u32 {
    let outcome = if flags == 0 { initialize() } else { Err(Code::CUDA_ERROR_INVALID_VALUE) };
    outcome.err().map_or(0, |code| code as u32)
}

/// # Safety
/// `version` points to an `int`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    put(version, api_version() as c_int).err().map_or(0, |code| code as u32)
}

fn error_text(code: u32, to: *mut *const c_char, pick: fn((&'static str, &'static str)) -> &'static str) -> u32 {
    let text = Code::from_number(code).map(|code| pick(code.texts()));
    let outcome = put(to, text.map_or(std::ptr::null(), |t| t.as_ptr().cast()));
    if outcome.is_err() || text.is_none() { Code::CUDA_ERROR_INVALID_VALUE as u32 } else { 0 }
}

/// # Safety
/// `text` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(code: u32, text: *mut *const c_char) -> u32 {
    error_text(code, text, |texts| texts.0)
}

/// # Safety
/// `text` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(code: u32, text: *mut *const c_char) -> u32 {
    error_text(code, text, |texts| texts.1)
}

pub(super) fn device(ordinal: c_int) -> Outcome {
    if ordinal == 0 { Ok(()) } else { Err(Code::CUDA_ERROR_INVALID_DEVICE) }
}

/// The numbers of `CUdevice_attribute`.
const ATTRIBUTES: std::ops::RangeInclusive<c_int> = 1..=LAST_ATTRIBUTE;
const LAST_ATTRIBUTE: c_int = 161;

/// `CUdevice_attribute`s (their numbers in `cuda.h`); those that are not named are zero, as features a device lacks.
fn attribute(p: &Profile, attribute: c_int) -> Outcome<i32> {
    if !ATTRIBUTES.contains(&attribute) {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    Ok(match attribute {
        1 => Profile::MAX_THREADS as i32,
        2..=4 => Profile::BLOCK_LIMITS[attribute as usize - 2] as i32,
        5..=7 => Profile::GRID_LIMITS[attribute as usize - 5] as i32,
        8 => Profile::DEFAULT_SHARED as i32,
        9 => 65536,
        10 => 32,
        11 => i32::MAX,
        12 | 82 => Profile::REGISTERS_PER_SM as i32,
        13 => (p.clock_ghz * 1e6) as i32,
        14 | 30 => 512,
        // Overlap, host mapping, concurrent kernels, unified addressing, priorities, caches in L1, managed memory,
        // preemption, registered host memory, cooperative launches, pools.
        15 | 19 | 31 | 41 | 78..=80 | 83 | 89..=91 | 95 | 99 | 113 | 115 => 1,
        16 => p.multiprocessors as i32,
        33 => 0x0a,
        36 => p.memory_clock_khz as i32,
        37 => p.bus_bits as i32,
        38 => p.l2_bytes as i32,
        39 => p.threads_per_sm as i32,
        40 => 3,
        51 => 32,
        75 => p.capability.0 as i32,
        76 => p.capability.1 as i32,
        81 => p.shared_per_sm as i32,
        87 => p.single_to_double as i32,
        97 => p.shared_per_block as i32,
        106 => p.blocks_per_sm as i32,
        111 => p.reserved_shared as i32,
        _ => 0,
    })
}

/// `CUlimit`s up to the size of the persisting L2 cache.
const LIMITS: c_uint = 7;

/// `CU_LIMIT_MALLOC_HEAP_SIZE`.
pub(super) const HEAP_LIMIT: c_uint = 2;

impl Driver {
    /// The value of a `CUlimit`, as it was set or as it is by itself.
    pub(super) fn limit(&self, limit: c_uint) -> u64 {
        const STACK: u64 = 1024;
        self.limits.get(&limit).copied().unwrap_or(if limit == 0 { STACK } else { 8 << 20 })
    }

    fn create_context(&mut self) -> u64 {
        let handle = self.handle();
        self.contexts.insert(handle);
        handle
    }
}

/// A new context, current to the thread.
fn enter_new_context(session: &mut Session, to: *mut u64, ordinal: c_int) -> Outcome {
    device(ordinal)?;
    if to.is_null() {
        return Err(Code::CUDA_ERROR_INVALID_VALUE);
    }
    let handle = session.driver()?.create_context();
    current::push(handle);
    put(to, handle)
}

fn drop_context(session: &mut Session, context: u64) -> Outcome {
    let driver = session.driver()?;
    if !driver.contexts.remove(&context) {
        return Err(Code::CUDA_ERROR_INVALID_CONTEXT);
    }
    current::remove(context);
    if driver.contexts.is_empty() {
        let healthy = driver.fault().is_none();
        if healthy {
            session.wait(None)?;
        }
        session.driver()?.clear();
    }
    Ok(())
}

api! {
    call_anyway fn cuDeviceGetCount(count: *mut c_int) |_s| { put(count, 1) }
    call_anyway fn cuDeviceGet(handle: *mut c_int, ordinal: c_int) |_s| { device(ordinal)?; put(handle, ordinal) }
    call_anyway fn cuDeviceGetName(name: *mut c_char, length: c_int, ordinal: c_int) |s| {
        device(ordinal)?;
        let profile = s.driver()?.settings.profile;
        put_text(name, length.max(0) as usize, profile.name)
    }
    call_anyway fn cuDeviceTotalMem_v2(bytes: *mut usize, ordinal: c_int) |s| {
        device(ordinal)?;
        put(bytes, s.driver()?.memory.capacity as usize)
    }
    call_anyway fn cuDeviceGetAttribute(value: *mut c_int, which: c_int, ordinal: c_int) |s| {
        device(ordinal)?;
        put(value, attribute(&s.driver()?.settings.profile, which)?)
    }
    call_anyway fn cuDeviceComputeCapability(major: *mut c_int, minor: *mut c_int, ordinal: c_int) |s| {
        device(ordinal)?;
        let (a, b) = s.driver()?.settings.profile.capability;
        put(major, a as c_int)?;
        put(minor, b as c_int)
    }
    call_anyway fn cuDeviceGetUuid(uuid: *mut [u8; 16], ordinal: c_int) |_s| {
        device(ordinal)?;
        put(uuid, *b"cudasim-device-0")
    }
    call_anyway fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], ordinal: c_int) |_s| {
        device(ordinal)?;
        put(uuid, *b"cudasim-device-0")
    }
    call_anyway fn cuDeviceGetPCIBusId(id: *mut c_char, length: c_int, ordinal: c_int) |_s| {
        device(ordinal)?;
        put_text(id, length.max(0) as usize, "0000:00:00.0")
    }
    call_anyway fn cuDeviceCanAccessPeer(can: *mut c_int, _one: c_int, _other: c_int) |_s| { put(can, 0) }

    call_anyway fn cuDevicePrimaryCtxRetain(context: *mut u64, ordinal: c_int) |s| {
        device(ordinal)?;
        let driver = s.driver()?;
        let handle = match driver.primary {
            Some(handle) => handle,
            None => driver.create_context(),
        };
        driver.primary = Some(handle);
        driver.primary_uses += 1;
        put(context, handle)
    }
    call_anyway fn cuDevicePrimaryCtxRelease_v2(ordinal: c_int) |s| {
        device(ordinal)?;
        let driver = s.driver()?;
        let Some(handle) = driver.primary else { return Err(Code::CUDA_ERROR_INVALID_CONTEXT) };
        driver.primary_uses -= 1;
        if driver.primary_uses > 0 {
            return Ok(());
        }
        driver.primary = None;
        drop_context(s, handle)
    }
    call_anyway fn cuDevicePrimaryCtxReset_v2(ordinal: c_int) |s| {
        device(ordinal)?;
        s.driver()?.clear();
        Ok(())
    }
    call_anyway fn cuDevicePrimaryCtxGetState(ordinal: c_int, flags: *mut c_uint, active: *mut c_int) |s| {
        device(ordinal)?;
        put(flags, 0)?;
        put(active, c_int::from(s.driver()?.primary.is_some()))
    }
    call_anyway fn cuDevicePrimaryCtxSetFlags_v2(ordinal: c_int, _flags: c_uint) |_s| { device(ordinal) }

    call_anyway fn cuCtxCreate_v2(context: *mut u64, _flags: c_uint, ordinal: c_int) |s| {
        enter_new_context(s, context, ordinal)
    }
    call_anyway fn cuCtxCreate_v3(
        context: *mut u64, _params: *const c_void, _count: c_int, _flags: c_uint, ordinal: c_int,
    ) |s| {
        enter_new_context(s, context, ordinal)
    }
    call_anyway fn cuCtxCreate_v4(context: *mut u64, _params: *const c_void, _flags: c_uint, ordinal: c_int) |s| {
        enter_new_context(s, context, ordinal)
    }
    call_anyway fn cuCtxDestroy_v2(context: u64) |s| { drop_context(s, context) }
    call_anyway fn cuCtxSetCurrent(context: u64) |s| {
        if context == 0 {
            current::pop();
            return Ok(());
        }
        if !s.driver()?.contexts.contains(&context) {
            return Err(Code::CUDA_ERROR_INVALID_CONTEXT);
        }
        current::replace(context);
        Ok(())
    }
    call_anyway fn cuCtxGetCurrent(context: *mut u64) |_s| { put(context, current::get()) }
    call_anyway fn cuCtxPushCurrent_v2(context: u64) |s| {
        if !s.driver()?.contexts.contains(&context) {
            return Err(Code::CUDA_ERROR_INVALID_CONTEXT);
        }
        current::push(context);
        Ok(())
    }
    call_anyway fn cuCtxPopCurrent_v2(context: *mut u64) |_s| {
        super::put_optional(context, current::pop().ok_or(Code::CUDA_ERROR_INVALID_CONTEXT)?);
        Ok(())
    }
    call_anyway fn cuCtxGetDevice(ordinal: *mut c_int) |s| {
        current::check(&s.driver()?.contexts)?;
        put(ordinal, 0)
    }
    call_anyway fn cuCtxGetApiVersion(_context: u64, version: *mut c_uint) |s| {
        put(version, s.driver()?.settings.api_version())
    }
    call fn cuCtxSynchronize() |s| {
        s.driver()?.refuse_in_capture()?;
        s.wait(None)
    }
    call fn cuCtxSetFlags(_flags: c_uint) |_s| { Ok(()) }
    call fn cuCtxGetFlags(flags: *mut c_uint) |_s| { put(flags, 0) }
    call fn cuCtxSetCacheConfig(_config: c_uint) |_s| { Ok(()) }
    call fn cuCtxGetCacheConfig(config: *mut c_uint) |_s| { put(config, 0) }
    call fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) |_s| {
        super::put_optional(least, 0);
        super::put_optional(greatest, -5);
        Ok(())
    }
    call fn cuCtxGetId(context: u64, id: *mut u64) |_s| { put(id, if context == 0 { current::get() } else { context }) }
    call fn cuCtxSetLimit(limit: c_uint, value: usize) |s| {
        if limit >= LIMITS { return Err(Code::CUDA_ERROR_UNSUPPORTED_LIMIT); }
        s.driver()?.limits.insert(limit, value as u64);
        Ok(())
    }
    call fn cuCtxGetLimit(value: *mut usize, limit: c_uint) |s| {
        if limit >= LIMITS { return Err(Code::CUDA_ERROR_UNSUPPORTED_LIMIT); }
        put(value, s.driver()?.limit(limit) as usize)
    }
    call fn cuProfilerStart() |_s| { Ok(()) }
    call fn cuProfilerStop() |_s| { Ok(()) }
}
