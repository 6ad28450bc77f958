//! Memory: allocation, copies, sets, pointers.
//!
//! A host address is pageable unless it lies in pinned memory. Copies from pageable memory take its bytes when they are
//! queued, as a driver stages them; copies to it return when they are done (the API's "synchronization behavior").
//! Copies with pinned memory happen when the work runs, and so do captured ones, at every launch of their graph.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use super::{api, get, put, put_optional};
use crate::driver::current;
use crate::driver::result::{Code, Outcome};
use crate::driver::session::Session;
use crate::driver::state::Driver;
use crate::driver::work::{End, Work};
use crate::memory::{Allocation, Kind};

impl Driver {
    pub(super) fn device_end(&self, address: u64, bytes: usize) -> Outcome<End> {
        if self.memory.holds(address, bytes as u64) {
            Ok(End::Device(address))
        } else {
            Err(Code::CUDA_ERROR_INVALID_VALUE)
        }
    }

    fn is_ours(&self, address: u64) -> bool {
        self.memory.window(address, 1).is_some()
    }

    pub(super) fn host_target(&self, address: *mut c_void, bytes: usize) -> Outcome<End> {
        match address as u64 {
            0 if bytes > 0 => Err(Code::CUDA_ERROR_INVALID_VALUE),
            at if self.is_ours(at) => self.device_end(at, bytes),
            at => Ok(End::Host(at as usize)),
        }
    }

    /// The source of a copy on a stream, or of one that happens at once.
    pub(super) fn host_source(&mut self, address: *const c_void, bytes: usize, stream: u64) -> Outcome<End> {
        match address as u64 {
            0 if bytes > 0 => Err(Code::CUDA_ERROR_INVALID_VALUE),
            at if self.is_ours(at) => self.device_end(at, bytes),
            _ if bytes == 0 => Ok(End::Staged(Arc::default())),
            at if self.stream(stream)?.capture.is_some() => Ok(End::Host(at as usize)),
            _ => {
                // SAFETY: the caller passes `bytes` readable bytes.
                let slice = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), bytes) };
                Ok(End::Staged(Arc::new(slice.to_vec())))
            }
        }
    }

    pub(super) fn copy(&mut self, to: End, from: End, bytes: usize, stream: u64) -> Outcome<Option<u64>> {
        self.enqueue(stream, Work::Copy { to, from, bytes: bytes as u64 }, None)
    }

    pub(super) fn set(
        &mut self,
        to: u64,
        value: u32,
        width: u8,
        shape: (usize, usize, usize),
        stream: u64,
    ) -> Outcome<Option<u64>> {
        let (count, rows, pitch) = shape;
        let last = rows.saturating_sub(1).saturating_mul(pitch).saturating_add(count.saturating_mul(width as usize));
        if !to.is_multiple_of(u64::from(width)) {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        self.device_end(to, last)?;
        let work = Work::Set { to, value, width, count: count as u64, rows: rows as u64, pitch: pitch as u64 };
        self.enqueue(stream, work, None)
    }

    pub fn allocate(&mut self, bytes: usize, kind: Kind) -> Outcome<u64> {
        if bytes == 0 {
            return Err(Code::CUDA_ERROR_INVALID_VALUE);
        }
        self.memory.allocate(bytes as u64, kind).ok_or(Code::CUDA_ERROR_OUT_OF_MEMORY)
    }
}

/// Portable, mapped and write-combined.
const HOST_FLAGS: c_uint = 7;
/// Portable, mapped, of a device, read-only.
const REGISTER_FLAGS: c_uint = 15;

