//! Devices, limits, versions. There is one device.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::driver;
use crate::error::{INVALID_VALUE, Outcome};
use crate::state::{check_device, put, ready, reset, runtime};

/// The release whose functions are here: what `cudaRuntimeGetVersion` answers.
const VERSION: c_int = 13000;

fn attribute(which: c_int) -> Outcome<c_int> {
    let mut value = 0;
    driver::cuDeviceGetAttribute(&mut value, which, 0)?;
    Ok(value)
}

fn attributes<const N: usize>(first: c_int) -> Outcome<[c_int; N]> {
    let mut values = [0; N];
    for (k, value) in values.iter_mut().enumerate() {
        *value = attribute(first + k as c_int)?;
    }
    Ok(values)
}

/// `cudaDeviceProp` is a buffer to which fields are written one after the other, each at its alignment: so the layouts
/// of releases, which differ in some fields, are lists.
struct Fields {
    to: *mut u8,
    at: usize,
}

impl Fields {
    fn write<T>(&mut self, value: T) -> Outcome {
        self.at = self.at.next_multiple_of(align_of::<T>());
        put(self.to.wrapping_add(self.at).cast(), value)?;
        self.at += size_of::<T>();
        Ok(())
    }

    /// An attribute of the device, by the driver's number.
    fn int(&mut self, which: c_int) -> Outcome {
        self.write(attribute(which)?)
    }

    fn size(&mut self, which: c_int) -> Outcome {
        self.write(attribute(which)? as usize)
    }

    fn zeros(&mut self, count: usize) -> Outcome {
        (0..count).try_for_each(|_| self.write(0 as c_int))
    }
}

/// Fields of textures and surfaces from the first size to the last, all zero, with the one-dimensional linear size that
/// only older releases have.
fn textures(fields: &mut Fields, older: bool) -> Outcome {
    const SIZES: usize = 39;
    fields.zeros(SIZES + usize::from(older))
}

fn properties(to: *mut c_void, older: bool) -> Outcome {
    ready()?;
    if to.is_null() {
        return Err(INVALID_VALUE);
    }
    let mut name = [0 as c_char; 256];
    driver::cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, 0)?;
    let (mut uuid, mut memory) = ([0; 16], 0usize);
    driver::cuDeviceGetUuid_v2(&mut uuid, 0)?;
    driver::cuDeviceTotalMem_v2(&mut memory, 0)?;
    let mut f = Fields { to: to.cast(), at: 0 };
    f.write(name)?;
    f.write(uuid)?;
    // Identifier and node mask of another system.
    f.write([0u8; 8])?;
    f.write(0u32)?;
    f.write(memory)?;
    f.size(8)?;
    f.int(12)?;
    f.int(10)?;
    f.size(11)?;
    f.int(1)?;
    f.write(attributes::<3>(2)?)?;
    f.write(attributes::<3>(5)?)?;
    if older {
        f.int(13)?;
    }
    f.size(9)?;
    f.int(75)?;
    f.int(76)?;
    f.size(14)?;
    f.size(51)?;
    if older {
        f.int(15)?;
    }
    f.int(16)?;
    if older {
        f.int(17)?;
    }
    f.int(18)?;
    f.int(19)?;
    if older {
        f.int(20)?;
    }
    textures(&mut f, older)?;
    f.size(30)?;
    for which in [31, 32, 33, 34, 50, 35, 40, 41] {
        f.int(which)?;
    }
    if older {
        f.int(36)?;
    }
    for which in [37, 38, 108, 39, 78, 79, 80] {
        f.int(which)?;
    }
    f.size(81)?;
    for which in [82, 83, 84, 85, 86] {
        f.int(which)?;
    }
    if older {
        f.int(87)?;
    }
    for which in [88, 89, 90, 91, 95] {
        f.int(which)?;
    }
    if older {
        f.int(96)?;
    }
    f.size(97)?;
    for which in [100, 101, 106, 109] {
        f.int(which)?;
    }
    f.size(111)?;
    for which in [99, 112, 113, 114, 115] {
        f.int(which)?;
    }
    Ok(())
}

