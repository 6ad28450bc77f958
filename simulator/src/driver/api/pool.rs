//! Stream-ordered memory and pools. A pool is a handle: all memory comes from the device's one arena.

use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};

use super::device::device;
use super::{api, get, put};
use crate::driver::graph::GraphMemory;
use crate::driver::result::{Code, Outcome};
use crate::driver::state::{DEFAULT_POOL, Driver};
use crate::driver::work::Work;
use crate::memory::Kind;

/// `CUmemPool_attribute`s whose value is 64 bits wide: the release threshold and the usage counters.
const FIRST_WIDE_ATTRIBUTE: c_uint = 4;
const LAST_ATTRIBUTE: c_uint = 8;

fn is_wide(attribute: c_uint) -> Outcome<bool> {
    match attribute {
        1..FIRST_WIDE_ATTRIBUTE => Ok(false),
        FIRST_WIDE_ATTRIBUTE..=LAST_ATTRIBUTE => Ok(true),
        _ => Err(Code::CUDA_ERROR_INVALID_VALUE),
    }
}

impl Driver {
    /// A pool's attributes.
    fn pool(&mut self, pool: u64) -> Outcome<&mut HashMap<u32, u64>> {
        self.pools.get_mut(&pool).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }

    /// Memory as of now; in a capture, memory of the graph that is new at each of its launches.
    fn allocate_on(&mut self, bytes: usize, stream: u64) -> Outcome<u64> {
        let Some(capture) = self.stream(stream)?.capture else { return self.allocate(bytes, Kind::Device) };
        let address = self.allocate(bytes, Kind::Module)?;
        let owned = GraphMemory::new(address, bytes as u64, &self.memory);
        self.enqueue(stream, Work::Renew { address, bytes: bytes as u64, freed: false }, None)?;
        if let Some(capture) = self.captures.get_mut(&capture) {
            capture.graph.memory.push(owned.into());
        }
        Ok(address)
    }

    /// Frees in the stream's order. What a graph allocates stays its own, but its contents are gone.
    fn free_on(&mut self, address: u64, stream: u64) -> Outcome {
        let captured = self.stream(stream)?.capture.and_then(|id| self.captures.get(&id));
        let of_graph = captured.and_then(|c| c.graph.memory.iter().find(|owned| owned.address == address));
        let work = match (of_graph, self.memory.find(address)) {
            (Some(owned), _) => Work::Renew { address, bytes: owned.bytes, freed: true },
            (None, Some(a)) if a.base == address && a.kind == Kind::Device => Work::Free(address),
            _ => return Err(Code::CUDA_ERROR_INVALID_VALUE),
        };
        self.enqueue(stream, work, None).map(|_| ())
    }
}

api! {
    call fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) |s| {
        put(address, s.driver()?.allocate_on(bytes, stream)?)
    }
    call fn cuMemAllocFromPoolAsync(address: *mut u64, bytes: usize, pool: u64, stream: u64) |s| {
        s.driver()?.pool(pool)?;
        put(address, s.driver()?.allocate_on(bytes, stream)?)
    }
    call fn cuMemFreeAsync(address: u64, stream: u64) |s| { s.driver()?.free_on(address, stream) }
    call fn cuDeviceGetDefaultMemPool(pool: *mut u64, ordinal: c_int) |_s| {
        device(ordinal)?;
        put(pool, DEFAULT_POOL)
    }
    call fn cuDeviceGetMemPool(pool: *mut u64, ordinal: c_int) |_s| {
        device(ordinal)?;
        put(pool, DEFAULT_POOL)
    }
    call fn cuDeviceSetMemPool(ordinal: c_int, pool: u64) |s| {
        device(ordinal)?;
        s.driver()?.pool(pool).map(|_| ())
    }
    call fn cuMemPoolCreate(pool: *mut u64, properties: *const c_void) |s| {
        if properties.is_null() { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        let driver = s.driver()?;
        let handle = driver.handle();
        put(pool, handle)?;
        driver.pools.insert(handle, HashMap::new());
        Ok(())
    }
    call fn cuMemPoolDestroy(pool: u64) |s| {
        if pool == DEFAULT_POOL { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        s.driver()?.pools.remove(&pool).map(|_| ()).ok_or(Code::CUDA_ERROR_INVALID_VALUE)
    }
    call fn cuMemPoolTrimTo(pool: u64, _bytes: usize) |s| { s.driver()?.pool(pool).map(|_| ()) }
    call fn cuMemPoolSetAttribute(pool: u64, which: c_uint, value: *const c_void) |s| {
        let attributes = s.driver()?.pool(pool)?;
        let value = if is_wide(which)? { get(value.cast::<u64>())? } else { get(value.cast::<c_int>())? as u64 };
        attributes.insert(which, value);
        Ok(())
    }
    call fn cuMemPoolGetAttribute(pool: u64, which: c_uint, value: *mut c_void) |s| {
        let known = s.driver()?.pool(pool)?.get(&which).copied();
        // Reuse is allowed unless it was forbidden; nothing is kept beyond its use.
        let known = known.unwrap_or(u64::from(!is_wide(which)?));
        if is_wide(which)? { put(value.cast::<u64>(), known) } else { put(value.cast::<c_int>(), known as c_int) }
    }
}