/// Freeing waits for all work, as the driver does: something may still use the memory.
fn free(s: &mut Session, address: u64, pinned: bool) -> Outcome {
    if address == 0 {
        return Ok(());
    }
    s.driver()?.refuse_in_capture()?;
    s.wait(None)?;
    let driver = s.driver()?;
    match driver.memory.find(address) {
        Some(a)
            if a.base == address
                && (a.kind == Kind::Pinned) == pinned
                && !matches!(a.kind, Kind::Module | Kind::Registered) =>
        {
            driver.memory.free(address);
            driver.host_flags.remove(&address);
            Ok(())
        }
        _ => Err(Code::CUDA_ERROR_INVALID_VALUE),
    }
}

/// Allocation is not work of a stream: a capture cannot record it.
fn allocate_now(s: &mut Session, to: *mut u64, bytes: usize, kind: Kind) -> Outcome {
    let driver = s.driver()?;
    driver.refuse_in_capture()?;
    put(to, driver.allocate(bytes, kind)?)
}

/// A copy that has happened when the call returns.
fn copy_now(s: &mut Session, ends: impl FnOnce(&mut Driver) -> Outcome<(End, End)>, bytes: usize) -> Outcome {
    let driver = s.driver()?;
    driver.refuse_in_capture()?;
    let (to, from) = ends(driver)?;
    let id = driver.copy(to, from, bytes, 0)?;
    s.wait(id)
}

/// A copy on a stream; one to pageable memory is waited for, unless it is only captured. One from there may be waited
/// for by a GPU's driver, which has to stage its bytes.
fn copy_on(s: &mut Session, (to, from): (End, End), bytes: usize, stream: u64) -> Outcome {
    let pageable = matches!(to, End::Host(_));
    let driver = s.driver()?;
    if driver.settings.checks.pageable && (pageable || matches!(from, End::Host(_) | End::Staged(_))) {
        eprintln!("cudasim: pageable check: a copy of {bytes} bytes on a stream has an end in pageable memory");
    }
    match driver.copy(to, from, bytes, stream)? {
        Some(id) if pageable => s.wait(Some(id)),
        _ => Ok(()),
    }
}

/// `CUpointer_attribute`s that have values here, and those of them that are ints.
const KNOWN_ATTRIBUTES: [c_int; 8] = [1, 2, 3, 4, 8, 9, 11, 12];
const NARROW_ATTRIBUTES: [c_int; 3] = [2, 8, 9];

fn pointer_attribute(driver: &Driver, which: c_int, address: u64, to: *mut c_void) -> Outcome {
    let found = driver.memory.find(address).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
    let pinned = matches!(found.kind, Kind::Pinned | Kind::Registered);
    let host = pinned || found.kind == Kind::Managed;
    match which {
        1 => put(to.cast::<u64>(), current::get()),
        2 => put(to.cast::<c_uint>(), if pinned { 1 } else { 2 }),
        3 => put(to.cast::<u64>(), address),
        4 if host => put(to.cast::<u64>(), address),
        8 => put(to.cast::<c_uint>(), c_uint::from(found.kind == Kind::Managed)),
        9 => put(to.cast::<c_int>(), 0),
        11 => put(to.cast::<u64>(), found.base),
        12 => put(to.cast::<usize>(), found.bytes as usize),
        _ => Err(Code::CUDA_ERROR_INVALID_VALUE),
    }
}

