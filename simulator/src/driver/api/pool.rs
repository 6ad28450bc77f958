//! Stream-ordered memory and pools. A pool is a handle: all memory comes from the device's one arena.

use std::ffi::{c_int, c_uint, c_void};

use super::{api, get, put};
use crate::driver::graph::GraphMemory;
use crate::driver::result::{Code, Outcome};
use crate::driver::state::Driver;
use crate::driver::work::Work;
use crate::memory::Kind;

const DEFAULT_POOL: u64 = 0x800;

/// `CUmemPool_attribute`s whose value is 64 bits wide: the release threshold and the usage counters.
const FIRST_WIDE_ATTRIBUTE: c_uint = 4;

impl Driver {
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
    call fn cuMemAllocFromPoolAsync(address: *mut u64, bytes: usize, _pool: u64, stream: u64) |s| {
        put(address, s.driver()?.allocate_on(bytes, stream)?)
    }
    call fn cuMemFreeAsync(address: u64, stream: u64) |s| { s.driver()?.free_on(address, stream) }
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
