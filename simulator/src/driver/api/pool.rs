//! Stream-ordered memory and pools. A pool is a handle: all memory comes from the device's one arena.

use std::ffi::{c_int, c_uint, c_void};

use super::{api, get, put};
use crate::driver::result::Code;
use crate::driver::work::Work;
use crate::memory::Kind;

const DEFAULT_POOL: u64 = 0x800;

/// `CUmemPool_attribute`s whose value is 64 bits wide: the release threshold and the usage counters.
const FIRST_WIDE_ATTRIBUTE: c_uint = 4;

api! {
    call fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) |s| {
        let driver = s.driver()?;
        driver.stream(stream)?;
        put(address, driver.allocate(bytes, Kind::Device)?)
    }
    call fn cuMemAllocFromPoolAsync(address: *mut u64, bytes: usize, _pool: u64, stream: u64) |s| {
        let driver = s.driver()?;
        driver.stream(stream)?;
        put(address, driver.allocate(bytes, Kind::Device)?)
    }
    call fn cuMemFreeAsync(address: u64, stream: u64) |s| {
        let driver = s.driver()?;
        match driver.memory.find(address) {
            Some(a) if a.base == address && a.kind == Kind::Device => {
                driver.enqueue(stream, Work::Free(address), None).map(|_| ())
            }
            _ => Err(Code::CUDA_ERROR_INVALID_VALUE),
        }
    }
    call fn cuDeviceGetDefaultMemPool(pool: *mut u64, _device: c_int) |_s| { put(pool, DEFAULT_POOL) }
    call fn cuDeviceGetMemPool(pool: *mut u64, _device: c_int) |_s| { put(pool, DEFAULT_POOL) }
    call fn cuDeviceSetMemPool(_device: c_int, _pool: u64) |_s| { Ok(()) }
    call fn cuMemPoolCreate(pool: *mut u64, properties: *const c_void) |s| {
        if properties.is_null() { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        put(pool, s.driver()?.handle())
    }
    call fn cuMemPoolDestroy(_pool: u64) |_s| { Ok(()) }
    call fn cuMemPoolTrimTo(_pool: u64, _bytes: usize) |_s| { Ok(()) }
    call fn cuMemPoolSetAttribute(_pool: u64, which: c_uint, value: *const c_void) |s| {
        let value = if which >= FIRST_WIDE_ATTRIBUTE { get(value.cast::<u64>())? } else { get(value.cast::<c_int>())? as u64 };
        s.driver()?.limits.insert(0x1000 + which, value);
        Ok(())
    }
    call fn cuMemPoolGetAttribute(_pool: u64, which: c_uint, value: *mut c_void) |s| {
        let known = s.driver()?.limits.get(&(0x1000 + which)).copied().unwrap_or(0);
        if which >= FIRST_WIDE_ATTRIBUTE { put(value.cast::<u64>(), known) } else { put(value.cast::<c_int>(), known as c_int) }
    }
}