api! {
    call fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) |s| {
        let driver = s.driver()?;
        let capacity = driver.memory.capacity;
        put(free, (capacity - driver.memory.used().min(capacity)) as usize)?;
        put(total, capacity as usize)
    }
    call fn cuMemAlloc_v2(address: *mut u64, bytes: usize) |s| { allocate_now(s, address, bytes, Kind::Device) }
    call fn cuMemAllocPitch_v2(
        address: *mut u64, pitch: *mut usize, width: usize, height: usize, _element: c_uint,
    ) |s| {
        let row = width.checked_next_multiple_of(512).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        let bytes = row.checked_mul(height).ok_or(Code::CUDA_ERROR_OUT_OF_MEMORY)?;
        put(pitch, row)?;
        allocate_now(s, address, bytes, Kind::Device)
    }
    call fn cuMemAllocManaged(address: *mut u64, bytes: usize, _flags: c_uint) |s| {
        allocate_now(s, address, bytes, Kind::Managed)
    }
    call fn cuMemAllocHost_v2(address: *mut u64, bytes: usize) |s| { allocate_now(s, address, bytes, Kind::Pinned) }
    call fn cuMemHostAlloc(address: *mut u64, bytes: usize, flags: c_uint) |s| {
        if flags & !HOST_FLAGS != 0 { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        allocate_now(s, address, bytes, Kind::Pinned)?;
        let base = get(address)?;
        s.driver()?.host_flags.insert(base, flags);
        Ok(())
    }
    call fn cuMemFree_v2(address: u64) |s| { free(s, address, false) }
    call fn cuMemFreeHost(address: u64) |s| { free(s, address, true) }
    call fn cuMemHostGetDevicePointer_v2(address: *mut u64, host: u64, flags: c_uint) |s| {
        if flags != 0 { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        s.driver()?.memory.find(host).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        put(address, host)
    }
    call fn cuMemHostGetFlags(flags: *mut c_uint, host: u64) |s| {
        let driver = s.driver()?;
        let of_host = |a: &Allocation| matches!(a.kind, Kind::Pinned | Kind::Registered);
        let found = driver.memory.find(host).filter(of_host).ok_or(Code::CUDA_ERROR_INVALID_VALUE)?;
        put(flags, driver.host_flags.get(&found.base).copied().unwrap_or(0))
    }
    call fn cuMemHostRegister_v2(address: u64, bytes: usize, flags: c_uint) |s| {
        if address == 0 || bytes == 0 || flags & !REGISTER_FLAGS != 0 { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
        let driver = s.driver()?;
        driver.refuse_in_capture()?;
        if !driver.memory.register(address, bytes as u64) {
            return Err(Code::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
        }
        driver.host_flags.insert(address, flags);
        Ok(())
    }
    call fn cuMemHostUnregister(address: u64) |s| {
        // Something may still use it.
        s.wait(None)?;
        let driver = s.driver()?;
        driver.host_flags.remove(&address);
        if driver.memory.unregister(address) { Ok(()) } else { Err(Code::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED) }
    }
    call fn cuMemGetAddressRange_v2(base: *mut u64, bytes: *mut usize, address: u64) |s| {
        let found = s.driver()?.memory.find(address).ok_or(Code::CUDA_ERROR_NOT_FOUND)?;
        put_optional(base, found.base);
        put_optional(bytes, found.bytes as usize);
        Ok(())
    }
    call fn cuPointerGetAttribute(to: *mut c_void, which: c_int, address: u64) |s| {
        pointer_attribute(s.driver()?, which, address, to)
    }

    call fn cuPointerGetAttributes(count: c_uint, which: *const c_int, to: *const *mut c_void, address: u64) |s| {
        let driver = s.driver()?;
        for k in 0..count as usize {
            let (which, to) = (get(which.wrapping_add(k))?, get(to.wrapping_add(k))?);
            if !KNOWN_ATTRIBUTES.contains(&which) { return Err(Code::CUDA_ERROR_INVALID_VALUE); }
            // An address of none of the driver's memory has attributes too: zeros.
            let width = if NARROW_ATTRIBUTES.contains(&which) { 4 } else { 8 };
            if pointer_attribute(driver, which, address, to).is_err() {
                (0..width).try_for_each(|at| put(to.cast::<u8>().wrapping_add(at), 0))?;
            }
        }
        Ok(())
    }

    call fn cuMemcpy(to: u64, from: u64, bytes: usize) |s| {
        let (to, from) = (to as *mut c_void, from as *const c_void);
        copy_now(s, |d| Ok((d.host_target(to, bytes)?, d.host_source(from, bytes, 0)?)), bytes)
    }
    call fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: u64) |s| {
        let d = s.driver()?;
        let ends = (d.host_target(to as *mut c_void, bytes)?, d.host_source(from as *const c_void, bytes, stream)?);
        copy_on(s, ends, bytes, stream)
    }
    call fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) |s| {
        copy_now(s, |d| Ok((d.device_end(to, bytes)?, d.host_source(from, bytes, 0)?)), bytes)
    }
    call fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) |s| {
        copy_now(s, |d| Ok((d.host_target(to, bytes)?, d.device_end(from, bytes)?)), bytes)
    }
    call fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) |s| {
        copy_now(s, |d| Ok((d.device_end(to, bytes)?, d.device_end(from, bytes)?)), bytes)
    }
    call fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: u64) |s| {
        let d = s.driver()?;
        let ends = (d.device_end(to, bytes)?, d.host_source(from, bytes, stream)?);
        d.copy(ends.0, ends.1, bytes, stream).map(|_| ())
    }
    call fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: u64) |s| {
        let d = s.driver()?;
        let ends = (d.host_target(to, bytes)?, d.device_end(from, bytes)?);
        copy_on(s, ends, bytes, stream)
    }
    call fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) |s| {
        let d = s.driver()?;
        let ends = (d.device_end(to, bytes)?, d.device_end(from, bytes)?);
        d.copy(ends.0, ends.1, bytes, stream).map(|_| ())
    }
    call fn cuMemcpyPeer(to: u64, _to_context: u64, from: u64, _from_context: u64, bytes: usize) |s| {
        copy_now(s, |d| Ok((d.device_end(to, bytes)?, d.device_end(from, bytes)?)), bytes)
    }
    call fn cuMemcpyPeerAsync(to: u64, _to_context: u64, from: u64, _from_context: u64, bytes: usize, stream: u64) |s| {
        let d = s.driver()?;
        let ends = (d.device_end(to, bytes)?, d.device_end(from, bytes)?);
        d.copy(ends.0, ends.1, bytes, stream).map(|_| ())
    }

    call fn cuMemsetD8_v2(to: u64, value: u8, count: usize) |s| {
        s.driver()?.set(to, value.into(), 1, (count, 1, 0), 0).map(|_| ())
    }
    call fn cuMemsetD16_v2(to: u64, value: u16, count: usize) |s| {
        s.driver()?.set(to, value.into(), 2, (count, 1, 0), 0).map(|_| ())
    }
    call fn cuMemsetD32_v2(to: u64, value: c_uint, count: usize) |s| {
        s.driver()?.set(to, value, 4, (count, 1, 0), 0).map(|_| ())
    }
    call fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64) |s| {
        s.driver()?.set(to, value.into(), 1, (count, 1, 0), stream).map(|_| ())
    }
    call fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: u64) |s| {
        s.driver()?.set(to, value.into(), 2, (count, 1, 0), stream).map(|_| ())
    }
    call fn cuMemsetD32Async(to: u64, value: c_uint, count: usize, stream: u64) |s| {
        s.driver()?.set(to, value, 4, (count, 1, 0), stream).map(|_| ())
    }
    // Memory of other programs and devices: there are none.
    call fn cuImportExternalMemory(_memory: *mut u64, _description: *const c_void) |_s| {
        Err(Code::CUDA_ERROR_NOT_SUPPORTED)
    }
    call fn cuExternalMemoryGetMappedBuffer(_address: *mut u64, _memory: u64, _description: *const c_void) |_s| {
        Err(Code::CUDA_ERROR_NOT_SUPPORTED)
    }
    call fn cuDestroyExternalMemory(_memory: u64) |_s| { Err(Code::CUDA_ERROR_NOT_SUPPORTED) }
    call fn cuMemPrefetchAsync_v2(_address: u64, _bytes: usize, _location: u64, _flags: c_uint, _stream: u64) |_s| {
        Ok(())
    }
    call fn cuMemAdvise_v2(_address: u64, _bytes: usize, _advice: c_uint, _location: u64) |_s| { Ok(()) }
}