runtime! {
    fn cudaGetDeviceCount(count: *mut c_int) { driver::cuInit(0)?; driver::cuDeviceGetCount(count) }
    fn cudaGetDevice(device: *mut c_int) { put(device, 0) }
    fn cudaSetDevice(device: c_int) { check_device(device)?; ready() }
    fn cudaInitDevice(device: c_int, _device_flags: c_uint, _flags: c_uint) { check_device(device)?; ready() }
    fn cudaChooseDevice(device: *mut c_int, _properties: *const c_void) { put(device, 0) }
    fn cudaSetValidDevices(_devices: *const c_int, _count: c_int) { Ok(()) }
    fn cudaSetDeviceFlags(_flags: c_uint) { Ok(()) }
    fn cudaGetDeviceFlags(flags: *mut c_uint) { put(flags, 0) }
    fn cudaGetDeviceProperties(to: *mut c_void, device: c_int) { check_device(device)?; properties(to, false) }
    fn cudaGetDeviceProperties_v2(to: *mut c_void, device: c_int) { check_device(device)?; properties(to, true) }
    fn cudaDeviceGetAttribute(value: *mut c_int, which: c_int, device: c_int) {
        check_device(device)?;
        ready()?;
        put(value, attribute(which)?)
    }
    fn cudaDeviceGetPCIBusId(id: *mut c_char, length: c_int, device: c_int) {
        ready()?;
        driver::cuDeviceGetPCIBusId(id, length, device)
    }
    fn cudaDeviceGetByPCIBusId(device: *mut c_int, id: *const c_char) {
        let mut own = [0 as c_char; 32];
        ready()?;
        driver::cuDeviceGetPCIBusId(own.as_mut_ptr(), own.len() as c_int, 0)?;
        // SAFETY: both are C strings, the second the driver's.
        let same = !id.is_null() && unsafe { CStr::from_ptr(id) == CStr::from_ptr(own.as_ptr()) };
        if same { put(device, 0) } else { Err(INVALID_VALUE) }
    }
    fn cudaDeviceSynchronize() { ready()?; driver::cuCtxSynchronize() }
    fn cudaThreadSynchronize() { ready()?; driver::cuCtxSynchronize() }
    fn cudaDeviceReset() { ready()?; driver::cuDevicePrimaryCtxReset_v2(0)?; reset(); Ok(()) }
    fn cudaThreadExit() { ready()?; driver::cuDevicePrimaryCtxReset_v2(0)?; reset(); Ok(()) }
    fn cudaDeviceSetLimit(limit: c_uint, value: usize) { ready()?; driver::cuCtxSetLimit(limit, value) }
    fn cudaDeviceGetLimit(value: *mut usize, limit: c_uint) { ready()?; driver::cuCtxGetLimit(value, limit) }
    fn cudaDeviceSetCacheConfig(_config: c_uint) { ready() }
    fn cudaDeviceGetCacheConfig(config: *mut c_uint) { put(config, 0) }
    fn cudaDeviceSetSharedMemConfig(_config: c_uint) { ready() }
    fn cudaDeviceGetSharedMemConfig(config: *mut c_uint) { put(config, 1) }
    fn cudaDeviceGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) {
        ready()?;
        driver::cuCtxGetStreamPriorityRange(least, greatest)
    }
    fn cudaDeviceCanAccessPeer(can: *mut c_int, _device: c_int, _peer: c_int) { put(can, 0) }
    fn cudaDeviceEnablePeerAccess(peer: c_int, _flags: c_uint) { check_device(peer)?; Err(INVALID_VALUE) }
    fn cudaDeviceDisablePeerAccess(peer: c_int) { check_device(peer)?; Err(INVALID_VALUE) }
    fn cudaDeviceGetP2PAttribute(value: *mut c_int, _which: c_int, _one: c_int, _other: c_int) { put(value, 0) }
    fn cudaDriverGetVersion(version: *mut c_int) {
        // Without a driver the answer is zero, and no error.
        driver::cuDriverGetVersion(version).or_else(|_| put(version, 0))
    }
    fn cudaRuntimeGetVersion(version: *mut c_int) { put(version, VERSION) }
    fn cudaProfilerStart() { Ok(()) }
    fn cudaProfilerStop() { Ok(()) }
    fn cudaGetDriverEntryPoint(symbol: *const c_char, function: *mut *const c_void, flags: u64, status: *mut c_int) {
        driver::cuGetProcAddress_v2(symbol, function, VERSION, flags, status)
    }
    fn cudaGetDriverEntryPointByVersion(
        symbol: *const c_char, function: *mut *const c_void, version: c_uint, flags: u64, status: *mut c_int,
    ) {
        driver::cuGetProcAddress_v2(symbol, function, version as c_int, flags, status)
    }
}
